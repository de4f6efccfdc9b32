"""The journal of a search: what was started, reported and ended, one small file for each event.

It is the only state that a resume reads. Ray Tune's own restore reads a snapshot that the driver
takes now and then, so a driver that is killed may forget trials or run finished ones again. Here
a worker writes a trial's end before it tells Tune: what is in the journal never runs twice, and
what was started and has no end goes on from its last saved state.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Self

from novacron.models.search_space import SearchSpace, Values
from tuning.objective import Block, Trial
from tuning.scores import GroupScores, Scores
from tuning.spaces import stored
from tuning.storage import Storage

Phase = Literal["search", "finalists", "untouched"]
State = Literal["finished", "stopped", "failed", "unfinished"]
Origin = Literal["default", "random", "tpe", "finalist"]

_REPORT = re.compile(r"^(?P<id>[^/]+)/report-(?P<step>\d+)\.json$")
_SAVED = re.compile(r"^(?P<id>[^/]+)/state-(?P<step>\d+)\.done$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Spec:
    """One trial as it was asked for."""

    number: int
    """Of the setting, from 0; 0 is the default. Finalist runs bear their setting's number."""
    phase: Phase
    values: Values
    seed: int
    block: Block
    budget: int | None
    origin: Origin

    @property
    def id(self) -> str:
        """Name of the trial, unique in its search."""
        return f"{self.phase}-{self.number:05d}-{self.seed}"

    @property
    def trial(self) -> Trial:
        """What the objective gets."""
        return Trial(
            values=dict(self.values), seed=self.seed, block=self.block, budget=self.budget
        )

    def to_dict(self, space: SearchSpace) -> dict[str, Any]:
        """Return JSON-able fields."""
        return asdict(replace(self, values=stored(space, self.values)))

    @classmethod
    def from_dict(cls, found: Mapping[str, Any], space: SearchSpace) -> Self:
        """Read what `to_dict` wrote."""
        return cls(**{**found, "values": space.check(found["values"])})


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Where a trial stood after a step; `values` are those it ran with, which PBT changes."""

    step: int
    metrics: Mapping[str, float]
    values: Values
    seconds: float = 0.0
    """Since the trial's beginning, the time of earlier attempts included."""
    parent: str = ""
    """Trial whose state PBT put in the place of its own before this report."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """All that is known of one trial."""

    spec: Spec
    state: State
    values: Values
    """Those at its end."""
    curve: tuple[Report, ...] = ()
    scores: Scores = field(default_factory=dict)
    """By group; empty unless finished."""
    seconds: float = 0.0
    error: str = ""
    """Kind and message of a failure."""

    @property
    def parent(self) -> str:
        """Trial whose state PBT put in the place of its own, the last time; empty if none."""
        return next((one.parent for one in reversed(self.curve) if one.parent), "")

    @property
    def metrics(self) -> Mapping[str, float]:
        """The metrics at its end, or at its last report."""
        if self.scores:
            return {name: one.value for name, one in self.scores.items()}
        return self.curve[-1].metrics if self.curve else {}

    @property
    def step(self) -> int:
        """Units of fidelity done."""
        if self.state == "finished" and self.spec.budget is not None:
            return self.spec.budget
        return self.curve[-1].step if self.curve else 0


class Journal:
    """Reads and writes the events of one search; the driver and the workers each hold one.

    Args:
        storage: The search's folder.
        space: What brings stored values back.
    """

    def __init__(self, storage: Storage, space: SearchSpace) -> None:
        self._trials = storage.below("trials")
        self.space = space

    def start(self, spec: Spec) -> None:
        """Note that a trial was asked for, before it runs."""
        self._trials.write_json(f"{spec.id}/started.json", spec.to_dict(self.space))

    def report(self, trial_id: str, report: Report) -> None:
        """Note where a trial stands."""
        self._trials.write_json(
            f"{trial_id}/report-{report.step:06d}.json",
            {
                "step": report.step,
                "metrics": dict(report.metrics),
                "values": stored(self.space, report.values),
                "seconds": round(report.seconds, 3),
                "parent": report.parent,
            },
        )

    def end(
        self,
        trial_id: str,
        state: State,
        *,
        values: Values,
        seconds: float,
        scores: Scores | None = None,
        error: str = "",
    ) -> None:
        """Note the end of a trial; the first end stands."""
        if self.is_ended(trial_id):
            return
        self._trials.write_json(
            f"{trial_id}/ended.json",
            {
                "state": state,
                "values": stored(self.space, values),
                "seconds": round(seconds, 3),
                "scores": {name: one.to_dict() for name, one in (scores or {}).items()},
                "error": error,
            },
        )

    def is_ended(self, trial_id: str) -> bool:
        """Say whether a trial has an end."""
        return self._trials.read_text(f"{trial_id}/ended.json") is not None

    def save_state(
        self, trial_id: str, step: int, save: Callable[[Path], None], *, kept: int | None
    ) -> None:
        """Keep what a trial needs to go on after a step, and the `kept` latest; None: all."""
        with TemporaryDirectory(prefix="novacron-tuning-") as scratch:
            save(Path(scratch))
            self._trials.put_folder(Path(scratch), f"{trial_id}/state-{step:06d}")
        for old in [] if kept is None else self.saved_steps(trial_id)[:-kept]:
            self._trials.remove_folder(f"{trial_id}/state-{old:06d}")

    def saved_steps(self, trial_id: str) -> list[int]:
        """Return the steps whose state is kept, in order."""
        found = (_SAVED.match(name) for name in self._trials.names(trial_id))
        return [int(one["step"]) for one in found if one]

    def state_here(self, trial_id: str, step: int) -> Any:
        """Return a context that gives a kept state as a local folder."""
        return self._trials.folder_here(f"{trial_id}/state-{step:06d}")

    def drop_states(self, trial_id: str) -> None:
        """Forget the states of an ended trial."""
        for step in self.saved_steps(trial_id):
            self._trials.remove_folder(f"{trial_id}/state-{step:06d}")

    def forget(self, trial_id: str) -> None:
        """Remove all that is known of a trial."""
        self._trials.remove_folder(trial_id)

    def mark(self, trial_id: str, name: str, value: Mapping[str, Any]) -> None:
        """Note something else about a trial once, such as its run in MLflow."""
        self._trials.write_json(f"{trial_id}/{name}.json", dict(value))

    def marked(self, name: str) -> set[str]:
        """Return the trials that bear a note."""
        suffix = f"/{name}.json"
        return {
            each.removesuffix(suffix) for each in self._trials.names() if each.endswith(suffix)
        }

    def records(self) -> list[Record]:
        """Return every trial, in the order of their ids."""
        names = self._trials.names()
        reports: dict[str, list[str]] = {}
        for name in names:
            found = _REPORT.match(name)
            if found:
                reports.setdefault(found["id"], []).append(name)
        ended = {each.partition("/")[0] for each in names if each.endswith("/ended.json")}
        started = [each.partition("/")[0] for each in names if each.endswith("/started.json")]
        return [self._record(one, reports.get(one, []), is_ended=one in ended) for one in started]

    def record(self, trial_id: str) -> Record:
        """Return one trial that was started."""
        names = [each for each in self._trials.names(trial_id) if _REPORT.match(each)]
        return self._record(trial_id, names, is_ended=self.is_ended(trial_id))

    def _record(self, trial_id: str, reports: list[str], *, is_ended: bool) -> Record:
        started = self._trials.read_json(f"{trial_id}/started.json")
        spec = Spec.from_dict(started or {}, self.space)
        curve = tuple(self._report(name) for name in sorted(reports))
        if not is_ended:
            values = curve[-1].values if curve else spec.values
            seconds = curve[-1].seconds if curve else 0.0
            return Record(
                spec=spec, state="unfinished", values=values, curve=curve, seconds=seconds
            )
        found = self._trials.read_json(f"{trial_id}/ended.json") or {}
        return Record(
            spec=spec,
            state=found["state"],
            values=self.space.check(found["values"]),
            curve=curve,
            scores={name: GroupScores.from_dict(one) for name, one in found["scores"].items()},
            seconds=found["seconds"],
            error=found["error"],
        )

    def _report(self, name: str) -> Report:
        found = self._trials.read_json(name) or {}
        return Report(
            step=found["step"],
            metrics=found["metrics"],
            values=self.space.check(found["values"]),
            seconds=found["seconds"],
            parent=found["parent"],
        )
