"""Asks a version with everything around it: answer cache, circuit breaker, named stand-ins.

A request goes through in this order: an answer kept for the very same question; then, if the
circuit is closed or this is the probe, the model; and where that cannot answer, the baseline of its
family, flagged.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final
from weakref import ref

from novacron.errors import (
    ArtifactError,
    CircuitOpenError,
    DeadlineExceededError,
    FeatureMismatchError,
    NotReadyError,
    NovacronError,
)
from novacron.models.base import dependence_of
from novacron.models.tensor_checks import CheckedTensors
from serve_apps.asking import Asked, ask_model, check_request, count_fallbacks, select
from serve_apps.batching import Batcher
from serve_apps.config import LimitsConfig
from serve_apps.host import ServedModel
from serve_apps.messages import Codec, InferRequest
from serve_apps.oip_binary import OipHttp
from serve_apps.resilience.answer_cache import AnswerCache, Kept, Key, key_of
from serve_apps.resilience.breaker import CircuitBreaker, State
from serve_apps.resilience.decode_memo import DecodeMemo, own
from serve_apps.resilience.metrics import ResilienceMetrics
from serve_apps.resilience.stall_watch import StallWatch
from serve_apps.resilience.stand_in import StandIn, find_stand_in
from serve_apps.settings.resilience import BreakerConfig, ResilienceConfig

logger = logging.getLogger(__name__)

MOST_VERSIONS: Final = 256
"""Versions whose state is remembered; beyond it the oldest with a closed circuit is forgotten."""


@dataclass(slots=True)
class _Version:
    """What is remembered of one version, and of none of its weights: it may have left."""

    breaker: CircuitBreaker
    watch: StallWatch
    batcher: "ref[Batcher]"
    """Whose calls are watched."""
    is_kept: bool
    """Whether its answers may be kept."""


class GuardedAsking:
    """Implements `Asking`. All methods run on one event loop.

    Args:
        config: Settings.
        limits: Sizes above which a request is refused.
        metrics: Where trips, stand-ins and hits are counted.
        clock: Seconds, that of the data plane and the batchers.
        slow_names: Models of the slow deployment, which have a breaker of other settings.
    """

    def __init__(
        self,
        config: ResilienceConfig,
        limits: LimitsConfig,
        metrics: ResilienceMetrics,
        clock: Callable[[], float] = time.monotonic,
        *,
        slow_names: tuple[str, ...] = (),
    ) -> None:
        self._config = config
        self._limits = limits
        self._metrics = metrics
        self._clock = clock
        self._slow_names = frozenset(slow_names)
        self._versions: dict[tuple[str, str], _Version] = {}
        self._flights: dict[Key, asyncio.Future[Kept | None]] = {}
        self._cache: AnswerCache | None = None
        self._memo = DecodeMemo(config.cache.max_bytes // 4)
        if config.cache.max_bytes:
            self._cache = AnswerCache(
                config.cache.max_bytes, config.cache.ttl_s, clock, metrics.count_evictions
            )

    async def ask(
        self,
        served: ServedModel,
        request: InferRequest,
        deadline_s: float,
        *,
        cached: bool = True,
        fallback: bool = True,
    ) -> Asked:
        """See `Asking.ask`; an open circuit without a stand-in raises `CircuitOpenError`."""
        version = self._version_of(served)
        if cached and version.is_kept:
            return await self._ask_cached(served, version, request, deadline_s, fallback=fallback)
        mine = own(request)
        return await self._ask_version(served, version, mine, deadline_s, fallback=fallback)

    def read(self, served: ServedModel, codec: Codec, body: bytes) -> InferRequest:
        """See `Asking.read`; where answers are kept, the same body is not read twice."""
        if isinstance(codec, OipHttp) and self._version_of(served).is_kept:
            return self._memo.decode(codec, body)
        return codec.decode(body)

    def describe(self, served: ServedModel) -> dict[str, Any]:
        """Return the circuit's state, the stand-in, and whether answers are kept."""
        version, stand_in = self._version_of(served), self._stand_in_of(served)
        return {
            "circuit": version.breaker.state.name.lower(),
            "stand_in": stand_in.name if stand_in else "",
            "answers_kept": version.is_kept,
        }

    def answers(self, served: ServedModel) -> bool:
        """Tell whether a usable request would be answered, if only by a stand-in."""
        version = self._version_of(served)
        return version.breaker.state is not State.OPEN or self._stand_in_of(served) is not None

    async def _ask_cached(
        self,
        served: ServedModel,
        version: _Version,
        request: InferRequest,
        deadline_s: float,
        *,
        fallback: bool,
    ) -> Asked:
        cache = self._cache
        if cache is None:
            raise RuntimeError("no answer is kept without a cache")
        name = served.name
        key = key_of(name, served.version, request)
        found, state = cache.find(key), "hit"
        if found is None and key in self._flights:
            found, state = await self._join(key, deadline_s), "joined"
        if found is not None:
            self._metrics.count_lookup(name, state)
            return Asked(
                tensors=found.tensors,
                n_rows=found.n_rows,
                prepared_s=self._clock(),
                fallbacks=found.fallbacks,
                cache="hit" if state == "hit" else "joined",
            )
        self._metrics.count_lookup(name, "miss")
        flight: asyncio.Future[Kept | None] = asyncio.get_running_loop().create_future()
        self._flights[key] = flight
        try:
            mine = own(request)
            asked = await self._ask_version(served, version, mine, deadline_s, fallback=fallback)
            if not asked.baseline:
                cache.keep(key, asked.tensors, asked.n_rows, asked.fallbacks or {})
                self._metrics.show_bytes(cache.n_bytes)
        finally:
            if self._flights.get(key) is flight:
                del self._flights[key]
            flight.set_result(cache.find(key))
        return replace(asked, cache="miss")

    async def _join(self, key: Key, deadline_s: float) -> Kept | None:
        """Wait for the answer to the same question; None where it failed: ask for oneself."""
        flight = asyncio.shield(self._flights[key])
        if deadline_s == math.inf:
            return await flight
        try:
            async with asyncio.timeout(deadline_s - self._clock()):
                return await flight
        except TimeoutError:
            raise DeadlineExceededError(
                "The request's deadline passed while it waited for the answer to the same "
                "question of another.",
                remedy="Ask with a longer timeout.",
            ) from None

    async def _ask_version(
        self,
        served: ServedModel,
        version: _Version,
        request: InferRequest,
        deadline_s: float,
        *,
        fallback: bool,
    ) -> Asked:
        tensors = check_request(served, request, self._limits)
        ticket = version.breaker.admit()
        if ticket is None:
            return await self._refuse(served, version, request, tensors, fallback=fallback)
        try:
            asked = await self._call(served, version, request, tensors, deadline_s)
        except BaseException as error:
            if isinstance(error, CircuitOpenError):
                # It waited when others made the circuit open.
                version.breaker.release(ticket)
                return await self._refuse(served, version, request, tensors, fallback=fallback)
            if not is_failure(error, stalled=version.watch.stalled):
                version.breaker.release(ticket)
                raise
            version.breaker.fail(ticket)
            cause = type(error).__name__
            self._metrics.count_failure(served.name, served.version, cause)
            if not fallback or self._clock() >= deadline_s or self._stand_in_of(served) is None:
                raise
            failure = _as_ours(error, served)
            return await self._stand_in(served, request, tensors, failure, fallback=fallback)
        version.breaker.succeed(ticket)
        return asked

    async def _refuse(
        self,
        served: ServedModel,
        version: _Version,
        request: InferRequest,
        tensors: CheckedTensors,
        *,
        fallback: bool,
    ) -> Asked:
        """Keep a request from a version whose circuit is open."""
        self._metrics.count_refusal(served.name, served.version)
        failure = _circuit_open(served, version)
        return await self._stand_in(served, request, tensors, failure, fallback=fallback)

    async def _call(
        self,
        served: ServedModel,
        version: _Version,
        request: InferRequest,
        tensors: CheckedTensors,
        deadline_s: float,
    ) -> Asked:
        watch = version.watch
        if watch.is_stalled():
            raise _hangs(served)
        rows = served.model.prepare(tensors)
        times_s = (self._clock(), deadline_s)
        task = watch.enter()
        try:
            return await ask_model(served, request, rows, tensors.n_rows, times_s)
        except asyncio.CancelledError:
            if not watch.was_freed(task):
                raise
            if watch.stalled:
                raise _hangs(served) from None
            raise _circuit_open(served, version) from None
        finally:
            watch.leave(task)

    async def _stand_in(
        self,
        served: ServedModel,
        request: InferRequest,
        tensors: CheckedTensors,
        failure: NovacronError,
        *,
        fallback: bool,
    ) -> Asked:
        """Let the baseline answer; without one, or if it cannot, raise the failure."""
        stand_in = self._stand_in_of(served)
        if stand_in is None or not fallback:
            raise failure
        began_s = self._clock()
        try:
            answered = await stand_in.answer(tensors)
            chosen = select(served, request, answered)
        except Exception as error:
            logger.exception("%s cannot stand in for %s", stand_in.name, served.name)
            raise failure from error
        cause = type(failure).__name__
        self._metrics.count_stand_in(served.name, served.version, stand_in.name, cause)
        return Asked(
            tensors=chosen,
            n_rows=tensors.n_rows,
            prepared_s=began_s,
            predict_s=self._clock() - began_s,
            fallbacks=count_fallbacks(answered) or {stand_in.name: tensors.n_rows},
            baseline=stand_in.name,
            failure=failure,
        )

    def _version_of(self, served: ServedModel) -> _Version:
        key = (served.name, served.version)
        found = self._versions.get(key)
        if found is not None:
            if found.batcher() is not served.batcher:
                # It was loaded again, or is served under two refs: the same version, the same
                # circuit.
                found.batcher, found.watch = ref(served.batcher), self._watch(served)
            return found
        if len(self._versions) >= MOST_VERSIONS:
            self._forget()
        breaker = CircuitBreaker(
            self._breaker_settings(served),
            self._clock,
            lambda state: self._metrics.show_state(*key, state),
            lambda: self._on_trip(key),
        )
        self._metrics.show_state(*key, State.CLOSED)
        made = _Version(breaker, self._watch(served), ref(served.batcher), self._is_kept(served))
        self._versions[key] = made
        return made

    def _breaker_settings(self, served: ServedModel) -> BreakerConfig:
        is_slow = served.name in self._slow_names
        return self._config.slow_breaker if is_slow else self._config.breaker

    def _watch(self, served: ServedModel) -> StallWatch:
        watched = ref(served.batcher)

        def running_s() -> float:
            batcher = watched()
            return 0.0 if batcher is None else batcher.running_s

        return StallWatch(running_s, self._breaker_settings(served).timeout_s)

    def _on_trip(self, key: tuple[str, str]) -> None:
        """Take those that wait in the queue away from a model that is known to fail."""
        self._metrics.count_trip(*key)
        self._versions[key].watch.free()

    def _stand_in_of(self, served: ServedModel) -> StandIn | None:
        return find_stand_in(served.model) if self._config.stand_ins else None

    def _is_kept(self, served: ServedModel) -> bool:
        if self._cache is None:
            return False
        depends = dependence_of(served.model)
        if depends == "unknown":
            return served.name in self._config.cache.models
        return depends == "request"

    def _forget(self) -> None:
        closed = (key for key, one in self._versions.items() if one.breaker.state is State.CLOSED)
        oldest = next(closed, next(iter(self._versions)))
        del self._versions[oldest]


