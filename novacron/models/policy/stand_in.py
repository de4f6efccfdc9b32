"""Stands in for a policy that cannot answer: the shipped defaults, which promise no gain."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.errors import OutOfRangeError
from novacron.models.base import Tensors
from novacron.models.policy.decide import defaults_because
from novacron.models.policy.frames import shipped_numbers
from novacron.models.policy.model import TARGETS, OptimizerModel, tensors_of
from novacron.params.observations import observation_spec

NAME: Final = "shipped_defaults"
_REASON: Final = "the policy could not answer, so that what ships is advised"


def answer(_model: OptimizerModel, tensors: Tensors) -> dict[str, NDArray[np.generic]]:
    """Advise the defaults of each row's target and mode; see `novacron.models.stand_ins`.

    Raises:
        OutOfRangeError: An unknown target.
    """
    settled = []
    for row, target in enumerate(tensors["target"].tolist()):
        if target not in TARGETS:
            raise OutOfRangeError(
                field=f"target[{row}]", got=target, expected="one of " + ", ".join(TARGETS)
            )
        mode = str(tensors["mode"][row]) if "mode" in tensors else "internet"
        shipped_D = shipped_numbers(observation_spec(target).group, mode)
        settled.append(defaults_because(NAME, _REASON, shipped_D))
    return tensors_of(settled)
