"""The endpoint's handlers, free of any transport: HTTP, gRPC and raw sockets are skins over it.

A skin brings a body and a codec and gets a body back; limits, checks, batching, timing and
counting happen here, once for all of them.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from novacron.errors import NovacronError, PayloadTooLargeError, SchemaError
from novacron.models.base import TensorSpec
from novacron.models.tensor_checks import CheckedTensors
from serve_apps.batching import BatchedAnswer
from serve_apps.config import LimitsConfig
from serve_apps.host import ServedModel
from serve_apps.messages import Codec, InferAnswer, InferRequest, unexpected
from serve_apps.metrics import ServingMetrics, Timing

SERVER_NAME: Final = "novacron"
EXTENSIONS: Final = ("binary_tensor_data", "arrow_stream")
CANCELLED_STATUS: Final = 499
"""Counted when the caller left before its answer; nobody receives it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """An encoded answer, who gave it, and where its time went."""

    body: bytes
    model_name: str
    model_version: str
    timing: Timing


class Models(Protocol):
    """The models that a data plane asks: `ModelHost`, or several as one."""

    @property
    def ready(self) -> bool:
        """Whether every model is loaded and proven."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the models asked for, loaded or not."""
        ...

    def versions(self, name: str) -> tuple[str, ...]:
        """Return the loaded versions of a model, the one that answers by default first."""
        ...

    def get(self, name: str, version: str | None = None) -> ServedModel:
        """Find a loaded model; raises as `ModelHost.get`."""
        ...


class DataPlane:
    """Liveness, metadata and inference over the models of one replica.

    Args:
        host: The models.
        limits: Sizes above which a request is refused.
        metrics: Where requests are counted.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        host: Models,
        limits: LimitsConfig,
        metrics: ServingMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.host = host
        self.limits = limits
        self._metrics = metrics
        self._clock = clock

    def now_s(self) -> float:
        """Return the seconds of the clock that times the requests."""
        return self._clock()

    def live(self) -> bool:
        """Tell whether the process answers at all."""
        return True

    def ready(self) -> bool:
        """Tell whether every model is loaded and proven, and no shutdown has begun."""
        return self.host.ready

    def model_ready(self, name: str, model_version: str | None = None) -> bool:
        """Tell whether a model answers; raises as `ModelHost.get` if it does not."""
        return self.host.get(name, model_version) is not None

    def server_metadata(self) -> dict[str, Any]:
        """Return the protocol's server metadata."""
        return {
            "name": SERVER_NAME,
            "version": version("novacron-ml"),
            "extensions": list(EXTENSIONS),
        }

    def model_metadata(self, name: str, model_version: str | None = None) -> dict[str, Any]:
        """Return the protocol's model metadata, with unit and range of every tensor."""
        served = self.host.get(name, model_version)
        return {
            "name": name,
            "versions": list(self.host.versions(name)),
            "platform": f"{SERVER_NAME}_{served.model.kind}",
            "inputs": [_describe(spec) for spec in served.model.inputs],
            "outputs": [_describe(spec) for spec in served.model.outputs],
            "parameters": {"version": served.version, "features_hash": served.features_hash},
        }

    async def infer(
        self,
        name: str,
        model_version: str | None,
        body: bytes,
        codec: Codec,
        *,
        began_s: float | None = None,
        timeout_s: float | None = None,
    ) -> Reply:
        """Answer one request.

        Args:
            name: The model.
            model_version: The version asked for, or None for the one that answers by default.
            body: The request.
            codec: Its wire format.
            began_s: When a skin that had to look into the body began to, by `now_s`; counted as
                decoding.
            timeout_s: How long the transport says the caller will wait; the request's own
                `parameters.timeout`, in microseconds, counts too.

        Raises:
            ModelNotFoundError: No such model or version.
            NotReadyError: The model is loading or shutting down.
            InvalidInputError: The request is not usable, or too large.
            OverloadedError: The queue is full, or too long for the caller's deadline.
            DeadlineExceededError: The deadline passed.
            NovacronError: The model failed for this request.
        """
        status = NovacronError.http_status
        served: ServedModel | None = None
        try:
            served = self.host.get(name, model_version)
            began_s = self._clock() if began_s is None else began_s
            reply = await self._answer(served, body, codec, began_s, timeout_s)
            status = 200
            return reply
        except NovacronError as error:
            status = error.http_status
            raise
        except asyncio.CancelledError:
            status = CANCELLED_STATUS
            raise
        finally:
            # A name that is not served is the caller's invention: never a label.
            labels = (served.name, served.version) if served else ("", "")
            self._metrics.count_request(*labels, status)

    def count_refusal(self, name: str, model_version: str | None, error: NovacronError) -> None:
        """Count a request that a skin refused before it could hand a body to `infer`."""
        try:
            served = self.host.get(name, model_version)
        except NovacronError:
            self._metrics.count_request("", "", error.http_status)
        else:
            self._metrics.count_request(served.name, served.version, error.http_status)

    async def _answer(
        self,
        served: ServedModel,
        body: bytes,
        codec: Codec,
        started_s: float,
        timeout_s: float | None,
    ) -> Reply:
        self.check_size(len(body))
        request = codec.decode(body)
        rows, n_rows = self._prepare(served, request)
        decoded_s = self._clock()
        deadline_s = started_s + min(read_timeout_s(request), timeout_s or math.inf)
        batched = await served.batcher.submit(rows, n_rows, deadline_s)
        answered_s = self._clock()
        answer = _select(served, request, batched)
        encoded = codec.encode(answer)
        done_s = self._clock()
        timing = Timing(
            decode_s=decoded_s - started_s,
            queue_s=batched.queue_s,
            predict_s=batched.predict_s,
            encode_s=done_s - answered_s,
        )
        self._metrics.count_answer(
            served.name,
            served.version,
            n_rows=n_rows,
            fallbacks=_count_fallbacks(batched.tensors),
            timing=timing,
            latency_s=done_s - started_s,
        )
        return Reply(
            body=encoded, model_name=served.name, model_version=served.version, timing=timing
        )

    def check_size(self, n_bytes: int) -> None:
        """Refuse a body beyond the limit; skins call it before they have read all of it.

        Raises:
            PayloadTooLargeError: More than `max_body_bytes`.
        """
        if n_bytes > self.limits.max_body_bytes:
            raise PayloadTooLargeError(
                field="body",
                got=f"{n_bytes} bytes or more",
                expected=f"at most {self.limits.max_body_bytes} bytes",
                remedy="Send the rows in several requests.",
            )

    def _prepare(
        self, served: ServedModel, request: InferRequest
    ) -> tuple[dict[str, NDArray[np.generic]], int]:
        known = [spec.name for spec in served.model.outputs]
        for output in request.outputs:
            if output not in known:
                raise SchemaError(
                    field="outputs", got=output[:100], expected="one of " + ", ".join(known)
                )
        tensors = CheckedTensors(request.tensors, served.model.inputs)
        n_rows = tensors.n_rows
        if n_rows > self.limits.max_request_rows:
            raise PayloadTooLargeError(
                field="shape",
                got=f"{n_rows} rows",
                expected=f"at most {self.limits.max_request_rows} rows",
                remedy="Send them in several requests.",
            )
        # `prepare` sees that they are checked.
        return served.model.prepare(tensors), n_rows


