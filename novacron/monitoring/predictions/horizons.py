"""How far ahead each kind of model answers, and how long its answer holds."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

HOUR_S: Final = 3_600.0
DAY_S: Final = 86_400.0
_NOW: Final = ("anomaly", "patterns", "placement", "policy")
Outputs = Mapping[str, NDArray[np.generic]]


def horizon_s(kind: str, outputs: Outputs, step_s: float | None) -> float | None:
    """Return how many seconds ahead the last value of an answer lies; 0: it is about now.

    None where nobody said how far apart the samples are, or the kind has no such thing.
    """
    if kind in _NOW:
        return 0.0
    if kind == "scaling":
        return HOUR_S
    if kind == "capacity":
        return None if "value" not in outputs else outputs["value"].shape[1] * DAY_S
    if kind == "bandwidth" and step_s is not None and "value_mbps" in outputs:
        return float(outputs["value_mbps"].shape[1] * step_s)
    return None


def valid_s(kind: str, outputs: Outputs, step_s: float | None, row: int) -> float | None:
    """Return after how many seconds to ask again about a row; None where nobody said."""
    if kind == "scaling" and "valid_s" in outputs:
        return float(np.asarray(outputs["valid_s"], dtype=np.float64).ravel()[row])
    return DAY_S if kind == "capacity" else step_s
