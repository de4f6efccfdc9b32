"""One task split over several paths: each adds its capacity, some share a bottleneck.

Shape legend: N batch, K paths, B shared bottlenecks, P parts of a task. Inside, paths come first: reductions over
few entries are an order of magnitude quicker that way.
"""

from dataclasses import dataclass

import numpy as np

from rl_envs.physics.quantities import BoolArray, FloatArray, IntArray

UNUSED_SHARE = 0.02
"""Smaller shares leave a path unused."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Paths:
    """The paths between two sites: access rate and start-up time [N, K].

    `stall_s_NKP` is by how much each path stalls on each of P parts of the task. Path k runs over bottleneck `bottleneck_NK`, of rate `shared_mbps_NB`.
    """

    access_mbps_NK: FloatArray
    start_s_NK: FloatArray
    stall_s_NKP: FloatArray
    bottleneck_NK: IntArray
    shared_mbps_NB: FloatArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """How a task ends: its parts' mean completion [N], and per path [N, K] when and how much."""

    total_s: FloatArray
    finish_s_NK: FloatArray
    sent_mb_NK: FloatArray


def shares_of(weights_NK: FloatArray) -> FloatArray:
    """Turn weights into shares that sum to one; tiny shares are dropped, no weight means equal.

    >>> shares_of(np.array([[1.0, 1.0, 0.01, 0.0], [0.0, 0.0, 0.0, 0.0]])).tolist()
    [[0.5, 0.5, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]]
    """
    weights_KN = _across(weights_NK)
    total = weights_KN.sum(axis=0)
    share = np.where(total > 1e-9, weights_KN / np.maximum(total, 1e-9), 1.0 / weights_KN.shape[0])
    kept = np.where(share < UNUSED_SHARE, 0.0, share)
    return _across(kept / kept.sum(axis=0))


def _across(values: FloatArray) -> FloatArray:
    """Swap batch and paths. Sums over a leading axis of few entries are quick and in order."""
    return np.ascontiguousarray(values.T)


def fair_rates(paths: Paths, active_NK: BoolArray) -> FloatArray:
    """Return the max-min fair rates of the active paths within their bottlenecks, [N, K].

    Paths that cannot use their part leave it to the others: filled in as many passes as paths.
    Source: Bertsekas and Gallager 1992, section 6.5.2.

    >>> paths = Paths(access_mbps_NK=np.array([[10.0, 90.0, 90.0]]),
    ...     start_s_NK=np.zeros((1, 3)), stall_s_NKP=np.zeros((1, 3, 1)),
    ...     bottleneck_NK=np.zeros((1, 3), dtype=int), shared_mbps_NB=np.array([[100.0]]))
    >>> fair_rates(paths, np.ones((1, 3), dtype=bool)).tolist()
    [[10.0, 45.0, 45.0]]
    """
    inside = _inside(paths)
    access_KN, shared_BN = _across(paths.access_mbps_NK), _across(paths.shared_mbps_NB)
    return _across(_fill(access_KN, inside, shared_BN, np.ascontiguousarray(active_NK.T)))


def _inside(paths: Paths) -> BoolArray:
    """Which path runs over which bottleneck, [B, K, N]."""
    places = np.arange(paths.shared_mbps_NB.shape[1])[:, None, None]
    inside: BoolArray = np.ascontiguousarray(paths.bottleneck_NK.T)[None] == places
    return inside


def _fill(
    access_KN: FloatArray, inside_BKN: BoolArray, shared_BN: FloatArray, active_KN: BoolArray
) -> FloatArray:
    open_BKN = inside_BKN & active_KN
    left_BN = shared_BN
    rate_BKN = np.zeros(open_BKN.shape)
    for _ in range(access_KN.shape[0] - 1):
        part = left_BN / np.maximum(open_BKN.sum(axis=1), 1)
        capped = open_BKN & (access_KN <= part[:, None])
        granted = np.where(capped, access_KN, 0.0)
        rate_BKN += granted
        left_BN = left_BN - granted.sum(axis=1)
        open_BKN = open_BKN & ~capped
    part = left_BN / np.maximum(open_BKN.sum(axis=1), 1)
    rate_BKN += np.where(open_BKN, np.minimum(part[:, None], access_KN), 0.0)
    rate_KN: FloatArray = rate_BKN.sum(axis=0)
    return rate_KN


