"""Pictures of the scaling benchmark: frontiers, policies, replays, forecast fans."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from benchmarks.scaling_replays import POLICY, Measured
from novacron.models.scaling.advice import forecast_hour
from novacron.models.scaling.fitted import Fitted
from novacron.models.scaling.public_series import Series
from novacron.models.scaling.replay import Elasticity
from novacron.models.scaling.scores import UNDER_GOAL

_COLUMNS: Final = 4


def _grid(count: int, height: float = 2.9) -> tuple[Figure, list[Any]]:
    rows = (count + _COLUMNS - 1) // _COLUMNS
    figure = Figure(figsize=(3.4 * _COLUMNS, height * rows), layout="constrained")
    axes = list(figure.subplots(rows, _COLUMNS, squeeze=False).ravel())
    for unused in axes[count:]:
        unused.set_visible(False)
    return figure, axes


def pareto(policies: Mapping[str, Elasticity]) -> list[str]:
    """Return the policies that no other beats in cost and in time under-provisioned at once."""

    def beaten(name: str) -> bool:
        mine = policies[name]
        return any(
            other.cost_ratio <= mine.cost_ratio
            and other.under_ratio <= mine.under_ratio
            and (other.cost_ratio, other.under_ratio) != (mine.cost_ratio, mine.under_ratio)
            for other in policies.values()
        )

    return sorted(
        (name for name in policies if not beaten(name)),
        key=lambda name: policies[name].under_ratio,
    )


def draw_frontiers(
    measured: Mapping[str, Measured], path: Path, *, policies: bool = False
) -> None:
    """Draw what each rule pays at each share of time under-provisioned, or the six policies."""
    figure, axes = _grid(len(measured))
    for plot, (name, found) in zip(axes, measured.items(), strict=False):
        if policies:
            _policies(plot, found.policies)
        else:
            for rule, points in found.frontiers.items():
                under = [100 * point.score.under_ratio for point in points]
                theta = [100 * point.score.theta_o for point in points]
                wide = 2.0 if rule == POLICY else 0.9
                plot.plot(under, theta, marker="o", markersize=2.5, linewidth=wide, label=rule)
            plot.set_xlim(0, 6)
            top = [100 * p.score.theta_o for p in found.frontiers["conformal_ratio"]]
            plot.set_ylim(0, max(top) if top else None)
            plot.set_ylabel("theta_O, %", fontsize=8)
        plot.axvline(100 * UNDER_GOAL, color="grey", linestyle=":", linewidth=1)
        plot.set_title(name, fontsize=9)
        plot.set_xlabel("time under-provisioned, %", fontsize=8)
        plot.tick_params(labelsize=7)
    axes[0].legend(fontsize=6)
    figure.savefig(path, dpi=100)


def _policies(plot: Any, policies: Mapping[str, Elasticity]) -> None:
    for name, score in policies.items():
        plot.plot(100 * score.under_ratio, score.cost_ratio, marker="o", linestyle="", label=name)
    front = [policies[name] for name in pareto(policies)]
    plot.plot(
        [100 * score.under_ratio for score in front],
        [score.cost_ratio for score in front],
        color="grey",
        linewidth=0.8,
    )
    plot.set_ylabel("cost over that of demand", fontsize=8)


def draw_replays(measured: Mapping[str, Measured], path: Path) -> None:
    """Draw two days of each test part."""
    figure, axes = _grid(len(measured))
    for plot, (name, found) in zip(axes, measured.items(), strict=False):
        demand = found.series.demand
        steps = slice(found.series.test_from, found.series.test_from + 2 * demand.day_steps)
        hours = np.arange(len(demand.value_T[steps])) * demand.step_s / 3600
        plot.step(hours, found.rival_T[steps], linewidth=0.6, color="tab:orange", where="post",
                  label="conformal ratio")  # fmt: skip
        plot.step(hours, found.capacity_T[steps], linewidth=1.0, color="tab:blue", where="post",
                  label=POLICY)  # fmt: skip
        plot.plot(hours, demand.value_T[steps], linewidth=0.8, color="black", label="demand")
        top = np.nanmax(np.concatenate([demand.value_T[steps], found.capacity_T[steps]]))
        plot.set_ylim(0, 1.15 * top)
        plot.set_title(name, fontsize=9)
        plot.set_xlabel("h", fontsize=8)
        plot.tick_params(labelsize=7)
    axes[0].legend(fontsize=6)
    figure.savefig(path, dpi=100)


def draw_fans(fitted: Fitted, series: Mapping[str, Series], path: Path) -> None:
    """Draw the hour ahead from four origins of each test part."""
    figure, axes = _grid(len(series), 2.4)
    for plot, (name, one) in zip(axes, series.items(), strict=False):
        demand = one.demand
        hour = 3600 // demand.step_s
        begin = one.test_from + 8 * hour
        shown = np.arange(begin, begin + 13 * hour)
        plot.plot(shown - begin, demand.value_T[shown], color="black", linewidth=0.8)
        for origin in range(begin + hour, begin + 12 * hour, 3 * hour):
            found = forecast_hour(fitted, demand.part(0, origin + 1))
            ahead = origin - begin + np.arange(1, len(found.value) + 1)
            plot.fill_between(ahead, found.lower, found.upper, alpha=0.3, color="tab:blue")
            plot.plot(ahead, found.value, color="tab:blue", linewidth=1)
        plot.set_title(name, fontsize=9)
        plot.set_xlabel(f"steps of {demand.step_s} s", fontsize=8)
        plot.tick_params(labelsize=7)
    figure.savefig(path, dpi=100)
