"""Every setting of the anomaly detector, checked at the door."""

from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Severity = Literal["low", "medium", "high", "critical"]
SEVERITIES: Final[tuple[Severity, ...]] = ("low", "medium", "high", "critical")


class ForestConfig(BaseModel):
    """The isolation forests and when they are grown anew."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trees: int = Field(default=96, ge=1, le=1024)
    """Trees of the value forest and of the forecast-residual forest."""
    subspace_trees: int = Field(default=32, ge=1, le=1024)
    """Trees of the PCA-residual forest, which has two features."""
    samples: int = Field(default=256, ge=2, le=4096)
    """Rows of a tree."""
    refit_samples: int = Field(default=512, ge=128, le=100_000, multiple_of=128)
    """Most samples between two fits; before that, each fit waits until history has doubled."""
    history: int = Field(default=4000, ge=256, le=100_000)
    """Newest samples a fit may use."""


class EpisodeConfig(BaseModel):
    """How alerting samples become alerts that people read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    quiet_h: float = Field(default=12.0, gt=0, le=168)
    """An episode ends when nothing exceeded the threshold for this long."""
    confirm_samples: int = Field(default=1, ge=1, le=1000)
    """Samples in a row that must exceed the threshold before one alerts: 2 ignores what is over
    with the next sample, and alerts one sample later."""
    escalation_ratio: float = Field(default=2.0, ge=1, le=100)
    """A sample inside an episode raises another alert when its score is this many times that of
    the alert before."""
    calm_h: float = Field(default=6.0, gt=0, le=168)
    """Inside an episode, after nothing exceeded the threshold for this long, another alert needs
    `calm_ratio` times the score of the alert before, not `escalation_ratio`."""
    calm_ratio: float = Field(default=1.25, ge=1, le=100)
    duplicate_s: float = Field(default=300.0, ge=0, le=86_400)
    """An alert of the same metric and kind within this time of a delivered one is a duplicate,
    unless it is graver."""
    severity_ratios: tuple[float, float, float] = (1.25, 1.75, 2.5)
    """Score over threshold from which an alert is medium, high, critical."""

    @model_validator(mode="after")
    def _increase(self) -> Self:
        if not 1 < self.severity_ratios[0] < self.severity_ratios[1] < self.severity_ratios[2]:
            raise ValueError("severity_ratios must increase from above 1")
        return self


class BudgetConfig(BaseModel):
    """How many alert episodes people want, and how their verdicts move that."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    episodes_per_series_day: float = Field(default=0.15, gt=0, le=24)
    """False episodes a day and series that are accepted to begin with."""
    target_precision: float = Field(default=0.5, gt=0, lt=1)
    """Share of confirmed alerts at which verdicts leave the budget where it is."""
    step_ratio: float = Field(default=0.1, gt=0, lt=1)
    """A false alarm takes this share off the budget."""
    lowest: float = Field(default=0.001, gt=0)
    highest: float = Field(default=24.0, gt=0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.lowest <= self.episodes_per_series_day <= self.highest:
            raise ValueError("need lowest <= episodes_per_series_day <= highest")
        return self


class AnomalyConfig(BaseModel):
    """Everything that decides what the detector makes of the same samples."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=7, ge=0)
    """Of the forests; same seed, same scores."""
    forest: ForestConfig = ForestConfig()
    episodes: EpisodeConfig = EpisodeConfig()
    budget: BudgetConfig = BudgetConfig()
    tail_history: int = Field(default=8000, ge=512, le=200_000)
    """Newest scores that a tail is fitted on."""
    extra_metrics: tuple[str, ...] = ()
    """Names of metrics beyond those of the telemetry tables and `value`."""
    least_change: dict[str, float] = {}
    """Metric to the distance from the median of the day before, in the metric's unit, below which
    a sample raises no alert however surprising: 0.1 for `cpu_ratio` ignores a jump from 1 to 5 %."""
    longest_series: int = Field(default=1_000_000, ge=1024)
    """More samples than this in one call are refused."""
