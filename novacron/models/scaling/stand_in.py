"""Stands in for a scaling model that cannot answer: the rule for series with too little history.

It holds what the last hour needed and a margin, and takes no capacity away.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.models.base import Tensors
from novacron.models.scaling.model import ScalingModel

NAME: Final = "ewma_band"


def answer(model: ScalingModel, tensors: Tensors) -> dict[str, NDArray[np.generic]]:
    """Answer checked tensors by the rule; see `novacron.models.stand_ins`."""
    return model.answer_prepared(model.prepare(tensors), rule=NAME)
