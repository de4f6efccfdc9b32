"""Live migrations: encoding and transport decided together, one virtual machine a decision."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from novacron.params.groups import JOINT
from novacron.params.observations import observation_spec
from rl_envs.dynamics import World
from rl_envs.noise import Purpose
from rl_envs.physics.cost import money_usd
from rl_envs.physics.delta import mean_outage_s
from rl_envs.physics.migration import Migration, precopy
from rl_envs.physics.pipeline import PipelineRate, Stages, fill_s, pipeline_rate
from rl_envs.physics.quantities import FloatArray
from rl_envs.targets.amst import MEMORY_USD_PER_GIB_H
from rl_envs.targets.base import Knobs, Outcome
from rl_envs.targets.encoding import (
    READ_MB_S,
    Encoding,
    VmData,
    blocked_ratio,
    data_telemetry,
    encoded_mb_s,
    run_encoding,
    sample_data,
)
from rl_envs.targets.transport import (
    Transfer,
    TransportCarry,
    host_telemetry,
    new_carry,
    run_transfer,
    transport_telemetry,
)
from rl_envs.traces import TraceBank

DOWNTIME_TARGET_S: Final = 0.3
"""Pause that guests' clients do not notice; the objective counts pauses in units of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JointContext:
    """Hidden: the data, and the machine that is moved now and the one after it."""

    data: VmData
    load_ratio: FloatArray
    memory_mb: FloatArray
    next_memory_mb: FloatArray
    dirty_mb_s: FloatArray


class JointTarget:
    """See the data sheet of `rl_envs.environments.JointEnv`."""

    group = JOINT
    observation = observation_spec("joint")
    interval_s = 60.0
    episode_steps = 12
    history_s = 0.0
    weights: Mapping[str, float] = {
        "time": 0.6,
        "downtime": 0.5,
        "money": 0.4,
        "guests": 4.0,
        "fairness": 1.0,
    }

    def __init__(self, split: str = "train") -> None:
        self.split = split

    def sample(self, world: World, traces: TraceBank | None) -> JointContext:
        """Draw the kind of machines that are moved."""
        noise = world.noise
        drawn = JointContext(
            data=sample_data(world, self.split),
            load_ratio=noise.log_between(0.02, 1.5, Purpose.CONTEXT, 11),
            memory_mb=np.ones_like(world.link.rtt_ms),
            next_memory_mb=noise.log_between(256.0, 16_384.0, Purpose.CONTEXT, 12),
            dirty_mb_s=np.ones_like(world.link.rtt_ms),
        )
        return self.advance(drawn, world, traces)

    def advance(
        self, context: JointContext, world: World, traces: TraceBank | None
    ) -> JointContext:
        """Take the next machine."""
        del traces
        burst = np.exp(0.5 * world.noise.normal(Purpose.EVENT, 0))
        return replace(
            context,
            memory_mb=context.next_memory_mb,
            next_memory_mb=world.noise.log_between(256.0, 16_384.0, Purpose.EVENT, 1),
            dirty_mb_s=context.load_ratio * world.path.capacity_mbps / 8.0 * burst,
        )

    def begin(self, context: JointContext, world: World) -> TransportCarry:
        """Return a lane without connections."""
        del context
        return new_carry(world)

    def play(
        self, context: JointContext, world: World, knobs: Knobs, carry: TransportCarry
    ) -> Outcome[TransportCarry]:
        """Move one machine at the rates of this interval."""
        # A baseline exists for pages sent in an earlier round; it may hold the whole machine.
        encoding = run_encoding(world, context.data, knobs, knobs["baseline_memory_mib"])
        offered_mbps = encoded_mb_s(encoding) * 8.0 / encoding.ratio
        transfer = run_transfer(world, knobs, carry, offered_mbps)
        rate = _pipeline(transfer, encoding)
        moved, pause_s, total_s = _move(context, world, knobs, transfer, encoding, rate)
        usd_per_gb, cores = _bill(world, knobs, transfer, encoding, moved)
        usd_per_gb = usd_per_gb * moved.sent_mb / context.memory_mb
        guests = encoding.taken_cores / world.path.cores * rate.encode_busy_ratio
        return Outcome(
            telemetry=transport_telemetry(world, transfer)
            | _stage_telemetry(context, rate, encoding, pause_s)
            | data_telemetry(context.data, encoding)
            | host_telemetry(world, cores),
            log_costs={
                "time": np.log(total_s),
                "downtime": np.log1p(pause_s / DOWNTIME_TARGET_S),
                "money": np.log(usd_per_gb),
                "guests": np.log1p(guests),
                "fairness": np.log1p(transfer.harm_ratio),
            },
            metrics={
                "throughput_mbps": context.memory_mb * 8.0 / total_s,
                "latency_ms": total_s * 1e3,
                "loss_ratio": transfer.retransmit_ratio,
                "cost_usd_per_gb": usd_per_gb,
                "downtime_ms": pause_s * 1e3,
                "rounds": moved.rounds,
                "harm_ratio": transfer.harm_ratio,
                "guest_cpu_taken_ratio": guests,
            },
            carry=transfer.carry,
        )


