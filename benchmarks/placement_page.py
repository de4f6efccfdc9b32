"""The HTML page of the placement benchmark."""

from pathlib import Path

from benchmarks.report_page import Goal, GoalKey, Picture, Section, write_report
from benchmarks.results_format import BenchmarkResult


def report(result: BenchmarkResult, out: Path) -> None:
    """Write the HTML page."""
    names = {metric.name for metric in result.metrics}

    def known(*wanted: str) -> tuple[str, ...]:
        return tuple(name for name in wanted if name in names)

    captions = {
        "placement_packing_azure_v1": "Nodes in use over best fit, Azure V1.",
        "placement_packing_alibaba_gpu_2023": "Nodes in use over best fit, Alibaba GPU 2023.",
        "placement_packing_alibaba_dlrm_2025": "Nodes in use over best fit, DLRM 2025.",
    }
    drawn = {name: out / f"{name}.png" for name in captions}
    goals: dict[GoalKey, Goal] = {
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
    measured = {(metric.name, metric.set) for metric in result.metrics}
    sections = [
        Section(
            title="Packing",
            prose=("Nodes in use on real arrivals, beside the fluid bound and the oracle.",),
            metrics=known(
                "share_of_oracle_gain_lifetime",
                "active_over_best_fit_lifetime",
                "active_over_best_fit_lifetime_oracle",
                "active_over_best_fit_first_fit",
                "active_over_best_fit_lifetime_one_shot",
                "infeasible_placements",
                "lifetime_bucket_accuracy",
            ),
            pictures=tuple(
                Picture(path=path, caption=captions[name])
                for name, path in drawn.items()
                if path.exists()
            ),
        ),
        Section(
            title="Contention",
            metrics=known("speed_over_random_optimizer", "speed_over_random_optimizer_speed_only"),
            pictures=(
                Picture(
                    path=out / "placement_contention.png",
                    caption="Mean slowdown of jobs by intensity and rule; simulated.",
                ),
            ),
        ),
        Section(
            title="Decisions and their reasons",
            metrics=known(
                "infeasible_candidates",
                "wrongly_none_feasible",
                "decision_p99_cpu_ms",
                "decision_p99_wall_ms",
                "factors_with_data",
                "factors_that_change_no_decision",
            ),
            pictures=tuple(
                Picture(path=path, caption="SHAP values of one candidate: they add up exactly.")
                for path in [out / "placement_reasons.png"]
                if path.exists()
            ),
        ),
        Section(title="Estimates", metrics=known("error_ratio_to_mean", "interval_coverage")),
    ]
    write_report(
        result,
        sections,
        title="Placement",
        lead="The workload optimizer beside first fit, best fit, worst fit, least loaded, random "
        "and a lifetime oracle.",
        goals={
            key: goal
            for key, goal in goals.items()
            if (key in measured if isinstance(key, tuple) else key in names)
        },
        directory=out,
    )
