"""What the planner answers: frozen objects, all of them ready for JSON by `to_dict`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from novacron.models.capacity.config import Urgency
from novacron.models.capacity.crossing import Crossing


@dataclass(frozen=True, kw_only=True, slots=True)
class CapacityForecast:
    """A forecast of one metric, one entry per step, in `unit`.

    `lower` and `upper` hold a `coverage` share of what happens, `lower_95` and `upper_95` 95 %.
    `level`, `seasonal` and `holiday` add up to `value`: what this forecast is made of.
    """

    metric: str
    unit: str
    at: tuple[datetime, ...]
    """Start of each step, UTC."""
    value: tuple[float, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    coverage: float
    lower_95: tuple[float, ...]
    upper_95: tuple[float, ...]
    level: tuple[float, ...]
    seasonal: tuple[float, ...]
    holiday: tuple[float, ...]
    member_weights: Mapping[str, float]
    """Weight of each member in this forecast; they sum to 1, or are empty under a fallback."""
    members_left_out: Mapping[str, str]
    """Member -> why it said nothing."""
    trials: int
    """Earlier times at which the members were tried on this history."""
    notes: Mapping[str, int]
    """What was repaired, see `novacron.models.capacity.history.History`, and `steps_left_out`
    before a lasting change of level."""
    fallback: str
    """What answered instead of the model, or empty."""
    model_name: str
    model_version: str
    features_hash: str
    made_at: datetime
    horizon_s: tuple[float, ...]
    """Seconds from `made_at` to the end of each step."""
    valid_until: datetime

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        told: dict[str, Any] = jsonable(asdict(self))
        return told


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What the capacity to add costs, in the currency of the prices; None: not known, see `why`."""

    group: str
    add_units: float | None
    """Whole units that keep the demand's 90 % quantile below the warning less the headroom."""
    add_units_expected: float | None
    """The same for the median demand."""
    capacity_unit: str
    cost: float | None
    cost_expected: float | None
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """What the plan says of one metric."""

    forecast: CapacityForecast
    newest: float
    peak: float
    """Largest forecast value within the horizon."""
    peak_upper: float
    """90 % quantile of the largest value within the horizon."""
    crossings: tuple[Crossing, ...]
    urgency: Urgency
    cost: Cost
    recommended_action: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One entry of the timeline: by when to act."""

    by: datetime
    """10 % quantile of the crossing date."""
    expected: datetime | None
    """Median of the crossing date; None: rather later than the horizon."""
    metric: str
    level: str
    probability: float
    urgency: Urgency
    action: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Risk:
    """What may go wrong, with its probability where one was estimated."""

    kind: str
    metric: str
    text: str
    probability: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CapacityPlan:
    """A plan over all metrics of a history."""

    made_at: datetime
    horizon_days: int
    needs: Mapping[str, Need]
    left_out: Mapping[str, str]
    """Metric -> the error that says why it could not be planned."""
    cost: Mapping[str, float]
    """By group (`compute`, `storage`, `network`), `total` and `total_expected`: what is known."""
    timeline: tuple[Step, ...]
    risks: tuple[Risk, ...]
    recommendations: tuple[str, ...]
    model_name: str
    model_version: str
    features_hash: str

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        told: dict[str, Any] = jsonable(asdict(self))
        return told


def jsonable(value: Any) -> Any:
    """Return a value with text for times and keys."""
    if isinstance(value, dict):
        return {str(key): jsonable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(one) for one in value]
    return value.isoformat() if isinstance(value, datetime) else value
