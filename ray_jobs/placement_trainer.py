"""Trains the workload optimizer: outcomes are simulated, sizes and lifetimes are real where given."""

from pathlib import Path
from typing import Final, cast

import numpy as np
from pydantic import Field

from novacron.models.base import ServableModel
from novacron.models.placement.config import PlacementConfig
from novacron.models.placement.fitted import PlacementModels
from novacron.models.placement.model import PlacementModel
from novacron.models.placement.packing import OFF
from novacron.models.placement.scoring import score_estimates, score_packing
from novacron.models.placement.training import (
    fit_lifetime_part,
    fit_outcome_part,
    has_lifetimes,
    sizes_of,
)
from novacron.registry.card import CardMetric
from novacron.telemetry.datasets.placement import AZURE_V1_FILE, GPU_NODES_FILE, GPU_PODS_FILE
from novacron.telemetry.digest import data_sha256
from ray_jobs.one_unit import OneUnitTrainer, OwnDataConfig, Reporter, generated, real
from ray_jobs.trainers import Evaluation, TrainConfig
from ray_jobs.training_data import TrainingData


class PlacementTrainConfig(OwnDataConfig):
    """What `configs/train/placement.yaml` may say."""

    fit: PlacementConfig = PlacementConfig()
    """The optimizer's own settings."""
    measured_clusters: int = Field(default=3, ge=1, le=1000)
    """Clusters whose later days are replayed for the card."""


class PlacementTrainer(OneUnitTrainer[PlacementTrainConfig]):
    """Learns from simulated outcomes, and from the public placement traces where they are given."""

    name = "placement"
    unit = "optimizer"
    config_model: type[TrainConfig] = PlacementTrainConfig
    libraries = ("lightgbm", "numpy", "scikit-learn")
    intended_use = (
        "Ranks the nodes that satisfy every hard constraint of a workload, estimates what each "
        "placement leads to, and says which factors moved its score."
    )
    limits = (
        "Throughput, latency, reliability, efficiency and power are learned from simulated "
        "outcomes: no public trace tells what placements led to.",
        "Reasons explain the score that the models give, not the world.",
        "The lifetime model learned from one region of 2017; the gate that was set in training "
        "decides whether it is heard.",
        "Above the configured number of feasible nodes, a first pass by fit and load decides "
        "which of them are scored.",
    )

    def describe(self, config: PlacementTrainConfig, folder: Path | None) -> TrainingData:
        """Describe the sizes, the lifetimes, and what is simulated."""
        rows = config.fit.outcomes.examples
        files = (AZURE_V1_FILE, GPU_NODES_FILE, GPU_PODS_FILE)
        present = [folder / name for name in files if (folder / name).is_file()] if folder else []
        if folder is None or not present:
            return generated(config.fit.seed, rows)
        what = f"simulated outcomes on {sizes_of(folder).source}"
        if has_lifetimes(folder):
            what += "; lifetimes of Azure V1"
        return real(folder, what, sha256=data_sha256(present), rows=rows)

    def fit(
        self, config: PlacementTrainConfig, data: TrainingData, report: Reporter
    ) -> ServableModel:
        """Fit the outcome models, then the lifetime model and its gate."""
        outcomes = fit_outcome_part(config.fit, data.folder)
        report(1, 2, rows=config.fit.outcomes.examples)
        lifetimes, gate = None, OFF
        if data.folder is not None and has_lifetimes(data.folder):
            lifetimes, gate = fit_lifetime_part(config.fit.lifetimes, data.folder)
        report(2, 2)
        return PlacementModel(
            PlacementModels(
                config=config.fit,
                outcomes=outcomes,
                lifetimes=lifetimes,
                gate=gate,
                source=data.source,
            )
        )

    def seeds(self, config: PlacementTrainConfig) -> tuple[int, ...]:
        """Return the seed of the outcomes and that of the lifetimes."""
        return (config.fit.seed, config.fit.lifetimes.seed)

    def measure(
        self, model: ServableModel, config: PlacementTrainConfig, folder: Path | None
    ) -> Evaluation:
        """Score the estimates on unseen fleets, the packing on later days."""
        models = cast(PlacementModel, model).models
        rng = np.random.default_rng(config.fit.seed)
        scores = score_estimates(models.outcomes, config.fit, folder, rng)
        if folder is not None and models.lifetimes is not None and has_lifetimes(folder):
            scores += score_packing(models, folder, rng, most=config.measured_clusters)
        metrics = tuple(
            CardMetric(
                name=score.name,
                set=score.set,
                value=score.value.value,
                lo=score.value.lo,
                hi=score.value.hi,
                n=score.value.n,
                baseline=score.baseline,
            )
            for score in scores
        )
        return Evaluation(metrics=metrics)


TRAINER: Final = PlacementTrainer()
