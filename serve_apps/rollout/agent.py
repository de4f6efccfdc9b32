"""A replica's part in rollouts: follows the folder, holds versions, reports counts, leads if it may."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from novacron.errors import ArtifactError, NotReadyError, NovacronError
from novacron.monitoring.metric_names import (
    ROLLOUT_COMPARED,
    ROLLOUT_DECISIONS,
    ROLLOUT_REQUESTS,
    ROLLOUT_SHARE,
)
from novacron.monitoring.rollouts.folder import Kill, ReplicaReport, RolloutFolder
from novacron.monitoring.rollouts.state import Decision, Rollout
from serve_apps.metrics import MetricsLibrary
from serve_apps.rollout.conductor import Conductor, Leadership
from serve_apps.rollout.tally import ReplicaTally
from serve_apps.rollout.traffic import RolloutTraffic

logger = logging.getLogger(__name__)

KEEP_S: Final = 600.0
"""How long the version before is kept after a promotion, for the kill switch to go back to."""


class Holder(Protocol):
    """Who loads versions: `ModelHost`, or several as one."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the models."""
        ...

    def versions(self, name: str) -> tuple[str, ...]:
        """Return the loaded versions of a model, the one that answers by default first."""
        ...

    async def hold(self, name: str, version: str) -> Any:
        """Load a version beside the others; raises as `ModelHost.hold`."""
        ...

    async def release(self, name: str, version: str) -> None:
        """Let go of it."""
        ...

    def held(self) -> tuple[tuple[str, str], ...]:
        """Return what is held."""
        ...

    async def refresh(self) -> tuple[str, ...]:
        """Follow the aliases."""
        ...


class VersionKeeper:
    """Holds the versions that a rollout needs, and lets go of the others.

    Args:
        host: Who loads them.
        clock: Seconds since 1970.
    """

    def __init__(self, host: Holder, clock: Callable[[], float]) -> None:
        self._host = host
        self._clock = clock
        self.failures: dict[str, str] = {}
        """Rollout to why one of its versions could not be loaded."""

    async def keep(self, model: str, rollout: Rollout | None) -> None:
        """Hold what is wanted and release what is not."""
        wanted = self._wanted(rollout)
        for name, version in self._host.held():
            if name == model and version not in wanted:
                await self._host.release(name, version)
        for version in wanted:
            if (model, version) not in self._host.held() and rollout is not None:
                await self._hold(model, version, rollout)

    async def _hold(self, model: str, version: str, rollout: Rollout) -> None:
        if rollout.id in self.failures:
            return
        try:
            await self._host.hold(model, version)
        except NotReadyError as error:
            # The registry does not answer: the stable version goes on, and the next look tries again.
            logger.warning("version %s of %s is not loaded yet: %s", version, model, error)
        except NovacronError as error:
            self._fail(rollout, version, error)
        except Exception as error:
            logger.exception("version %s of %s could not be loaded", version, model)
            self._fail(rollout, version, ArtifactError(f"{type(error).__name__}: {error}"))

    def _fail(self, rollout: Rollout, version: str, error: NovacronError) -> None:
        if version in rollout.tried:
            self.failures[rollout.id] = f"version {version} could not be loaded: {error}"[:500]

    def _wanted(self, rollout: Rollout | None) -> tuple[str, ...]:
        if rollout is None:
            return ()
        if rollout.is_live:
            return (*rollout.tried, rollout.stable)
        ended_s = rollout.decisions[-1].at_s if rollout.decisions else 0.0
        if rollout.status == "promoted" and self._clock() - ended_s < KEEP_S:
            return (rollout.stable,)
        return ()


