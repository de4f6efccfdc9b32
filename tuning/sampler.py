"""Which settings to try next: Optuna's TPE, or the same space drawn at random as its control.

Everything that is known is told anew when a search is resumed, from the journal: no state of a
searcher is kept. A trial that a scheduler gave up is told as pruned, with what it reported, never
as if its early score were a final one.
"""

from collections.abc import Iterable
from typing import Any, Final, Literal

import numpy as np
import optuna
from optuna.trial import TrialState, create_trial

from novacron.models.search_space import SearchSpace, Values
from tuning.journal import Record
from tuning.objective import Metric
from tuning.spaces import optuna_distribution, stored, suggest

Search = Literal["tpe", "random"]

_STARTUP_MOST: Final = 10
_STARTUP_SHARE: Final = 0.25
_STARTUP_LEAST: Final = 4
_NEAR_SHARE: Final = 0.5
"""Of the first trials: drawn around the default, which is mostly a good one; the others anywhere."""
_NEAR_SPREAD: Final = 0.12
"""Standard deviation of such a draw, in ranges of the parameter."""
_CANDIDATES: Final = 64
"""Settings that TPE draws from its model of the good ones, to suggest the best of them."""


class Sampler:
    """Suggests settings and learns from ended trials.

    Args:
        space: What is searched.
        metrics: The first decides; with more than one, TPE is multi-objective.
        search: TPE, or random draws.
        seed: Same seed and same history, same suggestion.
        trials: How many the search may run; decides how many TPE draws before it models.
        parallel: Trials at once.
    """

    def __init__(
        self,
        space: SearchSpace,
        metrics: tuple[Metric, ...],
        *,
        search: Search,
        seed: int,
        trials: int,
        parallel: int = 1,
    ) -> None:
        self._space = space
        self._metrics = metrics
        self._seed = seed
        self._asked: dict[str, optuna.trial.Trial] = {}
        self._startup = min(_STARTUP_MOST, max(_STARTUP_LEAST, round(_STARTUP_SHARE * trials)))
        self._study = None
        if search == "tpe":
            self._study = _study(
                space, metrics, seed, startup=self._startup, is_parallel=parallel > 1
            )

    def ask(self, trial_id: str, number: int) -> dict[str, Any]:
        """Return the settings of a new trial."""
        if self._study is None:
            # A stream for each number: neither a resume nor the order of ends changes a draw.
            return self._space.sample(np.random.default_rng([self._seed, number]))
        if number <= _NEAR_SHARE * self._startup:
            rng = np.random.default_rng([self._seed, number])
            values = self._space.near(self._space.default(), rng, _NEAR_SPREAD)
            self._study.enqueue_trial(stored(self._space, values))
        asked = self._study.ask()
        self._asked[trial_id] = asked
        return suggest(self._space, asked)

    def running(self, trial_id: str, values: Values) -> None:
        """Tell of a trial that goes on from an earlier run of the search."""
        if self._study is None or trial_id in self._asked:
            return
        self._study.enqueue_trial(stored(self._space, values))
        asked = self._study.ask()
        suggest(self._space, asked)
        self._asked[trial_id] = asked

    def tell(self, records: Iterable[Record]) -> None:
        """Learn from ended trials; those of other phases and unfinished ones are left out."""
        if self._study is None:
            return
        for record in records:
            if record.spec.phase == "search" and record.state != "unfinished":
                self._tell(self._study, record)

    def _tell(self, study: optuna.Study, record: Record) -> None:
        state, values = self._outcome(record)
        curve = {} if len(self._metrics) > 1 else self._curve(record)
        asked = self._asked.pop(record.spec.id, None)
        if asked is not None:
            for step, value in curve.items():
                asked.report(value, step)
            study.tell(asked, values, state=state)
            return
        study.add_trial(
            create_trial(
                state=state,
                values=values,
                params=stored(self._space, record.values),
                distributions={
                    name: optuna_distribution(self._space.parameter(name))
                    for name in record.values
                },
                intermediate_values=curve,
            )
        )

    def _outcome(self, record: Record) -> tuple[TrialState, list[float] | None]:
        if record.state == "finished":
            return TrialState.COMPLETE, [record.metrics[one.name] for one in self._metrics]
        # Optuna would forget a failed trial and try its neighbours again: pruned without any
        # report, it ranks behind all others.
        return TrialState.PRUNED, None

    def _curve(self, record: Record) -> dict[int, float]:
        name = self._metrics[0].name
        if record.state == "failed":
            return {}
        return {each.step: each.metrics[name] for each in record.curve}


def _study(
    space: SearchSpace,
    metrics: tuple[Metric, ...],
    seed: int,
    *,
    startup: int,
    is_parallel: bool,
) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(
        seed=seed,
        n_startup_trials=startup,
        n_ei_candidates=_CANDIDATES,
        # Joint modelling needs every parameter in every trial.
        multivariate=not any(one.when for one in space),
        # Trials that still run count as bad ones, so that two at a time are not twins.
        constant_liar=is_parallel,
    )
    return optuna.create_study(
        directions=["minimize" if one.better == "lower" else "maximize" for one in metrics],
        sampler=sampler,
    )
