"""Settings of the scaling model: how demand is forecast, what capacity costs, how policies differ."""

from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

PolicyName = Literal[
    "reactive",
    "predictive",
    "proactive",
    "cost_optimized",
    "performance_optimized",
    "hybrid",
]
POLICIES: Final[tuple[PolicyName, ...]] = (
    "reactive",
    "predictive",
    "proactive",
    "cost_optimized",
    "performance_optimized",
    "hybrid",
)
DAY_S: Final = 86_400
HORIZON_S: Final = 3600
"""Demand is forecast this far ahead."""
FINEST_STEP_S: Final = 300
"""Finer samples are joined by their maximum: capacity must hold the highest of them."""
COARSEST_STEP_S: Final = 1800


class ForecastConfig(BaseModel):
    """How the trees are grown."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=7, ge=0, le=1_000_000_000)
    """Decides which rows and features each tree sees."""
    rounds: int = Field(default=90, ge=2, le=2000)
    """Rounds of the density; every round grows one tree a bin."""
    leaves: int = Field(default=10, ge=2, le=256)
    """Leaves of a tree of the density."""
    learning_rate: float = Field(default=0.08, gt=0, le=1)
    """Step of the density."""
    feature_share: float = Field(default=0.3, gt=0, le=1)
    """Share of the features a tree may use."""
    row_share: float = Field(default=0.7, gt=0, le=1)
    """Share of the rows a tree sees."""
    min_rows_per_leaf: int = Field(default=40, ge=1)
    """Fewest rows in a leaf."""
    l2: float = Field(default=5.0, ge=0)
    """Shrinks leaves."""
    most_origins_per_series: int = Field(default=6_000, ge=100)
    """Long series are thinned to this many origins."""
    member_rounds: int = Field(default=80, ge=2, le=2000)
    """Trees of the forest and of the boosted mean."""


class Prices(BaseModel):
    """What things cost, in one currency. The defaults are the documented ones of the engine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    capacity_unit_h: float = Field(default=0.05, ge=0)
    """One unit of capacity for an hour."""
    under_h_ratio: float = Field(default=2.0, gt=0, le=1000)
    """An hour under-provisioned, as a multiple of what capacity equal to demand costs that hour."""
    start: float = Field(default=0.10, ge=0)
    """Starting one instance."""
    migration: float = Field(default=0.25, ge=0)
    """Moving one instance to another host."""


class PolicyConfig(BaseModel):
    """One way of ordering capacity.

    `budget_ratio` is the share of time that may be under-provisioned; None takes the prices' own
    optimum instead. `reach` says over which time the highest demand counts: `delay` (the step at
    which an order arrives, and `hold_steps` - 1 more) or `hour` (from then to the horizon).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    budget_ratio: float | None = Field(default=0.008, gt=0, lt=0.5)
    reach: Literal["delay", "hour"] = "delay"
    hold_steps: int = Field(default=1, ge=1, le=6)
    floor_ratio: float = Field(default=0.0, ge=0, le=4)
    """Capacity never ordered below this multiple of the newest demand; 0: no reactive floor."""
    headroom_ratio: float = Field(default=0.0, ge=0, le=9)
    """Above 0: no forecast at all, capacity is (1 + this) times the newest demand."""
    tolerance_ratio: float = Field(default=0.1, ge=0, lt=1)
    """With `headroom_ratio`: smaller changes than this share are not made."""
    scale_in_wait_s: float = Field(default=0.0, ge=0, le=DAY_S)
    """Capacity falls only to the highest that was wanted during this time."""
    moves_per_day: float = Field(default=50.0, gt=0, le=1440)
    """Changes a day that hysteresis aims at."""


def default_policies() -> dict[PolicyName, PolicyConfig]:
    """Return the six policies."""
    return {
        "reactive": PolicyConfig(
            budget_ratio=None, headroom_ratio=0.2, tolerance_ratio=0.1, scale_in_wait_s=300
        ),
        "predictive": PolicyConfig(),
        "proactive": PolicyConfig(reach="hour"),
        "cost_optimized": PolicyConfig(budget_ratio=None, moves_per_day=30),
        "performance_optimized": PolicyConfig(
            budget_ratio=0.001, hold_steps=3, floor_ratio=1.1, scale_in_wait_s=3600
        ),
        "hybrid": PolicyConfig(floor_ratio=1.02, scale_in_wait_s=600),
    }


class ScalingConfig(BaseModel):
    """Everything the scaling model was fitted with and decides by."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    forecast: ForecastConfig = ForecastConfig()
    prices: Prices = Prices()
    policies: dict[PolicyName, PolicyConfig] = Field(default_factory=default_policies)
    coverage: float = Field(default=0.9, gt=0.5, lt=1)
    """Nominal share of demand inside [lower, upper]."""
    boot_delay_s: float = Field(default=600.0, gt=0, le=HORIZON_S)
    """Default time between an order and its arrival."""
    risk_days: float = Field(default=10.0, ge=0.5, le=28)
    """Past over which the margin is calibrated."""
    time_of_day_weight: float = Field(default=0.5, ge=0, le=1)
    """Weight of the same time of day in that calibration; 0: all times count alike."""
    time_of_day_h: float = Field(default=2.0, gt=0, le=12)
    """Half width of what counts as the same time of day."""

    @model_validator(mode="after")
    def _all_policies(self) -> Self:
        missing = [name for name in POLICIES if name not in self.policies]
        if missing:
            raise ValueError(f"policies lacks {', '.join(missing)}")
        return self
