"""Transport: streams, congestion control, chunk size and pacing of a bulk transfer."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from novacron.params.groups import AMST_TRANSPORT
from novacron.params.observations import observation_spec
from rl_envs.dynamics import World
from rl_envs.physics.cost import money_usd
from rl_envs.physics.quantities import FloatArray
from rl_envs.targets.base import Knobs, Outcome
from rl_envs.targets.transport import (
    TransportCarry,
    host_telemetry,
    new_carry,
    run_transfer,
    transport_telemetry,
)
from rl_envs.traces import TraceBank

MEMORY_USD_PER_GIB_H = 0.005


@dataclass(frozen=True, kw_only=True, slots=True)
class AmstContext:
    """Nothing is hidden but the link itself."""

    none: FloatArray


class AmstTarget:
    """See the data sheet of `rl_envs.environments.AmstTransportEnv`."""

    group = AMST_TRANSPORT
    observation = observation_spec("amst_transport")
    interval_s = 5.0
    episode_steps = 20
    history_s = 0.0
    weights: Mapping[str, float] = {"time": 1.0, "latency": 0.3, "money": 0.3, "fairness": 1.0}

    def sample(self, world: World, traces: TraceBank | None) -> AmstContext:
        """Return the empty context."""
        del traces
        return AmstContext(none=np.zeros_like(world.link.rtt_ms))

    def advance(self, context: AmstContext, world: World, traces: TraceBank | None) -> AmstContext:
        """Return the context as it is: all that changes is the link."""
        del world, traces
        return context

    def begin(self, context: AmstContext, world: World) -> TransportCarry:
        """Return a lane without connections."""
        del context
        return new_carry(world)

    def play(
        self, context: AmstContext, world: World, knobs: Knobs, carry: TransportCarry
    ) -> Outcome[TransportCarry]:
        """Transfer for one interval."""
        del context
        everything = np.full_like(world.link.rtt_ms, np.inf)
        transfer = run_transfer(world, knobs, carry, everything)
        wire_mb = transfer.goodput_mbps / 8.0 * (1.0 + transfer.retransmit_ratio)
        usd = money_usd(
            wire_mb,
            transfer.cpu_cores,
            world.path.egress_usd_per_gb,
            world.path.cpu_usd_per_core_h,
        ) + transfer.memory_gib * (MEMORY_USD_PER_GIB_H / 3600.0)
        usd_per_gb = usd / (transfer.goodput_mbps / 8e3)
        return Outcome(
            telemetry=transport_telemetry(world, transfer)
            | host_telemetry(world, transfer.cpu_cores),
            log_costs={
                "time": -np.log(transfer.goodput_mbps),
                "latency": np.log(transfer.chunk_wait_ms),
                "money": np.log(usd_per_gb),
                "fairness": np.log1p(transfer.harm_ratio),
            },
            metrics={
                "throughput_mbps": transfer.goodput_mbps,
                "latency_ms": transfer.chunk_wait_ms,
                "loss_ratio": transfer.retransmit_ratio,
                "cost_usd_per_gb": usd_per_gb,
                "srtt_ms": transfer.srtt_ms,
                "harm_ratio": transfer.harm_ratio,
            },
            carry=transfer.carry,
        )