def read_timeout_s(request: InferRequest) -> float:
    """Return how long the caller will wait; infinite where it does not say.

    Clients of the protocol send it as `parameters.timeout`, in microseconds.

    Raises:
        SchemaError: It is no positive whole number.
    """
    given = request.parameters.get("timeout", 0)
    if not isinstance(given, int) or isinstance(given, bool) or given < 0:
        raise unexpected("parameters.timeout", given, "microseconds to wait, 0 for no limit")
    return given / 1e6 if given else math.inf


def _select(served: ServedModel, request: InferRequest, batched: BatchedAnswer) -> InferAnswer:
    """Pick the outputs asked for, and hold back an answer that is no number."""
    names = request.outputs or tuple(spec.name for spec in served.model.outputs)
    tensors = {name: batched.tensors[name] for name in names}
    for name, array in tensors.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise NovacronError(
                f"Model {served.name!r} version {served.version} answered {name!r} with a value "
                "that is not finite.",
                remedy="Report the request to the model's owner; other requests are not affected.",
            )
    return InferAnswer(
        model_name=served.name,
        model_version=served.version,
        tensors=tensors,
        request_id=request.request_id,
    )


def _count_fallbacks(tensors: Mapping[str, NDArray[np.generic]]) -> dict[str, int]:
    """Count the rows answered by a named fallback; models say so in an output `fallback`."""
    named = tensors.get("fallback")
    if named is None:
        return {}
    return dict(Counter(str(name) for name in named.ravel() if name))


def _describe(spec: TensorSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "datatype": spec.datatype,
        "shape": list(spec.shape),
        "parameters": {
            "unit": spec.unit,
            "doc": spec.doc,
            "low": spec.low,
            "high": spec.high,
            "required": spec.required,
        },
    }
