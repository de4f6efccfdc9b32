"""Decides about the rollouts of all replicas, in whichever replica holds the lock.

There is no controller that could be missing: the lock is free the moment its holder dies, and the next
replica goes on from the state in the folder.
"""

import fcntl
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final, Protocol

from novacron.errors import ModelNotFoundError, NovacronError
from novacron.monitoring.rollouts.counts import ArmCounts
from novacron.monitoring.rollouts.folder import RolloutFolder
from novacron.monitoring.rollouts.machine import abort, advance, fail, pass_on
from novacron.monitoring.rollouts.state import Decision, Rollout
from novacron.registry.records import Audit

logger = logging.getLogger(__name__)

ALIAS_LOOK_S: Final = 10.0
OUTCOMES_LOOK_S: Final = 10.0
_WHO: Final = "rollout"


class Registrar(Protocol):
    """What a rollout needs of the registry; it may not answer."""

    def champion(self, name: str) -> str:
        """Return the version that the alias names now; raises `NotReadyError`."""
        ...

    def appoint(self, name: str, version: str, *, audit: Audit, note: str) -> bool:
        """Move the alias; raises `NotReadyError`."""
        ...


@dataclass(slots=True)
class Leadership:
    """The lock that one replica of all holds."""

    path: Path
    _file: IO[Any] | None = None

    def try_take(self) -> bool:
        """Take the lock if nobody has it; tell whether this process has it."""
        if self._file is not None:
            return True
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = self.path.open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self._file = file
        return True

    def give_up(self) -> None:
        """Let another replica take it."""
        if self._file is not None:
            self._file.close()
            self._file = None


@dataclass(frozen=True, slots=True)
class _Losses:
    """Outcomes as they were read last."""

    stage: int
    read_s: float
    counts: dict[str, ArmCounts]


class Conductor:
    """Moves rollouts on. Blocks: call it in a thread.

    Args:
        folder: Where they are kept.
        registrar: The registry.
        clock: Seconds since 1970.
        outcomes: Losses of the present stage by version, where outcomes are fed back.
    """

    def __init__(
        self,
        folder: RolloutFolder,
        registrar: Registrar,
        clock: Callable[[], float] = lambda: datetime.now(UTC).timestamp(),
        outcomes: Callable[[Rollout], dict[str, ArmCounts]] | None = None,
    ) -> None:
        self._folder = folder
        self._registrar = registrar
        self._clock = clock
        self._outcomes = outcomes
        self._losses: dict[str, _Losses] = {}
        self._alias_seen_s: dict[str, float] = {}
        self._unreachable: set[str] = set()

    def conduct(self, model: str) -> Sequence[Decision]:
        """Look at one model's rollout once, and return what was decided."""
        rollout = self._folder.read(model)
        if rollout is None or not rollout.is_live:
            return ()
        # Outside the lock: the registry may take its time, and an abort must not wait for it.
        champion = self._look_at_alias(rollout)
        self._look_at_outcomes(rollout)
        with self._folder.changing(model):
            rollout = self._folder.read(model)
            if rollout is None or not rollout.is_live:
                return ()
            decisions = self._decide(rollout, champion)
            self._folder.write(rollout, durably=bool(decisions))
        for decision in decisions:
            self._folder.note(rollout, decision)
        if rollout.status == "promoting":
            decisions = [*decisions, *self._appoint(rollout)]
        return decisions

    def _decide(self, rollout: Rollout, champion: str | None) -> list[Decision]:
        now_s = self._clock()
        kill = self._folder.kill_of(rollout.model)
        if kill is not None:
            return [abort(rollout, f"kill switch: {kill.why}", now_s, kill.who)]
        if rollout.status == "promoting":
            return []
        if champion not in (None, rollout.stable):
            if champion == rollout.tried[0]:
                why = "the alias was moved to it by hand"
                return [pass_on(rollout, rollout.tried[0], why, now_s, "somebody")]
            why = f"the alias was moved to version {champion or 'nothing'} by hand"
            return [abort(rollout, why, now_s, "somebody")]
        reports = self._folder.reports(rollout.id)
        for replica, report in reports.items():
            if report.failure:
                return [fail(rollout, f"replica {replica}: {report.failure}", now_s)]
        totals = {name: one.counts for name, one in reports.items()}
        known = self._losses.get(rollout.id)
        if known is not None and known.stage == rollout.stage:
            totals["outcomes"] = {known.stage: known.counts}
        return advance(rollout, totals, now_s)

    def _look_at_outcomes(self, rollout: Rollout) -> None:
        """Read the losses again, now and then: the log may be large."""
        known = self._losses.get(rollout.id)
        now_s = self._clock()
        is_known = known is not None and known.stage == rollout.stage
        if self._outcomes is None or rollout.status != "running":
            return
        if known is not None and is_known and now_s < known.read_s + OUTCOMES_LOOK_S:
            return
        try:
            counts = self._outcomes(rollout)
        except Exception:
            logger.exception("the outcomes of %s could not be read", rollout.model)
            counts = known.counts if known is not None and is_known else {}
        self._losses[rollout.id] = _Losses(rollout.stage, now_s, counts)

    def _look_at_alias(self, rollout: Rollout) -> str | None:
        """Return where the champion's alias points; None where it is not known or not asked."""
        now_s = self._clock()
        due_s = self._alias_seen_s.get(rollout.model, 0.0) + ALIAS_LOOK_S
        if rollout.status == "promoting" or now_s < due_s:
            return None
        self._alias_seen_s[rollout.model] = now_s
        try:
            return self._registrar.champion(rollout.model)
        except Exception as error:  # noqa: BLE001  whatever the registry's fault: answers go on
            self._say_unreachable(rollout.model, error)
            return None

    def _appoint(self, rollout: Rollout) -> list[Decision]:
        """Let the alias follow the traffic; where the registry does not answer, at the next look."""
        now = datetime.fromtimestamp(self._clock(), UTC)
        reason = rollout.decisions[-1].why
        audit = Audit(who=_WHO, at=now, why=f"rollout {rollout.id}"[:500])
        try:
            self._registrar.appoint(
                rollout.model, rollout.tried[0], audit=audit, note=reason[:1000]
            )
        except ModelNotFoundError as error:
            failure: NovacronError | None = error
        except Exception as error:  # noqa: BLE001  whatever the registry's fault: answers go on
            self._say_unreachable(rollout.model, error)
            return []
        else:
            failure = None
            self._unreachable.discard(rollout.model)
        with self._folder.changing(rollout.model):
            current = self._folder.get(rollout.model)
            if current.id != rollout.id or current.status != "promoting":
                return []
            if failure is not None:
                decision = fail(current, f"it left the registry: {failure}", self._clock())
            else:
                current.status = "promoted"
                why = f"the alias champion names version {current.tried[0]}"
                decision = current.decide(
                    Decision(at_s=self._clock(), what="promoted", why=why, who=_WHO)
                )
            self._folder.write(current)
        self._folder.note(current, decision)
        return [decision]

    def _say_unreachable(self, model: str, error: Exception) -> None:
        if model not in self._unreachable:
            logger.error("the registry does not answer for the rollout of %s: %s", model, error)
        self._unreachable.add(model)
