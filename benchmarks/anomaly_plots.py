"""Pictures of the anomaly benchmark: alert timelines, and recall and precision by alert budget."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.anomaly_sets import Labelled
from novacron.models.anomaly.config import AnomalyConfig
from novacron.models.anomaly.detector import AnomalyDetector
from novacron.models.anomaly.episodes import EpisodeGrouper
from novacron.models.anomaly.measures import Measure

Floats = NDArray[np.float64]

_MOST_SERIES = 6
_POINTS = 1500


def plot_timeline(series: Sequence[Labelled], scores: Sequence[Floats], path: Path) -> None:
    """Draw series with their labelled windows and the alerts of the default budget."""
    shown = list(zip(series, scores, strict=True))[:_MOST_SERIES]
    figure = Figure(figsize=(10, 2.2 * len(shown)), layout="constrained")
    for axis, (one, score_T) in zip(
        np.atleast_1d(figure.subplots(len(shown))), shown, strict=True
    ):
        days = (one.ts_s - one.ts_s[0]) / 86_400
        step = max(1, len(days) // _POINTS)
        axis.plot(days[::step], one.value_T[::step], lw=0.6, color="tab:blue")
        for start, end in one.events:
            axis.axvspan(
                (start - one.ts_s[0]) / 86_400, (end - one.ts_s[0]) / 86_400, alpha=0.2, color="C1"
            )
        raised = EpisodeGrouper(AnomalyConfig().episodes).push(
            one.ts_s, score_T, AnomalyDetector().threshold
        )
        for alert in raised:
            axis.axvline(days[alert.row], color="tab:red", lw=0.9)
        axis.set_title(one.name, fontsize=8)
    axis.set_xlabel("days; shaded: labelled windows, red: alerts of the default budget")
    _save(figure, path)


def plot_budget(curves: Mapping[str, Sequence[Mapping[str, Measure]]], path: Path) -> None:
    """Draw recall and precision of episodes over the false episodes a day that are accepted."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axis, measure in zip(figure.subplots(1, 2), ("recall", "episode_precision"), strict=True):
        for name, points in curves.items():
            budget = [max(p["false_episodes_per_series_day"].value, 1e-3) for p in points]
            axis.plot(budget, [p[measure].value for p in points], marker=".", label=name)
        axis.set_xscale("log")
        axis.set_xlabel("false episodes per series-day")
        axis.set_ylabel(measure.replace("_", " "))
        axis.set_ylim(0, 1)
    axis.legend(fontsize=7)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
