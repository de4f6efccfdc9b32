"""Replays of one series: six policies, rules, ablations, and the floor that noise sets."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.results_format import Metric
from novacron.models.metrics import Interval
from novacron.models.scaling import baselines
from novacron.models.scaling.config import POLICIES
from novacron.models.scaling.fitted import Fitted
from novacron.models.scaling.outlook import Outlook, delay_steps
from novacron.models.scaling.public_series import Series
from novacron.models.scaling.replay import Elasticity
from novacron.models.scaling.scores import (
    KNOBS,
    ORACLE_BLOCK_S,
    UNDER_GOAL,
    Point,
    baseline_capacity,
    baseline_frontier,
    daily_intervals,
    policy_frontier,
    run_policy,
    score_test,
    theta_at,
)

Floats = NDArray[np.float64]

POLICY: Final = "hybrid"
RIVAL: Final = "conformal_ratio"
_SEED: Final = 7
_SMOOTH_STEPS: Final = 13
_ABLATION_BUDGETS: Final = (0.004, 0.008, 0.015, 0.025)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What was found on one series at one delay."""

    metrics: list[Metric]
    series: Series
    frontiers: dict[str, list[Point]]
    policies: dict[str, Elasticity]
    capacity_T: Floats
    rival_T: Floats
    rival: float
    """theta_O of the conformal ratio at 1 % of time under."""


def measure_series(fitted: Fitted, series: Series, delay_s: float, *, main: bool) -> Measured:
    """Replay one series; `main` adds rules, policies, ablations and the noise floor."""
    suffix = "" if main else f"_{delay_s:.0f}_s_late"
    delay = delay_steps(delay_s, series.demand.step_s)
    outlook = fitted.outlook(series.demand, begin=series.calibration_from)
    policy = fitted.config.policies[POLICY]
    frontiers = {
        POLICY: policy_frontier(fitted, outlook, series, policy, delay_s),
        RIVAL: baseline_frontier(RIVAL, series, delay_s, fitted.config),
    }
    own, rival = (theta_at(frontiers[name], UNDER_GOAL) for name in (POLICY, RIVAL))
    capacity_T = run_policy(fitted, outlook, series, policy, delay_s)
    days = daily_intervals(series, capacity_T, np.random.default_rng(_SEED))
    metrics = _equal(series, suffix, own, rival, days["theta_o"].n)
    metrics += [_interval(name + suffix, series, one, _beside(name)) for name, one in days.items()]
    policies: dict[str, Elasticity] = {}
    if main:
        policies = _policies(fitted, outlook, series, delay_s)
        for name in KNOBS:
            if name != RIVAL:
                frontiers[name] = baseline_frontier(name, series, delay_s, fitted.config)
        metrics += _policy_metrics(series, policies)
        metrics += _rules(series, frontiers, own)
        metrics += _ablations(fitted, series, delay_s, own)
        metrics += _floors(series, fitted)
    return Measured(
        metrics=[metric for metric in metrics if np.isfinite(metric.value)],
        series=series,
        frontiers=frontiers,
        policies=policies,
        capacity_T=capacity_T,
        rival_T=baseline_capacity(RIVAL, series.demand, delay)(0.99),
        rival=rival,
    )


def _interval(name: str, series: Series, one: Interval, beside: str) -> Metric:
    return Metric(
        name=name, set=series.name, value=one.value, lo=one.lo, hi=one.hi, n=one.n, baseline=beside
    )


def _beside(name: str) -> str:
    return {
        "under_share": "goal at most 0.01",
        "moves_per_day": "goal below 60",
        "theta_u": "0 is none",
    }.get(name, "see theta_o_at_1_percent_under")


def _equal(series: Series, suffix: str, own: float, rival: float, days: int) -> list[Metric]:
    text = (
        f"conformal ratio {rival:.3g}" if np.isfinite(rival) else "conformal ratio: never so low"
    )
    found = [
        Metric(
            name="theta_o_at_1_percent_under" + suffix, set=series.name, value=own, n=days,
            baseline=text,
        )
    ]  # fmt: skip
    if np.isfinite(rival):
        found.append(
            Metric(
                name="theta_o_ratio_to_conformal" + suffix, set=series.name, value=own / rival,
                n=days, baseline="conformal ratio at 1 % of time under",
            )
        )  # fmt: skip
    return found


def _policies(
    fitted: Fitted, outlook: Outlook, series: Series, delay_s: float
) -> dict[str, Elasticity]:
    scores: dict[str, Elasticity] = {}
    for name in POLICIES:
        capacity_T = run_policy(fitted, outlook, series, fitted.config.policies[name], delay_s)
        scores[name] = score_test(series, capacity_T, fitted.config)
    return scores


