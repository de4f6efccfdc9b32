"""What a recogniser answers: one frozen object per window, and one per workload."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Reason:
    """One piece of evidence: its value in this window, and the vote share it added to the type."""

    evidence: str
    value: float
    weight: float


@dataclass(frozen=True, kw_only=True, slots=True)
class PatternAnswer:
    """The pattern of one window of one resource.

    `period_s`, `lower_s` and `upper_s` are None unless the type is periodic; the interval holds the
    period in a `coverage` share of windows. `fallback` names what answered instead of the model, or
    is empty. The answer is about the window, so `horizon_s` is 0; it should be asked again at
    `valid_until`, when a tenth of the window is new.
    """

    value: str
    """A key of `novacron.models.patterns.definitions.TYPES`."""
    confidence: float
    """Calibrated probability of `value`, 0..1."""
    probabilities: Mapping[str, float]
    period_s: float | None
    lower_s: float | None
    upper_s: float | None
    coverage: float
    strongest_period_s: float | None
    """The best repetition found whatever the type: evidence, not an answer; None if flat."""
    strongest_period_r2_ratio: float
    """Share of the variance that this repetition explains."""
    calendar_period_s: float | None
    """Hour, day or week where one of them recurs, whatever the type, see `calendar`; else None."""
    calendar_rho: float
    """Correlation one such period apart, 0 where none recurs."""
    season: str
    """`hourly`, `daily` or `weekly` where the period is one of the calendar, else empty."""
    trend_direction: str
    """`up` or `down` for the trends, else empty."""
    reasons: tuple[Reason, ...]
    fallback: str
    model_name: str
    model_version: str
    features_hash: str
    made_at: datetime
    horizon_s: float
    valid_until: datetime
    window_s: float
    """Span of the window that was judged."""

    @property
    def is_seasonal(self) -> bool:
        """Periodic with a period of the calendar."""
        return self.season != ""

    @property
    def is_trending(self) -> bool:
        """A line or an exponential, up or down."""
        return self.trend_direction != ""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkloadAnswer:
    """The patterns of a workload's resources and which resource it leans on.

    `intensive` is `cpu`, `memory`, `io` or `network` where the mean use of that resource, as a
    ratio of what is provisioned, is the highest in at least `lead_level` of the resamples, else
    `balanced`; `lead_ratio` is the share of resamples that the highest one led. `left_out` says why
    a resource was not judged.
    """

    intensive: str
    lead_ratio: float
    lead_level: float
    mean_ratio: Mapping[str, float]
    patterns: Mapping[str, PatternAnswer]
    left_out: Mapping[str, str]
