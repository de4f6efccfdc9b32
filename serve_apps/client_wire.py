"""What the client sends and reads: arrays to bodies, answers to arrays, refusals to errors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import httpx
import numpy as np
import orjson
import pandas as pd
from numpy.typing import NDArray

from novacron.errors import (
    CircuitOpenError,
    ForbiddenError,
    InvalidInputError,
    ModelNotFoundError,
    NotReadyError,
    NovacronError,
    OutOfRangeError,
    OverloadedError,
    PayloadTooLargeError,
    RateLimitedError,
    SchemaError,
    UnauthorizedError,
    UnreadableInputError,
)
from serve_apps.messages import DATATYPE_OF, WIRE_DTYPES, row_id
from serve_apps.tensor_bytes import BinaryPart, pack, unpack

HEADER: Final = "inference-header-content-length"
RETRIED: Final = frozenset({429, 502, 503, 504})
_FIELD_ERRORS: Final[dict[str, type[InvalidInputError]]] = {
    kind.__name__: kind
    for kind in (SchemaError, OutOfRangeError, UnreadableInputError, PayloadTooLargeError)
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """One answer: outputs by name, rows on axis 0, in the order of the model."""

    model_name: str
    model_version: str
    outputs: Mapping[str, NDArray[Any]]
    timing: str = ""
    """Milliseconds by stage, as the `Server-Timing` header gives them."""
    prediction_id: str = ""
    """By which outcomes are told; empty where the endpoint keeps no log. See `row_ids`."""
    fallback: str = ""
    """The named baseline that answered because the version could not; empty: the version did."""

    @property
    def row_ids(self) -> list[str]:
        """Ids of the rows, for `tell`; none where the endpoint keeps no log."""
        n_rows = len(next(iter(self.outputs.values()), ()))
        if not self.prediction_id:
            return []
        return [row_id(self.prediction_id, place, n_rows) for place in range(n_rows)]

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.outputs[name]

    def to_frame(self, index: pd.Index | None = None) -> pd.DataFrame:
        """Return a row for each row, a column for each output or each element of it.

        An output of shape [N] or [N, 1] is one column, [N, H] is `name_0` to `name_(H-1)`, and
        further axes add further numbers, as in `name_0_2`.
        """
        columns: dict[str, NDArray[Any]] = {}
        for name, array in self.outputs.items():
            if array.ndim == 1 or array.shape[1:] == (1,):
                columns[name] = array.reshape(len(array))
                continue
            for place in np.ndindex(array.shape[1:]):
                columns["_".join([name, *map(str, place)])] = array[(slice(None), *place)]
        return pd.DataFrame(columns, index=index)


def write_request(
    tensors: Mapping[str, NDArray[Any]], outputs: Sequence[str]
) -> tuple[bytes, bytes]:
    """Return the JSON and the binary part of a request whose answer shall be binary."""
    packed = {name: pack(array) for name, array in tensors.items()}
    document: dict[str, Any] = {
        "parameters": {"binary_data_output": True},
        "inputs": [
            {
                "name": name,
                "shape": list(array.shape),
                "datatype": DATATYPE_OF[array.dtype],
                "parameters": {"binary_data_size": len(packed[name])},
            }
            for name, array in tensors.items()
        ],
    }
    if outputs:
        document["outputs"] = [{"name": name} for name in outputs]
    return orjson.dumps(document), b"".join(packed.values())


def read_answer(response: httpx.Response) -> Prediction:
    """Read a binary answer; its arrays are the caller's own."""
    head_bytes = int(response.headers[HEADER])
    document = orjson.loads(response.content[:head_bytes])
    tail = BinaryPart(response.content, head_bytes)
    outputs: dict[str, NDArray[Any]] = {}
    for output in document["outputs"]:
        name, shape = output["name"], output["shape"]
        data = tail.take(output["parameters"]["binary_data_size"], name)
        flat = unpack(data, WIRE_DTYPES[output["datatype"]], int(np.prod(shape)), name)
        outputs[name] = flat.reshape(shape)
    return Prediction(
        model_name=document["model_name"],
        model_version=document["model_version"],
        outputs=outputs,
        timing=response.headers.get("server-timing", ""),
        prediction_id=document.get("parameters", {}).get("prediction_id", ""),
        fallback=document.get("parameters", {}).get("fallback", ""),
    )


