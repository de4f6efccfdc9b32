"""Runs of equal samples: a metric that stopped moving, when its past never stood still as long."""

import numpy as np
from numpy.typing import NDArray

from novacron.models.anomaly.tails import MOST_SURPRISE

Floats = NDArray[np.float64]


def run_lengths(value_T: Floats, before: Floats, run_before: Floats) -> Floats:
    """Return how many samples before each one, without a break, are equal to it.

    Args:
        value_T: New samples.
        before: The sample before them, or none.
        run_before: Its run length, or none.
    """
    joined = np.concatenate([before, value_T])
    same = np.concatenate([[False], joined[1:] == joined[:-1]])
    number = np.arange(len(joined))
    broken = np.maximum.accumulate(np.where(same, 0, number))
    run_T = (number - broken).astype(np.float64)
    if len(before):
        carried = broken == 0  # still the run of the sample before
        run_T[carried] += run_before[-1]
    return run_T[len(before) :]


def stuck_surprise(past_H: Floats, run_T: Floats) -> Floats:
    """Return -log10 of the chance of each run, beyond the longest of the past, in [0, 12].

    Runs are taken as geometric, with the larger of two shares of the past: of samples that repeat
    the one before, and of repeats that follow a repeat.

    Args:
        past_H: Run lengths of the history, at least one.
        run_T: Run lengths to judge.
    """
    repeats = past_H > 0
    count = int(repeats.sum())
    again = int((past_H > 1).sum())
    share = max((count + 1) / (len(past_H) + 2), (again + 1) / (count + 2))
    beyond_T = run_T - past_H.max()
    return np.asarray(np.clip(beyond_T * -np.log10(share), 0, MOST_SURPRISE))
