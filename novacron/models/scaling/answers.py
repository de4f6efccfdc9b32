"""What the scaling engine answers: forecasts and decisions, each with its provenance."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from novacron.models.scaling.config import PolicyName
from novacron.models.scaling.deployment import Action
from novacron.models.scaling.replay import Elasticity


@dataclass(frozen=True, kw_only=True, slots=True)
class DemandForecast:
    """Demand of the hour ahead, one entry a step, in the unit of the history."""

    entity_id: str
    target: str
    value: tuple[float, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    coverage: float
    """Nominal share of demand inside [lower, upper]."""
    horizon_s: tuple[float, ...]
    peak: float
    """Highest value of the hour, and when it is due."""
    peak_at_s: float
    valley: float
    valley_at_s: float
    fallback: str
    """The rule that answered instead of the model, or empty."""
    filled: int
    """Missing samples that took the value before them."""
    model_name: str
    model_version: str
    features_hash: str
    made_at: datetime
    valid_until: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class CostImpact:
    """What a decision changes, in the currency of the prices."""

    running_per_h: float
    """Capacity after it less capacity before it."""
    one_off: float
    """Starts and migrations."""
    under_penalty_per_h: float
    """Expected penalty of shortage after it less before it; negative is gained."""

    @property
    def first_hour(self) -> float:
        """All of it over the hour ahead."""
        return self.running_per_h + self.one_off + self.under_penalty_per_h


@dataclass(frozen=True, kw_only=True, slots=True)
class PerformanceImpact:
    """Chance of a shortage when an order made now arrives, and utilisation then."""

    under_risk_before: float
    under_risk_after: float
    utilisation_before: float
    utilisation_after: float


@dataclass(frozen=True, kw_only=True, slots=True)
class MigrationPlan:
    """How an instance moves."""

    target_node_id: str
    copy_gb: float
    expected_s: float
    steps: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class RollbackPlan:
    """How to go back, and when."""

    restore_size: float
    restore_instances: int
    watch_s: float
    triggers: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ScalingDecision:
    """What to do about one workload, why, at what cost, and how to undo it."""

    decision_id: str
    entity_id: str
    resource: str
    policy: PolicyName
    action: Action
    current_capacity: float
    target_capacity: float
    target_size: float
    target_instances: int
    target_node_id: str | None
    wanted_capacity: float
    """What the policy wants, before the limits of the deployment."""
    shortfall: float
    """Capacity wanted beyond what the limits of the deployment allow."""
    confidence: float
    """Chance that demand stays within the target when it arrives."""
    urgency: float
    """Chance of a shortage with what stands, halved for every 15 minutes that it is away."""
    reasons: tuple[str, ...]
    """About this decision alone, with its numbers."""
    cost: CostImpact
    performance: PerformanceImpact
    execution_s: float
    """Time until the capacity is there."""
    execute_at: datetime
    migration: MigrationPlan | None
    rollback: RollbackPlan
    forecast: DemandForecast
    fallback: str
    model_name: str
    model_version: str
    features_hash: str
    made_at: datetime
    horizon_s: float
    valid_until: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayResult:
    """A policy replayed over a history."""

    policy: PolicyName
    boot_delay_s: float
    capacity: NDArray[np.float64]
    """Capacity at each step, NaN before the first order arrived."""
    demand: NDArray[np.float64]
    step_s: int
    score: Elasticity