def _pipeline(transfer: Transfer, encoding: Encoding) -> PipelineRate:
    return pipeline_rate(
        Stages(
            read_mb_s=np.full_like(transfer.goodput_mbps, READ_MB_S),
            encode_mb_s=encoding.encode_mb_s,
            send_mb_s=transfer.goodput_mbps / 8.0 * encoding.ratio,
            decode_mb_s=encoding.decode_mb_s,
        )
    )


def _move(
    context: JointContext,
    world: World,
    knobs: Knobs,
    transfer: Transfer,
    encoding: Encoding,
    rate: PipelineRate,
) -> tuple[Migration, FloatArray, FloatArray]:
    """Return the rounds of the migration, its pause and its whole time.

    Every round, and the pause, ends only when the pipeline and the streams have drained.
    """
    moved = precopy(
        context.memory_mb,
        context.dirty_mb_s,
        np.minimum(context.data.working_set_mb, context.memory_mb),
        rate.user_mb_s,
    )
    drain_s = 1e-3 * transfer.chunk_wait_ms + fill_s(
        knobs["workers"], knobs["chunk_size_bytes"], rate.user_mb_s, world.link.rtt_ms
    )
    pause_s = moved.downtime_s + drain_s + 1e-3 * world.link.rtt_ms
    outage_s = mean_outage_s(context.data.crash_per_s, encoding.recovery_s)
    return moved, pause_s, moved.total_s + moved.rounds * drain_s + outage_s


def _stage_telemetry(
    context: JointContext, rate: PipelineRate, encoding: Encoding, pause_s: FloatArray
) -> dict[str, FloatArray]:
    return {
        "encode_busy_ratio": rate.encode_busy_ratio,
        "send_blocked_ratio": blocked_ratio(rate.user_mb_s, encoding),
        "decode_busy_ratio": rate.decode_busy_ratio,
        "dirty_mb_s": context.dirty_mb_s,
        "memory_mb": context.next_memory_mb,
        "downtime_ms": pause_s * 1e3,
    }


def _bill(
    world: World, knobs: Knobs, transfer: Transfer, encoding: Encoding, moved: Migration
) -> tuple[FloatArray, FloatArray]:
    """Return the price of a gigabyte sent, and the cores in use at the sender."""
    encode_s = moved.sent_mb * (encoding.encode_cpu_s_per_mb + encoding.decode_cpu_s_per_mb)
    wire_mb = moved.sent_mb / encoding.ratio * (1.0 + transfer.retransmit_ratio)
    per_mbit = transfer.cpu_cores / transfer.goodput_mbps
    cpu_s = encode_s + wire_mb * 8.0 * per_mbit
    usd = money_usd(wire_mb, cpu_s, world.path.egress_usd_per_gb, world.path.cpu_usd_per_core_h)
    held = np.where(knobs["delta"] > 0, knobs["baseline_memory_mib"] / 1024.0, 0.0)
    held_gib_h = (held + transfer.memory_gib) * moved.total_s / 3600.0
    usd = usd + held_gib_h * MEMORY_USD_PER_GIB_H
    return usd / (moved.sent_mb * 1e-3), np.minimum(cpu_s / moved.total_s, world.path.cores)
