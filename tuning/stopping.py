"""Which trials are given up early: Ray Tune's schedulers, fed anew from the journal on a resume.

Tune keeps a scheduler's memory in a pickle that a killed driver may not have written. Here the
curves of ended trials are played back into a new scheduler through its public methods, so that a
resumed search judges by the same rungs and medians. `tuning.here` uses the same schedulers.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)

from novacron.errors import ConfigError
from novacron.models.search_space import CategoricalParameter, SearchSpace, Values
from tuning.journal import Record
from tuning.objective import Objective, SchedulerKind
from tuning.spaces import stored

STEP: Final = "step"
TARGET: Final = "target"
MEMBER: Final = "member"
"""Key of a trial in Tune's config: `spec`, and `values` to run with."""
_REDUCTION: Final = 3
_MEDIAN_LEAST: Final = 3
_NEVER: Final[Any] = math.inf
"""A time slice after which Tune never pauses a trial; only infinity is more than its start."""
_RESAMPLED_SHARE: Final = 0.25
_FACTORS: Final = (0.8, 1.25)


class Median(MedianStoppingRule):
    """Tune's median rule, deaf to trials that ended without a figure, and fit to be replayed."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[Any, Any]) -> str:
        """Judge a report; those that a trial made after its verdict are only remembered."""
        if trial in self._stopped_trials:
            self._results[trial].append(result)
            return TrialScheduler.CONTINUE
        return super().on_trial_result(tune_controller, trial, result)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[Any, Any]) -> None:
        """Keep the last result of a trial that has one."""
        if STEP in result and TARGET in result:
            super().on_trial_complete(tune_controller, trial, result)


def check_scheduler(objective: Objective, kind: SchedulerKind, space: SearchSpace) -> None:
    """Refuse a scheduler that an objective cannot serve.

    Raises:
        ConfigError: It needs reports, and the objective makes none; or PBT has nothing to change.
    """
    if kind != "none" and objective.fidelity is None:
        raise ConfigError(
            field="scheduler",
            got=kind,
            expected="none: a trial of this model reports nothing before its end",
        )
    if kind == "pbt" and not set(objective.perturbed) & set(space.names):
        raise ConfigError(
            field="scheduler",
            got=kind,
            expected="asha, median or none",
            remedy="No searched parameter of this model may change in the middle of a run.",
        )


def scheduler_of(
    objective: Objective, kind: SchedulerKind, space: SearchSpace, *, budget: int | None, seed: int
) -> TrialScheduler:
    """Return Tune's scheduler for an objective; reports carry `STEP` and `TARGET`."""
    fidelity = objective.fidelity
    mode = "min" if objective.metrics[0].better == "lower" else "max"
    if kind == "none" or fidelity is None:
        first_in_first_out: Any = FIFOScheduler  # untyped
        return cast(TrialScheduler, first_in_first_out())
    if kind == "asha":
        return ASHAScheduler(
            time_attr=STEP,
            metric=TARGET,
            mode=mode,
            grace_period=fidelity.low,
            max_t=max(budget or fidelity.high, fidelity.low + 1),
            reduction_factor=_REDUCTION,
            # The last report of a run is followed by its scores, and those count.
            stop_last_trials=False,
        )
    if kind == "median":
        return Median(
            time_attr=STEP,
            metric=TARGET,
            mode=mode,
            grace_period=fidelity.low,
            min_samples_required=_MEDIAN_LEAST,
            min_time_slice=_NEVER,
        )
    return PopulationBasedTraining(
        time_attr=STEP,
        metric=TARGET,
        mode=mode,
        perturbation_interval=fidelity.low,
        custom_explore_fn=Explore(space, objective.perturbed, np.random.default_rng([seed, 1])),
        log_config=False,
        require_attrs=False,
    )


@dataclass(frozen=True, eq=False)
class StandIn:
    """What a scheduler needs of a trial that does not run under Tune."""

    trial_id: str


def replay(scheduler: TrialScheduler, records: Iterable[Record], target: str) -> None:
    """Show a scheduler the curves of ended trials; its verdicts on them are known already."""
    if not isinstance(scheduler, ASHAScheduler | MedianStoppingRule):
        return
    judge: Any = scheduler
    for record in records:
        if record.spec.phase != "search" or record.state not in ("finished", "stopped"):
            continue
        rows = [{STEP: one.step, TARGET: one.metrics[target]} for one in record.curve]
        if record.state == "finished":
            rows.append({STEP: record.step, TARGET: record.metrics[target]})
        if rows:
            trial = StandIn(record.spec.id)
            judge.on_trial_add(None, trial)
            for row in rows:
                judge.on_trial_result(None, trial, row)
            judge.on_trial_complete(None, trial, rows[-1])


class Explore:
    """Changes a better trial's settings for a worse one, inside the space.

    Args:
        space: Its bounds, steps, scales and conditions hold for what is made.
        perturbed: Parameters that may change in the middle of a run.
        rng: Draws.
    """

    def __init__(
        self, space: SearchSpace, perturbed: tuple[str, ...], rng: np.random.Generator
    ) -> None:
        self._space, self._perturbed, self._rng = space, perturbed, rng

    def __call__(self, config: dict[str, Any]) -> dict[str, Any]:
        """Return Tune's config with other values."""
        member = config[MEMBER]
        values = self.changed(self._space.check(member["values"]))
        return {MEMBER: {**member, "values": stored(self._space, values)}}

    def changed(self, values: Values) -> dict[str, Any]:
        """Multiply a number by 0.8 or 1.25, or draw it anew one time in four; choices are drawn."""
        found = dict(values)
        for parameter in self._space:
            name = parameter.name
            if name not in self._perturbed or name not in found:
                continue
            old = found[name]
            if isinstance(parameter, CategoricalParameter) or not isinstance(old, int | float):
                if self._rng.random() < _RESAMPLED_SHARE:
                    found[name] = parameter.sample(self._rng)
                continue
            if self._rng.random() < _RESAMPLED_SHARE:
                found[name] = parameter.sample(self._rng)
                continue
            wanted = min(max(old * self._rng.choice(_FACTORS), parameter.low), parameter.high)
            step = parameter.step
            if step is not None:
                places = round((wanted - parameter.low) / step)
                wanted = parameter.low + places * step
                wanted -= step if wanted > parameter.high else 0
            found[name] = parameter.check(float(wanted))
        return self._space.check(found)
