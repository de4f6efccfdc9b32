"""Models that take long, in a deployment of their own, behind the same data plane.

A forecast of a season takes seconds, a tree of a thousand nodes a good part of one: in the process
of the light models each would hold up thousands of requests. The ingress checks such a request as
it does any other and hands the rows over by a Serve handle; queue, batches, deadlines and versions
are the other replica's.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from novacron.errors import ArtifactError, ModelNotFoundError, NotReadyError, NovacronError
from novacron.models.base import Dependence, Tensors, TensorSpec, dependence_of
from novacron.models.tensor_checks import CheckedTensors, check_tensors
from serve_apps.batching import BatchedAnswer
from serve_apps.config import split_ref
from serve_apps.host import ModelHost, ServedModel
from serve_apps.resilience.stand_in import find_stand_in

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Description:
    """What the ingress must know of a model that runs elsewhere."""

    name: str
    version: str
    ref: str
    kind: str
    features_hash: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    card: Any
    depends_on: Dependence = "unknown"
    stand_in: str = ""
    """Name of the baseline that the other side answers with if it is asked to; or none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """An answer or an error: Serve would wrap a raised one, and the ingress wants ours."""

    answer: BatchedAnswer | None = None
    error: NovacronError | None = None


class SlowLink(Protocol):
    """How the ingress reaches the other deployment; a Serve handle has it."""

    async def describe(self) -> tuple[Description, ...]:
        """Return what is loaded there."""
        ...

    async def ask(
        self, name: str, version: str, tensors: Tensors, n_rows: int, timeout_s: float
    ) -> Outcome:
        """Answer checked tensors there."""
        ...

    async def stand_in(self, name: str, version: str, tensors: Tensors) -> Outcome:
        """Answer checked tensors there by the baseline of the model's family."""
        ...


class SlowHost:
    """The other side: answers what the ingress hands over.

    Args:
        host: The models, loaded.
        clock: Seconds, monotonic.
    """

    def __init__(self, host: ModelHost, clock: Callable[[], float] = time.monotonic) -> None:
        self._host = host
        self._clock = clock

    def describe(self) -> tuple[Description, ...]:
        """Return what is loaded here, by name in the order of the settings."""
        found = []
        for name in self._host.names:
            for version in self._host.versions(name):
                served = self._host.get(name, version)
                baseline = find_stand_in(served.model)
                found.append(
                    Description(
                        name=served.name,
                        version=served.version,
                        ref=served.ref,
                        kind=served.model.kind,
                        features_hash=served.features_hash,
                        inputs=served.model.inputs,
                        outputs=served.model.outputs,
                        card=served.card,
                        depends_on=dependence_of(served.model),
                        stand_in=baseline.name if baseline else "",
                    )
                )
        return tuple(found)

    async def ask(
        self, name: str, version: str, tensors: Tensors, n_rows: int, timeout_s: float
    ) -> Outcome:
        """Answer checked tensors; an error comes back as a value."""
        deadline_s = self._clock() + timeout_s
        try:
            served = self._host.get(name, version)
            # Here and not in the ingress: `prepare` of a slow model may be slow itself.
            rows = await asyncio.to_thread(served.model.prepare, tensors)
            return Outcome(answer=await served.batcher.submit(rows, n_rows, deadline_s))
        except NovacronError as error:
            return Outcome(error=error)
        except Exception as error:
            logger.exception("model %s failed", name)
            return Outcome(error=NovacronError(f"Model {name!r} failed: {type(error).__name__}."))

    async def stand_in(self, name: str, version: str, tensors: Tensors) -> Outcome:
        """Answer checked tensors by the baseline of the model's family."""
        began_s = self._clock()
        try:
            model = self._host.get(name, version).model
            baseline = find_stand_in(model)
            if baseline is None:
                return Outcome(error=NovacronError(f"Model {name!r} has no stand-in."))
            found = await baseline.answer(CheckedTensors(tensors, model.inputs))
            took_s = self._clock() - began_s
            return Outcome(answer=BatchedAnswer(tensors=found, queue_s=0.0, predict_s=took_s))
        except NovacronError as error:
            return Outcome(error=error)
        except Exception as error:
            logger.exception("the stand-in of model %s failed", name)
            kind = type(error).__name__
            return Outcome(error=NovacronError(f"Stand-in of model {name!r} failed: {kind}."))


