"""One inference request and its answer, free of any wire format, and what all formats share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeGuard

import numpy as np
from numpy.typing import NDArray

from novacron.errors import InvalidInputError, SchemaError

WIRE_DTYPES: Final[dict[str, np.dtype[np.generic]]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(object),
}
"""Datatypes of the Open Inference Protocol; BYTES elements are held as `str`."""

DATATYPE_OF: Final = {dtype: name for name, dtype in WIRE_DTYPES.items()}

MAX_ID_CHARS: Final = 256
MAX_DIMENSIONS: Final = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class InferRequest:
    """What a caller asks: tensors by name, rows on axis 0.

    `outputs` names the answers wanted, in order; empty means all of them. `request_id` is the
    caller's own and comes back with the answer. `entities` says what each row is about and
    `steps_s` how many seconds apart its samples are; both are empty where the skin does not know.
    """

    tensors: Mapping[str, NDArray[np.generic]]
    outputs: tuple[str, ...] = ()
    request_id: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    entities: tuple[str | None, ...] = ()
    steps_s: tuple[float | None, ...] = ()
    digest: bytes = b""
    """Of all that a model reads, where the tensors are shared with other requests and read-only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InferAnswer:
    """What the caller gets: the tensors it asked for, and which model version answered.

    `prediction_id` finds the answer in the prediction log; empty where none is kept. `baseline`
    names what answered because the version could not; empty where the version did.
    """

    model_name: str
    model_version: str
    tensors: Mapping[str, NDArray[np.generic]]
    request_id: str | None = None
    prediction_id: str = ""
    baseline: str = ""

    def notes(self) -> dict[str, str]:
        """Return what an answer says of itself beside its outputs, by the name on the wire."""
        notes = {}
        if self.prediction_id:
            notes["prediction_id"] = self.prediction_id
        if self.baseline:
            notes["fallback"] = self.baseline
        return notes


class Codec(Protocol):
    """A wire format: a body becomes a request, an answer becomes a body.

    A codec may hold what the transport said about one body, such as the length of its header, so
    a transport makes one for each request or shares a stateless one.
    """

    def decode(self, body: bytes) -> InferRequest:
        """Read one request.

        Raises:
            InvalidInputError: The body is not a request; never any other error.
        """
        ...

    def encode(self, answer: InferAnswer) -> bytes:
        """Write one answer."""
        ...


def check_id(request_id: object) -> str | None:
    """Return the caller's own id of the request.

    Raises:
        SchemaError: It is no string, or too long.
    """
    if request_id is None or (isinstance(request_id, str) and len(request_id) <= MAX_ID_CHARS):
        return request_id
    raise unexpected("id", request_id, f"a string of at most {MAX_ID_CHARS} characters")


def check_shape(shape: object, name: str) -> list[int]:
    """Return the shape of an input as the caller wrote it.

    Raises:
        SchemaError: It is no list of lengths of at least 1, rows first.
    """
    if not isinstance(shape, list) or not shape or any(type(d) is not int for d in shape):
        raise unexpected(f"{name}.shape", shape, "a list of whole numbers, rows first")
    if min(shape) < 1 or len(shape) > MAX_DIMENSIONS:
        raise unexpected(
            f"{name}.shape",
            str(shape[: MAX_DIMENSIONS + 1]),
            f"at least one row, and 1 to {MAX_DIMENSIONS} lengths of at least 1",
        )
    return shape


def row_id(prediction_id: str, place: int, n_rows: int) -> str:
    """Return the id of one row of an answer: the answer's own where it has one row alone."""
    return prediction_id if n_rows == 1 else f"{prediction_id}.{place}"


def is_number(value: object) -> TypeGuard[int | float]:
    """Tell whether a JSON value is a number; bool is an int to Python and none to JSON."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def unexpected(field: str, got: object, expected: str) -> InvalidInputError:
    """Make the refusal of a value that is not what a request has there."""
    # Containers are described, not shown: repr of a deeply nested list overflows the stack.
    if isinstance(got, list):
        got = f"a list of {len(got)}"
    elif isinstance(got, dict):
        got = f"an object with {len(got)} keys"
    elif isinstance(got, str):
        got = got[:120]
    elif got is None:
        got = "null or nothing"
    return SchemaError(field=field, got=got, expected=expected)