def rows_of(samples: Sequence[Mapping[str, Any]] | pd.DataFrame) -> list[dict[str, Any]]:
    """Return samples as JSON objects; what is missing is left out."""
    rows: Sequence[Mapping[str, Any]] = (
        samples.to_dict("records") if isinstance(samples, pd.DataFrame) else samples  # type: ignore[assignment]
    )
    return [
        {str(name): _plain(value) for name, value in row.items() if not _is_missing(value)}
        for row in rows
    ]


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NaT or (isinstance(value, float) and value != value)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return value.item() if isinstance(value, np.generic) else value


class _Shown(str):
    """A value that was shortened for people already."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def may_repeat(reply: object) -> bool:
    """Tell whether a request without an answer may be sent again.

    All may: questions only read, a sample sent twice is a duplicate, of two outcomes the newest
    counts.

    A 500 that is not the endpoint's own is a proxy's: HAProxy, as Serve sets it up, says so where
    the replica it had chosen was gone.
    """
    if not isinstance(reply, httpx.Response):
        return True
    if reply.status_code != httpx.codes.INTERNAL_SERVER_ERROR:
        return reply.status_code in RETRIED
    try:
        told = orjson.loads(reply.content)
    except orjson.JSONDecodeError:
        return True
    return not (isinstance(told, dict) and "error" in told)


def error_of(reply: object) -> NovacronError:
    """Return the error behind a refusal, or behind a connection that was lost."""
    if not isinstance(reply, httpx.Response):
        return NotReadyError(f"The endpoint does not answer: {reply}")
    try:
        told = orjson.loads(reply.content)
        message, remedy = str(told["error"]), str(told.get("remedy", ""))
    except (orjson.JSONDecodeError, TypeError, KeyError, AttributeError):
        # Not the endpoint's own: a proxy in between.
        told, message, remedy = {}, f"HTTP {reply.status_code}: {reply.text[:200]}", ""
    if reply.status_code == httpx.codes.UNAUTHORIZED:
        return UnauthorizedError(message.removesuffix(remedy).rstrip(), remedy=remedy)
    kind = _FIELD_ERRORS.get(str(told.get("code")))
    if kind is not None and {"field", "got", "expected"} <= told.keys():
        got = _Shown(told["got"])
        return kind(field=told["field"], got=got, expected=told["expected"], remedy=remedy)
    message = message.removesuffix(remedy).rstrip()
    if reply.status_code == httpx.codes.NOT_FOUND:
        return ModelNotFoundError(message, remedy=remedy)
    if reply.status_code == httpx.codes.FORBIDDEN:
        return ForbiddenError(message, remedy=remedy)
    retry_after_s = _retry_after_s(told, reply)
    if reply.status_code == httpx.codes.TOO_MANY_REQUESTS:
        limited = told.get("code") == RateLimitedError.__name__
        return (RateLimitedError if limited else OverloadedError)(
            message, retry_after_s=retry_after_s
        )
    if told.get("code") == CircuitOpenError.__name__:
        return CircuitOpenError(message, retry_after_s=retry_after_s)
    if reply.status_code in RETRIED:
        return NotReadyError(message, remedy=remedy)
    return NovacronError(message, remedy=remedy)


def _retry_after_s(told: Mapping[str, Any], reply: httpx.Response) -> float:
    given = told.get("retry_after_s", reply.headers.get("retry-after"))
    try:
        return float(given)
    except (TypeError, ValueError):
        # Nothing, or a date, as proxies may write.
        return 1.0


def tensor_of(values: Any, name: str, specs: Mapping[str, dict[str, Any]]) -> NDArray[Any]:
    """Bring values to the datatype and the number of axes of a model's input."""
    if name not in specs:
        raise SchemaError(field="inputs", got=name, expected="one of " + ", ".join(specs))
    spec = specs[name]
    try:
        array = np.asarray(values.tolist() if isinstance(values, pd.Series) else values)
    except ValueError as cause:
        raise SchemaError(
            field=name, got="sequences of several lengths", expected="rows of one length"
        ) from cause
    if array.ndim == 1 and len(spec["shape"]) == 2:
        array = array[:, None]
    if spec["datatype"] == "BYTES":
        if not all(isinstance(text, str) for text in array.ravel().tolist()):
            raise SchemaError(field=name, got=str(array.dtype), expected="texts (BYTES)")
        return array.astype(object)
    dtype = WIRE_DTYPES[spec["datatype"]]
    fits = array.dtype.kind in "biuf" and np.can_cast(array.dtype, dtype, "same_kind")
    cast = array.astype(dtype) if fits else array
    # Floats may be rounded to FP32; an integer that does not fit would become another one.
    if not fits or (dtype.kind in "iu" and not np.array_equal(cast, array)):
        raise SchemaError(field=name, got=str(array.dtype), expected=f"{spec['datatype']} values")
    return cast
