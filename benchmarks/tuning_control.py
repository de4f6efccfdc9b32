"""Random search beside a search: whole trainings, at the same CPU time, and beyond for their price.

The control draws settings at random and trains each of them whole, without early stopping, until it
has had the CPU time of the search. Together with further ones, those trainings tell what exhaustive
training costs until it meets a setting that is as good.
"""

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.tuning_listening import Unheard
from novacron.models.search_space import Values
from tuning.choice import scores_of
from tuning.journal import Journal, Phase, Record
from tuning.objective import Block, Metric, Objective, Prepared, Trial
from tuning.scores import GroupScores, over_seeds
from tuning.spaces import stored
from tuning.study import SearchOutcome

_CONTROL_STREAM: Final = 77
_FURTHER_STREAM: Final = 78
_CLOCK_S: Final = 1e-3
"""No run counts for less: toys take nothing."""


class Searched:
    """A finished search as its journal tells it.

    Args:
        objective: Of the model.
        outcome: Of the search.
        seed: Of the search.
        cpu_s: CPU seconds by trial.
    """

    def __init__(
        self,
        objective: Objective,
        outcome: SearchOutcome,
        seed: int,
        cpu_s: Mapping[str, float],
    ) -> None:
        journal = Journal(outcome.folder, objective.space)
        self._records = journal.records()
        self._cpu_s, self.seed = cpu_s, seed
        decision = outcome.document["decision"] or {}
        self.winner = int(decision.get("winner") or 0)
        self.reason = str(decision.get("reason", ""))
        self.is_chosen = outcome.is_gain

    def records(self, phase: Phase) -> list[Record]:
        """Return the trials of a phase in the order of their numbers."""
        mine = [one for one in self._records if one.spec.phase == phase]
        return sorted(mine, key=lambda one: one.spec.number)

    def values(self, number: int) -> Mapping[str, Any]:
        """Return the settings of a number."""
        return next(one.values for one in self.records("search") if one.spec.number == number)

    def search_cpu_s(self, trials: int | None = None) -> float:
        """Return the CPU seconds of the first so many search trials, or of all."""
        mine = self.records("search")[:trials]
        return sum(self._cpu_s.get(one.spec.id, 0.0) for one in mine)

    def best_at_cpu_s(self, metric: Metric) -> float:
        """Return the CPU seconds up to the end of the trial that was best on the search block."""
        return self.search_cpu_s(self.best(metric).spec.number + 1)

    def best(self, metric: Metric) -> Record:
        """Return the best search trial that ran to its end."""
        whole = [one for one in self.records("search") if one.state == "finished"]
        return min(whole, key=lambda one: metric.sign * one.metrics[metric.name])

    def default(self, metric: Metric) -> float:
        """Return what the default scored on the search block, with the seed of the search."""
        return self.records("search")[0].metrics[metric.name]

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
            fidelity = self.objective.fidelity
            budget = None if fidelity is None else fidelity.high
            scores = self.objective.run(
                self._prepared.part(block),
                Trial(values=values, seed=seed, block=block, budget=budget),
                Unheard(),
            )[self.objective.metrics[0].name]
            took_s = max(round(time.process_time() - began_s, 3), _CLOCK_S)
            row = {"key": key, "scores": scores.to_dict(), "cpu_s": took_s}
            with self._path.open("a") as file:
                file.write(json.dumps(row) + "\n")
            self._kept[key] = row
            os.write(2, f"random {block} seed {seed} {took_s} s {scores.value:.4g}\n".encode())
        return GroupScores.from_dict(row["scores"]), float(row["cpu_s"])

    def over(self, values: Values, seeds: Sequence[int], block: Block) -> GroupScores:
        """Return the first metric over several seeds."""
        return over_seeds([self.run(values, seed, block)[0] for seed in seeds])


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """One setting trained whole."""

    gained: float
    """How much better than the default on the search block with the same seed; above 0 is better."""
    cpu_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Control:
    """Random search at the cost of the other search."""

    trainings: tuple[Training, ...]
    cpu_s: float
    """With that of the default, which both searches begin with."""
    chosen: Values | None
    """The setting that is best among finalists and default; None: the default."""


