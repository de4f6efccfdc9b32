"""Measures the forecast of the hour on the test parts: error by member, coverage of the interval."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.results_format import Metric
from novacron.models.metrics import group_ratio
from novacron.models.scaling.features import ahead_max, span_features
from novacron.models.scaling.fitted import Fitted
from novacron.models.scaling.members import NAMES
from novacron.models.scaling.public_series import Series

Floats = NDArray[np.float64]

STRIDE: Final = 3
_SEED: Final = 7


def measure_forecasts(fitted: Fitted, series: dict[str, Series]) -> list[Metric]:
    """Score every third origin of each test part at 5, 10 .. 60 minutes."""
    found: list[Metric] = []
    for one in series.values():
        found += _of_series(fitted, one)
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """Errors of every member and of the ensemble, hits of the interval, demand and day, by row."""

    error_N: dict[str, Floats]
    inside_N: Floats
    actual_N: Floats
    day_N: NDArray[np.int64]


def _of_series(fitted: Fitted, one: Series) -> list[Metric]:
    judged = _judge(fitted, one)
    rng = np.random.default_rng(_SEED)
    own_N = judged.error_N["ensemble"]

    def metric(name: str, top_N: Floats, below_N: Floats, beside: str) -> Metric:
        ratio = group_ratio(top_N, below_N, judged.day_N, rng)
        return Metric(
            name=name, set=one.name, value=ratio.value, lo=ratio.lo, hi=ratio.hi, n=ratio.n,
            baseline=beside,
        )  # fmt: skip

    found = [
        metric("wape_60_min", own_N, judged.actual_N, "all steps of the hour pooled"),
        metric("coverage_90", judged.inside_N, np.ones_like(own_N), "0.9 nominal"),
    ]
    rivals = {"seasonal_naive": "yesterday", "ewma": "EWMA", "last_value": "last value"}
    found += [
        metric(f"wape_ratio_to_{name}", own_N, judged.error_N[name], text)
        for name, text in rivals.items()
    ]
    found += [
        metric(f"wape_60_min_{name}", judged.error_N[name], judged.actual_N, "ensemble above")
        for name in NAMES
    ]
    return found


def _judge(fitted: Fitted, one: Series) -> Judged:
    demand = one.demand
    outlook = fitted.outlook(demand)
    steps = outlook.horizon_steps
    at_N = np.arange(one.test_from, len(demand) - steps, STRIDE)
    at_N = at_N[np.isfinite(demand.value_T[at_N])]
    tail = (1 - fitted.config.coverage) / 2
    levels = np.array([tail, 0.5, 1 - tail])
    errors: dict[str, list[Floats]] = {name: [] for name in (*NAMES, "ensemble")}
    actual, inside, days = [], [], []
    for first in range(1, steps + 1):
        x_NF = span_features(outlook.frame, first, 1)[at_N]
        score_NL = fitted.density.quantiles(fitted.density.probabilities(x_NF), levels)
        y_N = ahead_max(demand.value_T, first, 1)[at_N]
        known_N = np.isfinite(y_N)
        scores = fitted.members.scores(x_NF, score_NL[:, 1])
        point_N = fitted.members.combine(x_NF, score_NL[:, 1])
        scores["ensemble"] = np.clip(point_N, score_NL[:, 0], score_NL[:, 2])
        for name, score_N in scores.items():
            value_N = outlook.frame.demand(score_N[:, None], at_N)[:, 0]
            errors[name].append(np.abs(y_N - value_N)[known_N])
        bound_NL = outlook.frame.demand(score_NL, at_N)
        inside.append(((y_N >= bound_NL[:, 0]) & (y_N <= bound_NL[:, 2]))[known_N])
        actual.append(y_N[known_N])
        days.append((at_N // demand.day_steps)[known_N])
    return Judged(
        error_N={name: np.concatenate(parts) for name, parts in errors.items()},
        inside_N=np.concatenate(inside).astype(np.float64),
        actual_N=np.concatenate(actual),
        day_N=np.concatenate(days).astype(np.int64),
    )
