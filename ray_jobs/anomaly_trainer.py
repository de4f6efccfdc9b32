"""Trains the anomaly detector for the training job: counts what thresholds raise on normal series."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, cast

from pydantic import model_validator

from novacron.errors import ConfigError
from novacron.models.anomaly.bundle import load
from novacron.models.anomaly.bundle_files import MANIFEST
from novacron.models.anomaly.detector import AnomalyDetector
from novacron.models.anomaly.inputs import Data
from novacron.models.anomaly.model import AnomalyModel
from novacron.models.anomaly.training import (
    FitConfig,
    generated_normal,
    score_injected,
    stored_nodes,
    with_times,
)
from novacron.models.base import ServableModel
from novacron.registry.card import CardMetric
from novacron.telemetry.digest import data_sha256
from ray_jobs.trainers import Evaluation, TrainConfig, Trained
from ray_jobs.training_data import GENERATOR, DataConfig, TrainingData
from ray_jobs.units import ProgressSink, UnitProgress

UNIT: Final = "curve"
TEST_SET: Final = "injections into generated nodes of an unseen seed"
_NODES: Final = "node telemetry in "
_NO_TRACES: Final = DataConfig(sets=(GENERATOR,))


class AnomalyTrainConfig(TrainConfig):
    """What `configs/train/anomaly.yaml` may say."""

    data: DataConfig = _NO_TRACES
    """Stays as it is: name a folder of node telemetry by `--data` instead."""
    fit: FitConfig = FitConfig()
    """What is generated, and the detector's own settings."""

    @model_validator(mode="after")
    def _needs_no_traces(self) -> Self:
        if self.data != _NO_TRACES:
            raise ValueError("the detector learns from node telemetry: leave `data` out")
        return self


@dataclass(frozen=True, kw_only=True, slots=True)
class AnomalyWork:
    """The one unit of a training, as it travels to a worker."""

    model: str
    fit: FitConfig
    nodes_dir: Path | None
    folder: Path

    def fit_unit(self, unit: str, progress: ProgressSink) -> None:
        """Fit the detector and leave its bundle in the folder, whole or not at all."""
        normal: dict[str, Data]
        if self.nodes_dir is not None:
            normal = dict(stored_nodes(self.nodes_dir))
        else:
            fit = self.fit
            series = generated_normal(fit.seed, days=fit.days, nodes=fit.nodes, step_s=fit.step_s)
            normal = with_times(series, fit.step_s)
        detector = AnomalyDetector(self.fit.detector).fit(normal)
        draft = self.folder.with_suffix(".tmp")
        shutil.rmtree(draft, ignore_errors=True)
        detector.save(draft)
        shutil.rmtree(self.folder, ignore_errors=True)
        draft.replace(self.folder)
        rows = sum(len(data["ts"]) for data in normal.values())
        progress(
            UnitProgress(
                unit=unit,
                set=GENERATOR if self.nodes_dir is None else "nodes",
                seed=self.fit.seed,
                step=1,
                steps=1,
                rows=rows,
                losses={},
            )
        )


class AnomalyTrainer:
    """Implements `ray_jobs.trainers.Trainer` and `BringsData`."""

    config_model: type[TrainConfig] = AnomalyTrainConfig
    libraries = ("numpy", "scipy")

    def load_data(self, config: TrainConfig, named: str | None) -> TrainingData:
        """Describe the series: generated, or the node telemetry in a folder.

        Raises:
            ConfigError: `named` is neither a folder nor `generator`.
            DatasetNotFoundError: The folder has no Parquet file.
        """
        fit = _fit_of(config)
        if named in (None, GENERATOR):
            rows = round(fit.days * 86_400 / fit.step_s) * fit.nodes
            return TrainingData(
                traces_by_class={},
                source=f"generator seed {fit.seed}",
                sha256=f"generated:{fit.seed}",
                other_rows=rows,
            )
        folder = Path(str(named))
        if not folder.is_dir():
            raise ConfigError(
                field="data", got=named, expected=f"a folder of node telemetry, or {GENERATOR!r}"
            )
        nodes = stored_nodes(folder)
        return TrainingData(
            traces_by_class={},
            source=f"{_NODES}{folder.resolve()}",
            sha256=data_sha256([folder]),
            other_rows=sum(len(frame) for frame in nodes.values()),
        )

    def work(self, data: TrainingData, config: TrainConfig, checkpoint_dir: Path) -> AnomalyWork:
        """Return the work."""
        stored = data.source.startswith(_NODES)
        return AnomalyWork(
            model="anomaly",
            fit=_fit_of(config),
            nodes_dir=Path(data.source.removeprefix(_NODES)) if stored else None,
            folder=checkpoint_dir / UNIT,
        )

    def stages(self, data: TrainingData, config: TrainConfig) -> tuple[tuple[str, ...], ...]:  # noqa: ARG002 - the protocol's
        """Return the one unit."""
        return ((UNIT,),)

    def is_finished(self, unit: str, work: Any) -> bool:  # noqa: ARG002 - the protocol's
        """Say whether the fitted detector is there."""
        return (cast(AnomalyWork, work).folder / MANIFEST).exists()

    def assemble(self, data: TrainingData, config: TrainConfig, checkpoint_dir: Path) -> Trained:  # noqa: ARG002 - the protocol's
        """Read the detector back."""
        return Trained(
            model=load(checkpoint_dir / UNIT),
            seeds=(_fit_of(config).seed, _fit_of(config).detector.seed),
            intended_use=(
                "Tells which samples of a metric are unusual after that metric's own past, groups "
                "them into episodes, and says what they look like and what to do first."
            ),
            limits=(
                "The first 256 samples of a series are answered by a fallback that reads less.",
                "What happens every day at the same time is normal, also when it is harmful.",
                "An anomaly that lasts for days becomes the new normal.",
                "Its threshold keeps the alert budget on series like those it was fitted on.",
            ),
        )

    def evaluate(
        self,
        model: ServableModel,
        data: TrainingData,  # noqa: ARG002 - the protocol's
        config: TrainConfig,
    ) -> Evaluation:
        """Score it on anomalies injected into generated nodes of a seed it never saw."""
        fit = _fit_of(config)
        unseen = generated_normal(fit.seed + 1, days=fit.days, nodes=fit.nodes, step_s=fit.step_s)
        scores = score_injected(
            cast(AnomalyModel, model).detector, unseen, step_s=fit.step_s, seed=fit.seed
        )
        return Evaluation(
            metrics=tuple(
                CardMetric(
                    name=name,
                    set=TEST_SET,
                    value=one.value,
                    lo=one.lo,
                    hi=one.hi,
                    n=scores.series,
                    baseline=f"z-score {scores.zscore[name].value:.3g}",
                )
                for name, one in scores.detector.items()
            ),
            series={},
        )


def _fit_of(config: TrainConfig) -> FitConfig:
    return cast(AnomalyTrainConfig, config).fit


TRAINER: Final = AnomalyTrainer()