def split_task(
    paths: Paths, size_mb_N: FloatArray, share_NK: FloatArray, duplicate_ratio_N: FloatArray
) -> Split:
    """Send each path its share at once; when a path ends, the others get its bottleneck's rate.

    The share `duplicate_ratio` of the bytes goes a second time over the two quickest of the used
    paths. A stalled path holds a part of the task up only for those of its bytes without a copy;
    a part is complete when its last path is.

    >>> paths = Paths(access_mbps_NK=np.array([[80.0, 80.0]]), start_s_NK=np.zeros((1, 2)),
    ...     stall_s_NKP=np.zeros((1, 2, 1)), bottleneck_NK=np.array([[0, 1]]),
    ...     shared_mbps_NB=np.array([[100.0, 100.0]]))
    >>> both = split_task(paths, np.array([100.0]), np.array([[0.5, 0.5]]), np.zeros(1))
    >>> alone = split_task(paths, np.array([100.0]), np.array([[1.0, 0.0]]), np.zeros(1))
    >>> float(alone.total_s[0]), float(both.total_s[0])  # the second path adds its capacity
    (10.0, 5.0)
    """
    share_KN, access_KN = _across(share_NK), _across(paths.access_mbps_NK)
    inside, shared_BN = _inside(paths), _across(paths.shared_mbps_NB)
    used = share_KN > 0
    first_rate = _fill(access_KN, inside, shared_BN, used)
    extra = _duplicates(first_rate, used, duplicate_ratio_N)
    sent_mb = size_mb_N * (share_KN + extra)
    left_mb, finish_s = sent_mb.copy(), np.zeros_like(sent_mb)
    clock_s = np.zeros_like(size_mb_N)
    active, rate_mb_s = used, first_rate / 8.0
    for _ in range(left_mb.shape[0]):
        need_s = np.where(active, left_mb / np.maximum(rate_mb_s, 1e-9), np.inf)
        step_s = need_s.min(axis=0)
        step_s = np.where(np.isfinite(step_s), step_s, 0.0)
        clock_s = clock_s + step_s
        ended = active & (need_s <= step_s * (1.0 + 1e-12))
        finish_s = np.where(ended, clock_s, finish_s)
        left_mb = np.where(active, left_mb - rate_mb_s * step_s, left_mb)
        active = active & ~ended
        if not active.any():
            break
        rate_mb_s = _fill(access_KN, inside, shared_BN, active) / 8.0
    copied = np.minimum(extra.sum(axis=0) / np.maximum(share_KN, 1e-9), 1.0)
    finish_s = np.where(used, finish_s + _across(paths.start_s_NK), 0.0)
    bare = np.where(used, 1.0 - copied, 0.0)
    stall_PKN = np.ascontiguousarray(paths.stall_s_NKP.transpose(2, 1, 0))
    parts_s = (finish_s + stall_PKN * bare).max(axis=1)
    return Split(
        total_s=np.cumsum(parts_s, axis=0)[-1] / parts_s.shape[0],
        finish_s_NK=_across(finish_s + stall_PKN[0] * bare),
        sent_mb_NK=_across(sent_mb),
    )


def _duplicates(
    rate_KN: FloatArray, used_KN: BoolArray, duplicate_ratio_N: FloatArray
) -> FloatArray:
    """Spread the duplicated share evenly over the two used paths with the highest rates."""
    rate = np.where(used_KN, rate_KN, -1.0)
    quicker = rate[:, None] > rate[None, :]
    earlier = np.arange(rate.shape[0])
    ties = (rate[:, None] == rate[None, :]) & (earlier[:, None] < earlier[None, :])[..., None]
    rank = (quicker | ties).sum(axis=0)
    chosen = used_KN & (rank < 2)
    extra: FloatArray = np.where(
        chosen, duplicate_ratio_N / np.maximum(chosen.sum(axis=0), 1), 0.0
    )
    return extra
