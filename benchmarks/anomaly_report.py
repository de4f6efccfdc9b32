"""The HTML page of the anomaly benchmark: figures beside goals, alert timelines, budget curves."""

from pathlib import Path
from typing import Final

from benchmarks.anomaly_counts import OURS
from benchmarks.report_page import Goal, GoalKey, Picture, Section, write_report
from benchmarks.results_format import BenchmarkResult
from novacron.models.anomaly.nab_score import PROFILES

_MEASURES: Final = (
    "recall",
    "false_episodes_per_series_day",
    "false_positive_hours_ratio",
    "episode_precision",
    "mean_delay_s",
)
_RECALL: Final = Goal(low=0.85)
_FALSE: Final = Goal(high=0.15)
_FPR: Final = Goal(high=0.01)


def write_anomaly_report(result: BenchmarkResult, directory: Path) -> Path:
    """Write `anomaly.html` beside the results."""
    return write_report(
        result,
        _sections(directory),
        title="Anomaly detection",
        lead="What the detector finds and how often it is wrong, beside five detectors in the same "
        "wrapper. An event counts as found when an alert is raised while it lasts; nothing is "
        "point-adjusted.",
        goals=_goals(result),
        directory=directory,
    )


def _sections(directory: Path) -> list[Section]:
    return [
        Section(
            title="Injected anomalies",
            prose=(
                "One anomaly in each copy of series the thresholds never saw. The figures "
                "under `ours_cold_start` are those of `AnomalyDetector()` as it comes.",
            ),
            metrics=tuple(f"injected_{name}" for name in _MEASURES),
            pictures=(
                Picture(
                    path=directory / "anomaly_budget.png",
                    caption="Recall and precision over the false episodes that are accepted",
                ),
            ),
        ),
        Section(
            title="Numenta Anomaly Benchmark",
            metrics=tuple(
                f"nab_{profile}_{way}_threshold"
                for profile in PROFILES
                for way in ("best", "held_out")
            )
            + tuple(f"nab_{name}" for name in _MEASURES),
            pictures=(
                Picture(
                    path=directory / "anomaly_timeline.png",
                    caption="Series, labelled windows (shaded), and alerts of the default budget",
                ),
            ),
        ),
        Section(
            title="Nezha",
            metrics=(
                "nezha_window_recall",
                *(f"nezha_{name}" for name in _MEASURES),
                "nezha_delays_found_by_best_rule",
            ),
        ),
        Section(title="Cost", metrics=("cpu_us_per_sample",)),
    ]


def _goals(result: BenchmarkResult) -> dict[GoalKey, Goal]:
    goals: dict[GoalKey, Goal] = {}
    for metric in result.metrics:
        if not metric.set.startswith(OURS):
            continue
        key = (metric.name, metric.set)
        whole = metric.set.endswith("/all") or metric.name.startswith("nezha_")
        if metric.name in ("injected_recall", "nezha_recall") and whole:
            goals[key] = _RECALL
        elif metric.name.endswith("_false_episodes_per_series_day"):
            if not metric.name.startswith("nab_"):
                goals[key] = _FALSE
        elif metric.name == "injected_false_positive_hours_ratio":
            goals[key] = _FPR
        elif metric.name == "nab_standard_best_threshold":
            goals[key] = Goal(low=60)
        elif metric.name == "nab_standard_held_out_threshold":
            goals[key] = Goal(low=50)
        elif metric.name == "cpu_us_per_sample":
            goals[key] = Goal(high=50)
    return goals
