"""The JSON form of the Open Inference Protocol (KServe V2), without pydantic or pandas.

It checks what the bytes alone can tell: JSON, names, shapes against data, datatypes and their
ranges. Whether a model takes those tensors is `novacron.models.tensor_checks`' business.
"""

import math
from itertools import chain
from typing import Any, Final, cast

import numpy as np
import orjson
from numpy.typing import NDArray

from novacron.errors import (
    NovacronError,
    OutOfRangeError,
    SchemaError,
    UnreadableInputError,
)
from serve_apps.messages import (
    DATATYPE_OF,
    WIRE_DTYPES,
    InferAnswer,
    InferRequest,
    check_id,
    check_shape,
    unexpected,
)
from serve_apps.tensor_bytes import BinaryPart, unpack

_NO_JSON_FORM: Final = frozenset({"FP16"})
_JSON_DATATYPES: Final = tuple(name for name in WIRE_DTYPES if name not in _NO_JSON_FORM)
_ELEMENT_TYPES: Final[dict[str, frozenset[type]]] = {
    "b": frozenset({bool}),
    "u": frozenset({int}),
    "i": frozenset({int}),
    "f": frozenset({int, float}),
    "O": frozenset({str}),
}
_ELEMENT_WORDS: Final = {
    "b": "true or false",
    "u": "a non-negative integer",
    "i": "an integer",
    "f": "a finite number",
    "O": "a string",
}


class OipJson:
    """The codec of `application/json` bodies; it has no state, so one serves every request."""

    def decode(self, body: bytes) -> InferRequest:
        """Read `{"id"?, "parameters"?, "inputs": [...], "outputs"?: [...]}`.

        Raises:
            UnreadableInputError: The body is not JSON, for example because it is cut short.
            OutOfRangeError: A number is NaN, infinite or too large for its datatype.
            SchemaError: A key is missing or mistyped, or data does not fill its shape.
        """
        return read_request(parse_json(body))

    def encode(self, answer: InferAnswer) -> bytes:
        """Write `{"model_name", "model_version", "id"?, "parameters"?, "outputs": [...]}` with flat data."""
        return orjson.dumps(describe_answer(answer), option=orjson.OPT_SERIALIZE_NUMPY)


def read_request(parsed: object, tail: BinaryPart | None = None) -> InferRequest:
    """Read a parsed document; inputs with a `binary_data_size` take their data from `tail`.

    Raises:
        OutOfRangeError: A number is too large for its datatype.
        SchemaError: A key is missing or mistyped, or data does not fill its shape.
        UnreadableInputError: The tail is too short, or its bytes are no such elements.
    """
    document = _object(parsed, "body")
    return InferRequest(
        tensors=_read_inputs(document.get("inputs"), tail),
        outputs=_read_outputs(document.get("outputs")),
        request_id=check_id(document.get("id")),
        parameters=_object(document.get("parameters") or {}, "parameters"),
    )


def describe_answer(answer: InferAnswer) -> dict[str, Any]:
    """Return an answer as a document that orjson can write, every tensor's data in it."""
    document: dict[str, Any] = {
        "model_name": answer.model_name,
        "model_version": answer.model_version,
    }
    if answer.request_id is not None:
        document["id"] = answer.request_id
    if notes := answer.notes():
        document["parameters"] = notes
    document["outputs"] = [_write_tensor(*item) for item in answer.tensors.items()]
    return document


def parse_json(body: bytes) -> Any:
    """Parse JSON bytes, refusing what JSON has no word for.

    Raises:
        OutOfRangeError: The text has NaN, Infinity, or a number beyond a double.
        UnreadableInputError: Anything else that is not JSON in UTF-8.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as cause:
        around = cause.doc[max(0, cause.pos - 1) : cause.pos + 9]
        if "NaN" in around or "Inf" in around or "infinity" in cause.msg:
            raise OutOfRangeError(
                field="body",
                got=around,
                expected="finite numbers only",
                remedy="JSON has no NaN and no Infinity: leave the sample or the tensor out.",
            ) from cause
        raise UnreadableInputError(
            field="body",
            got=cause.doc[max(0, cause.pos - 20) : cause.pos + 10],
            expected=f"complete JSON in UTF-8; at {cause.pos} of {len(body)}: {cause.msg}",
            remedy="Check that the body is not cut short.",
        ) from cause


def encode_error(error: NovacronError, **extra: object) -> bytes:
    """Write the protocol's error object: `error` is a sentence, other keys are for programs."""
    return orjson.dumps(error.to_dict() | extra, default=str)


def _read_inputs(items: object, tail: BinaryPart | None) -> dict[str, NDArray[np.generic]]:
    if not isinstance(items, list) or not items:
        raise unexpected("inputs", items, "a list with at least one tensor")
    tensors: dict[str, NDArray[np.generic]] = {}
    for place, item in enumerate(items):
        tensor = _object(item, f"inputs[{place}]")
        name = tensor.get("name")
        if not isinstance(name, str) or not name:
            raise unexpected(f"inputs[{place}].name", name, "the tensor's name")
        if name in tensors:
            raise unexpected(f"inputs[{place}].name", name, "a name used only once")
        tensors[name] = _read_tensor(tensor, name, tail)
    return tensors


