"""The endpoint's handlers, free of any transport: HTTP, gRPC and raw sockets are skins over it.

A skin brings a body and a codec and gets a body back; limits, checks, batching, timing and
counting happen here, once for all of them.
"""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final, Protocol

from novacron.errors import NotReadyError, NovacronError, PayloadTooLargeError
from novacron.models.base import TensorSpec
from serve_apps.asking import Asked, Asking, PlainAsking
from serve_apps.config import LimitsConfig
from serve_apps.host import ServedModel
from serve_apps.messages import Codec, InferAnswer, InferRequest, unexpected
from serve_apps.metrics import ServingMetrics, Timing
from serve_apps.recording import Recorder
from serve_apps.request_path import (
    Chooser,
    Chosen,
    DefaultVersion,
    Finished,
    Observer,
    key_of,
    tell,
)

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
    prediction_id: str = ""
    cache: str = ""
    """What the answer cache did: hit, miss or joined; empty where it was not asked."""
    baseline: str = ""
    """The named baseline that answered because the version could not, or empty."""

    def notes(self) -> dict[str, str]:
        """Return what a skin says of the answer beside it, by the name on the wire."""
        notes = {"server-timing": self.timing.to_header()}
        if self.cache:
            notes["x-novacron-cache"] = self.cache
        if self.baseline:
            notes["x-novacron-fallback"] = self.baseline
        return notes


