"""Shows what was measured of a policy, to people and as JSON."""

from dataclasses import asdict
from typing import Any

from rich.console import Group

from ray_jobs.answers import facts, table
from ray_jobs.policy_training import TrainedPolicy
from rl_envs.evaluate import Interval


def policy_outcome(trained: TrainedPolicy) -> dict[str, Any]:
    """Return the figures as JSON-able values; all of them are simulated."""
    figures = trained.figures
    return {
        "target": trained.part.card.target,
        "policy_version": trained.part.card.version,
        "trainer": trained.part.card.trainer,
        "evidence": trained.part.card.evidence,
        "run_dir": str(trained.folder.path),
        "env_steps": trained.part.card.env_steps,
        "policy": asdict(figures.judged),
        "guarded": asdict(figures.guarded),
        "best_static": asdict(figures.static),
        "guarded_out_of_distribution": asdict(figures.guarded_unfamiliar),
        "default_against_itself": asdict(figures.control),
    }


def policy_view(trained: TrainedPolicy, outcome: dict[str, Any]) -> Group:
    """Show default, best static, policy and guarded policy beside the oracle; then each class."""
    figures = trained.figures
    shown = {
        "policy": f"{outcome['target']} {outcome['policy_version']}, {outcome['trainer']}",
        "evidence": f"{outcome['evidence']}, {figures.judged.improvement.n} test paths",
        "run": outcome["run_dir"],
    }
    if "version" in outcome:
        shown["registered"] = f"{outcome['model']} version {outcome['version']}"
    rows = [
        ("default", _percent(figures.control), "0 %", "0 %", "0 %", "0 %"),
        *(
            (
                name,
                _percent(each.improvement),
                f"{each.oracle_share_1.value:.0%}",
                f"{each.oracle_share_3.value:.0%}",
                f"{each.harm.worse_ratio.value:.1%}",
                f"{each.harm.worst:.1%}",
            )
            for name, each in (
                ("best static", figures.static),
                ("policy", figures.judged),
                ("guarded policy", figures.guarded),
            )
        ),
        ("oracle", "", "100 %", "100 %", "", ""),
    ]
    columns = (
        "setting", "better than default (95 %)", "of oracle,\n1st", "of oracle,\n3rd",
        "worse by\nover 2 %", "worst",
    )  # fmt: skip
    classes = [
        (name, _percent(each), _percent(figures.guarded.per_class[name]))
        for name, each in figures.judged.per_class.items()
    ]
    changes = [
        (name, _percent(each), _percent(figures.guarded.changes[name]))
        for name, each in figures.judged.changes.items()
    ]
    return Group(
        facts("Policy, simulated", shown),
        table("On held-out paths", columns, rows),
        table("Better than default by class", ("class", "policy", "guarded"), classes),
        table("Change of each metric, worse ones too", ("metric", "policy", "guarded"), changes),
    )


def _percent(interval: Interval) -> str:
    return f"{interval.value:+.1%} ({interval.lo:+.1%} .. {interval.hi:+.1%})"
