"""The state of a rollout as it is kept: what is tried, how far it is, what was decided and why."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from pydantic import TypeAdapter

from novacron.errors import ArtifactError
from novacron.monitoring.rollouts.counts import ArmCounts
from novacron.monitoring.rollouts.gates import Evidence
from novacron.monitoring.rollouts.plan import RolloutPlan
from novacron.monitoring.rollouts.split import Split

Status = Literal[
    "running", "passed", "promoting", "promoted", "rolled_back", "aborted", "finished"
]
LIVE: Final = ("running", "passed", "promoting")
"""States in which the rollout directs traffic."""
MAX_DECISIONS: Final = 200


@dataclass(slots=True)
class Decision:
    """One decision, with its reason."""

    at_s: float
    """Seconds since 1970, UTC."""
    what: str
    """start, window, stage, hold, passed, promote, promoted, roll_back, abort, finish, kill, lift."""
    why: str
    stage: int = 0
    window: int = 0
    who: str = "the gates"


@dataclass(slots=True)
class Rollout:
    """One rollout of one model."""

    id: str
    model: str
    stable: str
    """Version that answered when it began, and answers again if it ends badly."""
    tried: tuple[str, ...]
    """Versions that are tried; one, except in an A/B test."""
    plan: RolloutPlan
    started_at_s: float
    who: str
    why: str = ""
    status: Status = "running"
    stage: int = 0
    window: int = 0
    """Windows closed so far, over all stages."""
    stage_windows: int = 0
    good_windows: int = 0
    window_began_s: float = 0.0
    winner: str = ""
    stage_counts: dict[str, ArmCounts] = field(default_factory=dict)
    last_stage: dict[str, ArmCounts] = field(default_factory=dict)
    """Counts of the stage before, for those who look at it."""
    answered: dict[str, int] = field(default_factory=dict)
    """Requests by version since the start, whatever the stage."""
    evidence: dict[str, Evidence] = field(default_factory=dict)
    seen: dict[str, dict[int, dict[str, ArmCounts]]] = field(default_factory=dict)
    """Replica to what it had counted when it was last looked at."""
    effect: float = 0.0
    """Of an A/B test, fixed at the first look."""
    readings: list[str] = field(default_factory=list)
    """What the gates said at the last look."""
    decisions: list[Decision] = field(default_factory=list)

    @property
    def is_live(self) -> bool:
        """Whether it directs traffic."""
        return self.status in LIVE

    @property
    def split(self) -> Split:
        """The shares of callers that hold now."""
        if self.status in ("promoting", "promoted"):
            return Split(((self.tried[0], 1.0), (self.stable, 0.0)))
        if not self.is_live or self.plan.mode == "shadow":
            return Split(((self.stable, 1.0),))
        if self.plan.mode == "ab":
            rest = self.plan.weights.get(self.stable, 0.0)
            shares = [(version, self.plan.weights[version]) for version in self.tried]
            return Split((*shares, (self.stable, rest)))
        share = self.plan.stages[min(self.stage, len(self.plan.stages) - 1)]
        return Split(((self.tried[0], share), (self.stable, 1.0 - share)))

    @property
    def exposed_ratio(self) -> float:
        """Share of all callers' requests since the start that a tried version answered."""
        if self.plan.mode == "shadow":
            return 0.0
        total = sum(self.answered.values())
        return sum(self.answered.get(one, 0) for one in self.tried) / total if total else 0.0

    def decide(self, decision: Decision) -> Decision:
        """Write a decision down; of very many the oldest windows are forgotten here, not in the log."""
        decision.stage, decision.window = self.stage, self.window
        self.decisions.append(decision)
        del self.decisions[1 : max(1, len(self.decisions) - MAX_DECISIONS)]
        return decision


_ROLLOUT: Final = TypeAdapter(Rollout)
_STAGES: Final = TypeAdapter(dict[int, dict[str, ArmCounts]])


def to_json(rollout: Rollout) -> bytes:
    """Write a rollout as JSON."""
    return _ROLLOUT.dump_json(rollout)


def from_json(data: bytes, where: str) -> Rollout:
    """Read a rollout.

    Raises:
        ArtifactError: It is not one.
    """
    try:
        return _ROLLOUT.validate_json(data)
    except ValueError as cause:
        raise ArtifactError(
            f"{where} holds no rollout: {str(cause)[:200]}",
            remedy="Remove the file; the stable version answers without it.",
        ) from cause


def counts_to_json(stages: Mapping[int, Mapping[str, ArmCounts]]) -> bytes:
    """Write a replica's counts as JSON."""
    return _STAGES.dump_json({stage: dict(arms) for stage, arms in stages.items()})


def counts_from_json(data: bytes) -> dict[int, dict[str, ArmCounts]]:
    """Read a replica's counts; raises ValueError where they are none."""
    return _STAGES.validate_json(data)
