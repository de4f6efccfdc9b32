"""Trains the anomaly detector for the training job: counts what thresholds raise on normal series."""

from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from novacron.models.anomaly.budget import AlertCurve
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
from ray_jobs.one_unit import OneUnitTrainer, OwnDataConfig, Reporter, generated, real
from ray_jobs.trainers import Evaluation, Picture, TrainConfig
from ray_jobs.training_data import TrainingData

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEST_SET: Final = "injections into generated nodes of an unseen seed"


class AnomalyTrainConfig(OwnDataConfig):
    """What `configs/train/anomaly.yaml` may say."""

    fit: FitConfig = FitConfig()
    """What is generated, and the detector's own settings."""


class AnomalyTrainer(OneUnitTrainer[AnomalyTrainConfig]):
    """Learns from generated nodes, or from node telemetry in a folder named by `--data`."""

    name = "anomaly"
    unit = "curve"
    config_model: type[TrainConfig] = AnomalyTrainConfig
    libraries = ("numpy", "scipy")
    intended_use = (
        "Tells which samples of a metric are unusual after that metric's own past, groups "
        "them into episodes, and says what they look like and what to do first."
    )
    limits = (
        "The first 256 samples of a series are answered by a fallback that reads less.",
        "What happens every day at the same time is normal, also when it is harmful.",
        "An anomaly that lasts for days becomes the new normal.",
        "Its threshold keeps the alert budget on series like those it was fitted on.",
    )
    # The public traces are no node telemetry of one fleet; a folder of it must be named.
    reads_data_dir = False

    def describe(self, config: AnomalyTrainConfig, folder: Path | None) -> TrainingData:
        """Describe the series: generated, or the node telemetry in a folder."""
        fit = config.fit
        if folder is None:
            return generated(fit.seed, round(fit.days * 86_400 / fit.step_s) * fit.nodes)
        rows = sum(len(frame) for frame in stored_nodes(folder).values())
        return real(folder, "node telemetry", sha256=data_sha256([folder]), rows=rows)

    def fit(
        self, config: AnomalyTrainConfig, data: TrainingData, report: Reporter
    ) -> ServableModel:
        """Count the episodes that each threshold raises on normal series."""
        fit = config.fit
        normal: dict[str, Data]
        if data.folder is not None:
            normal = dict(stored_nodes(data.folder))
        else:
            series = generated_normal(fit.seed, days=fit.days, nodes=fit.nodes, step_s=fit.step_s)
            normal = with_times(series, fit.step_s)
        detector = AnomalyDetector(fit.detector).fit(normal)
        report(1, 1, rows=sum(len(one["ts"]) for one in normal.values()))
        return AnomalyModel(detector)

    def seeds(self, config: AnomalyTrainConfig) -> tuple[int, ...]:
        """Return the seed of the generated nodes and that of the forests."""
        return (config.fit.seed, config.fit.detector.seed)

    def measure(
        self,
        model: ServableModel,
        config: AnomalyTrainConfig,
        folder: Path | None,  # noqa: ARG002 - stored nodes carry no labels
    ) -> Evaluation:
        """Score it on anomalies injected into generated nodes of a seed it never saw."""
        fit = config.fit
        unseen = generated_normal(fit.seed + 1, days=fit.days, nodes=fit.nodes, step_s=fit.step_s)
        scores = score_injected(
            cast(AnomalyModel, model).detector, unseen, step_s=fit.step_s, seed=fit.seed
        )
        metrics = tuple(
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
        )
        curve = cast(AnomalyModel, model).detector.budget.curve
        picture = Picture(
            name="curve",
            title=f"Episodes a series and day at each threshold, counted on {curve.source}",
            draw=lambda: _draw_curve(curve),
        )
        return Evaluation(metrics=metrics, pictures=(picture,))


def _draw_curve(curve: AlertCurve) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(curve.thresholds, curve.episodes_per_series_day, marker="o", markersize=3)
    axes.set_yscale("log")
    axes.set_xlabel("threshold, -log10 p")
    axes.set_ylabel("episodes per series-day")
    return figure


TRAINER: Final = AnomalyTrainer()
