"""Measures policies and baselines on the test part of a series, with intervals over whole days.

Legend: T steps.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.models.metrics import Interval, group_ratio
from novacron.models.scaling import baselines
from novacron.models.scaling.config import PolicyConfig, ScalingConfig
from novacron.models.scaling.demand import Demand
from novacron.models.scaling.fitted import Fitted
from novacron.models.scaling.outlook import Outlook, delay_steps
from novacron.models.scaling.public_series import Series
from novacron.models.scaling.replay import Elasticity, elasticity, replay

Floats = NDArray[np.float64]
Capacity = Callable[[float], Floats]

UNDER_GOAL: Final = 0.01
BUDGETS: Final = (0.002, 0.005, 0.008, 0.011, 0.015, 0.025)
"""Budgets whose replays draw the frontier of a policy."""
KNOBS: Final[Mapping[str, tuple[float, ...]]] = {
    "reactive": (1.02, 1.05, 1.1, 1.15, 1.2, 1.3, 1.4, 1.6, 2.0, 2.5, 3.0, 4.0, 6.0),
    "seasonal_reactive": (0.95, 1.0, 1.05, 1.1, 1.2, 1.3, 1.5, 1.8, 2.2, 3.0, 4.0, 6.0),
    "hpa_like": (0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2),
    "conformal_ratio": (0.95, 0.96, 0.97, 0.975, 0.98, 0.985, 0.99, 0.993, 0.996, 0.998, 0.9995),
    "conformal_ratio_by_time": (0.95, 0.96, 0.97, 0.975, 0.98, 0.985, 0.99, 0.993, 0.996, 0.9995),
}
"""What each baseline is turned by, from little margin to much."""
ORACLE_BLOCK_S: Final = 1500


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One replay: the knob it was turned to and its score."""

    knob: float
    score: Elasticity


def baseline_capacity(name: str, demand: Demand, delay: int) -> Capacity:
    """Return the capacity of a baseline as a function of its knob."""
    value_T, day = demand.value_T, demand.day_steps
    calm = max(1, 300 // demand.step_s)
    rules: dict[str, Capacity] = {
        "reactive": lambda knob: baselines.reactive(value_T, delay, knob),
        "seasonal_reactive": lambda knob: baselines.seasonal_reactive(value_T, delay, day, knob),
        "hpa_like": lambda knob: baselines.hpa_like(value_T, delay, knob, stabilise_steps=calm),
        "conformal_ratio": lambda knob: baselines.conformal_ratio(value_T, delay, knob, 7 * day),
        "conformal_ratio_by_time": lambda knob: baselines.conformal_ratio(
            value_T, delay, knob, 7 * day, day_steps=day
        ),
    }
    return rules[name]


def score_test(series: Series, capacity_T: Floats, config: ScalingConfig) -> Elasticity:
    """Score the test part of a replay."""
    scored_T = capacity_T.copy()
    scored_T[: series.test_from] = np.nan
    demand = series.demand
    return elasticity(demand.value_T, scored_T, step_s=demand.step_s, prices=config.prices)


def run_policy(
    fitted: Fitted, outlook: Outlook, series: Series, policy: PolicyConfig, delay_s: float
) -> Floats:
    """Replay a policy through the calibration part and the test part."""
    start = max(outlook.begin, series.test_from - 3 * series.demand.day_steps)
    delay = delay_steps(delay_s, series.demand.step_s)
    return replay(outlook, policy, fitted.config, delay=delay, start=start)


def policy_frontier(
    fitted: Fitted, outlook: Outlook, series: Series, policy: PolicyConfig, delay_s: float,
    budgets: Sequence[float] = BUDGETS,
) -> list[Point]:  # fmt: skip
    """Replay a policy at several budgets."""
    points = []
    for budget in budgets:
        turned = policy.model_copy(update={"budget_ratio": budget})
        capacity_T = run_policy(fitted, outlook, series, turned, delay_s)
        points.append(Point(knob=budget, score=score_test(series, capacity_T, fitted.config)))
    return points


def baseline_frontier(
    name: str, series: Series, delay_s: float, config: ScalingConfig
) -> list[Point]:
    """Replay a baseline at several settings of its knob."""
    capacity = baseline_capacity(name, series.demand, delay_steps(delay_s, series.demand.step_s))
    return [
        Point(knob=knob, score=score_test(series, capacity(knob), config)) for knob in KNOBS[name]
    ]


def theta_at(points: Sequence[Point], under_ratio: float) -> float:
    """Return theta_O where a frontier crosses a share of time under-provisioned.

    On a line between the neighbours; NaN where the frontier never gets that low, the smallest
    theta_O of the frontier where it never gets that high.
    """
    order = sorted(points, key=lambda point: (point.score.under_ratio, point.score.theta_o))
    under = np.array([point.score.under_ratio for point in order])
    theta = np.array([point.score.theta_o for point in order])
    if under[0] > under_ratio:
        return float("nan")
    # Of points with more shortage and more excess at once nothing is lost: drop them.
    theta = np.minimum.accumulate(theta)
    return float(np.interp(under_ratio, under, theta))


def daily_intervals(
    series: Series, capacity_T: Floats, rng: np.random.Generator
) -> dict[str, Interval]:
    """Return time under-provisioned and both areas with 95 % intervals, resampling whole days."""
    value_T, day = series.demand.value_T, series.demand.day_steps
    known_T = np.isfinite(value_T) & np.isfinite(capacity_T)
    known_T[: series.test_from] = False
    d_T, c_T = value_T[known_T], capacity_T[known_T]
    day_T = np.flatnonzero(known_T) // day
    ones_T = np.ones(len(d_T))
    some_T = d_T > 0
    over_T, short_T = np.maximum(c_T - d_T, 0.0), np.maximum(d_T - c_T, 0.0)
    safe_T = np.where(some_T, d_T, 1.0)

    def share(part_T: Floats, of_T: Floats) -> Interval:
        return group_ratio(part_T, of_T, day_T, rng)

    moved_T = np.abs(np.diff(c_T, prepend=c_T[:1])) > 1e-6 * np.maximum(c_T, 1e-12)
    return {
        "moves_per_day": share(day * moved_T.astype(np.float64), ones_T),
        "under_share": share((short_T > 0).astype(np.float64), ones_T),
        "theta_u": share(np.where(some_T, short_T / safe_T, 0.0), some_T.astype(np.float64)),
        "theta_o": share(np.where(some_T, over_T / safe_T, 0.0), some_T.astype(np.float64)),
        "excess_area_ratio": share(over_T, d_T),
    }
