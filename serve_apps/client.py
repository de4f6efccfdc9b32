"""A typed client of the endpoint, for programs and notebooks; it needs no Ray.

`Client` and `AsyncClient` differ in `await` alone. Arrays or a DataFrame go in, arrays come out, as
binary tensors both ways. What the endpoint refuses is raised as the error of `novacron.errors` that
it raised there.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeVar, cast
from urllib.parse import quote

import httpx
import orjson
import pandas as pd
from numpy.typing import ArrayLike

from novacron.errors import InvalidInputError
from serve_apps.client_wire import (
    HEADER,
    Prediction,
    error_of,
    may_repeat,
    read_answer,
    rows_of,
    tensor_of,
    write_request,
)

Inputs = Mapping[str, ArrayLike] | pd.DataFrame
Samples = Sequence[Mapping[str, Any]] | pd.DataFrame
_TYPED: Final = "/api/v1/"
_SAMPLES: Final = "/api/v1/samples"
_ACTUALS: Final = "/api/v1/actuals"
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """How often and how long to ask again. Each call may be repeated, see `may_repeat`.

    Asked again are 429, 502, 503, 504, a proxy's own 500 and lost connections, after what `Retry-After` says and not
    before; else after a delay that doubles, shortened at random by up to half.
    """

    attempts: int = 5
    first_delay_s: float = 0.1
    max_delay_s: float = 5.0
    give_up_s: float = 30.0
    """No further attempt begins so long after the first."""


@dataclass(kw_only=True)
class _Calls:
    """Every call and its tries, for both clients: they differ in how to send and how to sleep."""

    base_url: str
    retry: RetryPolicy
    send: Callable[[httpx.Request], Awaitable[httpx.Response]]
    sleep: Callable[[float], Awaitable[None]]
    token: str = ""
    rng: random.Random = field(default_factory=random.Random)
    clock: Callable[[], float] = time.monotonic
    metadata: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def describe(self, path: str) -> dict[str, Any]:
        """Get the metadata of a model."""
        response = await self._try(self._request("GET", path))
        return dict(orjson.loads(response.content))

    async def ready(self) -> bool:
        """Ask once whether the endpoint is ready."""
        try:
            reply = await self.send(self._request("GET", "/v2/health/ready"))
        except httpx.TransportError:
            return False
        return reply.is_success

    async def predict(self, path: str, inputs: Inputs, outputs: Sequence[str]) -> Prediction:
        """Ask a model, whose metadata is fetched once."""
        if path not in self.metadata:
            self.metadata[path] = await self.describe(path)
        specs = {spec["name"]: spec for spec in self.metadata[path]["inputs"]}
        tensors = {str(key): tensor_of(one, str(key), specs) for key, one in inputs.items()}
        head, body = write_request(tensors, outputs)
        request = self._request("POST", f"{path}/infer", head + body)
        request.headers[HEADER] = str(len(head))
        try:
            response = await self._try(request)
        except InvalidInputError:
            # A promoted version may take other inputs.
            self.metadata.pop(path, None)
            raise
        return read_answer(response)

    async def post(self, path: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """Send a JSON object and return the one that is answered."""
        content = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
        request = self._request("POST", path, content)
        request.headers["content-type"] = "application/json"
        return dict(orjson.loads((await self._try(request)).content))

    def _request(self, method: str, path: str, content: bytes | None = None) -> httpx.Request:
        headers = {} if content is None else {"content-type": "application/octet-stream"}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        return httpx.Request(method, self.base_url + path, content=content, headers=headers)

    async def _try(self, request: httpx.Request) -> httpx.Response:
        began_s = self.clock()
        for attempt in range(1, self.retry.attempts + 1):
            reply: httpx.Response | httpx.TransportError
            try:
                reply = await self.send(request)
            except httpx.TransportError as lost:
                reply = lost
            if isinstance(reply, httpx.Response) and reply.is_success:
                return reply
            error = error_of(reply)
            again = may_repeat(reply)
            delay_s = self._delay_s(reply, attempt)
            late = self.clock() - began_s + delay_s > self.retry.give_up_s
            if not again or late or attempt == self.retry.attempts:
                raise error
            await self.sleep(delay_s)
        raise error

    def _delay_s(self, reply: object, attempt: int) -> float:
        longest_s = min(self.retry.first_delay_s * 2 ** (attempt - 1), self.retry.max_delay_s)
        delay_s = longest_s * self.rng.uniform(0.5, 1.0)
        told = reply.headers.get("retry-after", "") if isinstance(reply, httpx.Response) else ""
        return float(max(delay_s, float(told)) if told.isdecimal() else delay_s)


def _finish(call: Coroutine[Any, Any, _Answer]) -> _Answer:
    """Run a call whose sending and sleeping block, so that it never waits for an event loop."""
    try:
        call.send(None)
    except StopIteration as finished:
        return cast(_Answer, finished.value)
    raise RuntimeError("a blocking call tried to wait")  # pragma: no cover - our own invariant


class Client:
    """Asks the endpoint; use it in a `with` block.

    Args:
        base_url: For example `http://127.0.0.1:8000`.
        retry: When to ask again.
        timeout_s: Of one attempt.
        token: Shown to an endpoint that asks for one.
        transport: How to reach the endpoint, where not by the network.
    """

    def __init__(
        self,
        base_url: str,
        *,
        retry: RetryPolicy | None = None,
        timeout_s: float = 30.0,
        token: str = "",
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = http = httpx.Client(timeout=timeout_s, transport=transport)

        async def send(request: httpx.Request) -> httpx.Response:
            return http.send(request)

        async def sleep(delay_s: float) -> None:
            time.sleep(delay_s)

        self._calls = _Calls(
            base_url=base_url.rstrip("/"),
            retry=retry or RetryPolicy(),
            send=send,
            sleep=sleep,
            token=token,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def ready(self) -> bool:
        """Tell whether the endpoint answers for all of its models now."""
        return _finish(self._calls.ready())

    def metadata(self, model: str, version: str | None = None) -> dict[str, Any]:
        """Return inputs and outputs of a model, with datatype, shape, unit and range.

        Raises:
            ModelNotFoundError: No such model or version.
        """
        return _finish(self._calls.describe(_path(model, version)))

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
        return _finish(self._calls.predict(_path(model, version), inputs, outputs))

    def send_samples(self, table: str, samples: Samples) -> dict[str, Any]:
        """Send raw samples of links or nodes; `ask` follows them by name.

        Args:
            table: `link` or `node`.
            samples: Objects, or a frame with a column for each metric; `ts` with its offset.

        Returns:
            `accepted`, `rejected`, and `rejections` with the reason of each.

        Raises:
            InvalidInputError: Every sample is bad.
            NotReadyError: They cannot be kept now.
        """
        return _finish(self._calls.post(_SAMPLES, _batch(table, samples)))

    def ask(self, route: str, **fields: Any) -> dict[str, Any]:
        """Ask a typed route for one record, by its history or by its name alone.

        Args:
            route: Such as `predict/bandwidth`; the endpoint's `/docs` lists them.
            fields: Of the row, such as `link_id="ams-fra"`.

        Raises:
            NotFoundError: No sample of that name is kept, or the model is not served.
            InvalidInputError: The row is not what the model takes.
        """
        return _finish(self._calls.post(f"{_TYPED}{route}", fields))

    def tell(self, outcomes: Mapping[str, Any]) -> dict[str, Any]:
        """Tell what came true: id of a prediction to a number, or to a list for its steps.

        Returns:
            `kept`, `refused`, and `errors` with the place of each.

        Raises:
            NotFoundError: None of the predictions exists.
        """
        return _finish(self._calls.post(_ACTUALS, _outcomes(outcomes)))


class AsyncClient:
    """`Client` for programs with an event loop; use it in an `async with` block."""

    def __init__(
        self,
        base_url: str,
        *,
        retry: RetryPolicy | None = None,
        timeout_s: float = 30.0,
        token: str = "",
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(timeout=timeout_s, transport=transport)
        self._calls = _Calls(
            base_url=base_url.rstrip("/"),
            retry=retry or RetryPolicy(),
            send=self._http.send,
            sleep=asyncio.sleep,
            token=token,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def ready(self) -> bool:
        """Tell whether the endpoint answers, see `Client.ready`."""
        return await self._calls.ready()

    async def metadata(self, model: str, version: str | None = None) -> dict[str, Any]:
        """Describe a model, see `Client.metadata`."""
        return await self._calls.describe(_path(model, version))

    async def predict(
        self,
        model: str,
        inputs: Inputs,
        *,
        version: str | None = None,
        outputs: Sequence[str] = (),
    ) -> Prediction:
        """Ask a model, see `Client.predict`."""
        return await self._calls.predict(_path(model, version), inputs, outputs)

    async def send_samples(self, table: str, samples: Samples) -> dict[str, Any]:
        """Send raw samples, see `Client.send_samples`."""
        return await self._calls.post(_SAMPLES, _batch(table, samples))

    async def ask(self, route: str, **fields: Any) -> dict[str, Any]:
        """Ask a typed route, see `Client.ask`."""
        return await self._calls.post(f"{_TYPED}{route}", fields)

    async def tell(self, outcomes: Mapping[str, Any]) -> dict[str, Any]:
        """Tell what came true, see `Client.tell`."""
        return await self._calls.post(_ACTUALS, _outcomes(outcomes))


def _batch(table: str, samples: Samples) -> dict[str, Any]:
    return {"table": table, "samples": rows_of(samples)}


def _outcomes(outcomes: Mapping[str, Any]) -> dict[str, Any]:
    told = [{"prediction_id": name, "value": value} for name, value in outcomes.items()]
    return {"actuals": told}


def _path(model: str, version: str | None) -> str:
    path = f"/v2/models/{quote(model, safe='')}"
    return path if version is None else f"{path}/versions/{quote(version, safe='')}"
