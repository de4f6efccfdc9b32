"""What a search finds: gain over the default and over random search, on blocks it never saw.

Both run one trial at a time in this process (the search with `engine="here"`), so that process CPU
time is theirs. Random search trains every setting whole, without early stopping, until it has had the
CPU time of the other; both confirm the same number of finalists over the same seeds, beside the same
default.
"""

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.tuning_listening import CPU_FILE, CpuListener, Unheard, cpu_of
from novacron.models.search_space import Values
from tuning.catalog import objective_of
from tuning.choice import scores_of
from tuning.journal import Journal, Phase, Record
from tuning.objective import Block, Metric, Objective, Prepared, Trial
from tuning.request import SearchRequest
from tuning.scores import GroupScores, over_seeds, paired_difference
from tuning.search import data_folder
from tuning.spaces import stored
from tuning.study import SearchOutcome, run_search

_DRAW_SEED: Final = 5
_CONTROL_STREAM: Final = 77
_CLOCK_S: Final = 1e-3
"""No run counts for less: toys take nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GainPlan:
    """How one model is searched."""

    name: str
    """What it is called here."""
    objective: str
    """As `tuning.catalog.objective_of` takes it."""
    trials: int
    """Settings of the search, the default among them."""
    most_control: int
    """Most settings of random search; it ends as soon as it has had the CPU time."""
    seeds: tuple[int, ...] = (1, 2, 3)
    finalists: int = 3
    seed: int = 7
    small: bool = False
    data: str | None = None
    """`generator`, or None for the folder that the environment names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A value with its interval over groups; larger is better."""

    value: float
    lo: float
    hi: float
    n: int


@dataclass(frozen=True, kw_only=True, slots=True)
class GainResult:
    """What was measured of one model."""

    name: str
    metric: str
    source: str
    sha256: str
    default: float
    found: float
    random: float
    """The metric on the untouched block, over all seeds: default, setting found, random search's."""
    over_default: Figure
    over_random: Figure
    random_over_default: Figure
    """Relative to the value of the default; above 0 is better."""
    delivered_over_default: Figure
    delivered_over_random: Figure
    """The same of what the searches deliver: a setting whose gain over the default on this block is
    sure, else the default. The block has then been chosen on, by both alike."""
    is_chosen: bool
    """Whether the search took the setting: its gain over the default is sure."""
    reason: str
    search_cpu_s: float
    control_cpu_s: float
    trials: int
    control_trials: int
    stopped_early: int
    best_at_cpu_s: float
    """CPU time after which the search had its best setting."""
    exhaustive_cpu_s: float
    """CPU time that full trainings of random settings take until one is as good, on average; a
    lower bound where none of them was."""
    exhaustive_hits: int
    exhaustive_trainings: int
    values: dict[str, Any] = field(default_factory=dict)
    folder: str = ""


def measure_gain(plan: GainPlan, room: Path) -> GainResult:
    """Search, search at random at the same cost, and compare both with the default.

    Args:
        plan: How.
        room: Folder of the searches; a killed measurement goes on from it.
    """
    objective = objective_of(plan.objective)
    request = _request(plan, room)
    prepared = objective.prepare(request.source)
    cpu = room / f"tpe-{prepared.sha256[-12:]}-{CPU_FILE}"
    found = run_search(request, CpuListener(cpu))
    _go_on_only_if_finished(found)
    searched = _Searched(objective, found, cpu_of(cpu))
    metric = objective.metrics[0]
    runs = Runs(objective, prepared, room / f"random-{prepared.sha256[-12:]}.jsonl")
    control = run_control(plan, runs, searched, metric)
    default = _untouched(searched, runs, plan, 0)
    found_scores = _untouched(searched, runs, plan, searched.winner)
    random_scores = control.untouched or default
    delivered = delivered_by(found_scores, default, metric)
    hits, trainings, exhaustive_s = _exhaustive(control, searched, metric)
    return GainResult(
        name=plan.name,
        metric=metric.name,
        source=prepared.source,
        sha256=prepared.sha256,
        default=default.value,
        found=found_scores.value,
        random=random_scores.value,
        over_default=gain(found_scores, default, default, metric),
        over_random=gain(found_scores, random_scores, default, metric),
        random_over_default=gain(random_scores, default, default, metric),
        delivered_over_default=gain(delivered, default, default, metric),
        delivered_over_random=gain(
            delivered, delivered_by(random_scores, default, metric), default, metric
        ),
        is_chosen=found.is_gain,
        reason=str((found.document["decision"] or {}).get("reason", "")),
        search_cpu_s=searched.search_cpu_s(plan.trials),
        control_cpu_s=control.cpu_s,
        trials=len(searched.records("search")),
        control_trials=len(control.values),
        stopped_early=sum(one.state == "stopped" for one in searched.records("search")),
        best_at_cpu_s=searched.best_at_cpu_s(metric),
        exhaustive_cpu_s=exhaustive_s,
        exhaustive_hits=hits,
        exhaustive_trainings=trainings,
        values=dict(searched.values(searched.winner)),
        folder=found.folder.root.rpartition("/")[2],
    )


