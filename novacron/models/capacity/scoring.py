"""Scores of capacity forecasts by rolling origin, beside the weekday mean.

Legend: H steps ahead. MASE divides by the mean absolute difference between the history and itself a
season (a week) earlier; a ratio to the weekday mean has no unit at all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from novacron.models.capacity.history import History
from novacron.models.capacity.seasons import phase_mean, steps_per_week
from novacron.models.metrics import Interval, group_ratio

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class OriginScore:
    """One forecast of one series from one origin, of one forecaster.

    `abs_error` and `actual` are sums over the steps with an actual value, `scale` the denominator
    of MASE times the number of those steps.
    """

    group: str
    origin: int
    steps: int
    abs_error: float
    actual: float
    scale: float
    inside_80: int = 0
    inside_95: int = 0
    within_10: int = 0
    """Steps with a forecast within 10 % of the actual value: what older documents call accuracy."""


def season_scale(history: History) -> float:
    """Return the denominator of MASE: mean absolute change from one week to the next."""
    week = steps_per_week(history.step_s)
    change = np.abs(history.value_T[week:] - history.value_T[:-week])
    return max(float(np.nanmean(change)), 1e-12)


def score_origin(
    group: str,
    history: History,
    actual_H: Floats,
    value_H: Floats,
    intervals: Mapping[float, tuple[Floats, Floats]] | None = None,
) -> OriginScore:
    """Score one forecast against what followed; steps without an actual value do not count."""
    known_H = ~np.isnan(actual_H)
    error_H = np.abs(actual_H - value_H)[known_H]
    inside = {
        coverage: int(np.sum((actual_H >= lower_H)[known_H] & (actual_H <= upper_H)[known_H]))
        for coverage, (lower_H, upper_H) in (intervals or {}).items()
    }
    steps = int(known_H.sum())
    return OriginScore(
        group=group,
        origin=len(history),
        steps=steps,
        abs_error=float(error_H.sum()),
        actual=float(np.abs(actual_H[known_H]).sum()),
        scale=season_scale(history) * steps,
        inside_80=inside.get(0.80, 0),
        inside_95=inside.get(0.95, 0),
        within_10=int(np.sum(error_H <= 0.1 * np.abs(actual_H[known_H]))),
    )


def weekday_mean_score(group: str, history: History, actual_H: Floats) -> OriginScore:
    """Score the baseline: the mean of the last four weeks at the same phase of the week."""
    mean_H = phase_mean(history.value_T, steps_per_week(history.step_s), actual_H.size)
    return score_origin(group, history, actual_H, mean_H)


def mase_by_group(scores: Sequence[OriginScore]) -> dict[str, float]:
    """Return the MASE of each series, its origins weighing as their steps."""
    groups = dict.fromkeys(one.group for one in scores)
    return {
        group: sum(one.abs_error / one.scale * one.steps for one in scores if one.group == group)
        / sum(one.steps for one in scores if one.group == group)
        for group in groups
    }


def mase_ratio(
    own: Sequence[OriginScore], base: Sequence[OriginScore], rng: np.random.Generator
) -> Interval:
    """Return mean MASE over the baseline's mean MASE, every series weighing the same.

    The interval resamples whole series.
    """
    one, two = mase_by_group(own), mase_by_group(base)
    names = list(one)
    return group_ratio(
        np.array([one[name] for name in names]),
        np.array([two[name] for name in names]),
        np.arange(len(names)),
        rng,
    )


def share_inside(scores: Sequence[OriginScore], field: str, rng: np.random.Generator) -> Interval:
    """Return the mean over series of the share of steps counted in `field`."""
    names = list(dict.fromkeys(one.group for one in scores))
    share = [
        sum(getattr(one, field) for one in scores if one.group == name)
        / sum(one.steps for one in scores if one.group == name)
        for name in names
    ]
    return group_ratio(np.array(share), np.ones(len(names)), np.arange(len(names)), rng)
