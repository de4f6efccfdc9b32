"""One task split over several paths: each adds its capacity, some share a bottleneck.

Shape legend: N batch, K paths, B shared bottlenecks.
"""

from dataclasses import dataclass

import numpy as np

from rl_envs.physics.quantities import BoolArray, FloatArray, IntArray

UNUSED_SHARE = 0.02
"""Smaller shares leave a path unused."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Paths:
    """The paths between two sites: access rate, start-up time and stalls [N, K].

    Path k runs over bottleneck `bottleneck_NK`, of rate `shared_mbps_NB`.
    """

    access_mbps_NK: FloatArray
    start_s_NK: FloatArray
    stall_s_NK: FloatArray
    bottleneck_NK: IntArray
    shared_mbps_NB: FloatArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """How a task ends: when it is complete [N], and per path [N, K] when and how much."""

    total_s: FloatArray
    finish_s_NK: FloatArray
    sent_mb_NK: FloatArray


def shares_of(weights_NK: FloatArray) -> FloatArray:
    """Turn weights into shares that sum to one; tiny shares are dropped, no weight means equal.

    >>> shares_of(np.array([[1.0, 1.0, 0.01, 0.0], [0.0, 0.0, 0.0, 0.0]])).tolist()
    [[0.5, 0.5, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]]
    """
    total = _row_sum(weights_NK)
    equal = np.full_like(weights_NK, 1.0 / weights_NK.shape[1])
    share = np.where(total > 0, weights_NK / np.maximum(total, 1e-12), equal)
    kept = np.where(share < UNUSED_SHARE, 0.0, share)
    normalised: FloatArray = kept / _row_sum(kept)
    return normalised


def _row_sum(values_NK: FloatArray) -> FloatArray:
    """Sum over paths in a fixed order, so that no batch size changes a bit."""
    total = values_NK[:, :1].copy()
    for column in range(1, values_NK.shape[1]):
        total += values_NK[:, column : column + 1]
    return total


def fair_rates(paths: Paths, active_NK: BoolArray) -> FloatArray:
    """Return the max-min fair rates of the active paths within their bottlenecks.

    Paths that cannot use their part leave it to the others: filled in as many passes as paths.
    Source: Bertsekas and Gallager 1992, section 6.5.2.

    >>> paths = Paths(access_mbps_NK=np.array([[10.0, 90.0, 90.0]]),
    ...     start_s_NK=np.zeros((1, 3)), stall_s_NK=np.zeros((1, 3)),
    ...     bottleneck_NK=np.zeros((1, 3), dtype=int), shared_mbps_NB=np.array([[100.0]]))
    >>> fair_rates(paths, np.ones((1, 3), dtype=bool)).tolist()
    [[10.0, 45.0, 45.0]]
    """
    rate = np.zeros_like(paths.access_mbps_NK)
    for bottleneck in range(paths.shared_mbps_NB.shape[1]):
        inside = active_NK & (paths.bottleneck_NK == bottleneck)
        left = paths.shared_mbps_NB[:, bottleneck : bottleneck + 1].copy()
        open_ = inside.copy()
        for _ in range(rate.shape[1]):
            count = np.maximum(_row_sum(open_.astype(np.float64)), 1.0)
            part = left / count
            capped = open_ & (paths.access_mbps_NK <= part)
            rate = np.where(capped, paths.access_mbps_NK, rate)
            left = left - _row_sum(np.where(capped, paths.access_mbps_NK, 0.0))
            open_ = open_ & ~capped
        count = np.maximum(_row_sum(open_.astype(np.float64)), 1.0)
        rate = np.where(open_, left / count, rate)
    return rate


def split_task(
    paths: Paths, size_mb_N: FloatArray, share_NK: FloatArray, duplicate_ratio_N: FloatArray
) -> Split:
    """Send each path its share at once; when a path ends, the others get its bottleneck's rate.

    The share `duplicate_ratio` of the bytes goes a second time over the two quickest of the used
    paths. A stalled path holds the task up only for the part of its bytes that has no copy.

    >>> paths = Paths(access_mbps_NK=np.array([[80.0, 80.0]]), start_s_NK=np.zeros((1, 2)),
    ...     stall_s_NK=np.zeros((1, 2)), bottleneck_NK=np.array([[0, 1]]),
    ...     shared_mbps_NB=np.array([[100.0, 100.0]]))
    >>> both = split_task(paths, np.array([100.0]), np.array([[0.5, 0.5]]), np.zeros(1))
    >>> alone = split_task(paths, np.array([100.0]), np.array([[1.0, 0.0]]), np.zeros(1))
    >>> float(alone.total_s[0]), float(both.total_s[0])  # the second path adds its capacity
    (10.0, 5.0)
    """
    used = share_NK > 0
    extra = _duplicates(paths, used, duplicate_ratio_N)
    sent_mb = size_mb_N[:, None] * (share_NK + extra)
    left_mb = sent_mb.copy()
    finish_s = np.zeros_like(left_mb)
    clock_s = np.zeros_like(size_mb_N)[:, None]
    active = used.copy()
    for _ in range(left_mb.shape[1]):
        rate_mb_s = fair_rates(paths, active) / 8.0
        need_s = np.where(active, left_mb / np.maximum(rate_mb_s, 1e-9), np.inf)
        step_s = need_s.min(axis=1, keepdims=True)
        step_s = np.where(np.isfinite(step_s), step_s, 0.0)
        clock_s = clock_s + step_s
        ended = active & (need_s <= step_s * (1.0 + 1e-12))
        finish_s = np.where(ended, clock_s, finish_s)
        left_mb = np.where(active, left_mb - rate_mb_s * step_s, left_mb)
        active = active & ~ended
    copied = np.minimum(_row_sum(extra) / np.maximum(share_NK, 1e-9), 1.0)
    held_s = np.where(used, paths.start_s_NK + paths.stall_s_NK * (1.0 - copied), 0.0)
    finish_s = finish_s + held_s
    return Split(total_s=finish_s.max(axis=1), finish_s_NK=finish_s, sent_mb_NK=sent_mb)


def _duplicates(paths: Paths, used_NK: BoolArray, duplicate_ratio_N: FloatArray) -> FloatArray:
    """Spread the duplicated share evenly over the two used paths with the highest rates."""
    rate = np.where(used_NK, fair_rates(paths, used_NK), -1.0)
    order = np.argsort(-rate, axis=1, kind="stable")
    rank = np.argsort(order, axis=1, kind="stable")
    chosen = used_NK & (rank < 2)
    count = np.maximum(_row_sum(chosen.astype(np.float64)), 1.0)
    extra: FloatArray = np.where(chosen, duplicate_ratio_N[:, None] / count, 0.0)
    return extra
