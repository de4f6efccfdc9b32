"""One picture of the bandwidth benchmark: ratios to the baselines, and reliability of quantiles."""

from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.bandwidth_scores import COLD_SAMPLES, SetScores
from benchmarks.results_format import BenchmarkResult

_SERIES: Final = (("", "blend"), ("_lstm", "LSTM"), ("_lightgbm", "LightGBM"))
_COLOURS: Final = ("#1b6ca8", "#c65d21", "#5a8f3d")


def draw(result: BenchmarkResult, scored: list[SetScores], path: Path) -> None:
    """Write the picture as PNG."""
    figure = Figure(figsize=(10, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2)
    names = [scores.name for scores in scored]
    _ratios(axes[0, 0], result, names, "wape_ratio_to_ewma", "WAPE / EWMA")
    _ratios(axes[0, 1], result, names, "wql_ratio_to_ewma_band", "wQL / EWMA band")
    _ratios(axes[1, 0], result, names, "coverage_80", "coverage of the 80 % interval")
    axes[1, 0].axhspan(0.78, 0.82, color="#dddddd", zorder=0)
    _reliability(axes[1, 1], scored)
    figure.savefig(path, dpi=80)


def _ratios(
    axis: Axes, result: BenchmarkResult, names: list[str], metric: str, title: str
) -> None:
    found = {(m.set, m.name): m for m in result.metrics}
    for place, ((suffix, label), colour) in enumerate(zip(_SERIES, _COLOURS, strict=True)):
        rows = [found[name, metric + suffix] for name in names]
        values = np.array([row.value for row in rows])
        spread = np.array([[row.value - (row.lo or 0), (row.hi or 0) - row.value] for row in rows])
        axis.errorbar(
            np.arange(len(names)) + 0.2 * (place - 1), values, yerr=np.maximum(spread.T, 0),
            fmt="o", color=colour, label=label, capsize=2, markersize=4,
        )  # fmt: skip
    axis.set_xticks(np.arange(len(names)), names, rotation=20)
    axis.axhline(1.0 if "ratio" in metric else 0.8, color="black", linewidth=0.8)
    axis.set_title(title)
    axis.legend(fontsize=8)


def _reliability(axis: Axes, scored: list[SetScores]) -> None:
    for scores in scored:
        warm_N = np.concatenate(scores.known) >= COLD_SAMPLES
        below_NHQ = scores.rows("blend", "below")[warm_N]
        seen = below_NHQ.mean(axis=(0, 1))
        axis.plot([0.1, 0.9], seen, "o-", markersize=4, label=scores.name)
    axis.plot([0, 1], [0, 1], color="black", linewidth=0.8)
    axis.set_title("share of actual values below the .1 and .9 quantiles")
    axis.legend(fontsize=8)
