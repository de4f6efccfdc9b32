"""Compression: codec, chunks, delta and workers of a stream of dirty pages kept in sync."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from novacron.params.groups import ALGORITHMS, HDE_COMPRESSION
from novacron.params.observations import observation_spec
from rl_envs.dynamics import World
from rl_envs.noise import Purpose
from rl_envs.physics.cost import money_usd, transport_cpu_s
from rl_envs.physics.delta import mean_outage_s
from rl_envs.physics.pipeline import PipelineRate, Stages, fill_s, pipeline_rate
from rl_envs.physics.quantities import FloatArray
from rl_envs.physics.tcp_link import Sender, steady_flow
from rl_envs.targets.amst import MEMORY_USD_PER_GIB_H
from rl_envs.targets.base import Knobs, Outcome
from rl_envs.targets.encoding import (
    READ_MB_S,
    Encoding,
    VmData,
    blocked_ratio,
    data_telemetry,
    run_encoding,
    sample_data,
)
from rl_envs.targets.transport import host_telemetry
from rl_envs.traces import TraceBank

SYNC_S = 1.0
"""Pages are sent in batches of one second of changes; the shipped synchronisation interval."""
CODEC_WARM_UP_S = 0.1
"""Time without output after a change of codec: contexts are allocated, the pipeline drains."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HdeContext:
    """Hidden: the data, how much of it changes, and the transport it is sent over."""

    data: VmData
    load_ratio: FloatArray
    """Dirty rate over what the path's nominal capacity carries uncompressed."""
    streams: FloatArray
    algorithm: FloatArray
    wire_mb_s: FloatArray
    retransmit_ratio: FloatArray
    dirty_mb_s: FloatArray


@dataclass(frozen=True, kw_only=True, slots=True)
class HdeCarry:
    """State of a lane, arrays [N]: bytes waiting, memory filled with versions, codec in use."""

    backlog_mb: FloatArray
    baseline_mib: FloatArray
    codec: FloatArray


