"""HTTP bodies of the Open Inference Protocol: JSON, and its binary tensor extension.

A body is a JSON document, then the tensors that the document calls binary, one after the other:
little-endian, row-major, BYTES elements each behind their length in 4 bytes.
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from novacron.errors import SchemaError, UnreadableInputError
from serve_apps.messages import InferAnswer, InferRequest, unexpected
from serve_apps.oip import OipJson, describe_answer, parse_json, read_request
from serve_apps.tensor_bytes import BinaryPart, pack

HEADER_LENGTH: Final = "inference-header-content-length"
_NOT_OFFERED: Final = ("classification", "shared_memory_region")


class OipHttp:
    """The codec of one HTTP request, and of the answer to it.

    Outputs come back binary where the request says so, by `parameters.binary_data` of the output
    or, for those that do not say, `parameters.binary_data_output` of the request.

    Args:
        json_bytes: Length of the JSON document; None when the body is nothing else.
    """

    def __init__(self, json_bytes: int | None = None) -> None:
        self.json_bytes = json_bytes
        self._binary: dict[str, bool] = {}
        self._binary_by_default = False
        self.answer_headers: dict[str, str] = {}
        """What HTTP must say beside the body that `encode` returned."""

    @property
    def wishes(self) -> tuple[dict[str, bool], bool]:
        """How the request that was read wants its outputs."""
        return self._binary, self._binary_by_default

    @wishes.setter
    def wishes(self, read: tuple[dict[str, bool], bool]) -> None:
        self._binary, self._binary_by_default = read

    def decode(self, body: bytes) -> InferRequest:
        """Read one request; its tensors are the caller's own, writable and aligned.

        Raises:
            UnreadableInputError: The JSON or a tensor is cut short, or bytes are left over.
            OutOfRangeError: A number in the JSON is NaN, infinite or too large for its datatype.
                Binary ones are read as they are; `check_tensors` refuses what is not finite.
            SchemaError: A key is missing or mistyped, or data does not fill its shape.
        """
        if self.json_bytes is None:
            document, tail = parse_json(body), None
        else:
            if self.json_bytes > len(body):
                raise UnreadableInputError(
                    field="Inference-Header-Content-Length",
                    got=self.json_bytes,
                    expected=f"at most the {len(body)} bytes of the body",
                    remedy="Check that the body is not cut short.",
                )
            document = parse_json(body[: self.json_bytes])
            tail = BinaryPart(body, self.json_bytes)
        request = read_request(document, tail)
        if tail is not None:
            tail.finish()
        self._read_wishes(document, request.parameters)
        return request

    def encode(self, answer: InferAnswer) -> bytes:
        """Write one answer, in JSON alone unless the request asked for binary outputs."""
        chosen = {
            name for name in answer.tensors if self._binary.get(name, self._binary_by_default)
        }
        if not chosen:
            return OipJson().encode(answer)
        packed = {name: pack(answer.tensors[name]) for name in answer.tensors if name in chosen}
        document = describe_answer(answer)
        for output in document["outputs"]:
            if output["name"] in chosen:
                del output["data"]
                output["parameters"] = {"binary_data_size": len(packed[output["name"]])}
        head = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
        self.answer_headers = {
            "content-type": "application/octet-stream",
            HEADER_LENGTH: str(len(head)),
        }
        return b"".join((head, *packed.values()))

    def _read_wishes(self, document: dict[str, Any], parameters: Mapping[str, Any]) -> None:
        self._binary_by_default = _flag(parameters, "binary_data_output", "parameters")
        for place, output in enumerate(document.get("outputs") or ()):
            field = f"outputs[{place}].parameters"
            wishes = output.get("parameters") or {}
            if not isinstance(wishes, dict):
                raise unexpected(field, wishes, "a JSON object")
            for extension in _NOT_OFFERED:
                if extension in wishes:
                    raise SchemaError(
                        field=f"{field}.{extension}",
                        got=wishes[extension],
                        expected="no such parameter: this extension is not offered",
                    )
            if "binary_data" in wishes:
                self._binary[output["name"]] = _flag(wishes, "binary_data", field)


def _flag(settings: Mapping[str, Any], key: str, field: str) -> bool:
    value = settings.get(key, False)
    if not isinstance(value, bool):
        raise unexpected(f"{field}.{key}", value, "true or false")
    return value
