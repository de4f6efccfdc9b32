"""Runs the trials of a plan one by one in this process: plain Optuna, without Ray's workers.

For trials of a few seconds, whose start as Ray tasks would cost more than they do, and for tests.
"""

from collections.abc import Callable
from typing import Any, cast

from ray.tune.schedulers import TrialScheduler

from novacron.errors import ConfigError
from tuning.attempt import Saving, attempt
from tuning.journal import Journal, Record, Report
from tuning.objective import Objective, SchedulerKind, TrialStopped
from tuning.plan import Plan, Watch
from tuning.stopping import STEP, TARGET, StandIn


def check_here(kind: SchedulerKind) -> None:
    """Refuse a scheduler that needs trials side by side.

    Raises:
        ConfigError: It is PBT.
    """
    if kind == "pbt":
        raise ConfigError(
            field="engine",
            got="here",
            expected="ray: a population lives side by side",
            remedy="Leave out --engine here, or take another scheduler.",
        )


def run_here(
    plan: Plan,
    objective: Objective,
    data: Any,
    journal: Journal,
    scheduler: TrialScheduler,
    watch: Watch,
    *,
    saving: Saving,
) -> None:
    """Run the plan's trials one after another; see `tuning.on_ray.run_on_ray`."""
    while not watch.should_stop():
        spec = plan.next()
        if spec is None:
            return
        channel = _Channel(scheduler, spec.id, objective.metrics[0].name, watch.should_stop)
        try:
            attempt(spec, objective, data, journal, channel, saving=saving)
        except TrialStopped:
            if not channel.given_up:
                return  # cut off, to go on in the next run of the search
            record = journal.record(spec.id)
            journal.end(spec.id, "stopped", values=record.values, seconds=record.seconds)
            journal.drop_states(spec.id)
        record = journal.record(spec.id)
        channel.close(record)
        plan.ended(record)
        watch.on_end(record)


class _Channel:
    """Asks a scheduler of Ray Tune about one trial."""

    def __init__(
        self,
        scheduler: TrialScheduler,
        trial_id: str,
        target: str,
        should_stop: Callable[[], bool],
    ) -> None:
        # A scheduler of Tune judges stand-ins as well: it looks at ids and rows alone.
        self._scheduler = cast(Any, scheduler)
        self._target, self._should_stop = target, should_stop
        self._trial = StandIn(trial_id)
        self.given_up = False
        self._scheduler.on_trial_add(None, self._trial)

    def report(self, report: Report) -> None:
        """Go on, or end the trial."""
        row = {STEP: report.step, TARGET: report.metrics[self._target]}
        verdict = self._scheduler.on_trial_result(None, self._trial, row)
        self.given_up = verdict == TrialScheduler.STOP
        if self.given_up or self._should_stop():
            raise TrialStopped

    def close(self, record: Record) -> None:
        """Show the scheduler the trial's end."""
        if record.metrics:
            row = {STEP: record.step, TARGET: record.metrics[self._target]}
            self._scheduler.on_trial_complete(None, self._trial, row)
