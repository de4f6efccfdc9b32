"""When the k-th of several answers arrives: round trips with a heavy tail and lost messages.

Shape legend: N batch, F followers, G times of a grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rl_envs.physics.quantities import FloatArray

GRID = 24
"""Times at which the arrival law is tabulated."""
_STEPS = np.geomspace(2e-3, 1.0, GRID)


@dataclass(frozen=True, kw_only=True, slots=True)
class Followers:
    """Who must answer, arrays [N, F] but `drop_ratio` and `jitter_shape` [N].

    A place without a follower has an infinite propagation.

    An answer takes `propagation_ms` plus a wait of median `jitter_ms` whose tail falls as the power
    `jitter_shape`: 2, 3 or 4. A dropped message is sent again after the retransmission timeout.
    """

    propagation_ms: FloatArray
    jitter_ms: FloatArray
    jitter_shape: FloatArray
    drop_ratio: FloatArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """Distribution of the time of the k-th answer: `cdf_NG` at `time_ms_NG`, increasing."""

    time_ms_NG: FloatArray
    cdf_NG: FloatArray


@dataclass(frozen=True, kw_only=True, slots=True)
class QuorumTimes:
    """A distribution with the two quantiles that are read again and again, [N]: 50 % and 99 %."""

    arrival: Arrival
    median_ms: FloatArray
    tail_ms: FloatArray


def log_logistic_cdf(wait_ms: FloatArray, median_ms: FloatArray, shape: FloatArray) -> FloatArray:
    """Return P(W <= wait): a body around the median and a Pareto tail of index `shape`.

    1 / (1 + (median / wait)^shape), for whole shapes 2, 3 and 4 so that no power is computed.
    Source: Fisk 1961.

    >>> float(log_logistic_cdf(np.array(3.0), np.array(3.0), np.array(3.0)))
    0.5
    >>> round(float(log_logistic_cdf(np.array(6.0), np.array(3.0), np.array(2.0))), 3)
    0.8
    >>> float(log_logistic_cdf(np.array(-1.0), np.array(3.0), np.array(2.0)))
    0.0
    """
    scaled = np.maximum(wait_ms, 0.0) / median_ms
    square = scaled * scaled
    power = square * np.where(shape == 4.0, square, np.where(shape == 3.0, scaled, 1.0))
    cdf: FloatArray = power / (1.0 + power)
    return cdf


def arrival_counts(arrived_FNG: FloatArray) -> FloatArray:
    """Return P(exactly c of F independent answers have arrived), [F + 1, N, G].

    The number of arrivals is Poisson-binomial; its distribution is built answer by answer.
    Source: David and Nagaraja 2003, section 5.2.

    >>> arrival_counts(np.full((3, 1, 1), 0.5)).ravel().tolist()
    [0.125, 0.375, 0.375, 0.125]
    """
    followers = arrived_FNG.shape[0]
    counts = np.zeros((followers + 1, *arrived_FNG.shape[1:]))
    counts[0] = 1.0
    change = np.empty(arrived_FNG.shape[1:])
    for follower, here in enumerate(arrived_FNG):
        for count in range(follower + 1, 0, -1):
            np.subtract(counts[count - 1], counts[count], out=change)
            change *= here
            counts[count] += change
        np.subtract(1.0, here, out=change)
        counts[0] *= change
    return counts


def kth_arrivals(
    followers: Followers, needed: Sequence[FloatArray], rto_floor_ms: float = 200.0
) -> tuple[Arrival, ...]:
    """Return, for each of `needed` [N], when that many of the followers have answered.

    All are tabulated on one grid. It starts at the smallest of the needed-th propagations, before
    which nothing can be complete, and reaches past two retransmission timeouts.

    >>> one = np.ones((1, 3))
    >>> same = Followers(propagation_ms=10 * one, jitter_ms=2 * one, jitter_shape=np.array([4.0]),
    ...     drop_ratio=np.array([0.0]))
    >>> median = quantile_ms(kth_arrivals(same, [np.array([2.0])])[0], 0.5)
    >>> bool(abs(median[0] - 12.0) < 0.1)  # the middle one of three has the parent's median
    True
    """
    propagation = followers.propagation_ms
    present = np.isfinite(propagation)
    rank = np.minimum.reduce(needed).astype(np.int64)[:, None] - 1
    start = np.take_along_axis(np.sort(propagation, axis=1), rank, axis=1)
    longest = np.where(present, propagation, 0.0).max(axis=1, keepdims=True)
    jitter = np.where(present, followers.jitter_ms, 1e-6)
    rto = rto_floor_ms + longest
    span = np.maximum(longest - start + 50.0 * jitter.max(axis=1, keepdims=True), rto)
    time_NG = start + 2.0 * span * _STEPS
    shape, drop = followers.jitter_shape[:, None], followers.drop_ratio[:, None]
    arrived = np.empty((propagation.shape[1], *time_NG.shape))
    for follower in range(propagation.shape[1]):
        wait = time_NG - propagation[:, follower, None]
        median = jitter[:, follower, None]
        once = log_logistic_cdf(wait, median, shape)
        again = log_logistic_cdf(wait - rto, median, shape)
        arrived[follower] = once + drop * (again - once)
    counts = arrival_counts(arrived)
    return tuple(
        Arrival(time_ms_NG=time_NG, cdf_NG=_at_least(counts, wanted)) for wanted in needed
    )


def _at_least(counts_CNG: FloatArray, needed_N: FloatArray) -> FloatArray:
    enough = np.zeros(counts_CNG.shape[1:])
    for count, probability in enumerate(counts_CNG):
        enough += np.where(count >= needed_N[:, None], probability, 0.0)
    return np.minimum(enough, 1.0)


def truncated_mean_ms(arrival: Arrival, limit_ms_N: FloatArray) -> FloatArray:
    """Return E[min(T, limit)], the integral of the survival function up to the limit.

    >>> flat = Arrival(time_ms_NG=np.array([[0.0, 10.0]]), cdf_NG=np.array([[0.0, 1.0]]))
    >>> truncated_mean_ms(flat, np.array([4.0])).tolist()  # 4 - 4^2 / 20
    [3.2]
    """
    time, survival = arrival.time_ms_NG, 1.0 - arrival.cdf_NG
    left, right = time[:, :-1], np.minimum(time[:, 1:], limit_ms_N[:, None])
    width = np.maximum(right - left, 0.0)
    slope = (survival[:, 1:] - survival[:, :-1]) / (time[:, 1:] - left)
    area = width * (survival[:, :-1] + 0.5 * slope * width)
    total = np.minimum(time[:, 0], limit_ms_N) + area.sum(axis=1)
    beyond = np.maximum(limit_ms_N - time[:, -1], 0.0)
    mean: FloatArray = total + beyond * survival[:, -1]
    return mean


def probability_by(arrival: Arrival, limit_ms_N: FloatArray) -> FloatArray:
    """Return P(T <= limit), linear between the grid's times.

    >>> flat = Arrival(time_ms_NG=np.array([[0.0, 10.0]]), cdf_NG=np.array([[0.0, 1.0]]))
    >>> probability_by(flat, np.array([4.0])).tolist()
    [0.4]
    """
    time, cdf = arrival.time_ms_NG, arrival.cdf_NG
    above = (time <= limit_ms_N[:, None]).sum(axis=1)
    right = np.clip(above, 1, time.shape[1] - 1)[:, None]
    t0, t1 = np.take_along_axis(time, right - 1, 1), np.take_along_axis(time, right, 1)
    c0, c1 = np.take_along_axis(cdf, right - 1, 1), np.take_along_axis(cdf, right, 1)
    share = np.clip((limit_ms_N[:, None] - t0) / (t1 - t0), 0.0, 1.0)
    probability: FloatArray = (c0 + share * (c1 - c0))[:, 0]
    return np.where(above == 0, 0.0, probability)


def quorum_times(arrival: Arrival) -> QuorumTimes:
    """Read the median and the tail of a distribution once.

    >>> flat = Arrival(time_ms_NG=np.array([[0.0, 10.0]]), cdf_NG=np.array([[0.0, 1.0]]))
    >>> times = quorum_times(flat)
    >>> times.median_ms.tolist(), times.tail_ms.tolist()
    ([5.0], [9.9])
    """
    return QuorumTimes(
        arrival=arrival, median_ms=quantile_ms(arrival, 0.5), tail_ms=quantile_ms(arrival, 0.99)
    )


def quantile_ms(arrival: Arrival, level: float) -> FloatArray:
    """Return the time by which the answer has arrived with probability `level`.

    Where the grid ends below that level, its last time.

    >>> flat = Arrival(time_ms_NG=np.array([[0.0, 10.0]]), cdf_NG=np.array([[0.0, 1.0]]))
    >>> quantile_ms(flat, 0.9).tolist()
    [9.0]
    """
    time, cdf = arrival.time_ms_NG, arrival.cdf_NG
    above = np.clip((cdf < level).sum(axis=1), 1, time.shape[1] - 1)[:, None]
    t0, t1 = np.take_along_axis(time, above - 1, 1), np.take_along_axis(time, above, 1)
    c0, c1 = np.take_along_axis(cdf, above - 1, 1), np.take_along_axis(cdf, above, 1)
    share = np.clip((level - c0) / np.maximum(c1 - c0, 1e-12), 0.0, 1.0)
    value: FloatArray = (t0 + share * (t1 - t0))[:, 0]
    return value