def _read_outputs(items: object) -> tuple[str, ...]:
    if items is None:
        return ()
    if not isinstance(items, list):
        raise unexpected("outputs", items, 'a list of {"name": ...}')
    names: list[str] = []
    for place, item in enumerate(items):
        name = _object(item, f"outputs[{place}]").get("name")
        if not isinstance(name, str) or not name or name in names:
            raise unexpected(f"outputs[{place}].name", name, "an output's name, used only once")
        names.append(name)
    return tuple(names)


def _read_tensor(
    tensor: dict[str, Any], name: str, tail: BinaryPart | None
) -> NDArray[np.generic]:
    parameters = _object(tensor.get("parameters") or {}, f"{name}.parameters")
    binary_size = parameters.get("binary_data_size")
    known = _JSON_DATATYPES if binary_size is None else tuple(WIRE_DTYPES)
    datatype = tensor.get("datatype")
    if not isinstance(datatype, str) or datatype not in known:
        raise unexpected(f"{name}.datatype", datatype, "one of " + ", ".join(known))
    shape = check_shape(tensor.get("shape"), name)
    dtype = WIRE_DTYPES[datatype]
    if binary_size is not None:
        if tail is None or "data" in tensor:
            raise SchemaError(
                field=f"{name}.parameters.binary_data_size",
                got=binary_size,
                expected="data in the JSON, or behind it and Inference-Header-Content-Length "
                "with the length of the JSON, but not both",
            )
        n_elements = math.prod(shape)
        return unpack(tail.take(binary_size, name), dtype, n_elements, name).reshape(shape)
    data = tensor.get("data")
    if not isinstance(data, list):
        raise unexpected(f"{name}.data", data, "a list, flat in row-major order or nested")
    flat = _flatten(data, shape, name)
    return _build(flat, dtype, name).reshape(shape)


def _flatten(data: list[Any], shape: list[int], name: str) -> list[Any]:
    """Return the elements in row-major order, having checked that they fill the shape."""
    if data and type(data[0]) is list:
        for depth, length in enumerate(shape[:-1]):
            inner = shape[depth + 1]
            if len(data) != math.prod(shape[: depth + 1]) or not all(
                type(row) is list and len(row) == inner for row in data
            ):
                raise SchemaError(
                    field=f"{name}.data",
                    got=f"nested lists that differ from the shape at depth {depth}",
                    expected=f"lists nested as {shape} (length {length} at depth {depth})",
                    remedy="Give every row the same length, or send the data flat.",
                )
            data = list(chain.from_iterable(data))
    if len(data) != math.prod(shape):
        raise SchemaError(
            field=f"{name}.data",
            got=f"{len(data)} elements",
            expected=f"{math.prod(shape)} elements, the product of shape {shape[:8]}",
            remedy="Correct the shape or the data.",
        )
    return data


def _build(flat: list[Any], dtype: np.dtype[np.generic], name: str) -> NDArray[np.generic]:
    # Exact types, because bool is an int to Python and numpy takes either for a number.
    allowed = _ELEMENT_TYPES[dtype.kind]
    if not set(map(type, flat)) <= allowed:
        place = next(i for i, value in enumerate(flat) if type(value) not in allowed)
        expected = f"{_ELEMENT_WORDS[dtype.kind]} ({DATATYPE_OF[dtype]})"
        raise unexpected(f"{name}.data[{place}]", flat[place], expected)
    if dtype.kind in "iu" and flat:
        limits = np.iinfo(cast(np.dtype[np.integer[Any]], dtype))
        _check_bounds(flat, limits.min, limits.max, name, dtype)
    if dtype == np.float32 and flat:
        limit = float(np.finfo(np.float32).max)
        _check_bounds(flat, -limit, limit, name, dtype)
    return np.array(flat, dtype=dtype)


def _check_bounds(
    flat: list[Any], low: float, high: float, name: str, dtype: np.dtype[np.generic]
) -> None:
    if min(flat) >= low and max(flat) <= high:
        return
    place = next(i for i, value in enumerate(flat) if not low <= value <= high)
    raise OutOfRangeError(
        field=f"{name}.data[{place}]",
        got=flat[place],
        expected=f"a number that fits {DATATYPE_OF[dtype]}, in [{low}, {high}]",
        remedy="Use a wider datatype if the model takes one.",
    )


def _write_tensor(name: str, array: NDArray[np.generic]) -> dict[str, Any]:
    flat = np.ascontiguousarray(array).ravel()
    return {
        "name": name,
        "datatype": DATATYPE_OF[array.dtype],
        "shape": list(array.shape),
        "data": flat.tolist() if array.dtype == object else flat,
    }


def _object(value: object, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise unexpected(field, value, "a JSON object")
    return value
