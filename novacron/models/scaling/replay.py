"""Replays a series with capacity that arrives late, and scores it by the elasticity metrics.

theta_U and theta_O are the areas of the SPEC elasticity metrics: the mean over time of (d - c)+ / d
and (c - d)+ / d. Source: Herbst et al. 2018, "Quantifying cloud performance and dependability".

Legend: T steps.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from novacron.models.scaling.config import DAY_S, PolicyConfig, Prices, ScalingConfig
from novacron.models.scaling.controller import Controller, run
from novacron.models.scaling.outlook import Outlook

Floats = NDArray[np.float64]

_LEAST_CHANGE_RATIO = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class Elasticity:
    """How capacity followed demand; shares and areas are ratios, not percent."""

    under_ratio: float
    """Share of time in which demand was above capacity."""
    theta_u: float
    theta_o: float
    excess_area_ratio: float
    """Sum of the excess over the sum of demand: theta_O where demand touches zero."""
    moves_per_day: float
    cost_ratio: float
    """Capacity paid plus penalty of time under-provisioned, over what demand itself would cost."""
    days: float


def replay(
    outlook: Outlook,
    policy: PolicyConfig,
    config: ScalingConfig,
    *,
    delay: int,
    start: int,
) -> Floats:
    """Run a policy over a series from `start` on.

    Returns:
        The capacity that stands at each step of the series, NaN before the first order arrived.
    """
    controller = Controller(outlook=outlook, policy=policy, config=config, delay=delay)
    return run(controller, start, len(outlook.demand))


def elasticity(value_T: Floats, capacity_T: Floats, *, step_s: int, prices: Prices) -> Elasticity:
    """Score the steps at which both demand and capacity are known; see the module."""
    known = np.isfinite(value_T) & np.isfinite(capacity_T)
    d_T, c_T = value_T[known], capacity_T[known]
    some = d_T > 0
    short_T, excess_T = np.maximum(d_T - c_T, 0.0), np.maximum(c_T - d_T, 0.0)
    days = len(d_T) * step_s / DAY_S
    changed = np.abs(np.diff(c_T)) > _LEAST_CHANGE_RATIO * np.maximum(c_T[1:], 1e-12)
    under = float((short_T > 0).mean())
    total = max(float(d_T.sum()), 1e-12)
    return Elasticity(
        under_ratio=under,
        theta_u=float((short_T[some] / d_T[some]).mean()),
        theta_o=float((excess_T[some] / d_T[some]).mean()),
        excess_area_ratio=float(excess_T.sum()) / total,
        moves_per_day=float(changed.sum()) / days,
        cost_ratio=float(c_T.sum()) / total + prices.under_h_ratio * under,
        days=days,
    )
