"""Which parameters of a search mattered: fANOVA and PED-ANOVA over its finished trials.

fANOVA (Hutter et al. 2014) splits the variance of the metric over the whole space; PED-ANOVA
(Watanabe et al. 2023) says which parameters decide whether a setting is among the best quarter. Both
are of the trials that were run, which a search does not spread evenly.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
)
from optuna.importance import (
    FanovaImportanceEvaluator,
    PedAnovaImportanceEvaluator,
    get_param_importances,
)

LEAST_TRIALS: Final = 6
"""With fewer finished trials nothing is said."""
_SEED: Final = 0
_BEST_SHARE: Final = 0.25

Document = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Importance:
    """Shares of one parameter, 0..1; they sum to 1 over the parameters."""

    name: str
    fanova: float
    ped_anova: float


def finished_trials(document: Document) -> list[Mapping[str, Any]]:
    """Return the search trials that ran to their end, in the order of their numbers."""
    mine = [
        one
        for one in document["trials"]
        if one["phase"] == "search" and one["state"] == "finished"
    ]
    return sorted(mine, key=lambda one: int(one["number"]))


def importances(document: Document) -> tuple[Importance, ...]:
    """Return the parameters that every finished trial has, most important first.

    Returns:
        Nothing where there are too few finished trials, or they are all alike.
    """
    trials = finished_trials(document)
    target = document["metrics"][0]
    found = [one["metrics"][target["name"]] for one in trials]
    if len(trials) < LEAST_TRIALS or max(found) - min(found) <= 1e-12 * abs(max(found)):
        return ()
    study = _study(document, trials, target)
    if not study.trials or not study.trials[0].params:
        return ()
    # PED-ANOVA compares the best quarter with the rest: it minimises, so signs are set before.
    by_variance = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=_SEED))
    by_quantile = get_param_importances(
        study, evaluator=PedAnovaImportanceEvaluator(target_quantile=_BEST_SHARE)
    )
    rows = [
        Importance(
            name=name,
            fanova=_share(value, by_variance.values()),
            ped_anova=_share(by_quantile.get(name, 0.0), by_quantile.values()),
        )
        for name, value in by_variance.items()
    ]
    return tuple(sorted(rows, key=lambda one: -one.fanova))


def _share(value: float, others: Any) -> float:
    total = sum(others)
    return float(value / total) if total > 0 and math.isfinite(value) else 0.0


def _study(
    document: Document, trials: Sequence[Mapping[str, Any]], target: Mapping[str, Any]
) -> optuna.Study:
    scales = {row["name"]: row["scale"] for row in document["space"]}
    shared = set.intersection(*(set(one["values"]) for one in trials))
    given = {
        name: [_placed(one["values"][name], scale) for one in trials]
        for name, scale in scales.items()
        if name in shared
    }
    kept = {name: _distribution(values) for name, values in given.items() if len(set(values)) > 1}
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(direction="minimize")
        sign = 1.0 if target["better"] == "lower" else -1.0
        for row, one in enumerate(trials):
            study.add_trial(
                optuna.trial.create_trial(
                    params={name: given[name][row] for name in kept},
                    distributions=kept,
                    value=sign * float(one["metrics"][target["name"]]),
                )
            )
    finally:
        optuna.logging.set_verbosity(verbosity)
    return study


def _placed(value: Any, scale: str) -> float | str:
    """Return a value on the scale on which it was drawn: fANOVA weighs the scale evenly."""
    if scale == "choice":
        return str(value)
    return math.log(value) if scale == "log" else float(value)


def _distribution(values: Sequence[float | str]) -> BaseDistribution:
    """Return the distribution that just holds the values."""
    numbers = [value for value in values if not isinstance(value, str)]
    if not numbers:
        return CategoricalDistribution(sorted({str(value) for value in values}))
    return FloatDistribution(min(numbers), max(numbers))
