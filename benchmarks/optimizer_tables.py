"""Turns judgements of the optimizer benchmark into metrics and a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.figure import Figure

from benchmarks.results_format import Metric
from rl_envs.evaluate import Harm, Interval, Played, mean_interval
from rl_envs.judge import Judgement
from rl_envs.worlds import MAX_COST_INCREASE_RATIO

CLAIMED: Final = {
    "latency": ("latency_ms", -0.252),
    "throughput": ("throughput_mbps", 0.237),
    "errors": ("loss_ratio_difference", -0.471),
    "cost": ("cost_usd_per_gb", -0.207),
}
"""Changes that the original's documents state, by the metric that ours is measured by."""


def metric(name: str, where: str, interval: Interval, baseline: str) -> Metric:
    """Return an interval as a metric."""
    return Metric(
        name=name, set=where, value=interval.value, lo=interval.lo, hi=interval.hi,
        n=interval.n, baseline=baseline,
    )  # fmt: skip


def number(name: str, where: str, value: float, n: int, baseline: str) -> Metric:
    """Return a plain number as a metric."""
    return Metric(name=name, set=where, value=value, n=n, baseline=baseline)


def judged_metrics(prefix: str, target: str, judged: Judgement) -> list[Metric]:
    """Return gain, shares of the oracle's, harm, and what changed, of one controller."""
    found = [
        metric(f"{prefix}_improvement_ratio", target, judged.improvement, "shipped default"),
        metric(f"{prefix}_oracle_share_decision_1", target, judged.oracle_share_1, "oracle"),
        metric(f"{prefix}_oracle_share_decision_3", target, judged.oracle_share_3, "oracle"),
        *harm_metrics(prefix, target, judged.harm, judged.improvement.n),
    ]
    found += [
        metric(f"{prefix}_improvement_ratio_over_{name}", target, each, name)
        for name, each in judged.over.items()
    ]
    found += [
        metric(f"{prefix}_improvement_ratio", f"{target}, {name}", each, "shipped default")
        for name, each in judged.per_class.items()
    ]
    return found


def harm_metrics(prefix: str, where: str, found: Harm, n: int) -> list[Metric]:
    """Return how often and how badly worlds fare worse."""
    return [
        metric(f"{prefix}_worse_by_2pct_ratio", where, found.worse_ratio, "shipped default"),
        number(f"{prefix}_worst_world_change", where, found.worst, n, "shipped default"),
        number(
            f"{prefix}_worst_decision_change", where, found.worst_decision, n, "shipped default"
        ),
    ]


def limit_metric(prefix: str, where: str, played: Sequence[Played]) -> Metric:
    """Return the share of worlds whose cost over the episode rises beyond the limit."""
    price, first = "cost_usd_per_gb", played[0]
    dearer = np.stack(
        [
            np.log(each.metrics_KN[price] / each.default_metrics_KN[price]).mean(axis=0)
            for each in played
        ]
    )
    over = (dearer > np.log1p(MAX_COST_INCREASE_RATIO)).astype(np.float64)
    return metric(f"{prefix}_cost_over_limit_ratio", where, mean_interval(over, first.path_N),
                  "limit 10 %")  # fmt: skip


def change_metrics(prefix: str, target: str, changes: Mapping[str, Interval]) -> list[Metric]:
    """Return the change of every metric; where the original claims one, it stands beside."""
    claims = {source: f"{name} claimed {value:+.1%}" for name, (source, value) in CLAIMED.items()}
    return [
        metric(f"{prefix}_change_{name}", target, each, claims.get(name, "shipped default"))
        for name, each in changes.items()
    ]


def draw_shares(rows: Sequence[tuple[str, Mapping[str, Interval]]], path: Path) -> None:
    """Draw the improvement over the shipped default of each controller, target by target.

    Args:
        rows: Target, and each controller's improvement.
        path: A PNG file.
    """
    names = list(rows[0][1])
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    axes = figure.add_subplot()
    width = 0.8 / len(names)
    for place, name in enumerate(names):
        shown = [(x, each[name]) for x, (_, each) in enumerate(rows) if name in each]
        at = [x + (place - (len(names) - 1) / 2) * width for x, _ in shown]
        values = [100.0 * each.value for _, each in shown]
        reach = [
            [100.0 * (each.value - each.lo) for _, each in shown],
            [100.0 * (each.hi - each.value) for _, each in shown],
        ]
        axes.bar(at, values, width, yerr=reach, label=name.replace("_", " "), capsize=2)
    axes.set_xticks(range(len(rows)), [target for target, _ in rows])
    axes.axhline(0.0, color="0.3", linewidth=0.8)
    axes.set_ylabel("objective better than shipped, %")
    axes.set_title("Test paths, simulated; bars: 95 % over paths and seeds")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)
