"""Base of the trainers whose model brings its own data and is fitted as one unit.

Such a trainer says what it learns from (`describe`), how (`fit`), and what was measured
(`measure`); splitting into units, resuming, and leaving a whole bundle or none are done here.
"""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Generic, Protocol, Self, TypeVar, cast

from pydantic import model_validator

from novacron.models.base import ServableModel
from novacron.models.bundles import MANIFEST, load_bundle
from ray_jobs.trainers import Evaluation, TrainConfig, Trained
from ray_jobs.training_data import GENERATOR, DataConfig, TrainingData, data_folder
from ray_jobs.units import ProgressSink, UnitProgress

_NO_TRACES: Final = DataConfig(sets=(GENERATOR,))


class OwnDataConfig(TrainConfig):
    """A training config without traces; each trainer adds a `fit` block of its own."""

    data: DataConfig = _NO_TRACES
    """Stays as it is: the trainer knows its sets, and `--data` says where they are."""

    @model_validator(mode="after")
    def _needs_no_traces(self) -> Self:
        if self.data != _NO_TRACES:
            raise ValueError("this model learns from data of its own: leave `data` out")
        return self


Config = TypeVar("Config", bound=OwnDataConfig)


class Reporter(Protocol):
    """Tells how far a fit is."""

    def __call__(
        self, step: int, steps: int, *, rows: int = 0, losses: Mapping[str, float] | None = None
    ) -> None:
        """Report `step` of `steps`; `rows` since the last report, last loss by split."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class OneUnitWork:
    """The one unit of a training, as it travels to a worker."""

    model: str
    trainer: "OneUnitTrainer[Any]"
    data: TrainingData
    config: OwnDataConfig
    folder: Path

    def fit_unit(self, unit: str, progress: ProgressSink) -> None:
        """Fit the model and leave its bundle in the folder, whole or not at all."""
        seeds = self.trainer.seeds(self.config)

        def report(
            step: int, steps: int, *, rows: int = 0, losses: Mapping[str, float] | None = None
        ) -> None:
            progress(
                UnitProgress(
                    unit=unit,
                    set=GENERATOR if self.data.folder is None else "real",
                    seed=seeds[0],
                    step=step,
                    steps=steps,
                    rows=rows,
                    losses=losses or {},
                )
            )

        draft = self.folder.with_suffix(".tmp")
        shutil.rmtree(draft, ignore_errors=True)
        self.trainer.fit(self.config, self.data, report).save(draft)
        shutil.rmtree(self.folder, ignore_errors=True)
        draft.replace(self.folder)


class OneUnitTrainer(ABC, Generic[Config]):
    """Implements `ray_jobs.trainers.Trainer` and `BringsData` around four questions.

    Instances hold nothing: they travel to workers with the work.
    """

    name: ClassVar[str]
    """Of the model."""
    unit: ClassVar[str]
    """Of its one unit, in the progress files."""
    config_model: type[TrainConfig]
    libraries: tuple[str, ...]
    intended_use: ClassVar[str]
    limits: ClassVar[tuple[str, ...]]
    reads_data_dir: ClassVar[bool] = True
    """Whether `$NOVACRON_DATA_DIR` is read where the request names no data."""

    @abstractmethod
    def describe(self, config: Config, folder: Path | None) -> TrainingData:
        """Say what is learned from: real data below `folder`, or generated where that is None.

        `generated` and `real` build the answer.

        Raises:
            NovacronError: The folder does not hold what is needed.
        """

    @abstractmethod
    def fit(self, config: Config, data: TrainingData, report: Reporter) -> ServableModel:
        """Fit on the data described; runs on a worker and reads `data.folder` there."""

    @abstractmethod
    def seeds(self, config: Config) -> tuple[int, ...]:
        """Return the seeds that the fit uses, the main one first."""

    @abstractmethod
    def measure(self, model: ServableModel, config: Config, folder: Path | None) -> Evaluation:
        """Measure a model, beside its baselines, on data that `fit` never sees."""

    def load_data(self, config: TrainConfig, named: str | None) -> TrainingData:
        """Describe the data that the request means; see `data_folder`."""
        unnamed = named is None and not self.reads_data_dir
        folder = None if unnamed else data_folder(named)
        return self.describe(cast(Config, config), folder)

    def work(self, data: TrainingData, config: TrainConfig, checkpoint_dir: Path) -> OneUnitWork:
        """Return the work."""
        return OneUnitWork(
            model=self.name,
            trainer=self,
            data=data,
            config=cast(OwnDataConfig, config),
            folder=checkpoint_dir / self.unit,
        )

    def stages(self, data: TrainingData, config: TrainConfig) -> tuple[tuple[str, ...], ...]:  # noqa: ARG002 - the protocol's
        """Return the one unit."""
        return ((self.unit,),)

    def is_finished(self, unit: str, work: Any) -> bool:  # noqa: ARG002 - the protocol's
        """Say whether the fitted model is there."""
        return (cast(OneUnitWork, work).folder / MANIFEST).exists()

    def assemble(self, data: TrainingData, config: TrainConfig, checkpoint_dir: Path) -> Trained:  # noqa: ARG002 - the protocol's
        """Read the model back."""
        return Trained(
            model=load_bundle(checkpoint_dir / self.unit),
            seeds=self.seeds(cast(Config, config)),
            intended_use=self.intended_use,
            limits=self.limits,
        )

    def evaluate(
        self, model: ServableModel, data: TrainingData, config: TrainConfig
    ) -> Evaluation:
        """Measure the model; see `measure`."""
        return self.measure(model, cast(Config, config), data.folder)


def generated(seed: int, rows: int) -> TrainingData:
    """Describe data that a trainer generates from a seed."""
    return TrainingData(
        traces_by_class={},
        source=f"generator seed {seed}",
        sha256=f"generated:{seed}",
        other_rows=rows,
    )


def real(folder: Path, what: str, *, sha256: str, rows: int) -> TrainingData:
    """Describe real data below a folder.

    Args:
        folder: Where the trainer reads.
        what: Names the sets in words, for the card, without the folder.
        sha256: Digest of every file used, see `novacron.telemetry.digest.data_sha256`.
        rows: Samples in all.
    """
    return TrainingData(
        traces_by_class={}, source=what, sha256=sha256, other_rows=rows, folder=folder
    )
