"""Surprises before the forests have enough history: a robust distance with a heavy tail.

The answer is a named fallback: it reads the few samples there are, of this metric alone.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

from novacron.models.anomaly.tails import MOST_SURPRISE

Floats = NDArray[np.float64]

FALLBACK: Final = "student_t"
LEAST_SAMPLES: Final = 8
"""Fewer earlier samples than this say nothing: the surprise is 0."""

_DEGREES: Final = 4
# The surprise of a warm metric is a mean over eight tails, which varies less than one tail does;
# this brings one tail to the same rate of alerts at the default threshold.
_WEIGHT: Final = 0.43


def warm_up_surprise(value_T: Floats, start: int) -> Floats:
    """Return the surprise of each sample from `start` on after those before it, in [0, 5.2].

    It is `own_surprise`, brought to the scale of the warm scores.
    """
    return _WEIGHT * own_surprise(value_T, start)


def own_surprise(value_T: Floats, start: int) -> Floats:
    """Return -log10 of the probability of each sample from `start` on after those before it.

    The distance from the median, in median absolute deviations of a Gaussian, is read from a
    Student t law with 4 degrees of freedom; so an outlier among the past moves it little. Where
    more than half of the past is equal the mean absolute deviation stands in, and after a constant
    past a change is as rare as one in all samples so far.
    """
    distance_N = np.array(
        [_distance(value_T[:at], value_T[at]) for at in range(start, len(value_T))]
    )
    n_N = np.arange(start, len(value_T))
    p_N = 2 * student_t.sf(distance_N / np.sqrt(1 + 1 / np.maximum(n_N, 1)), _DEGREES)
    p_N = np.where(np.isinf(distance_N), 1 / (n_N + 1), np.clip(p_N, 10.0**-MOST_SURPRISE, 1))
    return np.where(n_N < LEAST_SAMPLES, 0.0, -np.log10(p_N))


def _distance(past_H: Floats, value: float) -> float:
    """Return the distance from the median in robust deviations; infinite after a constant past."""
    if len(past_H) < LEAST_SAMPLES:
        return 0.0
    middle = float(np.median(past_H))
    away_H = np.abs(past_H - middle)
    distance = abs(value - middle)
    scale = 1.4826 * float(np.median(away_H)) or 1.2533 * float(away_H.mean())
    if scale == 0:
        return float("inf") if distance > 0 else 0.0
    return distance / scale
