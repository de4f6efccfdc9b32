"""What a trial costs under the engine beside Optuna alone, on the same settings of one objective."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import optuna

from benchmarks.tuning_listening import Unheard
from tuning.catalog import objective_of
from tuning.journal import Record
from tuning.objective import Trial
from tuning.request import SearchRequest
from tuning.search import data_folder
from tuning.spaces import stored, suggest
from tuning.study import run_search

SEED: Final = 7


@dataclass(frozen=True, kw_only=True, slots=True)
class OverheadResult:
    """Wall seconds a trial, each way, side by side in one run."""

    name: str
    trials: int
    optuna_s: float
    """Mean over the run before and the run after the others."""
    ray_one_s: float
    """Engine on Ray, one trial at a time; the start of Ray is not in it."""
    ray_two_s: float
    """Two at a time, per trial: what two cores give."""
    ray_start_s: float
    """From the command to the first trial's start: data, Ray, Tune."""


class _Clock:
    """Times the search phase."""

    def __init__(self) -> None:
        self.began_s = self.phase_s = self.ended_s = time.monotonic()
        self._in_search = False

    def phase(self, name: str, *, total: int, done: int, parallel: int) -> None:
        del total, done, parallel
        self._in_search = name == "search"
        if self._in_search:
            self.phase_s = time.monotonic()

    def ended(self, record: Record, left_s: float | None) -> None:
        del left_s
        if record.spec.phase == "search":
            self.ended_s = time.monotonic()

    def said(self, text: str) -> None:
        del text


def measure_overhead(
    name: str, room: Path, *, trials: int, small: bool, data: str | None
) -> OverheadResult:
    """Run the same settings by Optuna alone, by the engine one at a time, two at a time, and again.

    Args:
        name: Of the objective.
        room: Folder of the searches; what a broken-off measurement left there is removed.
        trials: Settings.
        small: Little data.
        data: As for `tuning.search`.
    """
    # Finished trials would not be run again.
    shutil.rmtree(room, ignore_errors=True)
    before_s = _optuna_alone(name, trials, small=small, data=data)
    one = _engine(name, room / "one", trials, 1, small=small, data=data)
    two = _engine(name, room / "two", trials, 2, small=small, data=data)
    after_s = _optuna_alone(name, trials, small=small, data=data)
    return OverheadResult(
        name=name,
        trials=trials,
        optuna_s=(before_s + after_s) / 2 / trials,
        ray_one_s=(one.ended_s - one.phase_s) / trials,
        ray_two_s=(two.ended_s - two.phase_s) / trials,
        ray_start_s=one.phase_s - one.began_s,
    )


def _engine(
    name: str, room: Path, trials: int, parallel: int, *, small: bool, data: str | None
) -> _Clock:
    clock = _Clock()
    run_search(
        SearchRequest(
            model=name, trials=trials, search="random", scheduler="none", seeds=(1,), finalists=1,
            seed=SEED, storage=str(room), data=data_folder(data), small=small, engine="ray",
            parallel=parallel,
        ),
        clock,
    )  # fmt: skip
    return clock


def _optuna_alone(name: str, trials: int, *, small: bool, data: str | None) -> float:
    """Return the seconds of the trials in this process: Optuna asks, the objective runs."""
    objective = objective_of(name)
    request = SearchRequest(model=name, seed=SEED, data=data_folder(data), small=small)
    prepared = objective.prepare(request.source)
    metric = objective.metrics[0]
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        direction="minimize" if metric.better == "lower" else "maximize",
        sampler=optuna.samplers.RandomSampler(seed=SEED),
    )
    for number in range(trials):
        # The very settings that the engine draws for this seed.
        values = objective.space.default()
        if number:
            values = objective.space.sample(np.random.default_rng([SEED, number]))
        study.enqueue_trial(stored(objective.space, values))

    def run(asked: optuna.trial.Trial) -> float:
        scores = objective.run(
            prepared.search,
            Trial(
                values=suggest(objective.space, asked),
                seed=SEED,
                budget=None if objective.fidelity is None else objective.fidelity.high,
            ),
            Unheard(),
        )
        return scores[metric.name].value

    began_s = time.monotonic()
    study.optimize(run, n_trials=trials)
    return time.monotonic() - began_s
