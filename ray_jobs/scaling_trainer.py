"""Trains the scaling model for the training job: fleets, VMs and request rates, or generated nodes."""

from functools import partial
from pathlib import Path
from typing import Final, cast

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from novacron.models.base import ServableModel
from novacron.models.scaling.config import ScalingConfig
from novacron.models.scaling.fit import STAGES, FitPart, fit_scaling
from novacron.models.scaling.generated import generated_series
from novacron.models.scaling.model import ScalingModel
from novacron.models.scaling.public_series import (
    PUBLIC_FILES,
    PUBLIC_SETS,
    Series,
    public_series,
)
from novacron.models.scaling.scores import (
    UNDER_GOAL,
    baseline_frontier,
    daily_intervals,
    run_policy,
    theta_at,
)
from novacron.registry.card import CardMetric
from novacron.telemetry.digest import data_sha256
from ray_jobs.one_unit import OneUnitTrainer, OwnDataConfig, Reporter, generated, real
from ray_jobs.scaling_picture import Replayed, draw_replays
from ray_jobs.trainers import Evaluation, Picture, TrainConfig
from ray_jobs.training_data import TrainingData

POLICY: Final = "hybrid"


class ScalingFitConfig(BaseModel):
    """The `fit` block of a training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ScalingConfig = ScalingConfig()
    """The model's own settings, prices and policies."""
    generator_seed: int = Field(default=7, ge=0)
    """Of the generated nodes, where there is no folder of public series."""
    generator_days: int = Field(default=15, ge=6, le=366)
    """Length of each generated series."""
    generator_nodes: int = Field(default=6, ge=1, le=6)
    """Number of generated series."""


class ScalingTrainConfig(OwnDataConfig):
    """What `configs/train/scaling.yaml` may say."""

    fit: ScalingFitConfig = ScalingFitConfig()
    """What is generated, and the model's own settings."""


class ScalingTrainer(OneUnitTrainer[ScalingTrainConfig]):
    """Learns from the older part of every series; the newest third is never seen."""

    name = "scaling"
    unit = "density"
    config_model: type[TrainConfig] = ScalingTrainConfig
    libraries = ("lightgbm", "numpy", "pandas")
    intended_use = (
        "Forecasts demand of the next hour with an interval, and says what capacity to order now, "
        "under one of six policies, for orders that take minutes to arrive."
    )
    limits = (
        "Less than a day of history is answered by a rule that only adds capacity.",
        "A jump that nothing before it tells costs the boot delay, whatever the policy.",
        "The budget of time under-provisioned is kept over days, not within each hour.",
        "Demand is one number: what several resources need together is the caller's to join.",
    )

    def describe(self, config: ScalingTrainConfig, folder: Path | None) -> TrainingData:
        """Describe the series: public ones below a folder, or generated nodes."""
        fit = config.fit
        if folder is None:
            return generated(fit.generator_seed, 288 * fit.generator_days * fit.generator_nodes)
        files = [folder / file for file in PUBLIC_FILES]
        rows = sum(len(one.demand) for one in _series(config, folder).values())
        return real(folder, PUBLIC_SETS, sha256=data_sha256(files), rows=rows)

    def fit(
        self, config: ScalingTrainConfig, data: TrainingData, report: Reporter
    ) -> ServableModel:
        """Grow the trees on the training parts, set weights on the calibration parts."""
        series = _series(config, data.folder)
        parts = {
            name: FitPart(
                demand=one.demand.part(0, one.test_from), train_until=one.calibration_from
            )
            for name, one in series.items()
        }
        rows = sum(one.test_from for one in series.values())

        def listen(stage: str) -> None:
            step = STAGES.index(stage) + 1
            report(step, len(STAGES), rows=rows if step == 1 else 0)

        return ScalingModel(fit_scaling(parts, config.fit.model, listen))

    def seeds(self, config: ScalingTrainConfig) -> tuple[int, ...]:
        """Return the seed of the trees and that of the generated nodes."""
        return (config.fit.model.forecast.seed, config.fit.generator_seed)

    def measure(
        self, model: ServableModel, config: ScalingTrainConfig, folder: Path | None
    ) -> Evaluation:
        """Replay the default policy on the test part of every series, beside conformal ratios."""
        metrics: list[CardMetric] = []
        replayed: list[Replayed] = []
        for one in _series(config, folder).values():
            found, drawn = _measured(cast(ScalingModel, model), one)
            metrics += found
            replayed.append(drawn)
        picture = Picture(
            name="replays",
            title=f"Newest two days of every series: demand, and capacity ordered by {POLICY}",
            draw=partial(draw_replays, replayed, 2 * 288),
        )
        return Evaluation(metrics=tuple(metrics), series={}, pictures=(picture,))


def _series(config: ScalingTrainConfig, folder: Path | None) -> dict[str, Series]:
    fit = config.fit
    if folder is not None:
        return public_series(folder)
    return generated_series(fit.generator_seed, days=fit.generator_days, nodes=fit.generator_nodes)


def _measured(model: ScalingModel, one: Series) -> tuple[list[CardMetric], Replayed]:
    fitted, config = model.fitted, model.config
    delay_s = max(config.boot_delay_s, one.demand.step_s)
    outlook = fitted.outlook(one.demand, begin=one.calibration_from)
    capacity = run_policy(fitted, outlook, one, config.policies[POLICY], delay_s)
    baseline = baseline_frontier("conformal_ratio", one, delay_s, config)
    beside = theta_at(baseline, UNDER_GOAL)
    rng = np.random.default_rng(config.forecast.seed)
    days = daily_intervals(one, capacity, rng)
    texts = {
        "under_share": "goal at most 0.01",
        "theta_o": f"conformal ratio {beside:.3g} at 1 % of time under"
        if np.isfinite(beside)
        else "conformal ratio: never as low as 1 % of time under",
        "theta_u": "0 is none",
        "moves_per_day": "goal below 60",
    }
    found = [
        CardMetric(
            name=name,
            set=one.name,
            value=days[name].value,
            lo=days[name].lo,
            hi=days[name].hi,
            n=days[name].n,
            baseline=text,
        )
        for name, text in texts.items()
    ]
    return found, Replayed(name=one.name, demand=one.demand.value_T, capacity=capacity)


TRAINER: Final = ScalingTrainer()
