"""What hyper-parameter search brings and costs: `make bench-tuning`.

`python -m benchmarks.tuning [--quick] [--piece NAME ...]` writes `results/tuning.json`. The pieces are
measured one after another and kept below the runs folder; a run that was ended goes on with what is
missing, and inside a piece with the trials that are missing.
"""

import argparse
import json
import logging
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from benchmarks.results_format import (
    RESULTS_DIR,
    BenchmarkResult,
    Metric,
    describe_machine,
    describe_versions,
    write_result,
)
from benchmarks.tuning_decision import DecisionResult, measure_decisions
from benchmarks.tuning_gain import (
    Figure,
    GainPlan,
    GainResult,
    OneSearch,
    from_json,
    measure_gain,
    to_json,
)
from benchmarks.tuning_kills import KillResult, inject_kills
from benchmarks.tuning_overhead import OverheadResult, measure_overhead
from benchmarks.tuning_pbt import PbtResult, measure_pbt
from ray_jobs.locations import runs_dir

Piece = Callable[[Path], Mapping[str, Any]]

GOAL_MODELS: Final = ("bandwidth", "anomaly", "placement", "policy")
_TRIALS: Final = {"bandwidth": 40, "anomaly": 32, "placement": 50, "policy": 30}
_FINALISTS: Final = {"bandwidth": 3, "anomaly": 2, "placement": 3, "policy": 2}
_SEARCHES: Final = {
    "bandwidth": (107, 108), "anomaly": (7, 8), "placement": (7, 8), "policy": (7, 8),
}  # fmt: skip
_POLICY: Final = "tuning.objectives.policy:PBA_PREDICTION"
"""The target whose policy learns in the fewest steps."""
FULL: Final = tuple(
    GainPlan(
        name=name, objective=_POLICY if name == "policy" else name, trials=_TRIALS[name],
        searches=_SEARCHES[name], finalists=_FINALISTS[name],
    )
    for name in GOAL_MODELS
)  # fmt: skip
QUICK: Final = (
    GainPlan(
        name="toy", objective="benchmarks.tuning_toy:FAST", trials=8, searches=(7, 8),
        most_control=8, finalists=1, data="generator",
    ),
)  # fmt: skip
_PBT: Final = ("bandwidth", "policy")
OVERHEAD_MODEL: Final = "benchmarks.tuning_toy:TEN_SECONDS"
"""Its trials wait: what comes on top of ten seconds is the engine's, however busy the machine is."""
_OVERHEAD_TRIALS: Final = 4
_KILL_TRIALS: Final = 18


def pieces_of(*, quick: bool) -> dict[str, Piece]:
    """Return what is measured, by name."""
    plans = QUICK if quick else FULL
    pieces: dict[str, Piece] = {f"gain-{plan.name}": _gain_piece(plan) for plan in plans}
    if not quick:
        pieces |= {f"pbt-{plan.name}": _pbt_piece(plan) for plan in plans if plan.name in _PBT}
        pieces["decision-placement"] = lambda room: asdict(measure_decisions(room))
        pieces["overhead"] = lambda room: asdict(
            measure_overhead(OVERHEAD_MODEL, room, trials=_OVERHEAD_TRIALS, small=False, data=None)
        )
        pieces["kills-ray"] = lambda room: asdict(inject_kills(room, "ray", trials=_KILL_TRIALS))
        pieces["kills-here"] = lambda room: asdict(inject_kills(room, "here", trials=_KILL_TRIALS))
    return pieces


def _gain_piece(plan: GainPlan) -> Piece:
    return lambda room: to_json(measure_gain(plan, room))


def _pbt_piece(plan: GainPlan) -> Piece:
    return lambda room: asdict(measure_pbt(plan, room))


def measure(name: str, piece: Piece, room: Path) -> Mapping[str, Any]:
    """Measure a piece, or read what an earlier run measured of it."""
    kept = room / f"{name}.json"
    if kept.exists():
        found: Mapping[str, Any] = json.loads(kept.read_text())
        return found
    result = json.loads(json.dumps(piece(room / name)))
    draft = kept.with_suffix(".tmp")
    kept.parent.mkdir(parents=True, exist_ok=True)
    draft.write_text(json.dumps(result, indent=1))
    draft.replace(kept)
    return dict(result)


