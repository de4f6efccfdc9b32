"""A capacity model that is made in a moment: real members and a small booster, stated priors."""

from functools import cache

import numpy as np
from scipy.special import ndtri

from novacron.models.capacity.boosted import FEATURES, Booster
from novacron.models.capacity.calibration import PROBABILITIES, Calibration
from novacron.models.capacity.config import CapacityConfig
from novacron.models.capacity.ensemble import GridPrior
from novacron.models.capacity.model import CapacityModel


def normal_calibration(horizon: int) -> Calibration:
    """Errors that grow a little and are normal, so that an interval's width is known."""
    return Calibration(
        growth_H=np.linspace(0.8, 1.2, horizon),
        score_R=1.25 * ndtri(PROBABILITIES),
        lasting=0.3,
        fading=0.5,
    )


def prior(horizon: int, members: tuple[str, ...]) -> GridPrior:
    calibration = normal_calibration(horizon)
    return GridPrior(
        horizon=horizon,
        weights=dict.fromkeys(members, 1 / len(members)),
        trust=2.0,
        error_per_change=0.8,
        short=calibration,
        long=calibration,
    )


@cache
def small_booster() -> Booster:
    rng = np.random.default_rng(0)
    x_NF = rng.standard_normal((2000, len(FEATURES)))
    target_N = 0.5 * x_NF[:, FEATURES.index("last_week")]
    return Booster.fit(x_NF, target_N, np.ones(2000), rounds=5, seed=1)


def tiny_capacity(*members: str, **settings) -> CapacityModel:
    names = members or ("weekday_mean", "decomposed", "boosted")
    config = CapacityConfig(members=names, **({"origins": 2, "paths": 400} | settings))
    return CapacityModel(
        config,
        {86_400: prior(30, names), 3_600: prior(168, names)},
        {86_400: small_booster(), 3_600: small_booster()},
    )
