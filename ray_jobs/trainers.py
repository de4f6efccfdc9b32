"""Which models can be trained, and what a trainer of one must offer to the training job."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from novacron.errors import ModelNotFoundError
from novacron.models.base import ServableModel
from novacron.registry.card import CardMetric
from ray_jobs.training_data import DataConfig, TrainingData, load_training_data
from ray_jobs.units import UnitWork

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# model name -> module with a variable `TRAINER`; imported when that model is trained.
TRAINERS: Final[dict[str, str]] = {
    "anomaly": "ray_jobs.anomaly_trainer",
    "bandwidth": "ray_jobs.bandwidth_trainer",
    "capacity": "ray_jobs.capacity_trainer",
    "patterns": "ray_jobs.patterns_trainer",
    "scaling": "ray_jobs.scaling_trainer",
    "placement": "ray_jobs.placement_trainer",
    "performance": "ray_jobs.performance_trainer",
}


class TrainConfig(BaseModel):
    """A training config; each trainer adds a `fit` block of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: DataConfig
    parallel_units: int = Field(default=2, ge=1, le=4096)
    """Units that run at once on a cluster, one CPU each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """A fitted model and what its card says besides figures."""

    model: ServableModel
    seeds: tuple[int, ...]
    intended_use: str
    limits: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """One picture of the report, drawn when the report is written."""

    name: str
    """Stem of the file: lower case, digits and underscores."""
    title: str
    """What is seen, with its units."""
    draw: Callable[[], "Figure"]
    """Makes the matplotlib figure; make it with `matplotlib.figure.Figure`, never `pyplot`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """What was measured of a model on held-out data."""

    metrics: tuple[CardMetric, ...]
    """Each with its interval and its baseline."""
    series: Mapping[str, Any] = field(default_factory=dict)
    """JSON-able series that the report draws, see `ray_jobs.report.write_report`."""
    pictures: tuple[Picture, ...] = ()
    """What else the report shows."""


class Trainer(Protocol):
    """How one kind of model is trained from traces."""

    config_model: type[TrainConfig]
    """What its YAML file may say."""
    libraries: tuple[str, ...]
    """Packages whose versions the card names."""

    def work(self, data: TrainingData, config: TrainConfig, checkpoint_dir: Path) -> UnitWork:
        """Return the work of which each unit is one piece."""
        ...

    def stages(self, data: TrainingData, config: TrainConfig) -> tuple[tuple[str, ...], ...]:
        """Return the units in stages: independent within one, built on the stages before."""
        ...

    def is_finished(self, unit: str, work: UnitWork) -> bool:
        """Say whether the folder holds the result of a unit."""
        ...

    def assemble(self, data: TrainingData, config: TrainConfig, checkpoint_dir: Path) -> Trained:
        """Put the finished units together."""
        ...

    def evaluate(
        self, model: ServableModel, data: TrainingData, config: TrainConfig
    ) -> Evaluation:
        """Measure a model, beside its baselines, on traces that training never sees."""
        ...


@runtime_checkable
class BringsData(Protocol):
    """A trainer whose model does not learn from traces."""

    def load_data(self, config: TrainConfig, named: str | None) -> TrainingData:
        """Load or describe the data; `named` is what the request says of them."""
        ...


def data_for(trainer: Trainer, config: TrainConfig, named: str | None) -> TrainingData:
    """Return what a trainer learns from: its own data, or the traces that its config names.

    Raises:
        NovacronError: See `load_training_data` and the trainer.
    """
    if isinstance(trainer, BringsData):
        return trainer.load_data(config, named)
    return load_training_data(config.data, named)


def trainer_of(model: str) -> Trainer:
    """Return the trainer of a model.

    Raises:
        ModelNotFoundError: Nothing of that name can be trained.
    """
    if model not in TRAINERS:
        raise ModelNotFoundError(
            f"There is no trainer for {model!r}.", remedy=f"Known: {', '.join(TRAINERS)}."
        )
    trainer: Trainer = importlib.import_module(TRAINERS[model]).TRAINER
    return trainer
