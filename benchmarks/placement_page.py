"""The HTML page of the placement benchmark."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from benchmarks.report_page import Goal, GoalKey, Picture, Section, write_report
from benchmarks.results_format import BenchmarkResult

_GOALS: Final[Mapping[GoalKey, Goal]] = {
    "share_of_oracle_gain_lifetime": Goal(low=0.35),
    "active_over_best_fit_lifetime": Goal(high=1.0),
    "infeasible_placements": Goal(high=0.0),
    "infeasible_candidates": Goal(high=0.0),
    "wrongly_none_feasible": Goal(high=0.0),
    "factors_that_change_no_decision": Goal(high=0.0),
    "speed_over_random_optimizer": Goal(low=2.0),
    ("decision_p99_cpu_ms", "1000_nodes"): Goal(high=10.0),
    ("decision_p99_cpu_ms", "10000_nodes"): Goal(high=100.0),
}


_CAPTIONS: Final = {
    "placement_packing_azure_v1": "Nodes in use over best fit, Azure V1.",
    "placement_packing_alibaba_gpu_2023": "Nodes in use over best fit, Alibaba GPU 2023.",
    "placement_packing_alibaba_dlrm_2025": "Nodes in use over best fit, DLRM 2025.",
    "placement_contention": "Mean slowdown of jobs by intensity and rule; simulated.",
    "placement_reasons": "SHAP values of one candidate: they add up exactly.",
}
_SHOWN: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "Packing": (
        (
            "share_of_oracle_gain_lifetime",
            "active_over_best_fit_lifetime",
            "active_over_best_fit_lifetime_oracle",
            "active_over_best_fit_first_fit",
            "active_over_best_fit_lifetime_one_shot",
            "infeasible_placements",
            "lifetime_bucket_accuracy",
        ),
        tuple(name for name in _CAPTIONS if "packing" in name),
    ),
    "Contention": (
        (
            "speed_over_random_optimizer",
            "speed_over_random_optimizer_speed_only",
            "speed_over_random_oracle",
        ),
        ("placement_contention",),
    ),
    "Decisions and their reasons": (
        (
            "infeasible_candidates",
            "wrongly_none_feasible",
            "decision_p99_cpu_ms",
            "decision_p99_wall_ms",
            "factors_with_data",
            "factors_that_change_no_decision",
        ),
        ("placement_reasons",),
    ),
    "Estimates": (("error_ratio_to_mean", "interval_coverage"), ()),
}
"""Figures and pictures of each section; what was not measured is left out."""


def report(result: BenchmarkResult, out: Path) -> None:
    """Write the HTML page."""
    names = {metric.name for metric in result.metrics}
    measured = {(metric.name, metric.set) for metric in result.metrics}
    sections = [
        Section(
            title=title,
            metrics=tuple(name for name in figures if name in names),
            pictures=tuple(
                Picture(path=out / f"{name}.png", caption=_CAPTIONS[name])
                for name in pictures
                if (out / f"{name}.png").exists()
            ),
        )
        for title, (figures, pictures) in _SHOWN.items()
    ]
    write_report(
        result,
        sections,
        title="Placement",
        lead="The workload optimizer beside first fit, best fit, worst fit, least loaded, random "
        "and a lifetime oracle.",
        goals={
            key: goal
            for key, goal in _GOALS.items()
            if (key in measured if isinstance(key, tuple) else key in names)
        },
        directory=out,
    )