def _go_on_only_if_finished(outcome: SearchOutcome) -> None:
    """End here where a signal ended the search: the same command goes on with it."""
    if not outcome.is_finished:
        raise KeyboardInterrupt


def _request(plan: GainPlan, room: Path) -> SearchRequest:
    return SearchRequest(
        model=plan.objective,
        trials=plan.trials,
        search="tpe",
        seeds=plan.seeds,
        finalists=plan.finalists,
        seed=plan.seed,
        storage=str(room / "searches"),
        data=data_folder(plan.data),
        small=plan.small,
        engine="here",
    )


class _Searched:
    """A finished search as its journal tells it."""

    def __init__(
        self, objective: Objective, outcome: SearchOutcome, cpu_s: Mapping[str, float]
    ) -> None:
        journal = Journal(outcome.folder, objective.space)
        self._records = journal.records()
        self._cpu_s = cpu_s
        decision = outcome.document["decision"] or {}
        self.winner = int(decision.get("winner") or 0)

    def records(self, phase: Phase) -> list[Record]:
        """Return the trials of a phase in the order of their numbers."""
        mine = [one for one in self._records if one.spec.phase == phase]
        return sorted(mine, key=lambda one: one.spec.number)

    def values(self, number: int) -> Mapping[str, Any]:
        """Return the settings of a number."""
        return next(one.values for one in self.records("search") if one.spec.number == number)

    def search_cpu_s(self, trials: int) -> float:
        """Return the CPU seconds of the first so many search trials."""
        mine = self.records("search")[:trials]
        return sum(self._cpu_s.get(one.spec.id, 0.0) for one in mine)

    def best_at_cpu_s(self, metric: Metric) -> float:
        """Return the CPU seconds up to the end of the trial that was best on the search block."""
        best = self.best(metric)
        return self.search_cpu_s(best.spec.number + 1)

    def best(self, metric: Metric) -> Record:
        """Return the best search trial that ran to its end."""
        whole = [one for one in self.records("search") if one.state == "finished"]
        sign = 1.0 if metric.better == "lower" else -1.0
        return min(whole, key=lambda one: sign * one.metrics[metric.name])

    def scores(self, phase: Phase, number: int) -> GroupScores | None:
        """Return what a setting scored in a phase over its seeds, where the search ran it there."""
        found = scores_of(self.records(phase), number)
        return None if found is None else next(iter(found.values()))


class Runs:
    """Runs of single settings, kept in a file so that a killed measurement goes on.

    Args:
        objective: Of the model.
        prepared: Its data.
        path: The file.
    """

    def __init__(self, objective: Objective, prepared: Prepared, path: Path) -> None:
        self.objective, self._prepared, self._path = objective, prepared, path
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text().splitlines() if path.exists() else []
        self._kept = {row["key"]: row for row in map(json.loads, lines)}

    def run(self, values: Values, seed: int, block: Block) -> tuple[GroupScores, float]:
        """Return the first metric of a setting trained whole, and the CPU seconds it took."""
        key = json.dumps([stored(self.objective.space, values), seed, block])
        row = self._kept.get(key)
        if row is None:
            began_s = time.process_time()
            fidelity, data = self.objective.fidelity, self._prepared
            scores = self.objective.run(
                data.search if block == "search" else data.untouched,
                Trial(
                    values=values,
                    seed=seed,
                    block=block,
                    budget=None if fidelity is None else fidelity.high,
                ),
                Unheard(),
            )[self.objective.metrics[0].name]
            row = {
                "key": key,
                "scores": scores.to_dict(),
                "cpu_s": max(round(time.process_time() - began_s, 3), _CLOCK_S),
            }
            with self._path.open("a") as file:
                file.write(json.dumps(row) + "\n")
            self._kept[key] = row
            os.write(
                2, f"random {block} seed {seed} {row['cpu_s']} s {scores.value:.4g}\n".encode()
            )
        return GroupScores.from_dict(row["scores"]), float(row["cpu_s"])

    def over(self, values: Values, seeds: Sequence[int], block: Block) -> GroupScores:
        """Return the first metric over several seeds."""
        return over_seeds([self.run(values, seed, block)[0] for seed in seeds])


