"""Every setting of the capacity planner, checked at the door.

The thresholds and prices are those the documents of NovaCron state (warning/critical: processor
75/85 %, memory 80/90 %, network 70/85 %, storage 75/85 %; latency 200/500 ms; 50 per processor, 20
and 0.10 per GB, 100 per Gbit/s). They are settings, not laws: replace them by your own.
"""

from collections.abc import Mapping
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Urgency = Literal["none", "low", "medium", "high", "urgent"]
CostGroup = Literal["compute", "storage", "network", "none"]
MEMBERS: Final = ("weekday_mean", "prophet", "decomposed", "boosted")
"""The forecasters of the ensemble, see `novacron.models.capacity.members`."""


class MetricRule(BaseModel):
    """What is known of one metric: its range, its thresholds, and what one more unit costs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    unit: str
    """Unit of the values and of the thresholds."""
    high: float | None = Field(default=None, gt=0)
    """Largest possible value; None where the demand has no bound."""
    warning: float | None = None
    """Value at which to act; None: this metric has no threshold."""
    critical: float | None = None
    """Value at which service suffers; not below `warning`."""
    cost_group: CostGroup = "none"
    unit_price: float = Field(default=0.0, ge=0)
    """Price of one unit of capacity (one processor, one GB, one Gbit/s)."""
    capacity_unit: str = "unit"
    """What one unit of capacity is."""
    action: str = "Review the capacity."
    """What to do when the threshold comes near."""

    @model_validator(mode="after")
    def _critical_above_warning(self) -> Self:
        if self.critical is not None and (self.warning is None or self.critical < self.warning):
            raise ValueError("critical needs a warning threshold that is not above it")
        return self


RULES: Final[Mapping[str, MetricRule]] = {
    "cpu_ratio": MetricRule(
        unit="ratio", high=1.0, warning=0.75, critical=0.85, cost_group="compute", unit_price=50.0,
        capacity_unit="processor",
        action="Add processors, or make the heaviest work cheaper.",
    ),
    "mem_ratio": MetricRule(
        unit="ratio", high=1.0, warning=0.80, critical=0.90, cost_group="compute", unit_price=20.0,
        capacity_unit="GB of memory",
        action="Add memory, or look for a leak.",
    ),
    "disk_ratio": MetricRule(
        unit="ratio", high=1.0, warning=0.75, critical=0.85, cost_group="storage", unit_price=0.10,
        capacity_unit="GB of storage",
        action="Add storage, or archive what is cold.",
    ),
    "net_ratio": MetricRule(
        unit="ratio", high=1.0, warning=0.70, critical=0.85, cost_group="network",
        unit_price=100.0, capacity_unit="Gbit/s",
        action="Add bandwidth, or move transfers to quiet hours.",
    ),
    "latency_ms": MetricRule(
        unit="ms", warning=200.0, critical=500.0,
        action="Find what is slow, or add capacity in front of it.",
    ),
    "request_rate_rps": MetricRule(unit="1/s", action="Add instances."),
    "throughput_rps": MetricRule(unit="1/s", action="Add capacity for the growing load."),
}  # fmt: skip
"""The seven metrics of the documents under their names with units."""

DOCUMENTED_NAMES: Final[Mapping[str, str]] = {
    "cpu_usage": "cpu_ratio",
    "memory_usage": "mem_ratio",
    "disk_usage": "disk_ratio",
    "network_bandwidth": "net_ratio",
    "request_rate": "request_rate_rps",
    "latency": "latency_ms",
    "throughput": "throughput_rps",
}
"""Names the documents use -> the rule that holds for them."""


class CapacityConfig(BaseModel):
    """Settings of the planner."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    horizon_days: int = Field(default=30, ge=1, le=365)
    """How far ahead to plan when the caller does not say."""
    members: tuple[Literal["weekday_mean", "prophet", "decomposed", "boosted"], ...] = MEMBERS
    """Which forecasters take part."""
    country: str | None = Field(default=None, pattern="^[A-Z]{2}$")
    """ISO 3166 code whose public holidays Prophet is told of; None: no holidays."""
    subdivision: str | None = None
    """State or province of `country`, where holidays differ by it."""
    origins: int = Field(default=4, ge=0, le=24)
    """Most origins, at the end of the history, at which the members are tried on it."""
    rules: Mapping[str, MetricRule] = RULES
    """By name of the metric."""
    headroom_ratio: float = Field(default=0.20, ge=0, lt=10)
    """Capacity is added until the upper bound of the demand stays this far below the warning."""
    urgent_days: float = Field(default=7.0, gt=0)
    high_days: float = Field(default=14.0, gt=0)
    medium_days: float = Field(default=30.0, gt=0)
    """A threshold nearer than this many days (10 % quantile of the date) has that urgency."""
    paths: int = Field(default=1000, ge=100, le=100_000)
    """Simulated paths behind the distribution of the crossing date."""
    seed: int = Field(default=20_261_127, ge=0)
    """Of those paths."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.urgent_days <= self.high_days <= self.medium_days:
            raise ValueError("urgent_days, high_days and medium_days must not fall")
        if "weekday_mean" not in self.members:
            raise ValueError("weekday_mean is what the others are measured by: leave it in")
        if self.subdivision is not None and self.country is None:
            raise ValueError("subdivision needs a country")
        return self
