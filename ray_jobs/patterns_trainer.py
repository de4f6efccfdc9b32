"""Trains the workload pattern recogniser for the training job: windows are generated, not read."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, cast

import numpy as np
from pydantic import model_validator

from novacron.errors import ConfigError
from novacron.models.base import ServableModel
from novacron.models.patterns.bundle import load
from novacron.models.patterns.config import PatternsConfig
from novacron.models.patterns.definitions import NAMES
from novacron.models.patterns.examples import draw_examples
from novacron.models.patterns.fit import STAGES, fit_patterns, score_examples
from novacron.models.patterns.model import MANIFEST, PatternModel
from novacron.registry.card import CardMetric
from ray_jobs.trainers import Evaluation, TrainConfig, Trained
from ray_jobs.training_data import GENERATOR, DataConfig, TrainingData
from ray_jobs.units import ProgressSink, UnitProgress

UNIT: Final = "forest"
TEST_SET: Final = "generated unseen seed"
_NO_TRACES: Final = DataConfig(sets=(GENERATOR,))


class PatternsTrainConfig(TrainConfig):
    """What `configs/train/patterns.yaml` may say."""

    data: DataConfig = _NO_TRACES
    """Stays as it is: the windows come from `fit.seed`, since real ones have no labels."""
    fit: PatternsConfig = PatternsConfig()
    """The recogniser's own settings."""

    @model_validator(mode="after")
    def _needs_no_traces(self) -> Self:
        if self.data != _NO_TRACES:
            raise ValueError("the windows are generated from fit.seed: leave `data` out")
        return self


@dataclass(frozen=True, kw_only=True, slots=True)
class PatternsWork:
    """The one unit of a training, as it travels to a worker."""

    model: str
    fit: PatternsConfig
    folder: Path

    def fit_unit(self, unit: str, progress: ProgressSink) -> None:
        """Fit the forest and leave its bundle in the folder, whole or not at all."""
        rows = len(NAMES) * self.fit.train_each

        def listen(stage: str, losses: Mapping[str, float]) -> None:
            step = STAGES.index(stage) + 1
            progress(
                UnitProgress(
                    unit=unit,
                    set=GENERATOR,
                    seed=self.fit.seed,
                    step=step,
                    steps=len(STAGES),
                    rows=rows if step == 1 else 0,
                    losses=losses,
                )
            )

        draft = self.folder.with_suffix(".tmp")
        shutil.rmtree(draft, ignore_errors=True)
        fit_patterns(self.fit, listen).save(draft)
        shutil.rmtree(self.folder, ignore_errors=True)
        draft.replace(self.folder)


class PatternsTrainer:
    """Implements `ray_jobs.trainers.Trainer` and `BringsData`."""

    config_model: type[TrainConfig] = PatternsTrainConfig
    libraries = ("numpy", "scikit-learn", "scipy")

    def load_data(self, config: TrainConfig, named: str | None) -> TrainingData:
        """Describe the generated windows.

        Raises:
            ConfigError: A folder is named: windows of real usage have no labels to learn from.
        """
        if named not in (None, GENERATOR):
            raise ConfigError(
                field="data",
                got=named,
                expected=f"nothing, or {GENERATOR!r}",
                remedy="Patterns are learned from generated windows; benchmarks/patterns.py "
                "measures real ones.",
            )
        fit = _fit_of(config)
        return TrainingData(
            traces_by_class={},
            source=f"generator seed {fit.seed}",
            sha256=f"generated:{fit.seed}",
            other_rows=len(NAMES) * (fit.train_each + fit.validation_each),
        )

    def work(self, data: TrainingData, config: TrainConfig, checkpoint_dir: Path) -> PatternsWork:  # noqa: ARG002 - the protocol's
        """Return the work."""
        return PatternsWork(model="patterns", fit=_fit_of(config), folder=checkpoint_dir / UNIT)

    def stages(self, data: TrainingData, config: TrainConfig) -> tuple[tuple[str, ...], ...]:  # noqa: ARG002 - the protocol's
        """Return the one unit."""
        return ((UNIT,),)

    def is_finished(self, unit: str, work: Any) -> bool:  # noqa: ARG002 - the protocol's
        """Say whether the forest is there."""
        return (cast(PatternsWork, work).folder / MANIFEST).exists()

    def assemble(self, data: TrainingData, config: TrainConfig, checkpoint_dir: Path) -> Trained:  # noqa: ARG002 - the protocol's
        """Read the forest back."""
        return Trained(
            model=load(checkpoint_dir / UNIT),
            seeds=(_fit_of(config).seed,),
            intended_use=(
                "Tells the type of a window of resource usage, its period where it has one, and "
                "how sure that is, with the evidence behind the answer."
            ),
            limits=(
                "It names the one process that dominates; a mixture gets the strongest part.",
                "A period needs at least three repetitions and four samples each.",
                "Confidence is calibrated on generated windows; other shapes and heavier noise "
                "than theirs make it too sure.",
                "It sees usage only: who waits for the work, or how urgent it is, is not told.",
            ),
        )

    def evaluate(
        self,
        model: ServableModel,
        data: TrainingData,  # noqa: ARG002 - the protocol's
        config: TrainConfig,
    ) -> Evaluation:
        """Score it on windows of a seed that neither training nor calibration drew."""
        fit = _fit_of(config)
        unseen = draw_examples(fit.validation_each, fit.seed_of("test"))
        scores = score_examples(cast(PatternModel, model), unseen, np.random.default_rng(fit.seed))
        return Evaluation(
            metrics=tuple(
                CardMetric(
                    name=score.name,
                    set=TEST_SET,
                    value=score.value.value,
                    lo=score.value.lo,
                    hi=score.value.hi,
                    n=score.value.n,
                    baseline=score.baseline,
                )
                for score in scores
            ),
            series={},
        )


def _fit_of(config: TrainConfig) -> PatternsConfig:
    return cast(PatternsTrainConfig, config).fit


TRAINER: Final = PatternsTrainer()