def _policy_metrics(series: Series, policies: dict[str, Elasticity]) -> list[Metric]:
    found = []
    for name, score in policies.items():
        parts = {
            "under_share": score.under_ratio,
            "theta_o": score.theta_o,
            "cost_ratio": score.cost_ratio,
            "moves_per_day": score.moves_per_day,
        }
        found += [
            Metric(
                name=f"{part}_{name}", set=series.name, value=value, n=round(score.days),
                baseline="the other policies",
            )
            for part, value in parts.items()
        ]  # fmt: skip
    return found


def _rules(series: Series, frontiers: dict[str, list[Point]], own: float) -> list[Metric]:
    found = [
        Metric(
            name=f"theta_o_at_1_percent_under_{name}", set=series.name,
            value=theta_at(points, UNDER_GOAL), n=round(points[0].score.days),
            baseline=f"hybrid {own:.3g}",
        )
        for name, points in frontiers.items()
        if name not in (POLICY, RIVAL)
    ]  # fmt: skip
    as_set = {("reactive", 1.2), ("reactive", 1.4), (RIVAL, 0.99)}
    for name, points in frontiers.items():
        for point in points:
            if (name, point.knob) not in as_set:
                continue
            label = f"{name}_{point.knob:g}"
            found += [
                Metric(
                    name=f"{part}_{label}", set=series.name, value=value,
                    n=round(point.score.days), baseline="hybrid as set",
                )
                for part, value in (
                    ("under_share", point.score.under_ratio),
                    ("theta_o", point.score.theta_o),
                )
            ]  # fmt: skip
    return found


def _ablations(fitted: Fitted, series: Series, delay_s: float, own: float) -> list[Metric]:
    """Turn parts off, one at a time, and read theta_O at 1 % of time under again."""
    policy = fitted.config.policies[POLICY]
    still = policy.model_copy(update={"moves_per_day": 1440.0})
    no_time = fitted.config.model_copy(update={"time_of_day_weight": 0.0})
    all_time = fitted.config.model_copy(update={"time_of_day_weight": 1.0})
    bare = policy.model_copy(update={"floor_ratio": 0.0, "scale_in_wait_s": 0.0})
    cases = {
        "no_limit_on_moves": (fitted.config, still),
        "no_floor_no_wait_before_scaling_in": (fitted.config, bare),
        "margin_same_at_all_times": (no_time, policy),
        "margin_by_time_of_day_alone": (all_time, policy),
    }
    found = []
    for name, (config, turned) in cases.items():
        part = Fitted(config=config, density=fitted.density, members=fitted.members)
        outlook = part.outlook(series.demand, begin=series.calibration_from)
        points = policy_frontier(part, outlook, series, turned, delay_s, _ABLATION_BUDGETS)
        found.append(
            Metric(
                name="ablation_theta_o", set=f"{series.name}: {name}",
                value=theta_at(points, UNDER_GOAL), n=round(points[0].score.days),
                baseline=f"whole {own:.3g}",
            )
        )  # fmt: skip
    return found


def _floors(series: Series, fitted: Fitted) -> list[Metric]:
    """Return what foresight would leave: an oracle that moves, and one that knows only the level.

    The second knows a centred median of an hour, future included, but not the noise around it; the
    margin that covers 99 % of that noise is a floor for any forecaster of the level.
    """
    demand = series.demand
    oracle_T = baselines.oracle(demand.value_T, max(1, ORACLE_BLOCK_S // demand.step_s))
    score = score_test(series, oracle_T, fitted.config)
    level = pd.Series(demand.value_T).rolling(_SMOOTH_STEPS, center=True, min_periods=1).median()
    level_T = np.asarray(level.to_numpy(), dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio_T = demand.value_T[series.test_from :] / level_T[series.test_from :]
    ratio_T = ratio_T[np.isfinite(ratio_T)]
    known = score_test(series, level_T * np.quantile(ratio_T, 1 - UNDER_GOAL), fitted.config)
    return [
        Metric(
            name="oracle_theta_o", set=series.name, value=score.theta_o, n=round(score.days),
            baseline=f"moves a day {score.moves_per_day:.0f}",
        ),
        Metric(
            name="noise_floor_theta_o", set=series.name, value=known.theta_o, n=round(known.days),
            baseline="a level known in advance, its noise not; 1 % of time under",
        ),
    ]  # fmt: skip
