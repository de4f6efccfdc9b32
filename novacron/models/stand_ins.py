"""Finds the baseline that answers in place of a model which cannot, by the model's `kind`.

A stand-in is a module with `NAME` and `answer(model, tensors)`: closed form, no trees, no network,
so that what broke the model does not break it. It gives every output of the model, and its name in
the output `fallback`. Families without an entry have no baseline that could fill their outputs
without guessing: capacity (intervals and crossing dates), performance (probability of degradation),
patterns (types).
"""

import importlib
from types import ModuleType
from typing import Final

STAND_INS: Final[dict[str, str]] = {
    "anomaly": "novacron.models.anomaly.stand_in",
    "bandwidth": "novacron.models.bandwidth.stand_in",
    "placement": "novacron.models.placement.stand_in",
    "policy": "novacron.models.policy.stand_in",
    "scaling": "novacron.models.scaling.stand_in",
}


def load_stand_in(kind: str) -> ModuleType | None:
    """Return the stand-in of a family, or None where it has none."""
    return importlib.import_module(STAND_INS[kind]) if kind in STAND_INS else None
