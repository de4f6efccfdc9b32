"""Trains the performance predictor for the training job: benchmark scores of VMs, cut in time."""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from pydantic import Field

from novacron.models.bandwidth.checkpoints import Checkpoints
from novacron.models.base import ServableModel
from novacron.models.metrics import Interval
from novacron.models.performance.config import PerformanceConfig
from novacron.models.performance.fit import (
    Fit,
    Prepared,
    Progress,
    prepare_fit,
    unit_names,
    unit_of,
)
from novacron.models.performance.generated import generate_scores
from novacron.models.performance.measure import (
    Measured,
    forecast_known,
    forecast_unseen,
    measure_known,
    measure_unseen,
)
from novacron.models.performance.model import PerformanceModel
from novacron.models.performance.parts import gather
from novacron.models.performance.scores_table import ScoreTable
from novacron.models.performance.sides import Sides, split_sides
from novacron.registry.card import CardMetric
from novacron.telemetry.datasets.vm import NOISE_FILE, adapt_azure_noise
from novacron.telemetry.digest import data_sha256
from ray_jobs.one_unit import OneUnitTrainer, OwnDataConfig, Reporter, generated, real
from ray_jobs.trainers import Evaluation, TrainConfig, Trained
from ray_jobs.training_data import GENERATOR, TrainingData
from ray_jobs.units import ProgressSink, UnitProgress

_SEED: Final = 5
_KNOWN: Final = "known_vms"
_UNSEEN: Final = "unseen_vms"


