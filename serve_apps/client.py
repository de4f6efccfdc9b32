"""A typed client of the endpoint, for programs and notebooks; it needs no Ray.

`Client` and `AsyncClient` differ in `await` alone. Arrays or a DataFrame go in, arrays come out, as
binary tensors both ways. What the endpoint refuses is raised as the error of `novacron.errors` that
it raised there.
"""

import asyncio
import random
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.parse import quote

import httpx
import numpy as np
import orjson
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from novacron.errors import (
    InvalidInputError,
    ModelNotFoundError,
    NotReadyError,
    NovacronError,
    OutOfRangeError,
    OverloadedError,
    PayloadTooLargeError,
    SchemaError,
    UnreadableInputError,
)
from serve_apps.messages import DATATYPE_OF, WIRE_DTYPES
from serve_apps.tensor_bytes import BinaryPart, pack, unpack

_HEADER: Final = "inference-header-content-length"
_RETRIED: Final = frozenset({429, 502, 503, 504})
_FIELD_ERRORS: Final[dict[str, type[InvalidInputError]]] = {
    kind.__name__: kind
    for kind in (SchemaError, OutOfRangeError, UnreadableInputError, PayloadTooLargeError)
}
Inputs = Mapping[str, ArrayLike] | pd.DataFrame
_Steps = Generator[httpx.Request | float, Any, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """How often and how long to ask again. All calls only read, so that each may be repeated.

    Asked again are 429, 502, 503, 504 and lost connections, after what `Retry-After` says and not
    before; else after a delay that doubles, shortened at random by up to half.
    """

    attempts: int = 5
    first_delay_s: float = 0.1
    max_delay_s: float = 5.0
    give_up_s: float = 30.0
    """No further attempt begins so long after the first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """One answer: outputs by name, rows on axis 0, in the order of the model."""

    model_name: str
    model_version: str
    outputs: Mapping[str, NDArray[Any]]
    timing: str = ""
    """Milliseconds by stage, as the `Server-Timing` header gives them."""

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


@dataclass(kw_only=True)
class _Calls:
    """The calls as steps: each yields a request to send or seconds to sleep, and gets the reply."""

    base_url: str
    retry: RetryPolicy
    rng: random.Random = field(default_factory=random.Random)
    clock: Callable[[], float] = time.monotonic
    metadata: dict[str, dict[str, Any]] = field(default_factory=dict)

    def describe(self, path: str) -> _Steps:
        response = yield from self._send(httpx.Request("GET", self.base_url + path))
        return orjson.loads(response.content)

    def ready(self) -> _Steps:
        reply = yield httpx.Request("GET", f"{self.base_url}/v2/health/ready")
        return isinstance(reply, httpx.Response) and reply.is_success

    def predict(self, path: str, inputs: Inputs, outputs: Sequence[str]) -> _Steps:
        if path not in self.metadata:
            self.metadata[path] = yield from self.describe(path)
        specs = {spec["name"]: spec for spec in self.metadata[path]["inputs"]}
        tensors = {str(key): tensor_of(one, str(key), specs) for key, one in inputs.items()}
        head, body = write_request(tensors, outputs)
        request = httpx.Request(
            "POST",
            f"{self.base_url}{path}/infer",
            content=head + body,
            headers={_HEADER: str(len(head)), "content-type": "application/octet-stream"},
        )
        try:
            response = yield from self._send(request)
        except InvalidInputError:
            # A promoted version may take other inputs.
            self.metadata.pop(path, None)
            raise
        return read_answer(response)

    def _send(self, request: httpx.Request) -> _Steps:
        began_s = self.clock()
        for attempt in range(1, self.retry.attempts + 1):
            reply = yield request
            if isinstance(reply, httpx.Response) and reply.is_success:
                return reply
            error = error_of(reply)
            again = not isinstance(reply, httpx.Response) or reply.status_code in _RETRIED
            delay_s = self._delay_s(reply, attempt)
            late = self.clock() - began_s + delay_s > self.retry.give_up_s
            if not again or late or attempt == self.retry.attempts:
                raise error
            yield delay_s
        raise error

    def _delay_s(self, reply: object, attempt: int) -> float:
        longest_s = min(self.retry.first_delay_s * 2 ** (attempt - 1), self.retry.max_delay_s)
        delay_s = longest_s * self.rng.uniform(0.5, 1.0)
        told = reply.headers.get("retry-after", "") if isinstance(reply, httpx.Response) else ""
        return float(max(delay_s, float(told)) if told.isdecimal() else delay_s)


class Client:
    """Asks the endpoint; use it in a `with` block.

    Args:
        base_url: For example `http://127.0.0.1:8000`.
        retry: When to ask again.
        timeout_s: Of one attempt.
        transport: How to reach the endpoint, where not by the network.
    """

    def __init__(
        self,
        base_url: str,
        *,
        retry: RetryPolicy | None = None,
        timeout_s: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._calls = _Calls(base_url=base_url.rstrip("/"), retry=retry or RetryPolicy())
        self._http = httpx.Client(timeout=timeout_s, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def ready(self) -> bool:
        """Tell whether the endpoint answers for all of its models now."""
        return bool(self._run(self._calls.ready()))

    def metadata(self, model: str, version: str | None = None) -> dict[str, Any]:
        """Return inputs and outputs of a model, with datatype, shape, unit and range.

        Raises:
            ModelNotFoundError: No such model or version.
        """
        return dict(self._run(self._calls.describe(_path(model, version))))

    def predict(
        self,
        model: str,
        inputs: Inputs,
        *,
        version: str | None = None,
        outputs: Sequence[str] = (),
    ) -> Prediction:
        """Ask a model.

        Args:
            model: Its name.
            inputs: Arrays by input name, rows on axis 0, or a frame with a column for each input,
                whose cells are numbers, texts or, for a history, sequences of one length.
            version: None for the one that answers by default.
            outputs: Those wanted; empty for all.

        Raises:
            InvalidInputError: The inputs are not what the model takes.
            ModelNotFoundError: No such model or version.
            OverloadedError: Its queue stayed full.
            NotReadyError: The endpoint did not answer, or not yet.
            NovacronError: The model failed.
        """
        answer: Prediction = self._run(self._calls.predict(_path(model, version), inputs, outputs))
        return answer

    def _run(self, steps: _Steps) -> Any:
        reply: object = None
        while True:
            try:
                step = steps.send(reply)
            except StopIteration as finished:
                return finished.value
            if isinstance(step, float):
                time.sleep(step)
                continue
            try:
                reply = self._http.send(step)
            except httpx.TransportError as error:
                reply = error


class AsyncClient:
    """`Client` for programs with an event loop; use it in an `async with` block."""

    def __init__(
        self,
        base_url: str,
        *,
        retry: RetryPolicy | None = None,
        timeout_s: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._calls = _Calls(base_url=base_url.rstrip("/"), retry=retry or RetryPolicy())
        self._http = httpx.AsyncClient(timeout=timeout_s, transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def ready(self) -> bool:
        """Tell whether the endpoint answers, see `Client.ready`."""
        return bool(await self._run(self._calls.ready()))

    async def metadata(self, model: str, version: str | None = None) -> dict[str, Any]:
        """Describe a model, see `Client.metadata`."""
        return dict(await self._run(self._calls.describe(_path(model, version))))

    async def predict(
        self,
        model: str,
        inputs: Inputs,
        *,
        version: str | None = None,
        outputs: Sequence[str] = (),
    ) -> Prediction:
        """Ask a model, see `Client.predict`."""
        steps = self._calls.predict(_path(model, version), inputs, outputs)
        answer: Prediction = await self._run(steps)
        return answer

    async def _run(self, steps: _Steps) -> Any:
        reply: object = None
        while True:
            try:
                step = steps.send(reply)
            except StopIteration as finished:
                return finished.value
            if isinstance(step, float):
                await asyncio.sleep(step)
                continue
            try:
                reply = await self._http.send(step)
            except httpx.TransportError as error:
                reply = error


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
    head_bytes = int(response.headers[_HEADER])
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
    )


class _Shown(str):
    """A value that was shortened for people already."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


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
    kind = _FIELD_ERRORS.get(str(told.get("code")))
    if kind is not None and {"field", "got", "expected"} <= told.keys():
        got = _Shown(told["got"])
        return kind(field=told["field"], got=got, expected=told["expected"], remedy=remedy)
    message = message.removesuffix(remedy).rstrip()
    if reply.status_code == httpx.codes.NOT_FOUND:
        return ModelNotFoundError(message, remedy=remedy)
    if reply.status_code == httpx.codes.TOO_MANY_REQUESTS:
        retry_after_s = told.get("retry_after_s", reply.headers.get("retry-after", 1.0))
        return OverloadedError(message, retry_after_s=float(retry_after_s))
    if reply.status_code in _RETRIED:
        return NotReadyError(message, remedy=remedy)
    return NovacronError(message, remedy=remedy)


def _path(model: str, version: str | None) -> str:
    path = f"/v2/models/{quote(model, safe='')}"
    return path if version is None else f"{path}/versions/{quote(version, safe='')}"


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
