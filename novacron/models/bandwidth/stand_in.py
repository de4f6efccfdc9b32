"""Stands in for a bandwidth model that cannot answer: the EWMA band of the path's class.

The band was fitted on the training part and holds its 80 % there; it reads the history alone.
"""

from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from novacron.models.bandwidth.model import BandwidthModel
from novacron.models.bandwidth.windows import Floats
from novacron.models.base import Tensors

NAME: Final = BandwidthModel.fallback_name


def answer(model: BandwidthModel, tensors: Tensors) -> dict[str, NDArray[np.generic]]:
    """Answer checked tensors; see `novacron.models.stand_ins`."""
    return model.answer_by_band(cast(Floats, tensors["bandwidth_mbps"]), tensors.get("path_class"))
