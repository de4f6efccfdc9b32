"""The transport stage that targets share: streams over the world's link for one interval."""

from dataclasses import dataclass

import numpy as np

from rl_envs.dynamics import World
from rl_envs.physics.cost import TCP_CPU_S_PER_GBIT
from rl_envs.physics.pipeline import CHUNK_OVERHEAD_US, chunk_window_mbps
from rl_envs.physics.quantities import MSS_BYTES, FloatArray
from rl_envs.physics.ramp import overshoot_ratio, ramp_lost_s
from rl_envs.physics.tcp_link import Flow, Sender, steady_flow
from rl_envs.physics.tcp_start import goodput_between
from rl_envs.targets.base import Knobs

FAIR_STREAMS = 8.0
"""A transfer may take what this many CUBIC flows would; harm to others counts beyond it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TransportCarry:
    """What a lane's connections bring along, arrays [N].

    `peak_mbps` is the highest rate delivered lately, infinite before the first interval; `age_s`
    is how long the streams have run, in the mean.
    """

    streams: FloatArray
    algorithm: FloatArray
    peak_mbps: FloatArray
    age_s: FloatArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Transfer:
    """Transport over one interval, arrays [N]."""

    flow: Flow
    goodput_mbps: FloatArray
    srtt_ms: FloatArray
    retransmit_ratio: FloatArray
    chunk_wait_ms: FloatArray
    """Mean time from handing a chunk over until all of it is there."""
    harm_ratio: FloatArray
    """Share of their fair rate that others lose to us; Ware et al. 2019, "harm"."""
    cpu_cores: FloatArray
    memory_gib: FloatArray
    carry: TransportCarry


def new_carry(world: World) -> TransportCarry:
    """Return a lane without connections."""
    zero = np.zeros_like(world.link.rtt_ms)
    return TransportCarry(
        streams=zero,
        algorithm=np.full_like(zero, -1.0),
        peak_mbps=np.full_like(zero, np.inf),
        age_s=zero,
    )


def run_transfer(
    world: World, knobs: Knobs, carry: TransportCarry, offered_mbps: FloatArray
) -> Transfer:
    """Run an interval of bulk transfer of which the application offers at most `offered_mbps`.

    New streams, and all of them after a change of congestion control, pay handshakes, slow start
    and its overshoot; where loss or a short buffer limits them their windows take tens of seconds
    to find their place. The sender's processor bounds the rate: a fixed cost per byte and per chunk.
    """
    link, streams = world.link, knobs["streams"]
    chunk_bytes = knobs["transport_chunk_bytes"]
    offered = np.minimum(offered_mbps, chunk_window_mbps(streams, chunk_bytes, link.rtt_ms))
    sender = Sender(
        streams=streams,
        algorithm=knobs["congestion_algorithm"],
        pacing_mbps=np.minimum(knobs["pacing_ratio"] * carry.peak_mbps, offered),
    )
    flow = steady_flow(link, sender)
    fresh = _fresh_ratio(sender, carry)
    age_s = (1.0 - fresh) * carry.age_s
    sendable = goodput_between(flow, link, sender, age_s, age_s + world.interval_s)
    cpu_s_per_mbit = _cpu_s_per_mbit(streams, chunk_bytes)
    cores = world.path.cores
    reachable = np.maximum(cores * (1.0 - world.cpu_busy_ratio), 0.25 * cores)
    steady = np.minimum(sendable, np.minimum(reachable, streams) / cpu_s_per_mbit)

    srtt_ms = link.rtt_ms + flow.queue_ms + flow.ack_wait_ms
    window = steady * srtt_ms * 1e3 / (8.0 * MSS_BYTES * streams)
    filling = np.where(steady >= sendable, flow.saturation, 0.0)
    goodput, overshoot = _started(world, fresh, flow.bdp_pkts, filling, steady, window)
    retransmit = 1.0 - (1.0 - flow.retransmit_ratio) * (1.0 - overshoot)
    chunk_loss = -np.expm1(-retransmit * chunk_bytes / MSS_BYTES)
    chunk_wait = 0.5 * srtt_ms + streams * chunk_bytes * 8e-3 / goodput + chunk_loss * srtt_ms
    memory = streams * np.minimum(link.window_bytes, 2.0 * window * MSS_BYTES) / 2.0**30
    peak = np.where(np.isfinite(carry.peak_mbps), 0.9 * carry.peak_mbps, 0.0)
    return Transfer(
        flow=flow,
        goodput_mbps=goodput,
        srtt_ms=srtt_ms,
        retransmit_ratio=retransmit,
        chunk_wait_ms=chunk_wait,
        harm_ratio=_harm(world, flow),
        cpu_cores=goodput * cpu_s_per_mbit,
        memory_gib=memory,
        carry=TransportCarry(
            streams=streams,
            algorithm=sender.algorithm,
            peak_mbps=np.maximum(goodput, peak),
            age_s=age_s + world.interval_s,
        ),
    )  # fmt: skip


def _cpu_s_per_mbit(streams: FloatArray, chunk_bytes: FloatArray) -> FloatArray:
    """CPU seconds of a megabit: TCP's cost per byte, and the fixed cost of every chunk."""
    one, many = TCP_CPU_S_PER_GBIT
    per_chunk = CHUNK_OVERHEAD_US * 0.125 / chunk_bytes
    seconds: FloatArray = (many - (many - one) / streams) * 1e-3 + per_chunk
    return seconds


