"""Pictures of the capacity benchmark: fans, ratios by set, reliability, crossing probabilities."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.figure import Figure

from benchmarks.capacity_crossings import CrossingCase
from benchmarks.capacity_forecasts import OWN, Record
from benchmarks.results_format import Metric

_BLUE: Final = "#1b6ca8"
_SHOWN: Final = 6


def draw_fans(records: Sequence[Record], path: Path) -> None:
    """Draw the newest origin of one series of each set, and default Prophet beside it."""
    first = {one.demand.set: one.demand.name for one in reversed(records)}
    newest = {one.demand.set: one for one in records if one.demand.name == first[one.demand.set]}
    chosen = list(newest.values())[:_SHOWN]
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    panels = figure.subplots(-(-len(chosen) // 2), 2, squeeze=False).ravel()
    for axes, one in zip(panels, chosen, strict=False):
        past = one.history.value_T[-2 * one.demand.horizon :]
        at = np.arange(one.demand.horizon)
        axes.plot(np.arange(-past.size, 0), past, color="#444444", linewidth=0.8)
        for level, alpha in ((0.95, 0.15), (0.80, 0.3)):
            low, high = one.intervals[OWN][level]
            axes.fill_between(at, low, high, color=_BLUE, alpha=alpha, linewidth=0)
        axes.plot(at, one.said[OWN], color=_BLUE, label="ensemble")
        if "prophet_default" in one.said:
            axes.plot(
                at, one.said["prophet_default"], color="#c65d21", linewidth=0.9,
                label="default Prophet",
            )  # fmt: skip
        axes.plot(at, one.actual_H, color="black", linewidth=1.0, label="what happened")
        axes.set_title(f"{one.demand.set}: {one.demand.name[:40]}", fontsize=9)
        axes.tick_params(labelsize=7)
    panels[0].legend(fontsize=7)
    for axes in panels[len(chosen) :]:
        axes.axis("off")
    figure.savefig(path, dpi=80)


def draw_ratios(metrics: Sequence[Metric], path: Path) -> None:
    """Draw the MASE ratio of every forecaster by set, and the coverage of both intervals."""
    sets = list(dict.fromkeys(one.set for one in metrics if one.name == "coverage_80"))
    found = {(one.name, one.set): one for one in metrics}
    lines = (
        ("mase_ratio_to_weekday_mean", "ensemble", _BLUE),
        ("mase_ratio_of_prophet_default", "default Prophet", "#c65d21"),
        ("mase_ratio_of_prophet_alone", "Prophet as configured here", "#e0a060"),
        ("mase_ratio_of_auto_ets", "AutoETS", "#5a8f3d"),
        ("mase_ratio_of_auto_theta", "AutoTheta", "#8a63a8"),
    )
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for place, (name, label, colour) in enumerate(lines):
        rows = [found.get((name, one)) for one in sets]
        x = [at + 0.14 * (place - 2) for at, row in enumerate(rows) if row is not None]
        kept = [row for row in rows if row is not None]
        spread = [
            [row.value - (row.lo if row.lo is not None else row.value) for row in kept],
            [(row.hi if row.hi is not None else row.value) - row.value for row in kept],
        ]
        left.errorbar(
            x, [row.value for row in kept], yerr=np.maximum(spread, 0), fmt="o", color=colour,
            markersize=4, capsize=2, label=label,
        )  # fmt: skip
    left.axhline(1.0, color="black", linewidth=0.8)
    left.set_ylim(0, 3)
    left.set_title("MASE / MASE of the weekday mean", fontsize=10)
    left.legend(fontsize=7)
    for name, nominal, colour in (("coverage_80", 0.80, _BLUE), ("coverage_95", 0.95, "#5a8f3d")):
        right.plot([found[name, one].value for one in sets], "o", color=colour, label=name)
        right.axhline(nominal, color=colour, linewidth=0.8)
    right.set_ylim(0.4, 1.01)
    right.set_title("share of actual values inside the interval", fontsize=10)
    right.legend(fontsize=7)
    for axes in (left, right):
        axes.set_xticks(range(len(sets)), sets, rotation=25, fontsize=8)
    figure.savefig(path, dpi=80)


def draw_crossings(cases: Sequence[CrossingCase], path: Path) -> None:
    """Draw how often a threshold was reached over the probability that was stated."""
    stated = np.array([one.probability for one in cases])
    reached = np.array([np.isfinite(one.actual_days) for one in cases])
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    edges = np.array([0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0001])
    left.plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle="--")
    for low, high in pairwise(edges):
        inside = (stated >= low) & (stated < high)
        if inside.any():
            left.plot(stated[inside].mean(), reached[inside].mean(), "o", color=_BLUE)
            left.annotate(
                str(int(inside.sum())), (stated[inside].mean(), reached[inside].mean()),
                fontsize=7, xytext=(4, -9), textcoords="offset points",
            )  # fmt: skip
    left.set_xlabel("stated probability that the threshold is reached")
    left.set_ylabel("share of cases in which it was (numbers: cases)")
    for name, label, colour in (
        ("median_days", "median of the distribution", _BLUE),
        ("plain_days", "weekday mean", "#777777"),
        ("prophet_days", "default Prophet", "#c65d21"),
    ):
        errors = np.sort(
            [
                abs(min(getattr(one, name), one.horizon_days) - one.actual_days)
                for one in cases
                if np.isfinite(one.actual_days)
            ]
        )
        right.plot(errors, np.arange(1, errors.size + 1) / errors.size, label=label, color=colour)
    right.set_xlabel("error of the crossing date, days")
    right.set_ylabel("share of reached thresholds")
    right.legend(fontsize=8)
    figure.savefig(path, dpi=80)
