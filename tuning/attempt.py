"""One attempt at one trial: fit, report, save, and write its end into the journal.

The same code runs on a worker of Ray Tune and in the process of `tuning.here`; only the channel
through which a report reaches the scheduler differs.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

from novacron.errors import SchemaError
from novacron.models.search_space import Values
from tuning.journal import Journal, Report, Spec
from tuning.objective import Metric, Objective, TrialStopped
from tuning.scores import Scores

log = logging.getLogger(__name__)

SAVE_EVERY_S: Final = 5.0
KEPT_STATES: Final = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Saving:
    """When a trial's state is saved, and for how long."""

    every_s: float = SAVE_EVERY_S
    """Seconds between two saved states; 0: every report saves."""
    keeps_all: bool = False
    """Another trial may copy any of them, as under PBT, so none is removed."""


class Channel(Protocol):
    """Where a report goes on from the trial."""

    def report(self, report: Report) -> None:
        """Hand a report to the scheduler.

        Raises:
            TrialStopped: It gave the trial up, or the search ends.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Parent:
    """State to begin with: of this trial's last attempt, or of PBT's better one."""

    trial_id: str
    step: int


def attempt(
    spec: Spec,
    objective: Objective,
    data: Any,
    journal: Journal,
    channel: Channel,
    *,
    parent: Parent | None = None,
    saving: Saving | None = None,
) -> None:
    """Run a trial to its end, or until the channel stops it; an end that is there already stands.

    A failure of the objective is written down with its values and is no failure of the search.

    Args:
        spec: What to run; `spec.values` are those to run with from here on.
        objective: Of the model.
        data: `Prepared.part` of the block that `spec` names.
        journal: Gets reports, states and the end.
        channel: Gets the reports after the journal has them.
        parent: State of another trial to go on from; None: this trial's own last state.
        saving: When states are saved; None: as by default.

    Raises:
        TrialStopped: From the channel.
    """
    if journal.is_ended(spec.id):
        return
    if parent is None:
        steps = journal.saved_steps(spec.id)
        parent = Parent(trial_id=spec.id, step=steps[-1]) if steps else None
    # Seconds of earlier attempts count: a trial costs what it cost.
    started = time.monotonic() - journal.record(spec.id).seconds
    saving = saving or Saving()
    progress = AttemptProgress(spec, objective.metrics, journal, channel, started)
    progress.saving = saving
    try:
        scores = _run(spec, objective, data, journal, progress, parent)
    except TrialStopped:
        raise
    except Exception as error:
        log.info("trial %s failed", spec.id, exc_info=error)
        journal.end(
            spec.id,
            "failed",
            values=spec.values,
            seconds=time.monotonic() - started,
            error=f"{type(error).__name__}: {error}",
        )
        return
    journal.end(
        spec.id,
        "finished",
        values=spec.values,
        seconds=time.monotonic() - started,
        scores=scores,
    )
    if not saving.keeps_all:
        journal.drop_states(spec.id)


def check_scores(scores: Scores, metrics: tuple[Metric, ...]) -> Mapping[str, float]:
    """Return the value of every metric of an objective.

    Raises:
        SchemaError: One is missing or unknown.
    """
    wanted = {one.name for one in metrics}
    if set(scores) != wanted:
        raise SchemaError(
            field="scores", got=sorted(scores), expected=f"the metrics {sorted(wanted)}"
        )
    return {one.name: scores[one.name].value for one in metrics}


def _run(
    spec: Spec,
    objective: Objective,
    data: Any,
    journal: Journal,
    progress: "AttemptProgress",
    parent: Parent | None,
) -> Scores:
    if parent is None:
        scores = objective.run(data, spec.trial, progress)
    else:
        with journal.state_here(parent.trial_id, parent.step) as folder:
            progress.parent = "" if parent.trial_id == spec.id else parent.trial_id
            progress.resume, progress.resume_step = folder, parent.step
            scores = objective.run(data, spec.trial, progress)
    check_scores(scores, objective.metrics)
    return scores


class AttemptProgress:
    """Implements `tuning.objective.Progress` over a journal and a channel."""

    def __init__(
        self,
        spec: Spec,
        metrics: tuple[Metric, ...],
        journal: Journal,
        channel: Channel,
        started: float,
    ) -> None:
        self.resume: Path | None = None
        self.resume_step = 0
        self.saving = Saving()
        self.parent = ""
        self.is_judged = spec.phase == "search"
        self._started = started
        self._spec = spec
        self._metrics = metrics
        self._journal = journal
        self._channel = channel
        self._saved_at = time.monotonic()

    def report(
        self, step: int, scores: Scores, save: Callable[[Path], None] | None = None
    ) -> None:
        """Keep the state, then the report, then ask the scheduler whether to go on."""
        metrics = check_scores(scores, self._metrics)
        if self._spec.budget is not None and step >= self._spec.budget:
            return  # the scores that the run returns are its last word
        now = time.monotonic()
        if save is not None and now - self._saved_at >= self.saving.every_s:
            kept = None if self.saving.keeps_all else KEPT_STATES
            self._journal.save_state(self._spec.id, step, save, kept=kept)
            self._saved_at = time.monotonic()
        report = Report(
            step=step,
            metrics=metrics,
            values=self._spec.values,
            seconds=time.monotonic() - self._started,
            parent=self.parent,
        )
        self._journal.report(self._spec.id, report)
        self._channel.report(report)


def with_values(spec: Spec, values: Values) -> Spec:
    """Return a trial that goes on with other values, as PBT has it."""
    return replace(spec, values=dict(values))