def gain_metrics(one: GainResult) -> list[Metric]:
    """Return the rows of one model."""
    beside = {
        "gain_over_default": (one.over_default, f"default {one.default:.4g} {one.metric}"),
        "gain_over_random_search": (one.over_random, f"random search {one.random:.4g}"),
        "delivered_gain_over_default": (one.delivered_over_default, "default, where none is sure"),
        "delivered_gain_over_random_search": (
            one.delivered_over_random,
            "random search, after the same choice",
        ),
        "random_search_gain_over_default": (
            one.random_over_default,
            f"default {one.default:.4g}",
        ),
    }
    rows = [
        Metric(name=name, set=one.name, value=each.value, lo=each.lo, hi=each.hi, n=each.n,
               baseline=text)
        for name, (each, text) in beside.items()
    ]  # fmt: skip
    return rows + _cost_metrics(one)


def _cost_metrics(one: GainResult) -> list[Metric]:
    """Return the rows of what the searches of one model cost."""
    count = len(one.searches)
    hits = [each.exhaustive_hits for each in one.searches]
    ratios = [each.best_at_cpu_s / each.exhaustive_cpu_s for each in one.searches]
    bound = "" if min(hits) else "; at most, as for some none was as good"
    trials, stopped, whole = (
        sum(getattr(each, name) for each in one.searches)
        for name in ("trials", "stopped_early", "control_trials")
    )
    spent_s, control_s, best_s, exhaustive_s = (
        sum(getattr(each, name) for each in one.searches)
        for name in ("cpu_s", "control_cpu_s", "best_at_cpu_s", "exhaustive_cpu_s")
    )
    return [
        Metric(name="chosen_searches", set=one.name,
               value=float(sum(each.is_chosen for each in one.searches)), n=count,
               baseline=f"of {count} searches: the gain is sure, the setting is taken"),
        Metric(name="search_cpu_ratio_to_random_search", set=one.name, value=spent_s / control_s,
               n=count, baseline=f"{trials} settings, {stopped} stopped early, beside {whole} "
               f"trained whole; {spent_s / count:.0f} s a search"),
        Metric(name="search_cpu_ratio_to_exhaustive_training", set=one.name,
               value=best_s / exhaustive_s, n=one.exhaustive_trainings,
               baseline=f"goal 1/3; by search {', '.join(f'{each:.2g}' for each in ratios)}; "
               f"{', '.join(map(str, hits))} of {one.exhaustive_trainings} full trainings as good"
               f"{bound}"),
    ]  # fmt: skip


def pbt_metrics(one: PbtResult) -> list[Metric]:
    """Return the row of a population."""
    gained = one.over_default
    return [
        Metric(name="gain_over_default", set=f"{one.name}, PBT", value=gained.value, lo=gained.lo,
               hi=gained.hi, n=gained.n,
               baseline=f"default; {one.members} members, {one.copies} went on from a better one, "
               f"{one.trained_s:.0f} s of training; one search"),
    ]  # fmt: skip


def decision_metrics(one: DecisionResult) -> list[Metric]:
    """Return the rows of what the tuned placement setting costs."""
    return [
        Metric(name="decision_cpu_ratio_to_default", set="placement, tuned", value=one.time_ratio,
               lo=one.lo, hi=one.hi, n=one.decisions,
               baseline=f"default {one.default_ms:.1f} ms of CPU, the same fleet in turns"),
        Metric(name="leaves_ratio_to_default", set="placement, tuned", value=one.leaves_ratio,
               n=1, baseline="leaves of all trees of the default"),
    ]  # fmt: skip


def overhead_metrics(one: OverheadResult) -> list[Metric]:
    """Return the rows of the engine's cost."""
    name = one.name.rpartition(":")[2].lower()
    beside = f"Optuna alone, {one.optuna_s:.2f} s a trial"
    return [
        Metric(name="trial_wall_ratio_one_at_a_time", set=name,
               value=one.ray_one_s / one.optuna_s, n=one.trials, baseline=f"{beside}; goal 1.5"),
        Metric(name="trial_wall_ratio_two_at_a_time", set=name,
               value=one.ray_two_s / one.optuna_s, n=one.trials, baseline=beside),
        Metric(name="engine_start_s", set=name, value=one.ray_start_s, n=1,
               baseline="none: data, Ray and its store, once a search"),
    ]  # fmt: skip