class RolloutAgent:
    """Looks at the folder again and again.

    Args:
        host: The models of this replica.
        folder: What all replicas see.
        traffic: What splits the requests.
        tally: What counts them; None where no requests arrive, as behind another deployment.
        conductor: What decides, where this replica may lead; None: it never does.
        replica: Name of this replica, among all there ever were.
        kills: Kill switches that the settings turn on, whatever the folder says.
        library: Where metrics go.
        clock: Seconds since 1970.
    """

    def __init__(  # noqa: PLR0913 - its parts
        self,
        host: Holder,
        folder: RolloutFolder,
        traffic: RolloutTraffic | None,
        tally: ReplicaTally | None,
        conductor: Conductor | None,
        *,
        replica: str,
        kills: Mapping[str, Kill] | None = None,
        library: MetricsLibrary | None = None,
        clock: Callable[[], float] = lambda: datetime.now(UTC).timestamp(),
    ) -> None:
        self._host = host
        self._folder = folder
        self._traffic = traffic
        self._tally = tally
        self._conductor = conductor
        self._leadership = Leadership(folder.root / "leader.lock")
        self._replica = replica
        self._kills = dict(kills or {})
        self._keeper = VersionKeeper(host, clock)
        self._stamps: dict[str, tuple[int, ...]] = {}
        self._rollouts: dict[str, Rollout | None] = {}
        self._kill_of: dict[str, Kill | None] = {}
        self._followed: set[str] = set()
        """Promoted rollouts whose alias this replica has followed."""
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._leading: dict[str, asyncio.Task[None]] = {}
        self._series = _Series(library) if library is not None else None

    async def run(self, look_s: float) -> None:
        """Look every `look_s` seconds until cancelled; a look that fails is logged."""
        while True:
            try:
                await self.look()
            except Exception:
                logger.exception("a look at the rollouts failed")
            await asyncio.sleep(look_s)

    async def look(self) -> None:
        """Follow what the folder says now, report what was counted, and decide if it is ours to."""
        for model in self._host.names:
            self.follow(model)
            self._keep(model)
            await self._report(model)
            self._lead(model)

    def follow(self, model: str) -> None:
        """Direct the traffic of one model as the folder says; reads a file only if it has changed."""
        stamp = self._folder.stamp(model)
        if self._stamps.get(model) == stamp:
            return
        kill = self._kills.get(model) or self._folder.kill_of(model)
        try:
            rollout = self._folder.read(model)
        except ArtifactError as error:
            logger.error("%s", error)
            rollout = None
        before = self._rollouts.get(model)
        if rollout is not None and model not in self._stamps and rollout.status == "promoted":
            # It ended before this replica started, which has loaded what the alias names.
            self._followed.add(rollout.id)
        self._stamps[model], self._rollouts[model] = stamp, rollout
        self._kill_of[model] = kill
        self._direct(model)
        if self._tally is not None:
            self._tally.follow(model, rollout)
        if rollout is not None and (before is None or before.status != rollout.status):
            logger.info("rollout %s of %s is %s", rollout.id, model, rollout.status)
        if self._series is not None and rollout is not None:
            self._series.share(rollout, is_killed=kill is not None)

    def _direct(self, model: str) -> None:
        if self._traffic is not None:
            rollout = self._rollouts.get(model)
            followed = rollout is None or rollout.id in self._followed
            self._traffic.direct(model, rollout, self._kill_of.get(model), followed=followed)

    async def settle(self) -> None:
        """Wait for the versions that are being loaded and the decisions that are being made."""
        await asyncio.gather(*self._loading.values(), *self._leading.values())

    async def stop(self) -> None:
        """Report a last time and leave the lead to another replica."""
        for model in self._host.names:
            await self._report(model)
        self._leadership.give_up()

    def _keep(self, model: str) -> None:
        """Load and release in the background: a large model must not hold up the kill switch."""
        running = self._loading.get(model)
        if running is not None and not running.done():
            return
        rollout = self._rollouts.get(model)
        if rollout is None and not any(name == model for name, _ in self._host.held()):
            return
        self._loading[model] = asyncio.create_task(self._keep_now(model, rollout))

    async def _keep_now(self, model: str, rollout: Rollout | None) -> None:
        if (
            rollout is not None
            and rollout.status == "promoted"
            and rollout.id not in self._followed
        ):
            # The alias has moved: follow it before anything is let go.
            await self._host.refresh()
            if self._host.versions(model)[:1] == (rollout.stable,):
                # The registry does not answer, or the settings pin the version: until then the
                # promoted one is held and gets the traffic.
                return
            self._followed.add(rollout.id)
            self._direct(model)
        await self._keeper.keep(model, rollout)

    async def _report(self, model: str) -> None:
        rollout = self._rollouts.get(model)
        if rollout is None or not rollout.is_live or self._tally is None:
            return
        loaded = tuple(version for name, version in self._host.held() if name == model)
        # Copied on this loop, written in a thread.
        counts = {
            stage: {version: arm.copy() for version, arm in arms.items()}
            for stage, arms in self._tally.counts(model).items()
        }
        report = ReplicaReport(
            counts=counts, failure=self._keeper.failures.get(rollout.id, ""), loaded=loaded
        )
        await asyncio.to_thread(self._folder.report, rollout.id, self._replica, report)
        if self._series is not None:
            self._series.count(rollout, counts)

    def _lead(self, model: str) -> None:
        """Decide in the background: a registry that does not answer must not hold up the kill switch."""
        rollout = self._rollouts.get(model)
        if self._conductor is None or rollout is None or not rollout.is_live:
            return
        running = self._leading.get(model)
        if (running is None or running.done()) and self._leadership.try_take():
            self._leading[model] = asyncio.create_task(self._lead_now(self._conductor, model))

    async def _lead_now(self, conductor: Conductor, model: str) -> None:
        try:
            decisions = await asyncio.to_thread(conductor.conduct, model)
        except Exception:
            logger.exception("no decision about the rollout of %s", model)
            return
        for decision in decisions:
            logger.info("rollout of %s: %s: %s", model, decision.what, decision.why)
            if self._series is not None:
                self._series.decided(model, decision)
        if decisions:
            self.follow(model)


