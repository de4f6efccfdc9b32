"""Commit latency of replicated rounds: quorum wait, timeouts and retries, batching, queueing."""

from dataclasses import dataclass

import numpy as np

from rl_envs.physics.order_statistics import (
    QuorumTimes,
    probability_by,
    truncated_mean_ms,
)
from rl_envs.physics.quantities import FloatArray

CLIENT_LIMIT_MS = 60_000.0
"""Longest that a client waits; a round or a place in the queue beyond it counts as this."""
LINGER_MS = 50.0
"""Longest wait for a batch to fill; the protocol's own batch timeout."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """What the leader is asked for, arrays [N]: rate, size and processor time of operations.

    `crash_per_s` counts leader failures and partitions a second; `link_mbps` is what one follower's
    link carries; `queue_ops` waited at the start of the interval of `interval_s` seconds.
    """

    offered_ops: FloatArray
    op_bytes: FloatArray
    round_cpu_ms: FloatArray
    op_cpu_ms: FloatArray
    crash_per_s: FloatArray
    link_mbps: FloatArray
    queue_ops: FloatArray
    interval_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Rounds:
    """What commits, arrays [N]."""

    commit_mean_ms: FloatArray
    commit_p50_ms: FloatArray
    commit_p99_ms: FloatArray
    committed_ops: FloatArray
    queue_ops: FloatArray
    timeout_ratio: FloatArray
    batch_ops: FloatArray
    leader_busy_ratio: FloatArray


def majority(voters: FloatArray) -> FloatArray:
    """Return the least number of votes two of which always share a voter. Source: Lamport 1998.

    >>> majority(np.array([3.0, 4.0, 5.0])).tolist()
    [2.0, 3.0, 3.0]
    """
    votes: FloatArray = np.floor(voters / 2.0) + 1.0
    return votes


def safe_timeout_ms(asked_ms: FloatArray, ack_tail_ms: FloatArray) -> FloatArray:
    """Return the timeout that is applied: never below the tail of the round trip.

    >>> safe_timeout_ms(np.array([20.0, 900.0]), np.array([180.0, 180.0])).tolist()
    [180.0, 900.0]
    """
    return np.maximum(asked_ms, ack_tail_ms)


def batch_fill(
    batch_ops: FloatArray, offered_ops: FloatArray, linger_ms: float = LINGER_MS
) -> tuple[FloatArray, FloatArray]:
    """Return the mean size of a batch and the mean wait of an operation for it, ms.

    Operations come as a Poisson stream; a batch leaves when full or when its first operation has
    waited `linger_ms`. An operation of a batch of b waits for (b - 1) / 2 others.

    >>> size, wait = batch_fill(np.array([11.0, 1.0]), np.array([1000.0, 5.0]))
    >>> size.tolist(), wait.tolist()
    ([11.0, 1.0], [5.0, 0.0])
    """
    size = np.minimum(batch_ops, 1.0 + offered_ops * linger_ms * 1e-3)
    wait_ms: FloatArray = (size - 1.0) / (2.0 * offered_ops) * 1e3
    return size, wait_ms


def commit_rounds(
    quorum: QuorumTimes,
    work: Workload,
    timeout_ms: FloatArray,
    batch_ops: FloatArray,
    max_inflight: FloatArray,
) -> Rounds:
    """Return the latency and rate at which operations commit over an interval.

    A round ends with its quorum or at the timeout; a failed one waits half a timeout, elects (two
    quorum waits) and repeats, and so do the rounds in flight behind it. A crash stops commits for
    the timeout and an election. Rounds wait for the leader's processor and for a free slot of the
    window as in an M/D/1 queue; what is offered beyond the capacity piles up.
    Source: Ongaro and Ousterhout 2014 (rounds, election); Kleinrock 1975 (M/D/1).
    """
    batch, fill_ms = batch_fill(batch_ops, work.offered_ops)
    send_ms = batch * work.op_bytes * 8e-3 / work.link_mbps
    process_ms = work.round_cpu_ms + batch * work.op_cpu_ms
    wait_limit = np.maximum(timeout_ms - send_ms, 0.05 * timeout_ms)
    won = np.maximum(probability_by(quorum.arrival, wait_limit), 1e-3)
    attempt_ms = truncated_mean_ms(quorum.arrival, wait_limit) + send_ms
    quorum_ms = quorum.median_ms
    failures = (1.0 - won) / won
    round_ms = attempt_ms / won + failures * (0.5 * timeout_ms + 2.0 * quorum_ms)
    round_ms = np.minimum(round_ms, CLIENT_LIMIT_MS)

    repeated = 1.0 + failures * np.minimum(
        max_inflight, 1.0 + work.offered_ops * round_ms * 1e-3 / batch
    )
    by_leader = batch / (process_ms * repeated) * 1e3
    by_link = batch / np.maximum(send_ms * repeated, 1e-9) * 1e3
    capacity = np.minimum(np.minimum(by_leader, by_link), max_inflight * batch / round_ms * 1e3)
    queue_ops, queue_ms, backlog_ms = _waiting(work, capacity, batch)
    stopped_ms = timeout_ms + 2.0 * quorum_ms
    outage_ms = work.crash_per_s * stopped_ms * stopped_ms * 0.5e-3
    waits_ms = fill_ms + process_ms + queue_ms + backlog_ms
    late = np.where(1.0 - won > 0.01, 1.5 * timeout_ms + 2.0 * quorum_ms, 0.0)
    return Rounds(
        commit_mean_ms=waits_ms + round_ms + outage_ms,
        commit_p50_ms=waits_ms + quorum_ms + send_ms,
        commit_p99_ms=2.0 * fill_ms + process_ms + 4.6 * queue_ms + backlog_ms
        + np.minimum(quorum.tail_ms, wait_limit) + send_ms + late,
        committed_ops=work.offered_ops + (work.queue_ops - queue_ops) / work.interval_s,
        queue_ops=queue_ops,
        timeout_ratio=1.0 - won,
        batch_ops=batch,
        leader_busy_ratio=np.minimum(work.offered_ops / by_leader, 1.0),
    )  # fmt: skip


def _waiting(
    work: Workload, capacity_ops: FloatArray, batch: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return operations left waiting, the M/D/1 wait below capacity, and the wait in the backlog."""
    calm = np.minimum(work.offered_ops / capacity_ops, 0.98)
    queue_ms = calm / (2.0 * (1.0 - calm)) * batch / capacity_ops * 1e3
    left = work.queue_ops + (work.offered_ops - capacity_ops) * work.interval_s
    queue_ops = np.maximum(left, 0.0)
    backlog_ms = 0.5 * (work.queue_ops + queue_ops) / capacity_ops * 1e3
    return queue_ops, queue_ms, np.minimum(backlog_ms, CLIENT_LIMIT_MS)
