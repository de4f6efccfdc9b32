"""Figures of the capacity benchmark from its records, each with its interval and its baseline."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.capacity_crossings import CrossingCase, crossing_cases, date_errors
from benchmarks.capacity_forecasts import OWN, Record
from benchmarks.results_format import Metric
from novacron.models.capacity.history import DAY_S, HOUR_S
from novacron.models.capacity.scoring import (
    OriginScore,
    mase_by_group,
    mase_ratio,
    score_origin,
    share_inside,
)
from novacron.models.metrics import Interval, group_ratio

MIX: Final = "mix"
GRIDS: Final = {"days": DAY_S, "hours": HOUR_S}
"""Crossings are judged apart: plans are made on days."""
RIVALS: Final = ("prophet_default", "auto_ets", "auto_theta")
_TITLES: Final = {
    "prophet_default": "default Prophet",
    "auto_ets": "AutoETS",
    "auto_theta": "AutoTheta",
    "weekday_mean": "weekday mean",
    "seasonal_naive": "seasonal naive",
    "prophet_alone": "Prophet as configured here",
    "decomposed_alone": "MSTL and ETS",
    "boosted_alone": "LightGBM",
}


def scores_of(records: Sequence[Record], name: str) -> list[OriginScore]:
    """Return the scores of one forecaster."""
    return [
        score_origin(
            one.demand.group, one.history, one.actual_H, one.said[name], one.intervals.get(name)
        )
        for one in records
        if name in one.said
    ]


def measure(records: Sequence[Record], seed: int) -> list[Metric]:
    """Return every figure: first of the mix of all series, then of each set."""
    rng = np.random.default_rng(seed)
    sets = list(dict.fromkeys(one.demand.set for one in records))
    found: list[Metric] = []
    for name in (MIX, *sets):
        chosen = [one for one in records if name in (MIX, one.demand.set)]
        found += _skill(chosen, name, rng)
    found += _wins(records, rng)
    for where, step_s in GRIDS.items():
        chosen = [one for one in records if one.history.step_s == step_s]
        if chosen:
            found += _crossings(chosen, where, seed, rng)
    return found


def _metric(name: str, where: str, value: Interval, baseline: str) -> Metric:
    many = value.n > 1
    return Metric(
        name=name, set=where, value=value.value, lo=value.lo if many else None,
        hi=value.hi if many else None, n=value.n, baseline=baseline,
    )  # fmt: skip


def _skill(chosen: Sequence[Record], where: str, rng: np.random.Generator) -> list[Metric]:
    own, plain = scores_of(chosen, OWN), scores_of(chosen, "weekday_mean")
    found = [
        _metric("mase_ratio_to_weekday_mean", where, mase_ratio(own, plain, rng), "weekday mean")
    ]
    found.append(_mean_mase(own, where, "mase", f"weekday mean {_mean(plain):.3g}", rng))
    for name in (*RIVALS, "seasonal_naive", "prophet_alone", "decomposed_alone", "boosted_alone"):
        # Members that fit trends say nothing below two weeks of history.
        asked = [one for one in chosen if name in one.said]
        if asked:
            ratio = mase_ratio(scores_of(asked, name), scores_of(asked, "weekday_mean"), rng)
            where_it_answers = "" if len(asked) == len(chosen) else ", where it answers"
            base = f"weekday mean; {_TITLES[name]}{where_it_answers}"
            found.append(_metric(f"mase_ratio_of_{name}", where, ratio, base))
    total = [sum(one.actual for one in own), sum(one.abs_error for one in own)]
    plain_wape = sum(one.abs_error for one in plain) / total[0]
    found.append(
        Metric(
            name="wape", set=where, value=total[1] / total[0], n=len(mase_by_group(own)),
            baseline=f"weekday mean {plain_wape:.3g}",
        )
    )  # fmt: skip
    for field, name, base in (
        ("inside_80", "coverage_80", "0.8 nominal"),
        ("inside_95", "coverage_95", "0.95 nominal"),
        ("within_10", "share_within_10_percent", "the `accuracy` of older documents"),
    ):
        found.append(_metric(name, where, share_inside(own, field, rng), base))
    prophet = scores_of(chosen, "prophet_default")
    if prophet:
        cover = share_inside(prophet, "inside_80", rng)
        found.append(_metric("coverage_80_of_prophet_default", where, cover, "0.8 nominal"))
    return found


def _mean(scores: Sequence[OriginScore]) -> float:
    return float(np.mean(list(mase_by_group(scores).values())))


def _mean_mase(
    scores: Sequence[OriginScore], where: str, name: str, base: str, rng: np.random.Generator
) -> Metric:
    values = np.array(list(mase_by_group(scores).values()))
    spread = group_ratio(values, np.ones(values.size), np.arange(values.size), rng)
    return _metric(name, where, spread, base)


def _wins(records: Sequence[Record], rng: np.random.Generator) -> list[Metric]:
    own = mase_by_group(scores_of(records, OWN))
    found = []
    beaten = dict.fromkeys(own, True)
    for name in RIVALS:
        theirs = mase_by_group(scores_of(records, name))
        if len(theirs) < len(own):
            return []
        wins = {group: own[group] < theirs[group] for group in own}
        beaten = {group: beaten[group] and wins[group] for group in own}
        found.append(_share(f"series_better_than_{name}", wins, _TITLES[name], rng))
    found.append(
        _share("series_better_than_all_three", beaten, "default Prophet, AutoETS, AutoTheta", rng)
    )
    return found


def _share(name: str, wins: dict[str, bool], base: str, rng: np.random.Generator) -> Metric:
    flags = np.array(list(wins.values()), dtype=np.float64)
    share = group_ratio(flags, np.ones(flags.size), np.arange(flags.size), rng)
    return _metric(name, MIX, share, base)


def all_cases(records: Sequence[Record], seed: int) -> list[CrossingCase]:
    """Return the crossing cases of all records."""
    return [case for one in records for case in crossing_cases(one, seed)]


def _crossings(
    records: Sequence[Record], where: str, seed: int, rng: np.random.Generator
) -> list[Metric]:
    cases = all_cases(records, seed)
    names = list(dict.fromkeys(one.group for one in cases))
    group_N = np.array([names.index(one.group) for one in cases])
    happened = np.array([np.isfinite(one.actual_days) for one in cases], dtype=np.float64)

    def brier(said: Callable[[CrossingCase], float]) -> NDArray[np.float64]:
        return (np.array([said(one) for one in cases]) - happened) ** 2

    own = brier(lambda one: one.probability)
    inside = np.array([one.low_days <= one.actual_days <= one.high_days for one in cases])
    found = [
        _metric("crossing_brier_ratio_to_past_share", where,
                group_ratio(own, brier(lambda one: one.past_share), group_N, rng),
                "share of past horizons that reached it"),
        _metric("crossing_brier_ratio_to_weekday_mean", where,
                group_ratio(own, brier(lambda one: float(np.isfinite(one.plain_days))), group_N, rng),
                "whether the weekday mean reaches it"),
        _metric("crossing_date_coverage_80", where,
                group_ratio(inside.astype(float), np.ones(len(cases)), group_N, rng),
                "0.8 nominal, at least: dates are whole steps, and none is a date"),
    ]  # fmt: skip
    reached_N = group_N[happened > 0]
    errors = date_errors(cases, "median_days")
    for name, title in (("plain_days", "weekday mean"), ("prophet_days", "default Prophet")):
        theirs = date_errors(cases, name)
        found.append(
            _metric(f"crossing_date_error_ratio_to_{'weekday_mean' if name == 'plain_days' else 'prophet_default'}",
                    where, group_ratio(errors, theirs, reached_N, rng), title)
        )  # fmt: skip
    mean = group_ratio(errors, np.ones(errors.size), reached_N, rng)
    found.append(_metric("crossing_date_error_days", where, mean, "mean, where it was reached"))
    return found
