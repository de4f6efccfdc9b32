"""Trains the bandwidth forecaster for the training job: its units, its split, its figures."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from novacron.errors import InvalidInputError
from novacron.models.bandwidth.checkpoints import Unit
from novacron.models.bandwidth.config import BandwidthConfig
from novacron.models.bandwidth.fit import ProgressEvent, fit_bandwidth
from novacron.models.bandwidth.model import BandwidthModel
from novacron.models.bandwidth.scores import validation_metrics
from novacron.models.bandwidth.stages import fit_unit, is_unit_finished, training_stages
from novacron.models.bandwidth.windows import cut_windows
from novacron.models.base import ServableModel
from novacron.registry.card import CardMetric
from novacron.telemetry.splits import split_by_group
from novacron.telemetry.traces import Trace
from ray_jobs.trainers import Evaluation, TrainConfig, Trained
from ray_jobs.training_data import TrainingData
from ray_jobs.units import ProgressSink, UnitProgress

_TEST_WINDOWS: Final = 20_000
_DRAWN_SAMPLES: Final = 200

TracesByClass = Mapping[str, tuple[Trace, ...]]


class BandwidthTrainConfig(TrainConfig):
    """What `configs/train/bandwidth*.yaml` may say."""

    fit: BandwidthConfig = BandwidthConfig()
    """The forecaster's own settings."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BandwidthWork:
    """What a unit needs, as it travels to a worker."""

    model: str
    traces_by_class: TracesByClass
    fit: BandwidthConfig
    checkpoint_dir: Path

    def fit_unit(self, unit: str, progress: ProgressSink) -> None:
        """Fit one unit into the checkpoint folder."""
        chosen = self.unit(unit)
        own = self.traces_by_class.get(chosen.path_class)
        classes = self.traces_by_class.values() if own is None else [own]
        rows = sum(len(trace) for traces in classes for trace in traces)

        def listen(event: ProgressEvent) -> None:
            progress(_to_progress(event, self.fit, rows))

        fit_unit(
            self.traces_by_class,
            self.fit,
            chosen,
            checkpoint_dir=self.checkpoint_dir,
            progress=listen,
        )

    def unit(self, name: str) -> Unit:
        """Return a unit by its name."""
        stages = training_stages(self.traces_by_class, self.fit)
        return next(each for stage in stages for each in stage if each.name == name)


def _to_progress(event: ProgressEvent, config: BandwidthConfig, rows: int) -> UnitProgress:
    """Bring a report of the fit to the job's form; trees have one step, networks their epochs."""
    finished = event.done > 0
    steps = 1
    if event.member == "lstm":
        is_pooled = event.path_class == "pooled"
        steps = config.lstm.epochs if is_pooled else max(config.lstm.tuning_epochs, 1)
    return UnitProgress(
        unit=event.unit,
        set=event.path_class,
        seed=event.seed,
        # A network may stop early: its end is its last step.
        step=steps if finished else min(event.epoch, steps),
        steps=steps,
        # The end of a network repeats its last epoch.
        rows=0 if finished and event.member == "lstm" else rows,
        losses={} if math.isnan(event.loss) else {"validation": event.loss},
    )