class HdeTarget:
    """See the data sheet of `rl_envs.environments.HdeCompressionEnv`."""

    group = HDE_COMPRESSION
    observation = observation_spec("hde_compression")
    interval_s = 5.0
    episode_steps = 20
    history_s = 0.0
    weights: Mapping[str, float] = {"time": 1.0, "money": 0.4, "guests": 4.0}

    def __init__(self, split: str = "train") -> None:
        self.split = split

    def sample(self, world: World, traces: TraceBank | None) -> HdeContext:
        """Draw data, load and transport."""
        noise, zero = world.noise, np.zeros_like(world.link.rtt_ms)
        algorithm = np.floor(noise.uniform(Purpose.CONTEXT, 10) * len(ALGORITHMS))
        drawn = HdeContext(
            data=sample_data(world, self.split),
            load_ratio=noise.log_between(0.05, 4.0, Purpose.CONTEXT, 11),
            streams=np.rint(noise.log_between(1.0, 64.0, Purpose.CONTEXT, 12)),
            algorithm=algorithm,
            wire_mb_s=zero,
            retransmit_ratio=zero,
            dirty_mb_s=zero,
        )
        return self.advance(drawn, world, traces)

    def advance(self, context: HdeContext, world: World, traces: TraceBank | None) -> HdeContext:
        """Let the transport and the dirty rate follow the world."""
        del traces
        sender = Sender(
            streams=context.streams,
            algorithm=context.algorithm,
            pacing_mbps=np.full_like(context.streams, np.inf),
        )
        flow = steady_flow(world.link, sender)
        burst = np.exp(0.5 * world.noise.normal(Purpose.EVENT, 0))
        return replace(
            context,
            wire_mb_s=flow.goodput_mbps / 8.0,
            retransmit_ratio=flow.retransmit_ratio,
            dirty_mb_s=context.load_ratio * world.path.capacity_mbps / 8.0 * burst,
        )

    def begin(self, context: HdeContext, world: World) -> HdeCarry:
        """Return an idle lane without page versions."""
        del context
        zero = np.zeros_like(world.link.rtt_ms)
        return HdeCarry(backlog_mb=zero, baseline_mib=zero, codec=np.full_like(zero, -1.0))

    def play(
        self, context: HdeContext, world: World, knobs: Knobs, carry: HdeCarry
    ) -> Outcome[HdeCarry]:
        """Encode and send what gets dirty for one interval."""
        encoding = run_encoding(world, context.data, knobs, carry.baseline_mib)
        sent = _send(context, world, knobs, carry, encoding)
        usd_per_gb, cpu_s = _bill(context, world, knobs, encoding, sent)
        guests = sent.busy_ratio * encoding.taken_cores / world.path.cores
        wire_mbps = sent.wire_mb * 8.0 / world.interval_s
        filled = np.minimum(carry.baseline_mib + sent.user_mb, knobs["baseline_memory_mib"])
        return Outcome(
            telemetry={
                "goodput_mbps": wire_mbps,
                "min_rtt_ms": world.link.rtt_ms,
                "encode_busy_ratio": sent.rate.encode_busy_ratio * sent.busy_ratio,
                "send_blocked_ratio": blocked_ratio(sent.rate.user_mb_s, encoding)
                * sent.busy_ratio,
                "decode_busy_ratio": sent.rate.decode_busy_ratio * sent.busy_ratio,
                "dirty_mb_s": context.dirty_mb_s,
                "backlog_mb": sent.backlog_mb,
            }
            | data_telemetry(context.data, encoding)
            | host_telemetry(world, cpu_s / world.interval_s),
            log_costs={
                "time": np.log(sent.sync_s),
                "money": np.log(usd_per_gb),
                "guests": np.log1p(guests),
            },
            metrics={
                "throughput_mbps": sent.user_mb * 8.0 / world.interval_s,
                "latency_ms": sent.sync_s * 1e3,
                "loss_ratio": context.retransmit_ratio,
                "cost_usd_per_gb": usd_per_gb,
                "encode_ratio": encoding.ratio,
                "guest_cpu_taken_ratio": guests,
            },
            carry=HdeCarry(
                backlog_mb=sent.backlog_mb,
                baseline_mib=np.where(knobs["delta"] > 0, filled, 0.0),
                codec=knobs["codec"],
            ),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sent:
    rate: PipelineRate
    user_mb: FloatArray
    wire_mb: FloatArray
    backlog_mb: FloatArray
    busy_ratio: FloatArray
    sync_s: FloatArray


def _send(
    context: HdeContext, world: World, knobs: Knobs, carry: HdeCarry, encoding: Encoding
) -> _Sent:
    """Run the pipeline on what waits and what gets dirty.

    Pages dirtied again while they wait replace themselves, so the backlog never exceeds the
    working set. The age of a replica is what waits over the rate, the fill of the pipeline, and
    the mean outage of restarts.
    """
    seconds = world.interval_s
    rate = pipeline_rate(
        Stages(
            read_mb_s=np.full_like(carry.backlog_mb, READ_MB_S),
            encode_mb_s=encoding.encode_mb_s,
            send_mb_s=context.wire_mb_s * encoding.ratio,
            decode_mb_s=encoding.decode_mb_s,
        )
    )
    idle = np.where(knobs["codec"] != carry.codec, CODEC_WARM_UP_S / seconds, 0.0)
    able = rate.user_mb_s * (1.0 - idle)
    waiting = carry.backlog_mb + context.dirty_mb_s * seconds
    user = np.minimum(waiting, able * seconds)
    backlog = np.minimum(waiting - user, context.data.working_set_mb)
    behind = 0.5 * (carry.backlog_mb + backlog) + context.dirty_mb_s * SYNC_S
    fill = fill_s(knobs["workers"], knobs["chunk_size_bytes"], able, world.link.rtt_ms)
    outage = mean_outage_s(context.data.crash_per_s, encoding.recovery_s)
    return _Sent(
        rate=rate,
        user_mb=user,
        wire_mb=user / encoding.ratio * (1.0 + context.retransmit_ratio),
        backlog_mb=backlog,
        busy_ratio=user / (rate.user_mb_s * seconds),
        sync_s=behind / able + fill + outage,
    )


def _bill(
    context: HdeContext, world: World, knobs: Knobs, encoding: Encoding, sent: _Sent
) -> tuple[FloatArray, FloatArray]:
    """Return the price of a gigabyte of user data and the CPU seconds of both ends."""
    cpu_s = sent.user_mb * (encoding.encode_cpu_s_per_mb + encoding.decode_cpu_s_per_mb)
    cpu_s = cpu_s + transport_cpu_s(sent.wire_mb, context.streams)
    usd = money_usd(
        sent.wire_mb, cpu_s, world.path.egress_usd_per_gb, world.path.cpu_usd_per_core_h
    )
    held_gib = np.where(knobs["delta"] > 0, knobs["baseline_memory_mib"] / 1024.0, 0.0)
    held_usd = held_gib * (MEMORY_USD_PER_GIB_H / 3600.0 * world.interval_s)
    return (usd + held_usd) / (sent.user_mb * 1e-3), cpu_s
