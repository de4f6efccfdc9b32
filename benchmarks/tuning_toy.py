"""A search that costs seconds and writes down every step: what kills must not lose or repeat.

A trial sleeps, step by step, and saves its state at each. Steps and ends are appended to the file
named by `NOVACRON_TUNING_TOY_LOG`, one line each, so that a benchmark can count them afterwards.
"""

import json
import os
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from novacron.models.search_space import FloatParameter, IntParameter, SearchSpace, Values
from tuning.objective import DataSource, Fidelity, Metric, Prepared, Progress, SchedulerKind, Trial
from tuning.scores import GroupScores, Scores

LOG_VARIABLE: Final = "NOVACRON_TUNING_TOY_LOG"
STEPS: Final = 4
_GROUPS: Final = 8


class ToyObjective:
    """Implements `tuning.objective.Objective`: the distance of two numbers from a hidden place.

    Args:
        step_s: Seconds that a step takes.
    """

    model = "toy"
    space = SearchSpace(
        model="toy",
        parameters=(
            FloatParameter(name="x", default=0.1, low=0.0, high=1.0, why="a coordinate"),
            IntParameter(name="y", default=2, low=1, high=100, log=True, why="another"),
        ),
    )
    metrics = (Metric(name="distance"),)
    fidelity = Fidelity(unit="steps", low=1, high=STEPS)
    scheduler: SchedulerKind = "none"
    perturbed: tuple[str, ...] = ()

    def __init__(self, step_s: float) -> None:
        self._step_s = step_s

    def prepare(self, source: DataSource) -> Prepared:
        """Name the log."""
        log = os.environ.get(LOG_VARIABLE, "")
        return Prepared(
            search={"log": log, "seed": source.seed},
            untouched={"log": log, "seed": source.seed + 1},
            source="none",
            sha256=f"generated:{source.seed}",
        )

    def run(self, data: dict[str, Any], trial: Trial, progress: Progress) -> Scores:
        """Sleep and report."""
        found: Scores = {}
        for step in range(progress.resume_step + 1, (trial.budget or STEPS) + 1):
            time.sleep(self._step_s)
            _note(data["log"], trial, step)
            found = self._scores(data, trial)
            progress.report(step, found, _save)
        return found or self._scores(data, trial)

    def config(self, values: Values) -> dict[str, Any]:
        """Return the values as a training file would hold them."""
        return self.space.nested(values)

    def probe(self, data: dict[str, Any]) -> Scores:
        """Score the hidden place itself."""
        return self._scores(data, Trial(values=self.space.default(), seed=1))

    def _scores(self, data: dict[str, Any], trial: Trial) -> Scores:
        rng = np.random.default_rng([data["seed"], trial.seed])
        x, y = float(trial.values["x"]), float(trial.values["y"])  # type: ignore[arg-type]
        distance = (x - 0.7) ** 2 + (np.log(y / 20.0) / 5.0) ** 2
        noise_G = rng.normal(0.0, 0.01, _GROUPS)
        names = [f"group {number}" for number in range(_GROUPS)]
        return {"distance": GroupScores.of_rows(names, distance + np.abs(noise_G))}


def _save(folder: Path) -> None:
    (folder / "state.json").write_text("{}")


def _note(log: str, trial: Trial, step: int) -> None:
    if not log:
        return
    row = {
        "pid": os.getpid(), "at_ns": time.time_ns(), "block": trial.block, "seed": trial.seed, "step": step,
        "values": {name: float(value) for name, value in trial.values.items()},  # type: ignore[arg-type]
    }  # fmt: skip
    with Path(log).open("a") as file:
        file.write(json.dumps(row) + "\n")


OBJECTIVE: Final = ToyObjective(step_s=1.0)
FAST: Final = ToyObjective(step_s=0.0)
TEN_SECONDS: Final = ToyObjective(step_s=10.0 / STEPS)