def run_control(
    runs: Runs,
    searched: Searched,
    metric: Metric,
    *,
    most: int,
    finalists: int,
    seeds: Sequence[int],
) -> Control:
    """Draw settings until the CPU time of the search is spent, and choose among the best ones.

    Args:
        runs: Runs settings.
        searched: The search.
        metric: The one that decides.
        most: Settings at most.
        finalists: Settings that are confirmed on the finalists' block, beside the default.
        seeds: Of those runs.
    """
    spent_s, cpu_s = searched.search_cpu_s(), searched.search_cpu_s(1)
    drawn: list[Values] = []
    trainings: list[Training] = []
    while cpu_s < spent_s and len(drawn) < most:
        rng = np.random.default_rng([searched.seed, _CONTROL_STREAM, len(drawn)])
        drawn.append(runs.objective.space.sample(rng))
        trainings.append(_train(runs, drawn[-1], searched, metric))
        cpu_s += trainings[-1].cpu_s
    best = np.argsort([-one.gained for one in trainings])[:finalists]
    default = searched.scores("finalists", 0) or runs.over(
        runs.objective.space.default(), seeds, "finalists"
    )
    chosen, least = None, metric.sign * default.value
    for place in best:
        value = metric.sign * runs.over(drawn[place], seeds, "finalists").value
        if value < least:
            chosen, least = drawn[place], value
    return Control(trainings=tuple(trainings), cpu_s=cpu_s, chosen=chosen)


def _train(runs: Runs, values: Values, searched: Searched, metric: Metric) -> Training:
    scores, took_s = runs.run(values, searched.seed, "search")
    return Training(gained=metric.sign * (searched.default(metric) - scores.value), cpu_s=took_s)


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """What the quality of the searches costs in full trainings of random settings."""

    trainings: int
    hits: tuple[int, ...]
    """By search: how many of the trainings were as good as its best on the search block."""
    cpu_s: tuple[float, ...]
    """By search: CPU time that takes on average; a lower bound where none was as good."""


def price_of(
    runs: Runs,
    searches: Sequence[Searched],
    controls: Sequence[Control],
    metric: Metric,
    *,
    least_ratio: float,
    most: int,
) -> Price:
    """Price the searches' quality in full trainings, in random order.

    The trainings of all controls count for each search; further ones are run until they have had
    `least_ratio` times the CPU time that a search took to its best setting, on average, whether any
    of them is as good or not. Of n trained settings k are as good: on average it takes
    (n + 1) / (k + 1) of them to meet the first (negative hypergeometric mean).

    Args:
        runs: Runs settings.
        searches: On the same blocks.
        controls: One for each.
        metric: The one that decides.
        least_ratio: See above.
        most: Further trainings at most.
    """
    pool = [training for one in controls for training in one.trainings]
    wanted_s = least_ratio * float(np.mean([one.best_at_cpu_s(metric) for one in searches]))
    for number in range(most):
        if sum(one.cpu_s for one in pool) >= wanted_s:
            break
        values = runs.objective.space.sample(np.random.default_rng([_FURTHER_STREAM, number]))
        pool.append(_train(runs, values, searches[number % len(searches)], metric))
    hits = []
    for one in searches:
        gained = metric.sign * (one.default(metric) - one.best(metric).metrics[metric.name])
        hits.append(sum(training.gained >= gained for training in pool))
    mean_s = float(np.mean([one.cpu_s for one in pool])) if pool else _CLOCK_S
    return Price(
        trainings=len(pool),
        hits=tuple(hits),
        cpu_s=tuple(mean_s * (len(pool) + 1) / (each + 1) for each in hits),
    )
