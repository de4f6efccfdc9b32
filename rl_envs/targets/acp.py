"""Consensus: timeout, batch and window of replicated rounds, and state synchronisation beside.

Shape legend: N batch, F followers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from novacron.params.groups import ACP_CONSENSUS
from novacron.params.observations import observation_spec
from rl_envs.dynamics import World
from rl_envs.noise import Purpose
from rl_envs.physics.consensus import (
    Rounds,
    Workload,
    commit_rounds,
    majority,
    safe_timeout_ms,
)
from rl_envs.physics.cost import money_usd
from rl_envs.physics.order_statistics import (
    Arrival,
    Followers,
    QuorumTimes,
    kth_arrivals,
    quantile_ms,
    quorum_times,
)
from rl_envs.physics.quantities import FloatArray
from rl_envs.physics.sync import conflict_ratio, staleness_ms, sync_mbps
from rl_envs.targets.base import Knobs, Outcome
from rl_envs.traces import TraceBank

MAX_FOLLOWERS: Final = 6
FRAME_BYTES: Final = 200.0
"""Headers of one message of a round, with TLS and TCP."""
PROMISED_STALENESS_MS: Final = 1e3 * ACP_CONSENSUS["max_staleness_s"].to_number(
    ACP_CONSENSUS["max_staleness_s"].default
)
MAX_QUEUE_S: Final = 60.0
"""The leader refuses operations beyond a minute's worth of waiting ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AcpContext:
    """Hidden: the group of voters, its load, and when answers arrive in this interval."""

    voters: FloatArray
    distance_NF: FloatArray
    jitter_share: FloatArray
    jitter_shape: FloatArray
    base_ops: FloatArray
    op_bytes: FloatArray
    round_cpu_ms: FloatArray
    op_cpu_ms: FloatArray
    crash_per_s: FloatArray
    keys: FloatArray
    key_bytes: FloatArray
    offered_ops: FloatArray
    quorum: QuorumTimes
    everyone_ms: FloatArray
    """Median time until the last voter has answered."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AcpCarry:
    """State of a lane: operations waiting at the leader, [N]."""

    queue_ops: FloatArray


class AcpTarget:
    """See the data sheet of `rl_envs.environments.AcpConsensusEnv`."""

    group = ACP_CONSENSUS
    observation = observation_spec("acp_consensus")
    interval_s = 10.0
    episode_steps = 20
    history_s = 0.0
    weights: Mapping[str, float] = {
        "latency": 0.6,
        "tail": 0.3,
        "refused": 4.0,
        "staleness": 1.0,
        "bytes": 0.3,
    }

    def sample(self, world: World, traces: TraceBank | None) -> AcpContext:
        """Draw voters, their distances and the load."""
        noise, n = world.noise, world.link.rtt_ms.size
        voters = 3.0 + 2.0 * np.floor(3.0 * noise.uniform(Purpose.CONTEXT, 0))
        distance = [
            noise.log_between(0.25, 1.0, Purpose.CONTEXT, 20 + follower)
            for follower in range(MAX_FOLLOWERS)
        ]
        nothing = QuorumTimes(
            arrival=Arrival(time_ms_NG=np.zeros((n, 1)), cdf_NG=np.zeros((n, 1))),
            median_ms=np.zeros(n),
            tail_ms=np.zeros(n),
        )
        drawn = AcpContext(
            voters=voters,
            distance_NF=np.stack(distance, axis=1),
            jitter_share=noise.log_between(0.01, 0.3, Purpose.CONTEXT, 1),
            jitter_shape=2.0 + np.floor(3.0 * noise.uniform(Purpose.CONTEXT, 2)),
            base_ops=np.ones(n),
            op_bytes=noise.log_between(64.0, 4096.0, Purpose.CONTEXT, 4),
            round_cpu_ms=noise.log_between(0.05, 1.0, Purpose.CONTEXT, 5),
            op_cpu_ms=noise.log_between(0.002, 0.02, Purpose.CONTEXT, 6),
            crash_per_s=noise.log_between(2e-5, 2e-3, Purpose.CONTEXT, 7),
            keys=noise.log_between(1e3, 1e7, Purpose.CONTEXT, 8),
            key_bytes=noise.log_between(32.0, 1024.0, Purpose.CONTEXT, 9),
            offered_ops=np.ones(n),
            quorum=nothing,
            everyone_ms=np.ones(n),
        )
        return self.advance(replace(drawn, base_ops=_base_load(drawn, world)), world, traces)

    def advance(self, context: AcpContext, world: World, traces: TraceBank | None) -> AcpContext:
        """Let load and answer times follow the world."""
        del traces
        link = world.link
        propagation = link.rtt_ms[:, None] * context.distance_NF
        absent = np.arange(MAX_FOLLOWERS) >= (context.voters - 1.0)[:, None]
        congestion = 0.5 * (1.0 + link.cross_flows)[:, None] ** 0.5
        followers = Followers(
            propagation_ms=np.where(absent, np.inf, propagation),
            jitter_ms=propagation * context.jitter_share[:, None] * congestion,
            jitter_shape=context.jitter_shape,
            drop_ratio=np.minimum(2.0 * link.loss_ratio, 0.3),
        )
        needed = (majority(context.voters) - 1.0, context.voters - 1.0)
        quorum, everyone = kth_arrivals(followers, needed)
        burst = np.exp(0.3 * world.noise.normal(Purpose.EVENT, 0))
        # A sustained load cannot exceed half of what the links carry: clients would give up.
        carried = link.capacity_mbps * 1e6 / (8.0 * context.op_bytes) / 2.0
        return replace(
            context,
            offered_ops=np.minimum(context.base_ops * burst, carried),
            quorum=quorum_times(quorum),
            everyone_ms=quantile_ms(everyone, 0.5),
        )

    def begin(self, context: AcpContext, world: World) -> AcpCarry:
        """Return a lane with nothing waiting."""
        del context
        return AcpCarry(queue_ops=np.zeros_like(world.link.rtt_ms))

    def play(
        self, context: AcpContext, world: World, knobs: Knobs, carry: AcpCarry
    ) -> Outcome[AcpCarry]:
        """Commit and synchronise for one interval."""
        rounds = commit_rounds(
            context.quorum,
            _workload(context, world, carry),
            safe_timeout_ms(knobs["timeout_ms"], context.quorum.tail_ms),
            knobs["batch_max_ops"],
            knobs["max_inflight"],
        )
        limit_ops = MAX_QUEUE_S * context.offered_ops
        refused_ops = np.maximum(rounds.queue_ops - limit_ops, 0.0) / world.interval_s
        queue_ops = np.minimum(rounds.queue_ops, limit_ops)
        age_ms = staleness_ms(knobs["sync_interval_ms"], context.everyone_ms)
        mbps = sync_mbps(
            knobs["sync_interval_ms"],
            context.offered_ops,
            context.keys,
            context.key_bytes,
            context.voters - 1.0,
        )
        messages = 1.0 / rounds.batch_ops + context.op_bytes / FRAME_BYTES
        round_mbps = context.offered_ops * messages * FRAME_BYTES * 8e-6 * (context.voters - 1.0)
        refused_ratio = refused_ops / (refused_ops + rounds.committed_ops)
        conflicts = conflict_ratio(age_ms, context.offered_ops, context.keys)
        return Outcome(
            telemetry=_telemetry(context, rounds, queue_ops)
            | {"staleness_ms": age_ms, "sync_mbps": mbps},
            log_costs={
                "latency": np.log(rounds.commit_mean_ms),
                "tail": np.log(rounds.commit_p99_ms),
                "refused": np.log1p(refused_ratio),
                "staleness": np.log1p(age_ms / PROMISED_STALENESS_MS) + np.log1p(conflicts),
                "bytes": np.log(mbps + round_mbps),
            },
            metrics={
                "throughput_mbps": rounds.committed_ops * context.op_bytes * 8e-6,
                "latency_ms": rounds.commit_mean_ms,
                "loss_ratio": rounds.timeout_ratio,
                "cost_usd_per_gb": _usd_per_gb(context, world, rounds, mbps + round_mbps),
                "commit_p99_ms": rounds.commit_p99_ms,
                "staleness_ms": age_ms,
                "sync_mbps": mbps,
                "refused_ratio": refused_ratio,
            },
            carry=AcpCarry(queue_ops=queue_ops),
        )


def _usd_per_gb(
    context: AcpContext, world: World, rounds: Rounds, sent_mbps: FloatArray
) -> FloatArray:
    """Price of a GB of committed operations: what leaves the leader's site, and its processor."""
    cpu_s = rounds.leader_busy_ratio * world.interval_s
    usd = money_usd(
        sent_mbps / 8.0 * world.interval_s,
        cpu_s,
        world.path.egress_usd_per_gb,
        world.path.cpu_usd_per_core_h,
    )
    committed_gb = rounds.committed_ops * context.op_bytes * world.interval_s * 1e-9
    price: FloatArray = usd / np.maximum(committed_gb, 1e-12)
    return price