def _fresh_ratio(sender: Sender, carry: TransportCarry) -> FloatArray:
    """Return the share of the streams that this interval starts."""
    added = np.maximum(sender.streams - carry.streams, 0.0) / sender.streams
    fresh: FloatArray = np.where(carry.algorithm != sender.algorithm, 1.0, added)
    return fresh


def _started(
    world: World,
    fresh: FloatArray,
    bdp_pkts: FloatArray,
    filling: FloatArray,
    sendable_mbps: FloatArray,
    window_pkts: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Return the goodput left after starting new streams, and the packets that start dropped."""
    link = world.link
    lost = np.minimum(fresh * ramp_lost_s(window_pkts, link.rtt_ms) / world.interval_s, 0.9)
    goodput = sendable_mbps * (1.0 - lost)
    sent_pkts = goodput * world.interval_s * 1e6 / (8.0 * MSS_BYTES)
    pipe = bdp_pkts * (1.0 + link.buffer_bdp) * fresh
    return goodput, overshoot_ratio(pipe, sent_pkts, filling)


def _harm(world: World, flow: Flow) -> FloatArray:
    """Share that others lose of what they had beside eight CUBIC flows."""
    flows = world.link.cross_flows
    fair = np.minimum(flow.cross_demand_mbps, flow.payload_mbps * flows / (flows + FAIR_STREAMS))
    harm: FloatArray = np.where(flows > 0, 1.0 - flow.cross_mbps / np.maximum(fair, 1e-9), 0.0)
    return np.clip(harm, 0.0, 1.0)


def transport_telemetry(world: World, transfer: Transfer) -> dict[str, FloatArray]:
    """Return the channels that a sender's own counters give."""
    return {
        "goodput_mbps": transfer.goodput_mbps,
        "delivery_peak_mbps": transfer.carry.peak_mbps,
        "min_rtt_ms": world.link.rtt_ms,
        "srtt_over_min_ratio": transfer.srtt_ms / world.link.rtt_ms,
        "retransmit_ratio": transfer.retransmit_ratio,
        "cwnd_pkts": transfer.goodput_mbps * transfer.srtt_ms * 1e3 / (8.0 * MSS_BYTES),
        "rwnd_limited_ratio": transfer.flow.window_limited_ratio,
    }


def host_telemetry(world: World, our_cores: FloatArray) -> dict[str, FloatArray]:
    """Return the channels of the sending node and the price list."""
    path = world.path
    free = np.maximum(path.cores * (1.0 - world.cpu_busy_ratio) - our_cores, 0.0)
    return {
        "cpu_free_cores": free,
        "cpu_busy_ratio": 1.0 - free / path.cores,
        "egress_usd_per_gb": path.egress_usd_per_gb,
        "cpu_usd_per_core_h": path.cpu_usd_per_core_h,
    }