class BandwidthTrainer:
    """Implements `ray_jobs.trainers.Trainer`."""

    config_model: type[TrainConfig] = BandwidthTrainConfig
    libraries = ("lightgbm", "numpy", "scikit-learn", "torch")

    def work(self, data: TrainingData, config: TrainConfig, checkpoint_dir: Path) -> BandwidthWork:
        """Return the work; it holds the traces for training only."""
        train, _ = split(data.traces_by_class, config.data.test_share)
        return BandwidthWork(
            model="bandwidth",
            traces_by_class=train,
            fit=_fit_of(config),
            checkpoint_dir=checkpoint_dir,
        )

    def stages(self, data: TrainingData, config: TrainConfig) -> tuple[tuple[str, ...], ...]:
        """Return the pooled members first, then those of each class, once more for the final fit."""
        stages = training_stages(data.traces_by_class, _fit_of(config))
        return tuple(tuple(unit.name for unit in stage) for stage in stages)

    def is_finished(self, unit: str, work: Any) -> bool:
        """Say whether a unit's result is there."""
        mine = cast(BandwidthWork, work)
        return is_unit_finished(
            mine.traces_by_class, mine.fit, mine.unit(unit), mine.checkpoint_dir
        )

    def assemble(self, data: TrainingData, config: TrainConfig, checkpoint_dir: Path) -> Trained:
        """Put the finished units together; blend and calibration are chosen on validation."""
        train, _ = split(data.traces_by_class, config.data.test_share)
        fitted = fit_bandwidth(train, _fit_of(config), checkpoint_dir=checkpoint_dir)
        return Trained(
            model=fitted.model,
            seeds=_fit_of(config).seeds,
            intended_use=(
                "Forecasts the bandwidth of a network path for the next samples, with an 80 % "
                "interval, from its latest samples."
            ),
            limits=(
                "Steps are samples: it was trained at the steps of its data and knows no clock.",
                "Paths of a class it was not trained on are answered by the pooled model.",
                "It does not foresee outages; after one it needs a few samples to recover.",
            ),
        )

    def evaluate(
        self, model: ServableModel, data: TrainingData, config: TrainConfig
    ) -> Evaluation:
        """Score the blend and its members on held-out recordings, class by class."""
        fitted = cast(BandwidthModel, model)
        _, test = split(data.traces_by_class, config.data.test_share)
        metrics: list[CardMetric] = []
        for name, traces in test.items():
            part = fitted.classes.get(name)
            if part is None:
                raise InvalidInputError(
                    field="model",
                    got=f"classes {', '.join(fitted.classes)}",
                    expected=f"one trained on {name}",
                )
            windows = cut_windows(
                traces, fitted.config.features, fitted.config.horizon, most=_TEST_WINDOWS
            )
            metrics += [
                _card_metric(found)
                for found in validation_metrics(name, windows, part, fitted.config)
            ]
        first = next(iter(test.values()))[0]
        return Evaluation(metrics=tuple(metrics), series={"forecast": _series(fitted, first)})


def split(
    traces_by_class: TracesByClass, test_share: float
) -> tuple[TracesByClass, TracesByClass]:
    """Hold back a share of the recordings of each class: (for training, for the figures)."""
    parts = {
        name: split_by_group(traces, validation_share=0.2, test_share=test_share, order="hashed")
        for name, traces in traces_by_class.items()
    }
    # The fit keeps a validation part of its own.
    train = {name: part.train + part.validation for name, part in parts.items()}
    return train, {name: part.test for name, part in parts.items()}


def _card_metric(found: Any) -> CardMetric:
    # The blend is what is served; its members keep their names.
    return CardMetric(
        name=found.name.removesuffix("/blend"),
        set=found.set,
        value=found.value,
        lo=found.lo,
        hi=found.hi,
        n=found.n,
        baseline=found.baseline,
    )


def _series(model: BandwidthModel, trace: Trace) -> dict[str, list[float]]:
    """Forecast the end of a trace one step ahead, for the report's picture."""
    windows = cut_windows([trace], model.config.features, model.config.horizon)
    last = np.arange(len(windows))[-_DRAWN_SAMPLES:]
    shown = windows.take(last)
    part = model.classes.get(trace.path_class, model.classes["pooled"])
    q_NHQ, _ = model.quantiles(part, shown.channels)  # noqa: N806 - shape suffix
    return {
        "t_s": trace.t_s[shown.origin_N + 1].tolist(),
        "actual_mbps": shown.future_NH[:, 0].tolist(),
        "lower_mbps": q_NHQ[:, 0, 0].tolist(),
        "value_mbps": q_NHQ[:, 0, 1].tolist(),
        "upper_mbps": q_NHQ[:, 0, 2].tolist(),
    }


def _fit_of(config: TrainConfig) -> BandwidthConfig:
    return cast(BandwidthTrainConfig, config).fit


TRAINER: Final = BandwidthTrainer()
