"""Counts, in one replica, what each version of a running rollout did."""

from novacron.monitoring.rollouts.counts import UNITS, ArmCounts
from novacron.monitoring.rollouts.split import bucket_of
from novacron.monitoring.rollouts.state import Rollout
from serve_apps.asking import Asked
from serve_apps.request_path import CANDIDATE, STABLE, Finished

_CALLERS_FAULT = range(400, 500)
_FULL_QUEUE = 429


class ReplicaTally:
    """The counts of one replica, by model, stage and version; an observer of the data plane."""

    def __init__(self) -> None:
        self._rollouts: dict[str, Rollout] = {}
        self._counts: dict[str, dict[int, dict[str, ArmCounts]]] = {}

    def follow(self, model: str, rollout: Rollout | None) -> None:
        """Count for this rollout from now on; counts of another one are dropped."""
        if rollout is None or not rollout.is_live:
            self._rollouts.pop(model, None)
            return
        before = self._rollouts.get(model)
        self._rollouts[model] = rollout
        if before is None or before.id != rollout.id:
            self._counts[model] = {}

    def counts(self, model: str) -> dict[int, dict[str, ArmCounts]]:
        """Return everything counted of a model's rollout, by stage and version."""
        return self._counts.get(model, {})

    def live(self, model: str) -> Rollout | None:
        """Return the rollout that is counted for, or None."""
        return self._rollouts.get(model)

    def arm(self, model: str, version: str) -> ArmCounts | None:
        """Return where a version is counted now; None where it takes no part in a rollout."""
        rollout = self._rollouts.get(model)
        if rollout is None or version not in (rollout.stable, *rollout.tried):
            return None
        arms = self._counts[model].setdefault(rollout.stage, {})
        return arms.setdefault(version, ArmCounts())

    def observe(self, finished: Finished) -> None:
        """Count a finished request. A caller's own mistake says nothing of a version."""
        if finished.role not in (STABLE, CANDIDATE):
            return
        if finished.status in _CALLERS_FAULT and finished.status != _FULL_QUEUE:
            return
        name = finished.served.name
        arm = self.arm(name, finished.served.version)
        if arm is None:
            return
        rollout = self._rollouts[name]
        arm.requests += 1
        arm.errors += finished.is_version_fault
        asked = finished.asked
        if asked is None or finished.is_version_fault:
            self._unit(arm, rollout, finished.key, "error", 1.0)
            return
        count_answer(arm, asked)
        self._unit(arm, rollout, finished.key, "error", 0.0)
        if asked.cache in ("hit", "joined"):
            # A kept answer's time is that of the cache, of which the larger share has more.
            return
        is_shadow = rollout.plan.mode == "shadow"
        latency_s = asked.queue_s + asked.predict_s if is_shadow else finished.latency_s
        arm.observe_latency(latency_s)
        self._unit(arm, rollout, finished.key, "latency", latency_s)

    def _unit(
        self, arm: ArmCounts, rollout: Rollout, key: str, measure: str, value: float
    ) -> None:
        if rollout.plan.mode == "ab" and key and rollout.plan.measure == measure:
            unit = int(bucket_of(key, f"{rollout.id}/unit") * UNITS)
            arm.observe_unit(unit, value)


def count_answer(arm: ArmCounts, asked: Asked) -> None:
    """Count the rows of an answer, and those that the model's own fallbacks gave."""
    arm.rows += asked.n_rows
    arm.fallback_rows += sum((asked.fallbacks or {}).values())