class PerformanceTrainConfig(OwnDataConfig):
    """What `configs/train/performance.yaml` may say."""

    fit: PerformanceConfig = PerformanceConfig()
    """The predictor's own settings."""
    test_share: float = Field(default=0.2, gt=0, lt=0.5)
    """Latest share of the time of each benchmark, size and region; the figures are from it."""
    held_out_vms: int = Field(default=1, ge=0, le=1000)
    """VMs of each size and region with at least three that training never sees: new VMs."""
    test_rows: int = Field(default=6_000, ge=100, le=10_000_000)
    """Rows that are scored of each of both."""
    generator_seed: int = Field(default=7, ge=0)
    """Of the scores that are generated where no data folder is named."""
    generator_samples: int = Field(default=240, ge=60, le=100_000)
    """Scores of each generated benchmark and VM."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PerformanceWork:
    """What a unit needs, as it travels to a worker: it reads the scores there."""

    model: str
    data: TrainingData
    config: PerformanceTrainConfig
    checkpoint_dir: Path

    def fit_unit(self, unit: str, progress: ProgressSink) -> None:
        """Fit one unit into the checkpoint folder."""

        def listen(event: Progress) -> None:
            progress(
                UnitProgress(
                    unit=unit,
                    set=GENERATOR if self.data.folder is None else "azure_noise",
                    seed=unit_of(unit, self.config.fit).seed,
                    step=event.step,
                    steps=event.steps,
                    rows=event.rows,
                    losses={} if math.isnan(event.loss) else {"validation": event.loss},
                )
            )

        self.fit(listen).run(unit)

    def fit(self, listen: Any = lambda _: None) -> Fit:
        """Return the fit on the rows for training, with what is finished."""
        return Fit(self._prepared(), checkpoints=self.checkpoints(), listen=listen)

    def checkpoints(self) -> Checkpoints:
        """Return the folder of finished units, bound to the data and the config."""
        content = [self.data.sha256, self.config.model_dump(mode="json")]
        key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        return Checkpoints(self.checkpoint_dir, key)

    def _prepared(self) -> Prepared:
        table = read_scores(self.config, self.data.folder)
        sides = sides_of(table, self.config)
        return prepare_fit(gather(table, self.config.fit, sides.early), self.config.fit)


class PerformanceTrainer(OneUnitTrainer[PerformanceTrainConfig]):
    """Learns from benchmark scores of many VMs; one unit for the trees, one for each LSTM."""

    name = "performance"
    unit = "twin"
    config_model: type[TrainConfig] = PerformanceTrainConfig
    libraries = ("lightgbm", "numpy", "scikit-learn", "torch")
    intended_use = (
        "Forecasts the next score of a benchmark on a VM, with an 80 % interval and the probability "
        "that one of the next scores falls below its level, from the VM's own scores and those of "
        "its peers."
    )
    limits = (
        "A VM without own scores is answered from its peers, one without peers from the training: "
        "the answer names that fallback.",
        "Its interval holds for benchmarks, sizes and regions like those of the training.",
        "It was trained on scores where higher is better.",
        "It does not foresee that a VM moves to another kind of host.",
    )

    def describe(self, config: PerformanceTrainConfig, folder: Path | None) -> TrainingData:
        """Describe the scores: those of Azure VMs below the folder, or generated ones.

        Raises:
            DatasetNotFoundError: The file is not there.
        """
        if folder is None:
            return generated(config.generator_seed, len(read_scores(config, None)))
        return real(
            folder,
            "real scores: azure_noise",
            sha256=data_sha256([folder / NOISE_FILE]),
            rows=len(read_scores(config, folder)),
        )

    def work(  # type: ignore[override]
        self, data: TrainingData, config: TrainConfig, checkpoint_dir: Path
    ) -> PerformanceWork:
        """Return the work."""
        return PerformanceWork(
            model=self.name,
            data=data,
            config=cast(PerformanceTrainConfig, config),
            checkpoint_dir=checkpoint_dir,
        )

    def stages(self, data: TrainingData, config: TrainConfig) -> tuple[tuple[str, ...], ...]:  # noqa: ARG002 - the protocol's
        """Return all units: none needs another."""
        return (unit_names(cast(PerformanceTrainConfig, config).fit),)

    def is_finished(self, unit: str, work: Any) -> bool:
        """Say whether a unit's result is there."""
        mine = cast(PerformanceWork, work)
        return mine.checkpoints().done(unit_of(unit, mine.config.fit)) is not None

    def assemble(self, data: TrainingData, config: TrainConfig, checkpoint_dir: Path) -> Trained:
        """Put the finished units together; blend and calibration are chosen on validation."""
        work = self.work(data, config, checkpoint_dir)
        return Trained(
            model=PerformanceModel(work.fit().core()),
            seeds=self.seeds(work.config),
            intended_use=self.intended_use,
            limits=self.limits,
        )

    def fit(
        self, config: PerformanceTrainConfig, data: TrainingData, report: Reporter
    ) -> ServableModel:
        """Fit everything in one go, without a checkpoint folder."""
        table = read_scores(config, data.folder)
        prepared = prepare_fit(
            gather(table, config.fit, sides_of(table, config).early), config.fit
        )

        def listen(event: Progress) -> None:
            report(event.step, event.steps, rows=event.rows)

        return PerformanceModel(Fit(prepared, listen=listen).core())

    def seeds(self, config: PerformanceTrainConfig) -> tuple[int, ...]:
        """Return the seeds of the networks."""
        return config.fit.seeds

    def measure(
        self, model: ServableModel, config: PerformanceTrainConfig, folder: Path | None
    ) -> Evaluation:
        """Score later rows of known VMs, and of the VMs that were held out."""
        core = cast(PerformanceModel, model).core
        table = read_scores(config, folder)
        sides = sides_of(table, config)
        table = table.renumbered(core.names)
        known = forecast_known(core, table, (sides.early, sides.known), config.test_rows, _SEED)
        found = [(_KNOWN, one) for one in measure_known(known, _SEED)]
        if sides.unseen.any():
            unseen = forecast_unseen(
                core, table, (sides.early, sides.unseen), config.test_rows // 2, _SEED
            )
            found += [(_UNSEEN, one) for one in measure_unseen(unseen, _SEED)]
        return Evaluation(metrics=tuple(_card_metric(group, one) for group, one in found))


def read_scores(config: PerformanceTrainConfig, folder: Path | None) -> ScoreTable:
    """Read the scores below a folder, or generate them."""
    if folder is None:
        frame = generate_scores(config.generator_seed, samples=config.generator_samples)
    else:
        frame = adapt_azure_noise(folder).table.to_pandas()
    return ScoreTable.from_frame(frame)


def sides_of(table: ScoreTable, config: PerformanceTrainConfig) -> Sides:
    """Return what training may see and what the figures are from."""
    return split_sides(
        table,
        held_out_vms=config.held_out_vms,
        test_share=config.test_share,
        purge_samples=config.fit.purge_samples,
    )


def _card_metric(group: str, one: Measured) -> CardMetric:
    found: Interval = one.value
    return CardMetric(
        name=one.name, set=group, value=found.value, lo=min(found.lo, found.value),
        hi=max(found.hi, found.value), n=found.n, baseline=one.baseline,
    )  # fmt: skip


TRAINER: Final = PerformanceTrainer()