@dataclass(frozen=True, kw_only=True, slots=True)
class Control:
    """Random search at the cost of the other search."""

    values: tuple[Values, ...]
    scored: tuple[float, ...]
    """Of each setting on the search block."""
    cpu_s: float
    """With that of the default, which both searches begin with."""
    untouched: GroupScores | None
    """Of the setting chosen; None where that is the default."""


def run_control(plan: GainPlan, runs: Runs, searched: "_Searched", metric: Metric) -> Control:
    """Draw settings until the CPU time of the search is spent, and choose among the best ones."""
    spent_s, cpu_s = searched.search_cpu_s(plan.trials), searched.search_cpu_s(1)
    sign = 1.0 if metric.better == "lower" else -1.0
    values: list[Values] = []
    scored: list[float] = []
    while cpu_s < spent_s and len(values) < plan.most_control:
        rng = np.random.default_rng([plan.seed, _CONTROL_STREAM, len(values)])
        values.append(runs.objective.space.sample(rng))
        scores, took_s = runs.run(values[-1], plan.seed, "search")
        scored.append(scores.value)
        cpu_s += took_s
    best = np.argsort(sign * np.array(scored))[: plan.finalists]
    default = searched.scores("finalists", 0)
    chosen, least = None, np.inf if default is None else sign * default.value
    for place in best:
        value = sign * runs.over(values[place], plan.seeds, "search").value
        if value < least:
            chosen, least = int(place), value
    untouched = None
    if chosen is not None:
        untouched = runs.over(values[chosen], plan.seeds, "untouched")
    return Control(values=tuple(values), scored=tuple(scored), cpu_s=cpu_s, untouched=untouched)


def _untouched(searched: _Searched, runs: Runs, plan: GainPlan, number: int) -> GroupScores:
    known = searched.scores("untouched", number)
    return known or runs.over(searched.values(number), plan.seeds, "untouched")


def gain(one: GroupScores, other: GroupScores, unit: GroupScores, metric: Metric) -> Figure:
    """Return how much better one is than the other, relative to the value of the default."""
    gap = paired_difference(one, other, np.random.default_rng(_DRAW_SEED))
    scale = abs(unit.value) or 1.0
    ends = sorted((gap.lo / scale, gap.hi / scale))
    if metric.better == "lower":
        ends = [-ends[1], -ends[0]]
        # Adding 0 turns -0 into 0.
        return Figure(value=0.0 - gap.value / scale, lo=ends[0] + 0.0, hi=ends[1] + 0.0, n=gap.n)
    return Figure(value=gap.value / scale, lo=ends[0], hi=ends[1], n=gap.n)


def delivered_by(one: GroupScores, default: GroupScores, metric: Metric) -> GroupScores:
    """Return a setting's scores where its gain over the default is sure, else the default's."""
    return one if gain(one, default, default, metric).lo > 0 else default


def _exhaustive(control: Control, found: _Searched, metric: Metric) -> tuple[int, int, float]:
    """Price the quality of the search in full trainings of random settings, in random order.

    Of n trained settings k are as good as the best of the search: on average it takes
    (n + 1) / (k + 1) of them to meet the first (negative hypergeometric mean).
    """
    sign = 1.0 if metric.better == "lower" else -1.0
    goal = sign * found.best(metric).metrics[metric.name]
    hits = sum(sign * value <= goal for value in control.scored)
    count = len(control.scored)
    mean_s = (control.cpu_s - found.search_cpu_s(1)) / max(count, 1)
    return hits, count, mean_s * (count + 1) / (hits + 1)


def to_json(result: GainResult) -> dict[str, Any]:
    """Return JSON-able fields."""
    return asdict(result)


def from_json(found: Mapping[str, Any]) -> GainResult:
    """Read what `to_json` wrote."""
    figures: Sequence[str] = [name for name, value in found.items() if _is_figure(value)]
    return GainResult(**{**found, **{name: Figure(**found[name]) for name in figures}})


def _is_figure(value: object) -> bool:
    return isinstance(value, Mapping) and set(value) == {"value", "lo", "hi", "n"}
