"""What is computed from the last samples of an entity: one frozen, JSON-able `FeatureSpec`.

A step is one sample of the grid; a feature's name is `<channel>__<what>_<parameter>` and keeps the
channel's unit unless it says ratio, log, steps, count, cycles, entropy or share.
"""

from functools import lru_cache
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from novacron.contracts.telemetry import SCHEMAS

# A window whose range is below this share of its largest magnitude is flat: rounding, not signal.
FLAT_RATIO: Final = 1e-9
# A spike is a sample above the mean of its window by more than this many standard deviations.
SPIKE_SIGMAS: Final = 2.0

CALENDAR_NAMES: Final = (
    "hour_of_day",
    "hour_sin",
    "hour_cos",
    "day_of_week",
    "week_sin",
    "week_cos",
    "is_weekend",
)

CHANNEL_UNITS: Final[dict[str, str]] = {
    field.name: field.unit for schema in SCHEMAS.values() for field in schema.metrics
}

Steps = Annotated[int, Field(ge=1, le=4096)]
Lag = Annotated[int, Field(ge=0, le=4095)]
Quantile = Annotated[float, Field(gt=0, lt=1)]
HalfLife = Annotated[float, Field(gt=0, le=4096)]


class FeatureSpec(BaseModel):
    """The features of one model; every feature is a function of the last `history` samples."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: tuple[str, ...] = Field(min_length=1)
    """Metric columns of the telemetry tables, in the order in which their features stand."""
    history: int = Field(default=60, ge=2, le=4096)
    """Window length in steps: nothing older is read."""
    rolling: tuple[Steps, ...] = ()
    """Window lengths, in steps, of mean, std (population), min and max over present samples."""
    quantiles: tuple[Quantile, ...] = ()
    """Quantiles of each rolling window, linear between order statistics."""
    shape: bool = False
    """Skewness and excess kurtosis (population) of each rolling window; 0 when it is flat."""
    lags: tuple[Lag, ...] = ()
    """Sample k steps ago; lag 0 is the newest sample."""
    differences: tuple[Steps, ...] = ()
    """Newest sample minus the sample k steps ago."""
    change_ratios: tuple[Steps, ...] = ()
    """Newest sample over the sample k steps ago, minus 1; missing when that sample is 0."""
    ewma_half_lives: tuple[HalfLife, ...] = ()
    """Half-lives, in steps, of exponentially weighted means normalised over present samples."""
    spikes: bool = False
    """Steps since the last spike of the window (`history` when none) and number of spikes."""
    frequency: bool = False
    """Dominant frequency, share of power there, and spectral entropy of the whole window."""
    counts: bool = True
    """Cold-start and staleness: samples present, and steps since the last (`history` if none)."""
    calendar: bool = False
    """Hour, weekday and their sine and cosine, in UTC; missing when no time is given."""
    relative: tuple[str, ...] = ()
    """Channels that also get features of their log ratio to their own EWMA level."""
    level_half_life: HalfLife = 3.0
    """Half-life, in steps, of the EWMA level."""
    relative_lags: tuple[Lag, ...] = ()
    """Log ratio of the sample k steps ago to the level."""
    relative_rolling: tuple[Steps, ...] = ()
    """Window lengths of mean, std, min, max of the log ratio, and of its volatility (root mean
    square of its change from one step to the next)."""
    log_floor: float = Field(default=0.01, gt=0)
    """Smaller values count as this one before a logarithm, in the channel's unit."""

    @model_validator(mode="after")
    def _names_what_exists(self) -> Self:
        unknown = [name for name in self.channels if name not in CHANNEL_UNITS]
        if unknown:
            raise ValueError(f"channels {unknown} are in no telemetry table")
        if not set(self.relative) <= set(self.channels):
            raise ValueError("relative must be a subset of channels")
        for name, value in self:
            if isinstance(value, tuple) and len(set(value)) != len(value):
                raise ValueError(f"{name} has a repeated entry")
        if len(set(self.names)) != len(self.names):
            raise ValueError("two quantiles or half-lives share a name")
        return self

    @model_validator(mode="after")
    def _stays_within_history(self) -> Self:
        for name in ("rolling", "relative_rolling"):
            if max(getattr(self, name), default=0) > self.history:
                raise ValueError(f"{name} has a window longer than history ({self.history} steps)")
        for name in ("lags", "differences", "change_ratios", "relative_lags"):
            if max(getattr(self, name), default=0) >= self.history:
                raise ValueError(f"{name} reaches beyond history ({self.history} steps)")
        if self.history > 1000 * min((*self.ewma_half_lives, self.level_half_life)):
            raise ValueError("a half-life is so short that weights vanish within history")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Feature names in column order: channel by channel, relative ones, then calendar."""
        return _names(self)

    def suffixes(self, family: str) -> tuple[str, ...]:
        """Return what follows `<channel>__` in the names of one family, in column order."""
        return _suffixes(self)[family]


CHANNEL_FAMILIES: Final = ("lag", "rolling", "ewma", "spike", "frequency", "count")
"""Families computed for every channel, in column order; `relative` follows them."""


@lru_cache(maxsize=64)
def _names(spec: FeatureSpec) -> tuple[str, ...]:
    names = [
        f"{channel}__{suffix}"
        for channel in spec.channels
        for family in CHANNEL_FAMILIES
        for suffix in spec.suffixes(family)
    ]
    names += [
        f"{channel}__{suffix}" for channel in spec.relative for suffix in spec.suffixes("relative")
    ]
    return tuple(names) + (CALENDAR_NAMES if spec.calendar else ())


@lru_cache(maxsize=64)
def _suffixes(spec: FeatureSpec) -> dict[str, tuple[str, ...]]:
    statistics = ("mean", "std", "min", "max")
    per_window = statistics + (("skewness", "kurtosis") if spec.shape else ())
    per_window += tuple(f"q{100 * q:g}" for q in spec.quantiles)
    ewmas = tuple(f"ewma_{half_life:g}" for half_life in spec.ewma_half_lives)
    return {
        "lag": (
            tuple(f"lag_{k}" for k in spec.lags)
            + tuple(f"diff_{k}" for k in spec.differences)
            + tuple(f"change_ratio_{k}" for k in spec.change_ratios)
        ),
        "rolling": tuple(f"{what}_{w}" for w in spec.rolling for what in per_window),
        "ewma": ewmas,
        "spike": ("steps_since_spike", "spike_count") if spec.spikes else (),
        "frequency": (
            ("dominant_cycles_per_step", "dominant_power_share", "spectral_entropy")
            if spec.frequency
            else ()
        ),
        "count": ("present_count", "steps_since_present") if spec.counts else (),
        "relative": (
            "log_level",
            *(f"log_ratio_lag_{k}" for k in spec.relative_lags),
            *(f"log_ratio_{name}" for name in ewmas),
            *(
                f"log_ratio_{what}_{w}"
                for w in spec.relative_rolling
                for what in (*statistics, "volatility")
            ),
        ),
    }


LINK_CHANNELS: Final = ("bandwidth_mbps", "rtt_ms", "loss_ratio", "jitter_ms")

LINK_FULL: Final = FeatureSpec(
    channels=LINK_CHANNELS,
    history=60,
    rolling=(5, 15, 30, 60),
    quantiles=(0.1, 0.25, 0.5, 0.75, 0.9),
    shape=True,
    lags=(0, 1, 5, 10, 30),
    differences=(1, 5, 10, 30),
    change_ratios=(1,),
    ewma_half_lives=(1, 4, 16),
    spikes=True,
    frequency=True,
    counts=True,
    calendar=True,
)
"""The full documented set: temporal, statistical, lagged and frequency features of a link."""

BANDWIDTH: Final = FeatureSpec(
    channels=LINK_CHANNELS,
    history=96,
    ewma_half_lives=(0.5, 1, 2, 4, 8, 16, 32),
    frequency=True,
    counts=True,
    relative=("bandwidth_mbps",),
    level_half_life=3,
    relative_lags=tuple(range(48)),
    relative_rolling=(5, 10, 20, 40, 96),
)
"""What the bandwidth forecaster reads: mostly ratios to the EWMA level, so that links compare. No
calendar: its requests carry no time."""