class _Series:
    """The metrics of rollouts."""

    def __init__(self, library: MetricsLibrary) -> None:
        self._requests = ROLLOUT_REQUESTS.create(library)
        self._compared = ROLLOUT_COMPARED.create(library)
        self._share = ROLLOUT_SHARE.create(library)
        self._decisions = ROLLOUT_DECISIONS.create(library)
        self._told: dict[Sequence[str], int] = {}

    def share(self, rollout: Rollout, *, is_killed: bool) -> None:
        for version in (rollout.stable, *rollout.tried):
            share = rollout.split.share(version)
            if is_killed:
                share = 1.0 if version == rollout.stable else 0.0
            self._share.set(share, tags={"model": rollout.model, "version": version})

    def count(self, rollout: Rollout, counts: Mapping[int, Mapping[str, Any]]) -> None:
        for version in (rollout.stable, *rollout.tried):
            role = "stable" if version == rollout.stable else "tried"
            arms = [arms[version] for arms in counts.values() if version in arms]
            failed = sum(arm.errors for arm in arms)
            answered = sum(arm.requests for arm in arms) - failed
            labels = {"model": rollout.model, "version": version}
            for result, total in (("answered", answered), ("failed", failed)):
                tags = labels | {"role": role, "result": result}
                self._add(self._requests, tags, total, rollout.id)
            differing = sum(arm.differing for arm in arms)
            same = sum(arm.compared for arm in arms) - differing
            dropped = sum(arm.dropped for arm in arms)
            for result, total in (("same", same), ("differs", differing), ("dropped", dropped)):
                self._add(self._compared, labels | {"result": result}, total, rollout.id)

    def decided(self, model: str, decision: Decision) -> None:
        self._decisions.inc(1, tags={"model": model, "decision": decision.what})

    def _add(self, series: Any, tags: dict[str, str], total: int, rollout_id: str) -> None:
        key = (rollout_id, str(id(series)), *tags.values())
        new = total - self._told.get(key, 0)
        if new > 0:
            series.inc(new, tags=tags)
            self._told[key] = total