def _base_load(context: AcpContext, world: World) -> FloatArray:
    """Operations a second: up to a little more than the shipped settings carry on this path.

    A service is deployed where it works; heavier use is what tuning must survive, not rescue.
    """
    batch = float(ACP_CONSENSUS["batch_max_ops"].to_number(ACP_CONSENSUS["batch_max_ops"].default))
    window = ACP_CONSENSUS["max_inflight"]
    by_window = batch * window.to_number(window.default) / (1.5 * world.link.rtt_ms) * 1e3
    by_leader = batch / (context.round_cpu_ms + batch * context.op_cpu_ms) * 1e3
    share = world.noise.log_between(0.001, 1.1, Purpose.CONTEXT, 3)
    return np.asarray(share * np.minimum(by_window, by_leader))


def _workload(context: AcpContext, world: World, carry: AcpCarry) -> Workload:
    return Workload(
        offered_ops=context.offered_ops,
        op_bytes=context.op_bytes,
        round_cpu_ms=context.round_cpu_ms,
        op_cpu_ms=context.op_cpu_ms,
        crash_per_s=context.crash_per_s,
        link_mbps=world.link.capacity_mbps / (1.0 + 0.2 * world.link.cross_flows),
        queue_ops=carry.queue_ops,
        interval_s=world.interval_s,
    )


def _telemetry(
    context: AcpContext, rounds: Rounds, queue_ops: FloatArray
) -> dict[str, FloatArray]:
    return {
        "commit_p50_ms": rounds.commit_p50_ms,
        "commit_p99_ms": rounds.commit_p99_ms,
        "ack_median_ms": context.quorum.median_ms,
        "ack_tail_ms": context.quorum.tail_ms,
        "offered_ops": context.offered_ops,
        "committed_ops": rounds.committed_ops,
        "queue_ops": queue_ops,
        "timeout_ratio": rounds.timeout_ratio,
        "leader_busy_ratio": rounds.leader_busy_ratio,
        "write_keys": context.keys,
        "quorum_share_ratio": majority(context.voters) / context.voters,
    }
