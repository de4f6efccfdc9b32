"""Tail probabilities by extreme value theory: how surprising is a score after the ones before it.

Peaks over a threshold follow a generalised Pareto law (Pickands 1975; Siffer et al., KDD 2017,
"SPOT"); its two parameters come from the moments of the excesses (Hosking and Wallis 1987).
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TAIL_SHARE: Final = 0.02
"""Share of the history beyond the threshold, where the history is long."""
LEAST_EXCESSES: Final = 24
_FEWEST: Final = 8
MOST_SURPRISE: Final = 12.0
"""Surprises are cut here: no history supports a smaller probability than 1e-12."""


def tail_surprise(history_H: Floats, score_N: Floats) -> Floats:
    """Return -log10 of the upper tail probability of each score, in [0, 12].

    Below the threshold the probability is the empirical one, above it that of the fitted law. A
    history without spread in its tail gives the share of the tail, never more.

    Args:
        history_H: Earlier scores, at least two.
        score_N: Scores to judge.
    """
    sorted_H = np.sort(history_H)
    n = len(sorted_H)
    level = min(1 - TAIL_SHARE, 1 - LEAST_EXCESSES / n) if n >= 2 * LEAST_EXCESSES else 0.5
    threshold = sorted_H[int(level * (n - 1))]
    excess = sorted_H[np.searchsorted(sorted_H, threshold, "right") :] - threshold
    if len(excess) >= _FEWEST and excess[-1] > 0:
        tail_N = len(excess) / n * _pareto_survival(excess, np.maximum(score_N - threshold, 0))
    else:
        tail_N = np.full(len(score_N), 1 - level)
    empirical_N = 1 - np.searchsorted(sorted_H, score_N, "left") / n
    p_N = np.where(score_N > threshold, tail_N, np.maximum(empirical_N, 1 - level))
    surprise_N: Floats = -np.log10(np.clip(p_N, 10.0**-MOST_SURPRISE, 1))
    return surprise_N


def _pareto_survival(excess: Floats, beyond_N: Floats) -> Floats:
    scaled = excess / excess[-1]  # keeps the squares of tiny or huge units in range
    mean = scaled.mean()
    variance = scaled.var()
    shape = 0.5 * (1 - mean * mean / variance) if variance > 0 else -0.2
    # Moments say little about very heavy tails, and a short tail has an end that data would cross.
    shape = float(np.clip(shape, -0.2, 0.5))
    scale = mean * (1 - shape)
    y_N = beyond_N / excess[-1] / scale
    if abs(shape) < 1e-9:
        return np.asarray(np.exp(-y_N))
    return np.asarray(np.maximum(1 + shape * y_N, 0) ** (-1 / shape))
