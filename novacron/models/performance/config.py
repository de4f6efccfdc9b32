"""Every setting of the performance predictor, checked at the door."""

from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

SERVED_LEVELS: Final = (0.1, 0.5, 0.9)
"""Quantile levels of every answer: the 80 % interval and the median."""

COVERAGE: Final = 0.8
"""Nominal share of actual values inside the served interval."""

COUNT_EDGES: Final = (1, 2, 4, 8, 16, 32)
"""Own samples from which the next group of histories begins: 0, 1, 2-3, 4-7, ..., 32 and more."""

Level = Annotated[float, Field(gt=0, lt=1)]


class LstmConfig(BaseModel):
    """The recurrent member: a bidirectional LSTM with additive attention over its steps."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(default=16, ge=2, le=512)
    """Newest samples read one by one."""
    layers: int = Field(default=3, ge=1, le=6)
    hidden: int = Field(default=128, ge=2, le=512)
    """Width of each direction of each layer."""
    attention: int = Field(default=128, ge=2, le=512)
    """Width of the layer that scores the steps."""
    head: int = Field(default=64, ge=2, le=512)
    """Width of the layer that joins what was attended to and the other features."""
    dropout_ratio: float = Field(default=0.2, ge=0, lt=1)
    epochs: int = Field(default=4, ge=1, le=200)
    patience: int = Field(default=2, ge=1, le=200)
    """Epochs without a better validation loss before it stops; the best epoch is kept."""
    batch_rows: int = Field(default=128, ge=1, le=65_536)
    learning_rate: float = Field(default=1e-3, gt=0, le=1)
    weight_decay: float = Field(default=1e-4, ge=0, le=1)
    rows: int = Field(default=8_000, ge=1, le=10_000_000)
    """Most rows of the training set, drawn evenly over the groups."""
    validation_rows: int = Field(default=3_000, ge=1, le=10_000_000)
    """Most rows that choose the epoch."""
    levels: tuple[Level, ...] = (0.1, 0.25, 0.5, 0.75, 0.9)
    """Quantile levels it is trained on, increasing; the served ones are among them."""

    @model_validator(mode="after")
    def _serves_the_levels(self) -> Self:
        if tuple(sorted(set(self.levels))) != self.levels:
            raise ValueError("levels must increase")
        if not set(SERVED_LEVELS) <= set(self.levels):
            raise ValueError(f"levels must contain the served ones {SERVED_LEVELS}")
        return self


class TwinConfig(BaseModel):
    """The gradient-boosted member, and the trees of the degradation probability."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rounds: int = Field(default=300, ge=1, le=10_000)
    patience: int = Field(default=30, ge=1, le=10_000)
    """Rounds without a better validation loss before it stops; the best round is kept."""
    leaves: int = Field(default=15, ge=2, le=1024)
    learning_rate: float = Field(default=0.06, gt=0, le=1)
    min_rows_per_leaf: int = Field(default=80, ge=1, le=100_000)
    feature_share: float = Field(default=0.5, gt=0, le=1)
    """Share of the features each tree may look at."""
    row_share: float = Field(default=0.7, gt=0, le=1)
    l2: float = Field(default=1.0, ge=0, le=1e6)
    bins: int = Field(default=63, ge=3, le=255)
    rows: int = Field(default=40_000, ge=1, le=10_000_000)
    """Most rows of the training set, drawn evenly over the groups."""


class DegradationConfig(BaseModel):
    """What counts as worse, and how far ahead it is looked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    drop_ratio: float = Field(default=0.05, gt=0, lt=10)
    """A value is worse if it is beyond its level by more than this share of the level."""
    worse: Literal["lower", "higher"] = "lower"
    """Scores and throughputs degrade downwards, latencies upwards."""
    horizon_samples: int = Field(default=5, ge=1, le=1000)
    """Samples ahead among which one worse value is enough."""


class PerformanceConfig(BaseModel):
    """Everything that decides what a fit makes of the same scores."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seeds: tuple[int, ...] = Field(default=(1,), min_length=1)
    """One LSTM per seed; the served one is their mean."""
    lstm: LstmConfig = LstmConfig()
    twin: TwinConfig = TwinConfig()
    degradation: DegradationConfig = DegradationConfig()
    history: int = Field(default=64, ge=2, le=4096)
    """Newest own samples read."""
    peers: int = Field(default=256, ge=1, le=8192)
    """Newest samples read of all other VMs of the same benchmark, size and region."""
    validation_share: float = Field(default=0.2, gt=0, lt=0.9)
    """Latest share of the time of each benchmark, size and region, kept for every choice."""
    purge_samples: int = Field(default=64, ge=0, le=4096)
    """Samples of each series dropped on the far side of a cut, so that no input spans it."""
    validation_rows: int = Field(default=16_000, ge=1, le=10_000_000)
    short_share: float = Field(default=0.5, ge=0, le=1)
    """Share of the training rows whose own history is cut short, as that of a new VM."""
    short_counts: tuple[int, ...] = (0, 0, 1, 2, 3, 5, 8, 12, 20)
    """Own samples that a shortened history keeps, drawn from these."""
    fleet_sharpness: float = Field(default=30.0, ge=0, le=1e4)
    """How strongly the weights of the fleet's averages follow their loss; 0 weighs all the same."""
    clip_spreads: float = Field(default=8.0, gt=0, le=1e6)
    """Residuals beyond so many spreads count as that many in training: single bursts."""
    spread_weight: float = Field(default=0.5, ge=0, le=1)
    """Power of the past relative spread that weights a row's loss; 1 makes it the relative error.
    The spread is known when forecasting. (A weight by the target would bias every quantile.)"""

    @model_validator(mode="after")
    def _steps_fit(self) -> Self:
        if self.lstm.steps > self.history:
            raise ValueError("lstm.steps exceeds history")
        return self


def served_places(config: LstmConfig) -> tuple[int, ...]:
    """Return where the served levels stand among the levels of the LSTM."""
    return tuple(config.levels.index(level) for level in SERVED_LEVELS)
