"""The codec of `ModelInfer`: tensors as raw bytes or as typed contents."""

from collections.abc import Mapping
from typing import Any, Final, cast

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from novacron.errors import OutOfRangeError, SchemaError, UnreadableInputError
from serve_apps.grpc_messages import new_message
from serve_apps.messages import (
    DATATYPE_OF,
    WIRE_DTYPES,
    InferAnswer,
    InferRequest,
    check_id,
    check_shape,
    unexpected,
)
from serve_apps.tensor_bytes import decode_text, pack, unpack

_CONTENTS_OF: Final = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Where typed contents hold a datatype; FP16 has no such form."""


def parse_message(name: str, body: bytes) -> Any:
    """Read a message of the protocol.

    Raises:
        UnreadableInputError: The bytes are no such message.
    """
    message = new_message(name)
    try:
        message.ParseFromString(body)
    except DecodeError as cause:
        raise UnreadableInputError(
            field="message", got=f"{len(body)} bytes", expected=f"an inference.{name}"
        ) from cause
    return message


class OipGrpc:
    """The codec of one `ModelInfer` call, and of the answer to it.

    The answer has the form of the request: raw bytes for raw bytes, typed for typed. The model's
    name is inside the message, so that whoever routes opens it before `decode`.
    """

    def __init__(self) -> None:
        self._message: Any = None
        self._is_raw = True

    def open(self, body: bytes) -> tuple[str, str | None]:
        """Parse a message and return the model's name, and its version if one is asked for.

        Raises:
            UnreadableInputError: The bytes are no `ModelInferRequest`.
        """
        self._message = parse_message("ModelInferRequest", body)
        return self._message.model_name, self._message.model_version or None

    def decode(self, body: bytes) -> InferRequest:
        """Read one request, the one that was opened before if one was.

        Raises:
            UnreadableInputError: The bytes are no such message, or hold no such elements.
            OutOfRangeError: A number does not fit its datatype. Others are read as they are;
                `check_tensors` refuses what is not finite.
            SchemaError: Something is missing or named twice, or data does not fill its shape.
        """
        if self._message is None:
            self.open(body)
        message = self._message
        raws = message.raw_input_contents
        self._is_raw = bool(raws) or not message.inputs
        if raws and len(raws) != len(message.inputs):
            raise SchemaError(
                field="raw_input_contents",
                got=f"{len(raws)} entries for {len(message.inputs)} inputs",
                expected="one for every input, or none at all",
            )
        if not message.inputs:
            raise unexpected("inputs", None, "at least one tensor")
        tensors: dict[str, NDArray[np.generic]] = {}
        for place, tensor in enumerate(message.inputs):
            if not tensor.name or tensor.name in tensors:
                raise unexpected(f"inputs[{place}].name", tensor.name, "a name used only once")
            tensors[tensor.name] = _read_tensor(tensor, raws[place] if raws else None)
        return InferRequest(
            tensors=tensors,
            outputs=_read_outputs(message.outputs),
            request_id=check_id(message.id or None),
            parameters=_read_parameters(message.parameters),
        )

    def encode(self, answer: InferAnswer) -> bytes:
        """Write one `ModelInferResponse`."""
        response = new_message(
            "ModelInferResponse",
            model_name=answer.model_name,
            model_version=answer.model_version,
            id=answer.request_id or "",
        )
        for key, note in answer.notes().items():
            response.parameters[key].string_param = note
        for name, array in answer.tensors.items():
            datatype = DATATYPE_OF[array.dtype]
            output = response.outputs.add(name=name, datatype=datatype, shape=array.shape)
            if self._is_raw:
                response.raw_output_contents.append(pack(array))
            else:
                values = array.ravel().tolist()
                if datatype == "BYTES":
                    values = [str(value).encode() for value in values]
                getattr(output.contents, _CONTENTS_OF[datatype]).extend(values)
        return cast(bytes, response.SerializeToString())


def _read_tensor(tensor: Any, raw: bytes | None) -> NDArray[np.generic]:
    name = tensor.name
    known = tuple(_CONTENTS_OF) if raw is None else tuple(WIRE_DTYPES)
    if tensor.datatype not in known:
        raise unexpected(f"{name}.datatype", tensor.datatype, "one of " + ", ".join(known))
    shape = check_shape(list(tensor.shape), name)
    n_elements = 1
    for length in shape:
        n_elements *= length
    if raw is None:
        return _read_contents(tensor, n_elements).reshape(shape)
    if tensor.HasField("contents"):
        raise SchemaError(
            field=f"{name}.contents",
            got="contents beside raw_input_contents",
            expected="one of the two",
        )
    return unpack(raw, WIRE_DTYPES[tensor.datatype], n_elements, name).reshape(shape)


def _read_contents(tensor: Any, n_elements: int) -> NDArray[np.generic]:
    """Read typed contents as a flat array."""
    name, dtype = tensor.name, WIRE_DTYPES[tensor.datatype]
    field = _CONTENTS_OF[tensor.datatype]
    values = getattr(tensor.contents, field)
    if len(values) != n_elements:
        raise SchemaError(
            field=f"{name}.contents.{field}",
            got=f"{len(values)} elements",
            expected=f"{n_elements} elements, the product of shape {list(tensor.shape)}",
            remedy="Correct the shape or the data.",
        )
    if dtype.kind == "O":
        texts = np.empty(n_elements, dtype=object)
        texts[:] = [decode_text(one, f"{name}[{i}]") for i, one in enumerate(values)]
        return texts
    if dtype.kind in "iu" and dtype.itemsize < 4:
        # Protobuf has no integers below 32 bits, so that such a number can be too large.
        limits = np.iinfo(cast(np.dtype[np.integer[Any]], dtype))
        place = next((i for i, v in enumerate(values) if not limits.min <= v <= limits.max), None)
        if place is not None:
            raise OutOfRangeError(
                field=f"{name}[{place}]",
                got=values[place],
                expected=f"a number that fits {tensor.datatype}",
                remedy="Use a wider datatype if the model takes one.",
            )
    return np.fromiter(values, dtype=dtype, count=n_elements)


def _read_outputs(outputs: Any) -> tuple[str, ...]:
    names: list[str] = []
    for place, output in enumerate(outputs):
        if not output.name or output.name in names:
            raise unexpected(
                f"outputs[{place}].name", output.name, "an output's name, used only once"
            )
        for extension in ("classification", "shared_memory_region"):
            if extension in output.parameters:
                raise SchemaError(
                    field=f"outputs[{place}].parameters.{extension}",
                    got=extension,
                    expected="no such parameter: this extension is not offered",
                )
        names.append(output.name)
    return tuple(names)


def _read_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    chosen = {key: value.WhichOneof("parameter_choice") for key, value in parameters.items()}
    return {key: getattr(parameters[key], field) for key, field in chosen.items() if field}
