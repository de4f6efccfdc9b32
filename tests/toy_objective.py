"""A model whose best setting is known, for tests of the search: no fit, no data, a few sleeps."""

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from novacron.errors import InvalidInputError
from novacron.models.search_space import (
    CategoricalParameter,
    Condition,
    FloatParameter,
    IntParameter,
    SearchSpace,
)
from tuning.objective import Fidelity, Metric, Prepared
from tuning.scores import GroupScores

SPACE = SearchSpace(
    model="toy",
    parameters=(
        FloatParameter(name="rate", why="speed", default=0.1, low=0.001, high=1.0, log=True),
        IntParameter(name="width", why="size", default=8, low=1, high=64, log=True),
        CategoricalParameter(
            name="kind", why="shape", default="plain", choices=("plain", "bent", "broken")
        ),
        FloatParameter(
            name="bend",
            why="how bent",
            default=0.0,
            low=-1.0,
            high=1.0,
            when=Condition(parameter="kind", among=("bent",)),
        ),
    ),
)
GROUPS = tuple(f"link-{place}" for place in range(24))


@dataclass(frozen=True)
class Toy:
    """Best at rate 0.02, width 24, kind bent, bend 0.5; `broken` fails."""

    model: str = "toy"
    space: SearchSpace = SPACE
    metrics: tuple[Metric, ...] = (Metric(name="wape"),)
    fidelity: Fidelity | None = field(
        default_factory=lambda: Fidelity(unit="epochs", low=1, high=6)
    )
    scheduler: str = "asha"
    perturbed: tuple[str, ...] = ("rate",)
    step_s: float = 0.0
    has_no_number: bool = False
    is_flat: bool = False
    """Every setting is as good as any other, up to noise."""

    def prepare(self, source):
        if os.environ.get("TOY_NO_DATA"):
            raise InvalidInputError(field="data", got="none", expected="some")
        # Workers of a cluster do not have this process's environment.
        notes = os.environ.get("TOY_NOTES", "")
        return Prepared(
            search={"shift": 0.0, "notes": notes},
            untouched={"shift": 0.3, "notes": notes},
            source="toy",
            sha256="toy",
            blocks={"search": "24 links", "untouched": "24 links"},
        )

    def run(self, data, trial, progress):
        note(
            data,
            f"start {trial.block} {sorted(trial.values.items())} {trial.seed} {progress.resume_step}",
        )
        if trial.values.get("kind") == "broken":
            raise InvalidInputError(field="kind", got="broken", expected="plain or bent")
        if progress.resume is not None:
            seen = json.loads((progress.resume / "toy.json").read_text())["step"]
            assert seen == progress.resume_step
        for step in range(progress.resume_step + 1, (trial.budget or 1) + 1):
            time.sleep(self.step_s)

            def save(folder: Path, step=step) -> None:
                (folder / "toy.json").write_text(json.dumps({"step": step}))

            if trial.budget is not None:
                progress.report(step, self.scores(data, trial, step), save)
        note(data, f"end {trial.block} {sorted(trial.values.items())} {trial.seed}")
        return self.scores(data, trial, trial.budget or 1)

    def scores(self, data, trial, step):
        rng = np.random.default_rng([trial.seed, 3])
        noise = rng.normal(0.0, 0.01, len(GROUPS))
        loss = 0.0 if self.is_flat else distance(trial.values)
        if self.has_no_number:
            loss = float("nan")
        loss_G = 1.0 + loss + 1.0 / step + data["shift"] + noise
        found = {"wape": GroupScores.of_rows(GROUPS, loss_G)}
        if len(self.metrics) > 1:
            found["size"] = GroupScores.of_one(float(trial.values["width"]))
        return found

    def config(self, values):
        if self.model == "doubling":  # a model that a test can train
            return {
                "data": {"sets": ["fcc"], "generator": {"links": 3, "hours": 0.1}},
                "fit": {"steps": 2},
            }
        return self.space.nested(values)


@dataclass(frozen=True)
class Probed(Toy):
    """A toy that shows its metrics first."""

    probe_value: float = 1.0

    def probe(self, data: Any):
        return {"wape": GroupScores.of_one(self.probe_value)}


def distance(values) -> float:
    """How far settings are from the best ones."""
    values = SPACE.default() | dict(values)
    far = abs(np.log10(values["rate"] / 0.02)) + abs(np.log2(values["width"] / 24)) / 4
    if values["kind"] == "bent":
        return float(far + abs(values["bend"] - 0.5) / 2)
    return float(far + 0.5)


def note(data, text: str) -> None:
    """Append a line to the file that a test reads, whoever runs the trial."""
    if data["notes"]:
        with Path(data["notes"]).open("a") as stream:
            stream.write(f"{os.getpid()} {text}\n")


TOY = Toy()
NO_NUMBER = Probed(probe_value=float("nan"))
SLOW = Probed(step_s=0.25)
POPULATION = Probed(step_s=0.1, scheduler="pbt", fidelity=Fidelity(unit="epochs", low=2, high=12))
FLAT = Probed(is_flat=True)
TWO = Toy(metrics=(Metric(name="wape"), Metric(name="size", unit="units")), scheduler="none")
WHOLE = Toy(fidelity=None, scheduler="none")
NO_NUMBER_AT_ALL = Toy(has_no_number=True)
TRAINABLE = Toy(model="doubling")
TRAINABLE_FLAT = Toy(model="doubling", is_flat=True)
