"""Partitioning: how one task is split over four paths that share bottlenecks.

Shape legend: N batch, K paths, B shared bottlenecks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from novacron.params.groups import ITP_PARTITION, MAX_PATHS
from novacron.params.observations import observation_spec
from rl_envs.dynamics import World
from rl_envs.noise import Noise, Purpose
from rl_envs.physics.partition import Paths, shares_of, split_task
from rl_envs.physics.quantities import BoolArray, FloatArray, IntArray, packets_in_flight
from rl_envs.physics.ramp import ramp_lost_s
from rl_envs.targets.base import Knobs, Outcome
from rl_envs.traces import TraceBank

BOTTLENECKS: Final = 2
PARTS: Final = 8
"""Parts of a task that can each be held up by stalls; its time is their mean."""
STALL_SHAPE: Final = 1.8
"""Tail index of how long a stalled path stalls: reroutes and retransmission back-off."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ItpContext:
    """Hidden: the paths' rates, which of them share a bottleneck, stalls, and the next task."""

    access_ratio_NK: FloatArray
    wander_NK: FloatArray
    rtt_ratio_NK: FloatArray
    loss_ratio_NK: FloatArray
    price_usd_per_gb_NK: FloatArray
    bottleneck_NK: IntArray
    shared_ratio_NB: FloatArray
    stall_probability: FloatArray
    task_scale_mb: FloatArray
    task_mb: FloatArray
    next_task_mb: FloatArray
    paths: Paths
    rtt_ms_NK: FloatArray


@dataclass(frozen=True, kw_only=True, slots=True)
class ItpCarry:
    """What a lane measured of each path last, [N, K]: a path without traffic keeps its reading."""

    goodput_mbps_NK: FloatArray
    srtt_ms_NK: FloatArray


def _per_path(
    noise: Noise, low: float, high: float, offset: int, count: int = MAX_PATHS
) -> FloatArray:
    columns = [
        noise.log_between(low, high, Purpose.CONTEXT, offset + path) for path in range(count)
    ]
    return np.stack(columns, axis=1)


class ItpTarget:
    """See the data sheet of `rl_envs.environments.ItpPartitionEnv`."""

    group = ITP_PARTITION
    observation = observation_spec("itp_partition")
    interval_s = 10.0
    episode_steps = 20
    history_s = 0.0
    weights: Mapping[str, float] = {"time": 1.0, "money": 0.3}

    def sample(self, world: World, traces: TraceBank | None) -> ItpContext:
        """Draw four paths between two sites, the bottlenecks they share, and the tasks."""
        noise, n = world.noise, world.link.rtt_ms.size
        sides = [
            np.floor(noise.uniform(Purpose.CONTEXT, 60 + path) * BOTTLENECKS).astype(np.int64)
            for path in range(MAX_PATHS)
        ]
        unset = np.zeros((n, MAX_PATHS))
        nowhere = Paths(
            access_mbps_NK=unset, start_s_NK=unset, stall_s_NKP=np.zeros((n, MAX_PATHS, PARTS)),
            bottleneck_NK=np.stack(sides, axis=1), shared_mbps_NB=np.ones((n, BOTTLENECKS)),
        )  # fmt: skip
        scale = noise.log_between(0.03, 10.0, Purpose.CONTEXT, 1)
        drawn = ItpContext(
            access_ratio_NK=_per_path(noise, 0.1, 1.5, 10),
            wander_NK=unset,
            rtt_ratio_NK=_per_path(noise, 0.5, 4.0, 20),
            loss_ratio_NK=_per_path(noise, 1e-6, 1e-2, 30),
            price_usd_per_gb_NK=_per_path(noise, 0.2, 2.0, 40)
            * world.path.egress_usd_per_gb[:, None],
            bottleneck_NK=nowhere.bottleneck_NK,
            shared_ratio_NB=_per_path(noise, 0.3, 2.0, 50, BOTTLENECKS),
            stall_probability=noise.log_between(0.01, 0.3, Purpose.CONTEXT, 2),
            task_scale_mb=scale * world.path.capacity_mbps / 8.0,
            task_mb=np.ones(n),
            next_task_mb=np.ones(n),
            paths=nowhere,
            rtt_ms_NK=np.ones((n, MAX_PATHS)),
        )
        drawn = replace(drawn, next_task_mb=_task(drawn, noise, 1))
        return self.advance(drawn, world, traces)

    def advance(self, context: ItpContext, world: World, traces: TraceBank | None) -> ItpContext:
        """Let every path wander by itself and with the sites, and stall now and then."""
        del traces
        noise, link = world.noise, world.link
        keep = np.exp(-world.interval_s / world.path.wander_s)[:, None]
        columns = range(MAX_PATHS)
        kick = np.stack([noise.normal(Purpose.EVENT, 10 + path) for path in columns], axis=1)
        spread = 2.0 * world.path.wander_ratio[:, None]
        wander = keep * context.wander_NK + spread * np.sqrt(1.0 - keep * keep) * kick
        access = link.capacity_mbps[:, None] * context.access_ratio_NK * np.exp(wander)
        rtt_ms = link.rtt_ms[:, None] * context.rtt_ratio_NK
        window = packets_in_flight(access, rtt_ms)
        shared = link.capacity_mbps[:, None] * context.shared_ratio_NB
        shared = shared / (1.0 + 0.1 * link.cross_flows)[:, None]
        paths = Paths(
            access_mbps_NK=access * (1.0 - context.loss_ratio_NK),
            start_s_NK=ramp_lost_s(window, rtt_ms) + 0.5e-3 * rtt_ms,
            stall_s_NKP=_stalls(context, noise, rtt_ms),
            bottleneck_NK=context.bottleneck_NK,
            shared_mbps_NB=shared,
        )
        return replace(
            context,
            wander_NK=wander,
            paths=paths,
            rtt_ms_NK=rtt_ms,
            task_mb=context.next_task_mb,
            next_task_mb=_task(context, noise, 2),
        )

    def begin(self, context: ItpContext, world: World) -> ItpCarry:
        """Return a lane that has measured nothing."""
        del world
        nothing = np.full(context.rtt_ms_NK.shape, np.nan)
        return ItpCarry(goodput_mbps_NK=nothing, srtt_ms_NK=nothing)

    def play(
        self, context: ItpContext, world: World, knobs: Knobs, carry: ItpCarry
    ) -> Outcome[ItpCarry]:
        """Send one task."""
        del world
        weights = [knobs[f"path_{path}_weight"] for path in range(1, MAX_PATHS + 1)]
        share = shares_of(np.stack(weights, axis=1))
        split = split_task(context.paths, context.task_mb, share, knobs["duplicate_ratio"])
        used = share > 0
        seconds = np.maximum(split.finish_s_NK, 1e-9)
        goodput = np.where(used, split.sent_mb_NK * 8.0 / seconds, carry.goodput_mbps_NK)
        srtt = np.where(used, context.rtt_ms_NK, carry.srtt_ms_NK)
        again = split.sent_mb_NK * (1.0 + context.loss_ratio_NK)
        usd = _sum(again * context.price_usd_per_gb_NK) * 1e-3
        usd_per_gb = usd / (context.task_mb * 1e-3)
        lost = _sum(split.sent_mb_NK * context.loss_ratio_NK) / _sum(split.sent_mb_NK)
        return Outcome(
            telemetry=_telemetry(context, used, goodput, srtt),
            log_costs={"time": np.log(split.total_s), "money": np.log(usd_per_gb)},
            metrics={
                "throughput_mbps": context.task_mb * 8.0 / split.total_s,
                "latency_ms": split.total_s * 1e3,
                "loss_ratio": lost,
                "cost_usd_per_gb": usd_per_gb,
            },
            carry=ItpCarry(goodput_mbps_NK=goodput, srtt_ms_NK=srtt),
        )