class _RemoteStandIn:
    """Asks the other side for the baseline."""

    def __init__(self, link: SlowLink, described: Description) -> None:
        self.name = described.stand_in
        self._link = link
        self._described = described

    async def answer(self, tensors: CheckedTensors) -> dict[str, NDArray[np.generic]]:
        one = self._described
        outcome = await self._link.stand_in(one.name, one.version, dict(tensors))
        if outcome.answer is None:
            raise outcome.error or NovacronError(f"Model {one.name!r} gave no answer.")
        return outcome.answer.tensors


class _RemoteModel:
    """Stands for a model that runs elsewhere: checks what the specs can tell, and no more."""

    def __init__(self, described: Description, stand_in: _RemoteStandIn | None) -> None:
        self.stand_in = stand_in
        self.depends_on = described.depends_on
        self.kind = described.kind
        self.features_hash = described.features_hash
        self.inputs = described.inputs
        self.outputs = described.outputs

    def prepare(self, tensors: Tensors) -> dict[str, NDArray[np.generic]]:
        """Check names, datatypes, shapes and ranges; the rest is the other side's."""
        check_tensors(tensors, self.inputs)
        return dict(tensors)

    def predict(self, rows: Tensors) -> dict[str, NDArray[np.generic]]:
        """Refuse: its batcher asks elsewhere.

        Raises:
            NovacronError: Always.
        """
        raise NovacronError(f"{', '.join(rows)}: this model runs in another deployment.")

    def save(self, directory: Path) -> None:
        """Refuse: its files are elsewhere.

        Raises:
            ArtifactError: Always.
        """
        raise ArtifactError(f"A model of another deployment is not saved to {directory.name}.")


class _RemoteBatcher:
    """Hands rows over; the queue is on the other side."""

    queued_rows = 0

    def __init__(self, link: SlowLink, described: Description, clock: Callable[[], float]) -> None:
        self._link = link
        self._described = described
        self._clock = clock
        self._asked_s: dict[object, float] = {}
        self._idle = asyncio.Event()
        self._closed = False

    @property
    def running_s(self) -> float:
        """Seconds that the oldest request has waited for the other side; 0 when idle."""
        return self._clock() - min(self._asked_s.values()) if self._asked_s else 0.0

    async def submit(
        self, rows: Tensors, n_rows: int, deadline_s: float = math.inf
    ) -> BatchedAnswer:
        """Ask for rows elsewhere; see `Batcher.submit`."""
        one = self._described
        if self._closed:
            raise NotReadyError(
                f"{one.name} is shutting down here.", remedy="Retry: another replica will answer."
            )
        began_s = self._clock()
        mine = object()
        self._asked_s[mine] = began_s
        try:
            outcome = await self._link.ask(
                one.name, one.version, rows, n_rows, deadline_s - began_s
            )
        finally:
            del self._asked_s[mine]
            if not self._asked_s:
                self._idle.set()
        if outcome.error is not None:
            raise outcome.error
        if outcome.answer is None:
            raise NovacronError(f"Model {one.name!r} gave no answer.")
        answer = outcome.answer
        # What is not prediction was waiting: there, and on the way.
        queue_s = max(self._clock() - began_s - answer.predict_s, 0.0)
        return BatchedAnswer(tensors=answer.tensors, queue_s=queue_s, predict_s=answer.predict_s)

    async def drain(self) -> None:
        """Refuse new requests and wait for what the other side has not answered yet."""
        self._closed = True
        while self._asked_s:
            self._idle.clear()
            await self._idle.wait()


