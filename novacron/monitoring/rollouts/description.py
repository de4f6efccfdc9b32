"""A rollout as one JSON-able object: what the command and the endpoint both show."""

from datetime import UTC, datetime
from typing import Any

from novacron.monitoring.rollouts.counts import ArmCounts
from novacron.monitoring.rollouts.folder import RolloutFolder
from novacron.monitoring.rollouts.state import Rollout


def describe(rollout: Rollout, folder: RolloutFolder) -> dict[str, Any]:
    """Return a rollout as one JSON-able object."""
    kill = folder.kill_of(rollout.model)
    reports = folder.reports(rollout.id)
    return {
        "id": rollout.id,
        "model": rollout.model,
        "status": rollout.status,
        "mode": rollout.plan.mode,
        "stable": rollout.stable,
        "tried": list(rollout.tried),
        "winner": rollout.winner,
        "stage": rollout.stage,
        "stages": list(rollout.plan.stages) if rollout.plan.mode == "canary" else [],
        "windows": rollout.window,
        "shares": dict(rollout.split.shares),
        "answered": rollout.answered,
        "exposed_ratio": rollout.exposed_ratio,
        "kill": kill.mode if kill else None,
        "replicas": {name: one.failure or list(one.loaded) for name, one in reports.items()},
        "arms": {version: _arm(arm) for version, arm in _arms(rollout).items()},
        "gates": rollout.readings,
        "decisions": [
            {"at": _time(one.at_s), "what": one.what, "why": one.why, "who": one.who}
            for one in rollout.decisions
        ],
    }


def _arms(rollout: Rollout) -> dict[str, ArmCounts]:
    return rollout.stage_counts or rollout.last_stage


def _arm(counts: ArmCounts) -> dict[str, Any]:
    p95_s = counts.p95_s()
    return {
        "requests": counts.requests,
        "error_rate": counts.error_rate,
        "p95_ms": None if p95_s is None else 1e3 * p95_s,
        "fallback_ratio": counts.fallback_ratio,
        "compared": counts.compared,
        "differing": counts.differing,
        "dropped": counts.dropped,
        "outcomes": counts.outcomes,
    }


def _time(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds")