def is_failure(error: BaseException, *, stalled: bool) -> bool:
    """Tell whether an error is the model's and not the caller's, the queue's or a shutdown's.

    Args:
        error: What asking raised.
        stalled: Whether the model hangs in a call; a deadline that passed counts only then.
    """
    if not isinstance(error, Exception):
        return False
    if isinstance(error, DeadlineExceededError):
        return stalled
    if isinstance(error, ArtifactError | FeatureMismatchError):
        return True
    if isinstance(error, NotReadyError):
        return False
    return not isinstance(error, NovacronError) or error.http_status >= 500


def _hangs(served: ServedModel) -> DeadlineExceededError:
    return DeadlineExceededError(
        f"A call of model {served.name!r} version {served.version} does not return.",
        remedy="Retry: a stand-in or another replica may answer.",
    )


def _circuit_open(served: ServedModel, version: _Version) -> CircuitOpenError:
    return CircuitOpenError(
        f"Model {served.name!r} version {served.version} has failed too often in a row and gets "
        "no calls for now.",
        retry_after_s=version.breaker.retry_after_s,
    )


def _as_ours(error: BaseException, served: ServedModel) -> NovacronError:
    if isinstance(error, NovacronError):
        return error
    named = NovacronError(f"Model {served.name!r} failed: {type(error).__name__}.")
    named.__cause__ = error
    return named