def _task(context: ItpContext, noise: Noise, offset: int) -> FloatArray:
    """Size of a task: log-normal around the episode's scale, a factor of three either way."""
    size: FloatArray = context.task_scale_mb * np.exp(noise.normal(Purpose.EVENT, offset))
    return np.maximum(size, 1e-2)


def _stalls(context: ItpContext, noise: Noise, rtt_ms_NK: FloatArray) -> FloatArray:
    """Seconds by which each path stalls on each part: rarely, then Pareto from 200 ms + RTT."""
    shape = (rtt_ms_NK.shape[0], MAX_PATHS, PARTS)
    chance = noise.uniform_block(MAX_PATHS * PARTS, Purpose.SERIES).reshape(shape)
    # Given that a path stalls, the same number tells how long: it is uniform below the chance.
    place = chance / context.stall_probability[:, None, None]
    stalled = place < 1.0
    length = np.exp(-np.log(np.where(stalled, place, 1.0)) / STALL_SHAPE)
    seconds = np.minimum((0.2 + rtt_ms_NK[:, :, None] * 1e-3) * length, 60.0)
    return np.where(stalled, seconds, 0.0)


def _sum(values_NK: FloatArray) -> FloatArray:
    """Sum over paths in order."""
    total: FloatArray = np.cumsum(values_NK, axis=1)[:, -1]
    return total


def _telemetry(
    context: ItpContext, used: BoolArray, goodput: FloatArray, srtt: FloatArray
) -> dict[str, FloatArray]:
    columns: dict[str, FloatArray] = {"task_mb": context.next_task_mb}
    retransmit = np.where(used, context.loss_ratio_NK, np.nan)
    for path in range(MAX_PATHS):
        number = path + 1
        columns[f"path_{number}_goodput_mbps"] = np.ascontiguousarray(goodput[:, path])
        columns[f"path_{number}_srtt_ms"] = np.ascontiguousarray(srtt[:, path])
        columns[f"path_{number}_retransmit_ratio"] = np.ascontiguousarray(retransmit[:, path])
        columns[f"path_{number}_usd_per_gb"] = np.ascontiguousarray(
            context.price_usd_per_gb_NK[:, path]
        )
    return columns
