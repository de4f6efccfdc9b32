"""Which models can be searched, by name."""

import importlib
from typing import Final, cast

from novacron.errors import ConfigError, UnknownNameError
from tuning.objective import Objective

# model name -> `module:VARIABLE` of its objective; imported when that model is searched.
OBJECTIVES: Final[dict[str, str]] = {
    "anomaly": "tuning.objectives.anomaly:OBJECTIVE",
    "bandwidth": "tuning.objectives.bandwidth:OBJECTIVE",
    "capacity": "tuning.objectives.capacity:OBJECTIVE",
    "patterns": "tuning.objectives.patterns:OBJECTIVE",
    "performance": "tuning.objectives.performance:OBJECTIVE",
    "placement": "tuning.objectives.placement:OBJECTIVE",
    "placement_size": "tuning.objectives.placement:WITH_SIZE",
    "policy": "tuning.objectives.policy:OBJECTIVE",
    "scaling": "tuning.objectives.scaling:OBJECTIVE",
}


def objective_of(model: str) -> Objective:
    """Return the objective of a model, or one of your own as `package.module:VARIABLE`.

    Raises:
        UnknownNameError: Nothing of that name can be searched.
        ConfigError: The module or the variable named is not there.
    """
    if ":" not in model and model not in OBJECTIVES:
        raise UnknownNameError(kind="model to search", got=model, known=tuple(OBJECTIVES))
    module, _, variable = OBJECTIVES.get(model, model).partition(":")
    try:
        return cast(Objective, getattr(importlib.import_module(module), variable))
    except (ImportError, AttributeError, ValueError) as cause:
        raise ConfigError(
            field="model",
            got=model,
            expected="a known model, or `package.module:VARIABLE` of an objective",
            remedy=f"{cause}. Known models: {', '.join(OBJECTIVES)}.",
        ) from cause
