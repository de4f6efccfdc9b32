"""Allocating bandwidth from a forecast: what is left unused and what overshoots.

Shape legend: N batch, T seconds of a series.
"""

import numpy as np
from scipy.special import ndtri

from rl_envs.physics.quantities import FloatArray, IntArray

OVERSHOOT_WEIGHT = 3.0
"""Cost of a megabit promised and not delivered, in megabits left unused: it is queued, dropped and
sent again. The cost-optimal confidence is then 3/4, the critical fractile of a newsvendor."""


def window_moments(
    sums_NT: FloatArray, squares_NT: FloatArray, end_NT: IntArray, window_N: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return mean and standard deviation of the last `window` samples before index `end`.

    Args:
        sums_NT: Running sums with a leading zero: entry i is the sum of the first i samples.
        squares_NT: The same of the squares.
        end_NT: Number of samples known at each time, at least the window.
        window_N: Whole seconds.

    >>> series = np.array([[1.0, 3.0, 5.0, 7.0]])
    >>> sums = np.concatenate([np.zeros((1, 1)), series.cumsum(axis=1)], axis=1)
    >>> squares = np.concatenate([np.zeros((1, 1)), (series**2).cumsum(axis=1)], axis=1)
    >>> mean, sd = window_moments(sums, squares, np.array([[4]]), np.array([2.0]))
    >>> mean.tolist(), sd.tolist()
    ([[6.0]], [[1.0]])
    """
    row = np.arange(sums_NT.shape[0])[:, None] * sums_NT.shape[1]
    last = row + end_NT
    first = last - window_N.astype(np.int64)[:, None]
    count = window_N[:, None]
    mean = (np.take(sums_NT, last) - np.take(sums_NT, first)) / count
    square = (np.take(squares_NT, last) - np.take(squares_NT, first)) / count
    deviation: FloatArray = np.sqrt(np.maximum(square - mean * mean, 0.0))
    return mean, deviation


def allocation_mbps(
    mean_mbps: FloatArray, deviation_mbps: FloatArray, confidence: FloatArray
) -> FloatArray:
    """Return the allocation that stays below the path's rate with the given confidence.

    Under a normal forecast error; never below a twentieth of the mean.

    >>> round(float(allocation_mbps(np.array(100.0), np.array(10.0), np.array(0.975))), 1)
    80.4
    """
    wanted = mean_mbps - ndtri(confidence) * deviation_mbps
    return np.asarray(np.maximum(wanted, 0.05 * mean_mbps))


def misallocation_mbps(
    allocated_mbps: FloatArray, available_mbps: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return what stays unused and what overshoots.

    >>> unused, overshoot = misallocation_mbps(np.array([5.0, 9.0]), np.array([7.0, 7.0]))
    >>> unused.tolist(), overshoot.tolist()
    ([2.0, 0.0], [0.0, 2.0])
    """
    gap = available_mbps - allocated_mbps
    return np.maximum(gap, 0.0), np.maximum(-gap, 0.0)


def change_cost_mbps(
    step_mbps: FloatArray, rtt_ms: FloatArray, update_interval_s: FloatArray
) -> FloatArray:
    """Return the rate lost to changing an allocation: two round trips at the size of the change.

    A sender told to change drains or refills its windows before the new rate holds.

    >>> float(change_cost_mbps(np.array(50.0), np.array(100.0), np.array(10.0)))
    1.0
    """
    lost: FloatArray = np.abs(step_mbps) * 2.0 * rtt_ms * 1e-3 / update_interval_s
    return lost