def kill_metrics(name: str, one: KillResult) -> list[Metric]:
    """Return the rows of the killed search."""
    said = f"{one.trials} trials, kills: {', '.join(one.kills)}; {one.runs} runs of one command"
    return [
        Metric(name="trials_lost", set=name, value=one.lost, n=one.trials,
               baseline=f"goal 0; {said}"),
        Metric(name="trials_repeated", set=name, value=one.repeated, n=one.trials,
               baseline="goal 0"),
        Metric(name="trials_failed", set=name, value=one.failed, n=one.trials, baseline="goal 0"),
        Metric(name="worker_idle_between_trials_ms", set=name, value=one.idle_ms, n=one.pairs,
               baseline=f"a trial of ten seconds becomes {1 + one.idle_ms / 1e4:.4f} times as long"),
        Metric(name="steps_run_again", set=name, value=one.steps_again, n=one.trials,
               baseline="none: of unfinished trials, since their last saved state"),
    ]  # fmt: skip


def assemble(found: Mapping[str, Mapping[str, Any]], *, quick: bool) -> BenchmarkResult:
    """Put the pieces together."""
    gains = [from_json(one) for name, one in found.items() if name.startswith("gain-")]
    metrics = [row for one in gains for row in gain_metrics(one)]
    for name, one in found.items():
        if name.startswith("pbt-"):
            figure = Figure(**one["over_default"])
            metrics += pbt_metrics(PbtResult(**{**one, "over_default": figure}))
    if "decision-placement" in found:
        metrics += decision_metrics(DecisionResult(**found["decision-placement"]))
    if "overhead" in found:
        metrics += overhead_metrics(OverheadResult(**found["overhead"]))
    for engine in ("ray", "here"):
        kills = found.get(f"kills-{engine}")
        if kills:
            result = KillResult(**{**kills, "kills": tuple(kills["kills"])})
            metrics += kill_metrics(f"toy, engine {engine}", result)
    return BenchmarkResult(
        theme="tuning",
        command="python -m benchmarks.tuning" + (" --quick" if quick else ""),
        seeds=(QUICK if quick else FULL)[0].seeds,
        data_sha256=", ".join(one.sha256[:12] for one in gains),
        machine=describe_machine(),
        versions=describe_versions(("ray", "optuna", "numpy", "lightgbm", "torch")),
        metrics=tuple(metrics),
        notes=_notes(gains, [name for name in pieces_of(quick=quick) if name not in found]),
    )


def _notes(gains: Sequence[GainResult], missing: Sequence[str]) -> tuple[str, ...]:
    notes = [
        "Gains are on the untouched block, relative to the default's value there, above 0 is "
        "better: the mean over searches with seeds of their own, on the same blocks. Intervals "
        "resample groups, the same for all settings, and searches.",
        "gain_...: the setting of each search that is best over two seeds on the finalists' block, "
        "the default among them, whatever it is worth. delivered_...: after the choice that the "
        "product makes, a setting only where its gain on the untouched block is sure, else the "
        "default; the block has then been chosen on.",
        "Random search trains every setting whole and gets the CPU time of the other, or sixty; "
        "both confirm as many finalists, and the default, over two seeds.",
        "Exhaustive training: full trainings of random settings until one gains as much over the "
        "default on the search block, with the same seed, as the best of a search; (n + 1) / "
        "(k + 1) of n on average where k do. Divided into the CPU time that the search took to "
        "that setting, the sums over the searches. The trainings have had at least four times it, or are "
        "forty-five more than those of the random searches.",
    ]
    for one in gains:
        notes.append(f"{one.name}: {one.source}.")
        notes += [
            f"{one.name}, search {each.seed}, setting {each.winner}: {each.reason} " + _found(each)
            for each in one.searches
        ]
    if missing:
        notes.append(f"Not measured yet: {', '.join(missing)}.")
    return tuple(notes)


def _found(one: OneSearch) -> str:
    """Return the setting in words."""
    if not one.winner:
        return ""
    return ", ".join(f"{name} {_shown(value)}" for name, value in one.values.items()) + "."


def _shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is missing and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tuning", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="a toy in place of the models, no Ray"
    )
    parser.add_argument("--piece", action="append", help="measure only this one; write no results")
    parser.add_argument(
        "--kept", action="store_true", help="write the results of what is measured already"
    )
    parser.add_argument("--output", type=Path, default=RESULTS_DIR)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING)  # noqa: TID251 - an entry point
    pieces = pieces_of(quick=given.quick)
    wanted = given.piece or list(pieces)
    with tempfile.TemporaryDirectory() as scratch:
        room = Path(scratch) if given.quick else runs_dir() / "benchmarks" / "tuning"
        if given.kept:
            wanted = [name for name in wanted if (room / f"{name}.json").exists()]
        try:
            found = {name: measure(name, pieces[name], room) for name in wanted}
        except KeyboardInterrupt:
            return 130
    if not given.piece:
        path = write_result(assemble(found, quick=given.quick), given.output)
        sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