@dataclass(kw_only=True, slots=True)
class _Request:
    """A request on its way, and what is known of it so far."""

    name: str
    version: str | None
    key: str
    began_s: float
    status: int = NovacronError.http_status
    served: ServedModel | None = None
    """What the host answers with by default, then what was chosen; None for an unknown name."""
    role: str = ""
    content: InferRequest | None = None
    asked: Asked | None = None
    prediction_id: str = ""
    error: NovacronError | None = None


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
        asking: How a version is asked; by default without cache, breaker and fallbacks.
        recorder: Keeps each answer; without one, answers have no `prediction_id`.
        chooser: Which version answers; by default the host's first.
        observers: Told of each finished request.
    """

    def __init__(  # noqa: PLR0913 - one for each seam
        self,
        host: Models,
        limits: LimitsConfig,
        metrics: ServingMetrics,
        clock: Callable[[], float] = time.monotonic,
        asking: Asking | None = None,
        recorder: Recorder | None = None,
        *,
        chooser: Chooser | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        self.host = host
        self.limits = limits
        self._metrics = metrics
        self._clock = clock
        self._asking: Asking = asking or PlainAsking(limits, clock)
        self.recorder = recorder
        self._chooser: Chooser = chooser or DefaultVersion(host.get)
        self._observers = tuple(observers)

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
        """Tell whether a model answers.

        Raises:
            NotReadyError: Its circuit is open and nothing stands in; else as `ModelHost.get`.
        """
        served = self.host.get(name, model_version)
        if not self._asking.answers(served):
            raise NotReadyError(
                f"Model {name!r} version {served.version} has failed too often in a row, and "
                "nothing stands in for it.",
                remedy="Retry later, or name another version.",
            )
        return True

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
            "parameters": {
                "version": served.version,
                "features_hash": served.features_hash,
                **self._asking.describe(served),
            },
        }

    def choose(self, name: str, model_version: str | None, key: str) -> Chosen:
        """Tell which version answers such a request; raises as `Chooser.choose`."""
        return self._chooser.choose(name, model_version, key)

    async def infer(
        self,
        name: str,
        model_version: str | None,
        body: bytes,
        codec: Codec,
        *,
        began_s: float | None = None,
        timeout_s: float | None = None,
        key: str | None = None,
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
            key: By which the caller stays with one version; the request's own `parameters.key`
                holds where the transport says none.

        Raises:
            ModelNotFoundError: No such model or version.
            NotReadyError: The model is loading or shutting down.
            InvalidInputError: The request is not usable, or too large.
            OverloadedError: The queue is full, or too long for the caller's deadline.
            DeadlineExceededError: The deadline passed.
            NovacronError: The model failed for this request.
        """
        now_s = self._clock() if began_s is None else began_s
        one = _Request(name=name, version=model_version, key=key or "", began_s=now_s)
        try:
            # Before the body is read: a name that is not served costs nothing.
            one.served = self.host.get(name, model_version)
            reply = await self._answer(one, body, codec, timeout_s)
            one.status = 200
            return reply
        except NovacronError as error:
            one.error, one.status = error, error.http_status
            raise
        except asyncio.CancelledError:
            one.status = CANCELLED_STATUS
            raise
        finally:
            self._finish(one)

    def count_refusal(self, name: str, model_version: str | None, error: NovacronError) -> None:
        """Count a request that a skin refused before it could hand a body to `infer`."""
        try:
            served = self.host.get(name, model_version)
        except NovacronError:
            self._metrics.count_request("", "", error.http_status)
        else:
            self._metrics.count_request(served.name, served.version, error.http_status)

    async def _answer(
        self, one: _Request, body: bytes, codec: Codec, timeout_s: float | None
    ) -> Reply:
        started_s = one.began_s
        assert one.served is not None  # noqa: S101  found by `infer`
        self.check_size(len(body))
        request = one.content = self._asking.read(one.served, codec, body)
        one.key = key_of(one.key, request)
        deadline_s = started_s + min(read_timeout_s(request), timeout_s or math.inf)
        asked = one.asked = await self._ask(one, request, deadline_s)
        served = one.served
        assert served is not None  # noqa: S101  found by `infer`
        answered_s = self._clock()
        answer = InferAnswer(
            model_name=served.name,
            model_version=served.version,
            tensors=asked.tensors,
            request_id=request.request_id,
            prediction_id="" if self.recorder is None else self.recorder.new_id(),
            baseline=asked.baseline,
        )
        one.prediction_id = answer.prediction_id
        encoded = codec.encode(answer)
        done_s = self._clock()
        timing = Timing(
            decode_s=asked.prepared_s - started_s,
            queue_s=asked.queue_s,
            predict_s=asked.predict_s,
            encode_s=done_s - answered_s,
        )
        self._metrics.count_answer(
            served.name,
            served.version,
            n_rows=asked.n_rows,
            fallbacks=asked.fallbacks or {},
            timing=timing,
            latency_s=done_s - started_s,
        )
        if self.recorder is not None:
            self.recorder.record(served, request, answer, timing, role=one.role)
        return Reply(
            body=encoded,
            model_name=served.name,
            model_version=served.version,
            timing=timing,
            prediction_id=answer.prediction_id,
            cache=asked.cache,
            baseline=asked.baseline,
        )

    async def _ask(self, one: _Request, request: InferRequest, deadline_s: float) -> Asked:
        """Ask the version chosen, and if it left in between, the one that is chosen then."""
        chosen = self._chooser.choose(one.name, one.version, one.key)
        one.served, one.role = chosen.served, chosen.role
        try:
            return await self._asking.ask(chosen.served, request, deadline_s)
        except NotReadyError:
            again = self._chooser.choose(one.name, one.version, one.key)
            if again.served is chosen.served:
                raise
            one.served, one.role = again.served, again.role
            return await self._asking.ask(again.served, request, deadline_s)

    def _finish(self, one: _Request) -> None:
        """Count a request that has ended, however it did, and tell the observers."""
        served = one.served
        # A name that is not served is the caller's invention: never a label.
        labels = (served.name, served.version) if served else ("", "")
        self._metrics.count_request(*labels, one.status)
        if served is None or not self._observers:
            return
        finished = Finished(
            served=served,
            role=one.role,
            key=one.key,
            status=one.status,
            latency_s=self._clock() - one.began_s,
            request=one.content,
            asked=one.asked,
            error=one.error,
            prediction_id=one.prediction_id,
        )
        tell(self._observers, finished)

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
