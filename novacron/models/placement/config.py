"""Every setting of the workload optimizer, checked at the door."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Strategy = Literal["balanced", "consolidate"]
GateRule = Literal["off", "buckets", "linear"]


class WeightsConfig(BaseModel):
    """How the parts of a score are weighed; they sum to 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    performance: float = Field(default=0.4, ge=0, le=1)
    """Weighted mean of the estimated throughput, latency and reliability, each 0..1."""
    resource: float = Field(default=0.3, ge=0, le=1)
    """Estimated resource efficiency, 0..1."""
    power: float = Field(default=0.2, ge=0, le=1)
    """1 minus the estimated power over the highest of training."""
    soft: float = Field(default=0.1, ge=0, le=1)
    """Room left to the hard bounds that the workload stated; 1 where it stated none."""

    performance_parts: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)
    """Of throughput, latency and reliability within performance; they sum to 1."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if abs(sum(self.performance_parts) - 1) > 1e-9 or min(self.performance_parts) < 0:
            raise ValueError("performance_parts must be shares that sum to 1")
        total = self.performance + self.resource + self.power + self.soft
        if abs(total - 1) > 1e-9:
            raise ValueError(f"the weights must sum to 1, not {total}")
        return self


class BoostingConfig(BaseModel):
    """Size of one boosted model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trees: int = Field(ge=5, le=5000)
    depth: int = Field(ge=1, le=12)
    learning_rate: float = Field(default=0.1, gt=0, le=1)


class OutcomeConfig(BaseModel):
    """The simulated outcomes and the three models that learn them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    examples: int = Field(default=12_000, ge=200, le=1_000_000)
    """Placements whose outcome is simulated; a fifth each calibrates and tests."""
    absent_ratio: float = Field(default=0.15, ge=0, lt=1)
    """Share of optional factors that are hidden in training, as callers do not give all."""
    performance: BoostingConfig = BoostingConfig(trees=150, depth=4)
    """MultiOutput gradient boosting: throughput, latency, reliability."""
    resource: BoostingConfig = BoostingConfig(trees=150, depth=6)
    """LightGBM: resource efficiency."""
    power: BoostingConfig = BoostingConfig(trees=150, depth=4)
    """Gradient boosting: power."""
    coverage: float = Field(default=0.9, gt=0.5, lt=1)
    """Nominal share of outcomes inside the intervals."""


class LifetimeConfig(BaseModel):
    """The lifetime model and the gate in front of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=7, ge=0, le=1_000_000_000)
    rounds: int = Field(default=120, ge=5, le=5000)
    leaves: int = Field(default=31, ge=2, le=1024)
    leaf_rows: int = Field(default=50, ge=1, le=100_000)
    learning_rate: float = Field(default=0.07, gt=0, le=1)
    half_life_s: float = Field(default=86_400.0, ge=600, le=1e8)
    """Of what a cluster remembers of lifetimes."""
    train_ratio: float = Field(default=0.3, gt=0.1, lt=0.9)
    """Share of the time with known lifetimes that is learned from; the rule takes over after it."""
    settle_ratio: float = Field(default=0.4, ge=0, lt=0.9)
    """Share of the time after training that passes before figures are taken: what best fit placed
    before has to leave first."""
    clusters: int = Field(default=6, ge=1, le=1000)
    """Batches are dealt out to this many clusters, which share no batch."""
    rules: tuple[tuple[GateRule, float], ...] = (("buckets", 600.0), ("linear", 12_000.0))
    """Rules and their scales in s among which validation chooses; see `packing.Gate`."""
    least_gains: tuple[float, ...] = (0.0, 0.05)
    """Gates among which validation chooses; see `packing.Gate`."""


class PlacementConfig(BaseModel):
    """Everything that decides what the optimizer answers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=7, ge=0, le=1_000_000_000)
    strategy: Strategy = "balanced"
    """`balanced` ranks by the weighted score; `consolidate` by packing: the expected time for which
    nodes stay in use, then best fit, and by the score among equals."""
    weights: WeightsConfig = WeightsConfig()
    outcomes: OutcomeConfig = OutcomeConfig()
    lifetimes: LifetimeConfig = LifetimeConfig()
    candidates: int = Field(default=4, ge=1, le=100)
    """Most candidates in an answer."""
    scored: int = Field(default=40, ge=1, le=10_000)
    """Most feasible nodes that the learned models score: half the best by packing, half the least
    loaded; the others are counted in the answer."""
    horizon_s: float = Field(default=3600.0, gt=0, le=31 * 86_400)
    """Time for which outcomes are estimated."""
    valid_s: float = Field(default=60.0, gt=0, le=86_400)
    """After this the fleet has moved on: ask again."""
