"""A small fitted scaling model and the series it was fitted on, shared by several test folders."""

from functools import lru_cache

import numpy as np
import pandas as pd

from novacron.models.scaling.config import ForecastConfig, ScalingConfig
from novacron.models.scaling.demand import to_demand
from novacron.models.scaling.fit import FitPart, fit_scaling
from novacron.models.scaling.model import ScalingModel

TINY = ScalingConfig(
    forecast=ForecastConfig(
        rounds=12, member_rounds=10, most_origins_per_series=1500, min_rows_per_leaf=20
    )
)
DAY = 288


def working_days(days=9, seed=0, jobs=True):
    """A daily wave with noise and, every night at two, an hour of a job that doubles demand."""
    rng = np.random.default_rng(seed)
    t = np.arange(days * DAY)
    level = 10 + 4 * np.sin(2 * np.pi * t / DAY) + rng.normal(0, 0.25, t.size)
    at_night = (t % DAY >= 24) & (t % DAY < 36)
    return np.maximum(level * np.where(at_night & jobs, 2.0, 1.0), 0.1)


def clocked(values):
    """Demand with a clock that begins at midnight."""
    times = pd.date_range("2025-03-03", periods=len(values), freq="5min", tz="UTC")
    return to_demand(pd.Series(values, index=times))


@lru_cache(maxsize=1)
def tiny_model():
    demand = clocked(working_days())
    part = FitPart(demand=demand, train_until=6 * DAY)
    return ScalingModel(fit_scaling({"working days": part}, TINY))