class ComposedHost:
    """The models of this process and those of another deployment as one.

    Args:
        local: The models of this process.
        link: The other deployment.
        refs: What it serves, as in the settings.
        clock: Seconds, that of the data plane.
    """

    def __init__(
        self,
        local: ModelHost,
        link: SlowLink,
        refs: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._local = local
        self._link = link
        self._slow_names = tuple(dict.fromkeys(split_ref(ref)[0] for ref in refs))
        self._clock = clock
        self._slow: Mapping[str, tuple[ServedModel, ...]] = {}
        self._slow_held: set[tuple[str, str]] = set()

    @property
    def ready(self) -> bool:
        """Whether every model of both deployments is loaded and proven."""
        return self._local.ready and set(self._slow) == set(self._slow_names)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all models asked for."""
        return (*self._local.names, *self._slow_names)

    def versions(self, name: str) -> tuple[str, ...]:
        """Return the loaded versions of a model."""
        if name not in self._slow_names:
            return self._local.versions(name)
        return tuple(dict.fromkeys(one.version for one in self._slow.get(name, ())))

    def get(self, name: str, version: str | None = None) -> ServedModel:
        """Find a model, see `ModelHost.get`."""
        if name not in self._slow_names:
            if name in self._local.names:
                return self._local.get(name, version)
            raise ModelNotFoundError(
                f"No model {name[:100]!r} is served here.",
                remedy=f"Served: {', '.join(self.names)}.",
            )
        loaded = self._slow.get(name, ())
        if not loaded:
            raise NotReadyError(f"Model {name!r} is still loading.", remedy="Retry shortly.")
        for served in loaded:
            if version in (None, served.version):
                return served
        raise ModelNotFoundError(
            f"Version {version!r:.60} of model {name!r} is not served here.",
            remedy=f"Served: {', '.join(self.versions(name))}.",
        )

    def check_health(self, max_call_s: float) -> None:
        """Check the models of this process; the others are their own deployment's."""
        self._local.check_health(max_call_s)

    async def load(self) -> None:
        """Load the models of this process and ask what the other deployment has."""
        await self._local.load()
        await self._describe()

    async def refresh(self) -> tuple[str, ...]:
        """Follow the registry here, and the versions there."""
        changed = await self._local.refresh()
        try:
            await self._describe()
        except Exception:
            # The next poll asks again; until then the versions known answer.
            logger.exception("the deployment of the slow models does not answer")
        return changed

    async def hold(self, name: str, version: str) -> ServedModel:
        """Hold a version here, or see that the other deployment, which follows too, has it.

        Raises:
            NotReadyError: It is not loaded there yet.
            NovacronError: As `ModelHost.hold`.
        """
        if name not in self._slow_names:
            return await self._local.hold(name, version)
        await self._describe()
        for served in self._slow.get(name, ()):
            if served.version == version:
                self._slow_held.add((name, version))
                return served
        raise NotReadyError(f"Version {version} of {name} is still loading.", remedy="Retry.")

    async def release(self, name: str, version: str) -> None:
        """Let go of a version; that of the other deployment is its own to drain."""
        self._slow_held.discard((name, version))
        if name not in self._slow_names:
            await self._local.release(name, version)

    def held(self) -> tuple[tuple[str, str], ...]:
        """Return name and version of everything that is held."""
        return (*self._local.held(), *sorted(self._slow_held))

    async def drain(self) -> None:
        """Refuse new requests and answer those that wait, here and from the other side."""
        slow = [served.batcher.drain() for found in self._slow.values() for served in found]
        await asyncio.gather(self._local.drain(), *slow)

    async def _describe(self) -> None:
        found: dict[str, tuple[ServedModel, ...]] = {}
        known = {
            (served.name, served.version, served.ref, served.features_hash): served
            for listed in self._slow.values()
            for served in listed
        }
        for one in await self._link.describe():
            same = known.get((one.name, one.version, one.ref, one.features_hash))
            if same is not None:
                # Its batcher knows what is on the way.
                found[one.name] = (*found.get(one.name, ()), same)
                continue
            batcher: Any = _RemoteBatcher(self._link, one, self._clock)
            stand_in = _RemoteStandIn(self._link, one) if one.stand_in else None
            served = ServedModel(
                name=one.name,
                version=one.version,
                ref=one.ref,
                model=_RemoteModel(one, stand_in),
                batcher=batcher,
                features_hash=one.features_hash,
                card=one.card,
            )
            found[one.name] = (*found.get(one.name, ()), served)
        self._slow = found
