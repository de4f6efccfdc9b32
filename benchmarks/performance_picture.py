"""Pictures of the performance benchmark: reliability, fans, and errors by own samples."""

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.results_format import BenchmarkResult
from novacron.models.classification import reliability
from novacron.models.performance.measure import OWN_COUNTS, KnownRows

_BLUE: Final = "#1b6ca8"
_ORANGE: Final = "#c65d21"
_DAY_S: Final = 86_400.0


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def draw_reliability(rows: KnownRows, path: Path) -> None:
    """Draw observed shares against forecast probabilities of degradation."""
    figure = _figure(5.5, 5)
    axis = figure.subplots()
    keep = rows.whole_N
    mean_B, share_B, count_B = reliability(rows.probability_N[keep], rows.worse_N[keep])
    some = count_B > 0
    axis.plot([0, 1], [0, 1], color="black", linewidth=0.8)
    axis.plot(mean_B[some], share_B[some], "o-", color=_BLUE)
    for x, y, n in zip(mean_B[some], share_B[some], count_B[some], strict=True):
        axis.annotate(str(n), (x, y), textcoords="offset points", xytext=(5, -10), fontsize=7)
    axis.set_xlabel("forecast probability of degradation")
    axis.set_ylabel("observed share (rows beside each point)")
    figure.savefig(path, dpi=80)


def draw_fans(fans: dict[str, NDArray[Any]], path: Path) -> None:
    """Draw actual values in their intervals for one VM of each of four benchmarks."""
    places = sorted({name.split("_")[0] for name in fans})
    figure = _figure(11, 2.4 * max(1, len(places)))
    axes = np.atleast_1d(figure.subplots(max(1, len(places)), 1))
    for axis, place in zip(axes, places, strict=False):
        days = (fans[f"{place}_ts"] - fans[f"{place}_ts"][0]) / _DAY_S
        q_S3 = fans[f"{place}_q"]
        axis.fill_between(days, q_S3[:, 0], q_S3[:, 2], color=_BLUE, alpha=0.25, linewidth=0)
        axis.plot(days, q_S3[:, 1], color=_BLUE, linewidth=1, label="forecast, 80 % interval")
        axis.plot(days, fans[f"{place}_actual"], ".", color=_ORANGE, markersize=4, label="actual")
        axis.set_title(str(json.loads(str(fans[f"{place}_name"])))[:90], fontsize=8)
    axes[0].legend(fontsize=8)
    axes[-1].set_xlabel("days")
    figure.savefig(path, dpi=80)


def draw_own_samples(result: BenchmarkResult, path: Path) -> None:
    """Draw the mean WAPE of unseen VMs against the number of own samples shown."""
    figure = _figure(6.5, 4.5)
    axis: Axes = figure.subplots()
    found = {metric.name: metric for metric in result.metrics}
    for suffix, label, colour in (
        ("", "served blend", _BLUE),
        ("_own_or_peers", "own EWMA, else fleet median", _ORANGE),
    ):
        rows = [found[f"wape_mean_after_{count}{suffix}"] for count in OWN_COUNTS]
        value = np.array([100 * row.value for row in rows])
        ends = np.array([[100 * (row.lo or 0), 100 * (row.hi or 0)] for row in rows])
        spread = np.maximum(np.stack([value - ends[:, 0], ends[:, 1] - value]), 0)
        axis.errorbar(
            np.arange(len(rows)),
            value,
            yerr=spread,
            fmt="o-",
            color=colour,
            label=label,
            capsize=3,
        )
    axis.set_xticks(np.arange(len(OWN_COUNTS)), [str(count) for count in OWN_COUNTS])
    axis.set_xlabel("own samples shown of a VM that was never learned from")
    axis.set_ylabel("WAPE, mean over benchmark, size and region (%)")
    axis.legend(fontsize=8)
    figure.savefig(path, dpi=80)
