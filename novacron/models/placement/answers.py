"""What the optimizer answers: candidates with their reasons, or why there is none."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from novacron.models.placement.constraints import Verdict

DecidedBy = Literal["score", "lifetime", "best_fit", "nothing"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """One estimated quantity with its interval; simulated outcomes are what it was learned from."""

    value: float
    lower: float
    upper: float
    coverage: float
    """Nominal share of outcomes inside [lower, upper]."""
    unit: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """What one factor of this node, for this workload, adds to the score (its SHAP value)."""

    factor: str
    value: float | None
    """As the models saw it; None: absent, and that is what it adds."""
    contribution: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One node that satisfies every constraint.

    `score` = `base` + the contributions in `reasons` + `other_factors` + `soft`, exactly.
    """

    node_id: str
    rank: int
    score: Estimate
    estimates: dict[str, Estimate]
    """throughput, latency, reliability, resource_efficiency, power."""
    utilization: dict[str, float | None]
    """Promised share of each resource after the placement; None where the total is not known."""
    base: float
    reasons: tuple[Reason, ...]
    """Largest contributions first."""
    other_factors: float
    soft: float
    """Weighted room that is left to the bounds the workload stated."""
    extension_s: float | None
    """Time by which the workload is expected to keep the node in use beyond its residents; None
    where their lifetimes are not followed."""
    constraints_satisfied: tuple[str, ...]
    """Every constraint that was checked, twice, by different code."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacementAnswer:
    """The answer to one request; candidates are in the order in which they should be tried."""

    workload_id: str
    candidates: tuple[Candidate, ...]
    none_feasible_because: str
    """Empty where there is a candidate."""
    verdicts: tuple[Verdict, ...]
    """How many nodes each constraint rules out."""
    nodes: int
    feasible: int
    scored: int
    """Feasible nodes that the learned models scored; the rest came short in the first pass."""
    strategy: str
    decided_by: DecidedBy
    fallback: str
    """What decided instead of the lifetime model where that was asked for, or empty."""
    model_name: str
    model_version: str
    made_at: datetime
    horizon_s: float
    valid_until: datetime
    features_hash: str

    @property
    def best(self) -> Candidate | None:
        """Return the first candidate, or None."""
        return self.candidates[0] if self.candidates else None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        times = {"made_at": self.made_at.isoformat(), "valid_until": self.valid_until.isoformat()}
        return asdict(self) | times
