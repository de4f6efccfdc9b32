"""Pictures of the placement benchmark: packing over time, contention, one decision's reasons."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from novacron.models.placement.answers import Candidate

_SHOWN: Final = {
    "random": "random",
    "best_fit": "best fit",
    "first_fit": "first fit",
    "lifetime": "lifetime-aware, gated",
    "oracle_linear": "lifetime oracle",
}


def draw_packing(found: Mapping[str, Any], path: Path) -> None:
    """Draw nodes in use over time against best fit, one line a rule, summed over clusters."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.add_subplot()
    rules = found["rules"]
    best = _total(rules["best_fit"])
    hours = np.arange(len(best))
    for rule, label in _SHOWN.items():
        total = _total(rules[rule])[: len(best)]
        axes.plot(hours[: len(total)], total / best[: len(total)], label=label)
    axes.set_xlabel("hours since scoring began")
    axes.set_ylabel("nodes in use over best fit")
    axes.set_title(f"{found['set']}: nodes in use, all clusters")
    axes.legend(fontsize=8)
    _save(figure, path)


def _total(runs: list[Mapping[str, Any]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    length = min(len(run["active_by_hour"]) for run in runs)
    total = np.sum([run["active_by_hour"][:length] for run in runs], axis=0)
    return np.asarray(total, dtype=np.float64)


def draw_contention(by_intensity: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Draw the mean slowdown by intensity, one line a rule."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    names = sorted(by_intensity, key=float)
    for rule in by_intensity[names[0]]:
        axes.plot(
            [float(name) for name in names],
            [by_intensity[name][rule] for name in names],
            marker="o",
            label=rule.replace("_", " "),
        )
    axes.set_xlabel("demand on memory, disk and network for each busy core, multiple of the usual")
    axes.set_ylabel("mean slowdown (1: free reference node)")
    axes.set_title("Job slowdown under simulated contention")
    axes.legend(fontsize=8)
    _save(figure, path)


def draw_reasons(candidate: Candidate, path: Path) -> None:
    """Draw how the factors lead from the mean to the score of one candidate."""
    steps = [("mean of training", candidate.base)]
    steps += [
        (f"{one.factor} = {'absent' if one.value is None else f'{one.value:.4g}'}",
         one.contribution)
        for one in candidate.reasons
    ]  # fmt: skip
    steps += [("all other factors", candidate.other_factors), ("room to bounds", candidate.soft)]
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.add_subplot()
    at = 0.0
    for row, (_, value) in enumerate(steps):
        colour = "#777777" if row == 0 else "#1b7a43" if value >= 0 else "#b3261e"
        axes.barh(row, value, left=at, color=colour)
        at += value
        axes.text(at, row, f" {value:+.3f}", va="center", fontsize=8)
    axes.axvline(at, color="black", linewidth=0.8)
    axes.set_yticks(range(len(steps)), [name for name, _ in steps], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("score")
    axes.set_title(f"Why {candidate.node_id} scores {candidate.score.value:.3f}")
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    # No software version or date: equal runs give equal bytes.
    figure.savefig(path, dpi=110, metadata={"Software": None})
