"""A predictor small enough for a test, fitted once; its figures mean nothing."""

from functools import lru_cache

import numpy as np

from novacron.models.performance.config import (
    DegradationConfig,
    LstmConfig,
    PerformanceConfig,
    TwinConfig,
)
from novacron.models.performance.core import Core
from novacron.models.performance.fit import Fit, prepare_fit
from novacron.models.performance.generated import generate_scores
from novacron.models.performance.model import PerformanceModel
from novacron.models.performance.parts import gather
from novacron.models.performance.scores_table import ScoreTable

TINY = PerformanceConfig(
    history=16,
    peers=40,
    purge_samples=4,
    validation_rows=900,
    lstm=LstmConfig(
        hidden=4, attention=4, head=8, steps=6, rows=400, validation_rows=200, epochs=1
    ),
    twin=TwinConfig(rounds=15, rows=1_500),
    degradation=DegradationConfig(horizon_samples=3),
)


@lru_cache(maxsize=1)
def tiny_table() -> ScoreTable:
    return ScoreTable.from_frame(generate_scores(3, vms=3, samples=80))


def fit_tiny() -> Core:
    return Fit(prepare_fit(gather(tiny_table(), TINY), TINY)).core()


@lru_cache(maxsize=1)
def tiny_core() -> Core:
    return fit_tiny()


def tiny_model() -> PerformanceModel:
    return PerformanceModel(tiny_core())


def request(rows: int, samples: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Return a request of disks of the size `small`, in the unit of the training."""
    rng = np.random.default_rng([rows, samples, seed])
    return {
        "benchmark": np.full(rows, "disk", dtype=object),
        "vm_size": np.full(rows, "small", dtype=object),
        "region": np.full(rows, "north", dtype=object),
        "score": rng.uniform(2500, 3500, (rows, samples)),
        "age_s": np.tile(6000.0 * np.arange(samples, 0, -1), (rows, 1)),
    }
