"""Search spaces by model, and the same space as Optuna, Ray Tune and a stored trial write it.

A choice that is a tuple has no place in their stores: choices travel by their labels, and
`SearchSpace.check` brings them back.
"""

import importlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, cast

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from novacron.errors import ModelNotFoundError
from novacron.models.search_parameters import Parameter
from novacron.models.search_space import (
    CategoricalParameter,
    FloatParameter,
    IntParameter,
    SearchSpace,
    Values,
)

# model name -> module with a variable `SPACE`, beside the model's config.
SPACES: Final[Mapping[str, str]] = {
    "anomaly": "novacron.models.anomaly.search_space",
    "bandwidth": "novacron.models.bandwidth.search_space",
    "capacity": "novacron.models.capacity.search_space",
    "patterns": "novacron.models.patterns.search_space",
    "performance": "novacron.models.performance.search_space",
    "placement": "novacron.models.placement.search_space",
    "policy": "rl_envs.learn.search_space",
    "scaling": "novacron.models.scaling.search_space",
}


def space_of(model: str) -> SearchSpace:
    """Return the declared space of a model, or of the policy.

    Raises:
        ModelNotFoundError: Nothing of that name can be searched.
    """
    if model not in SPACES:
        raise ModelNotFoundError(
            f"There is no search space for {model!r}.", remedy=f"Known: {', '.join(SPACES)}."
        )
    return cast(SearchSpace, importlib.import_module(SPACES[model]).SPACE)


def stored(space: SearchSpace, values: Values) -> dict[str, float | int | str]:
    """Return checked values as plain numbers and labels, which JSON, Optuna and Tune can keep.

    Raises:
        ConfigError: A name is unknown.
        OutOfRangeError: A value is not allowed.
    """
    kept: dict[str, float | int | str] = {}
    for name, value in space.check(values).items():
        parameter = space.parameter(name)
        if isinstance(parameter, CategoricalParameter):
            kept[name] = parameter.labels[parameter.choices.index(value)]
        else:
            kept[name] = cast(float | int, value)
    return kept


def optuna_distribution(parameter: Parameter) -> BaseDistribution:
    """Return Optuna's form of a parameter."""
    if isinstance(parameter, CategoricalParameter):
        return CategoricalDistribution(parameter.labels)
    if isinstance(parameter, IntParameter):
        return IntDistribution(
            parameter.low, parameter.high, log=parameter.log, step=parameter.step
        )
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)


def optuna_distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Return Optuna's form of all parameters, conditions aside."""
    return {one.name: optuna_distribution(one) for one in space}


def suggest(space: SearchSpace, trial: optuna.trial.BaseTrial) -> dict[str, Any]:
    """Ask a trial for the parameters that count, in order, and return the checked values."""
    found: dict[str, Any] = {}
    for one in space:
        if space.counts(one, found):
            found[one.name] = one.check(_suggested(one, trial))
    return found


def _suggested(parameter: Parameter, trial: optuna.trial.BaseTrial) -> float | int | str:
    if isinstance(parameter, CategoricalParameter):
        return trial.suggest_categorical(parameter.name, parameter.labels)
    if isinstance(parameter, IntParameter):
        return trial.suggest_int(
            parameter.name, parameter.low, parameter.high, step=parameter.step, log=parameter.log
        )
    return trial.suggest_float(
        parameter.name, parameter.low, parameter.high, step=parameter.step, log=parameter.log
    )


def optuna_search_space(space: SearchSpace) -> Callable[[optuna.trial.BaseTrial], None]:
    """Return the space as Ray Tune's `OptunaSearch(space=...)` takes one with conditions."""
    return partial(_define, space)


def _define(space: SearchSpace, trial: optuna.trial.BaseTrial) -> None:
    suggest(space, trial)


def tune_domain(parameter: Parameter) -> Any:
    """Return Ray Tune's form of a parameter."""
    from ray import tune

    if isinstance(parameter, CategoricalParameter):
        return tune.choice(list(parameter.labels))
    if isinstance(parameter, FloatParameter):
        if parameter.step is not None:
            return tune.quniform(parameter.low, parameter.high, parameter.step)
        draw = tune.loguniform if parameter.log else tune.uniform
        return draw(parameter.low, parameter.high)
    if parameter.log:
        return tune.lograndint(parameter.low, parameter.high + 1)
    # Tune's rounding is to multiples of the step from zero; a choice keeps the grid of the space.
    if parameter.step != 1:
        return tune.choice(list(range(parameter.low, parameter.high + 1, parameter.step)))
    return tune.randint(parameter.low, parameter.high + 1)


def tune_space(space: SearchSpace) -> dict[str, Any]:
    """Return Ray Tune's form of all parameters, for random search and PBT.

    Tune knows no conditions: every parameter is drawn, and `SearchSpace.check` drops those that do
    not count.
    """
    return {one.name: tune_domain(one) for one in space}
