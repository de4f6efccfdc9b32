"""Every setting of the bandwidth forecaster, checked at the door."""

from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from novacron.features.spec import BANDWIDTH, FeatureSpec

SERVED_LEVELS: Final = (0.1, 0.5, 0.9)
"""Quantile levels of every answer: the 80 % interval and the median."""

POOLED: Final = "pooled"
"""The class that answers for paths of an unknown class; trained on all classes together."""

Level = Annotated[float, Field(gt=0, lt=1)]

FEATURES: Final = BANDWIDTH


class LstmConfig(BaseModel):
    """The recurrent member: one network pooled over all classes, then tuned on each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(default=32, ge=2, le=512)
    """Newest samples read one by one; older ones reach it through the window features."""
    hidden: int = Field(default=40, ge=2, le=256)
    """Width of the recurrent layer."""
    head: int = Field(default=64, ge=2, le=512)
    """Width of the layer that joins the recurrent state and the window features."""
    dropout_ratio: float = Field(default=0.1, ge=0, lt=1)
    """Share of the joined inputs hidden at random in training."""
    epochs: int = Field(default=8, ge=1, le=200)
    """Passes over the pooled windows."""
    tuning_epochs: int = Field(default=4, ge=0, le=200)
    """Passes over the windows of one class after that; 0 serves the pooled network."""
    patience: int = Field(default=3, ge=1, le=200)
    """Epochs without a better validation loss before it stops; the best epoch is kept."""
    batch_rows: int = Field(default=256, ge=1, le=65_536)
    learning_rate: float = Field(default=2e-3, gt=0, le=1)
    tuning_rate: float = Field(default=5e-4, gt=0, le=1)
    weight_decay: float = Field(default=1e-4, ge=0, le=1)
    rows_per_class: int = Field(default=20_000, ge=1, le=1_000_000)
    """Most windows of one class in the pooled training set, drawn at random."""
    tuning_rows: int = Field(default=20_000, ge=1, le=1_000_000)
    """Most windows in the training set of one class."""
    levels: tuple[Level, ...] = (0.05, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 0.95)
    """Quantile levels it is trained on, increasing; the served ones are among them."""

    @model_validator(mode="after")
    def _serves_the_levels(self) -> Self:
        if tuple(sorted(set(self.levels))) != self.levels:
            raise ValueError("levels must increase")
        if not set(SERVED_LEVELS) <= set(self.levels):
            raise ValueError(f"levels must contain the served ones {SERVED_LEVELS}")
        return self


class TwinConfig(BaseModel):
    """The gradient-boosted member: grown on all classes together, then on each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rounds: int = Field(default=300, ge=1, le=10_000)
    """Most boosting rounds on all classes together."""
    tuning_rounds: int = Field(default=150, ge=1, le=10_000)
    """Most rounds added on one class."""
    patience: int = Field(default=30, ge=1, le=10_000)
    """Rounds without a better validation loss before it stops; the best round is kept."""
    leaves: int = Field(default=15, ge=2, le=1024)
    learning_rate: float = Field(default=0.07, gt=0, le=1)
    tuning_rate: float = Field(default=0.05, gt=0, le=1)
    min_rows_per_leaf: int = Field(default=100, ge=1, le=100_000)
    feature_share: float = Field(default=0.4, gt=0, le=1)
    """Share of the features each tree may look at."""
    row_share: float = Field(default=0.7, gt=0, le=1)
    """Share of the rows each tree is grown on."""
    l2: float = Field(default=1.0, ge=0, le=1e6)
    bins: int = Field(default=63, ge=3, le=255)
    examples: int = Field(default=160_000, ge=1, le=10_000_000)
    """Most examples (a window and a step ahead) in one training set, drawn at random."""


class ConformalConfig(BaseModel):
    """Calibration of the interval."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gamma: float = Field(default=0.004, ge=0, le=1)
    """Step of the online update of the miss rate (Gibbs and Candes 2021, eq. 2)."""


class BandwidthConfig(BaseModel):
    """Everything that decides what `fit_bandwidth` makes of the same traces."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: FeatureSpec = FEATURES
    """Inputs of both members; `bandwidth_mbps` must be among channels and relative ones."""
    horizon: int = Field(default=5, ge=1, le=288)
    """Steps ahead: 1..horizon are all answered."""
    seeds: tuple[int, ...] = Field(default=(1, 2, 3), min_length=1)
    """One LSTM per seed and class; the served one is their mean."""
    lstm: LstmConfig = LstmConfig()
    twin: TwinConfig = TwinConfig()
    conformal: ConformalConfig = ConformalConfig()
    validation_share: float = Field(default=0.2, gt=0, lt=0.9)
    """Share of the traces of a class (or of time, where there are few) kept for every choice:
    rounds, epochs, blend weights, half-life, calibration."""
    level_blur: float = Field(default=0.2, ge=0, le=5)
    """Standard deviation of the noise on the logarithm of the level in training: members lean less
    on levels they have seen, which a new tariff or path would not have."""
    refit: bool = True
    """Train the members again on training and validation part together, as long as was chosen."""
    fewest_groups: int = Field(default=3, ge=2, le=1000)
    """Classes with fewer recordings than this are split in time instead of by recording."""
    cold_start_samples: int = Field(default=8, ge=1, le=4096)
    """Histories shorter than this are cold: answered by the fallback where that measured better."""
    scale_weight: float = Field(default=0.5, ge=0, le=1)
    """Power of the past level that weights a row's loss; 1 makes it the loss in Mbit/s. The level
    is known when forecasting. (A weight by the target would bias every quantile.)"""

    @model_validator(mode="after")
    def _reads_bandwidth(self) -> Self:
        if "bandwidth_mbps" not in self.features.relative:
            raise ValueError("features.relative must contain bandwidth_mbps")
        if self.features.calendar:
            raise ValueError("features.calendar: requests carry no time")
        if self.lstm.steps > self.features.history:
            raise ValueError("lstm.steps exceeds features.history")
        return self


def served_places(config: BandwidthConfig) -> tuple[int, ...]:
    """Return where the served levels stand among the levels of the LSTM."""
    return tuple(config.lstm.levels.index(level) for level in SERVED_LEVELS)
