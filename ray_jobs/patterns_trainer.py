"""Trains the workload pattern recogniser for the training job: windows are generated, not read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, cast

import numpy as np

from novacron.errors import ConfigError
from novacron.models.base import ServableModel
from novacron.models.patterns.config import PatternsConfig
from novacron.models.patterns.definitions import NAMES
from novacron.models.patterns.examples import draw_examples
from novacron.models.patterns.fit import STAGES, fit_patterns, score_examples
from novacron.models.patterns.model import PatternModel
from novacron.registry.card import CardMetric
from ray_jobs.one_unit import OneUnitTrainer, OwnDataConfig, Reporter, generated
from ray_jobs.trainers import Evaluation, TrainConfig
from ray_jobs.training_data import GENERATOR, TrainingData

TEST_SET: Final = "generated unseen seed"


class PatternsTrainConfig(OwnDataConfig):
    """What `configs/train/patterns.yaml` may say."""

    fit: PatternsConfig = PatternsConfig()
    """The recogniser's own settings."""


class PatternsTrainer(OneUnitTrainer[PatternsTrainConfig]):
    """Learns from windows drawn by seed, since real ones have no labels."""

    name = "patterns"
    unit = "forest"
    config_model: type[TrainConfig] = PatternsTrainConfig
    libraries = ("numpy", "scikit-learn", "scipy")
    intended_use = (
        "Tells the type of a window of resource usage, its period where it has one, and "
        "how sure that is, with the evidence behind the answer."
    )
    limits = (
        "It names the one process that dominates; a mixture gets the strongest part.",
        "A period needs at least three repetitions and four samples each.",
        "Confidence is calibrated on generated windows; other shapes and heavier noise "
        "than theirs make it too sure.",
        "It sees usage only: who waits for the work, or how urgent it is, is not told.",
    )
    reads_data_dir = False

    def describe(self, config: PatternsTrainConfig, folder: Path | None) -> TrainingData:
        """Describe the generated windows.

        Raises:
            ConfigError: A folder is named: windows of real usage have no labels to learn from.
        """
        if folder is not None:
            raise ConfigError(
                field="data",
                got=str(folder),
                expected=f"nothing, or {GENERATOR!r}",
                remedy="Patterns are learned from generated windows; benchmarks/patterns.py "
                "measures real ones.",
            )
        fit = config.fit
        return generated(fit.seed, len(NAMES) * (fit.train_each + fit.validation_each))

    def fit(
        self,
        config: PatternsTrainConfig,
        data: TrainingData,  # noqa: ARG002 - the windows come from the seed
        report: Reporter,
    ) -> ServableModel:
        """Grow the forest and calibrate it."""
        rows = len(NAMES) * config.fit.train_each

        def listen(stage: str, losses: Mapping[str, float]) -> None:
            step = STAGES.index(stage) + 1
            report(step, len(STAGES), rows=rows if step == 1 else 0, losses=losses)

        return fit_patterns(config.fit, listen)

    def seeds(self, config: PatternsTrainConfig) -> tuple[int, ...]:
        """Return the seed of the windows."""
        return (config.fit.seed,)

    def measure(
        self,
        model: ServableModel,
        config: PatternsTrainConfig,
        folder: Path | None,  # noqa: ARG002 - the windows come from the seed
    ) -> Evaluation:
        """Score it on windows of a seed that neither training nor calibration drew."""
        fit = config.fit
        unseen = draw_examples(fit.validation_each, fit.seed_of("test"))
        scores = score_examples(cast(PatternModel, model), unseen, np.random.default_rng(fit.seed))
        metrics = tuple(
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
        )
        return Evaluation(metrics=metrics)


TRAINER: Final = PatternsTrainer()
