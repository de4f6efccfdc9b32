"""What every target is: hidden context, two lanes that carry state, telemetry and log costs.

The agent's lane and the shipped default's lane live in the same world on the same random numbers;
the reward is the difference of their costs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from novacron.params.encode import ObservationSpec
from novacron.params.spec import ParameterGroup
from rl_envs.dynamics import World
from rl_envs.physics.quantities import FloatArray
from rl_envs.traces import TraceBank

Context = TypeVar("Context")
Carry = TypeVar("Carry")
Knobs = Mapping[str, FloatArray]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome(Generic[Carry]):
    """One interval of one lane, arrays [N].

    `telemetry` has exactly the channels of the target's observation, before measurement noise.
    `log_costs` are natural logs of physical quantities, lower is better, one per weight of the
    target. `metrics` are for people; their names carry units.
    """

    telemetry: dict[str, FloatArray]
    log_costs: dict[str, FloatArray]
    metrics: dict[str, FloatArray]
    carry: Carry


class Target(Protocol[Context, Carry]):
    """One group of knobs, with the part of the world it acts on."""

    group: ParameterGroup
    observation: ObservationSpec
    interval_s: float
    """Length of one decision interval."""
    episode_steps: int
    history_s: float
    """Seconds of the world before the first interval that the target looks back on."""
    weights: Mapping[str, float]
    """Weight of each log cost in the objective."""

    def sample(self, world: World, traces: TraceBank | None) -> Context:
        """Draw what is hidden and particular to this target, at the start of an episode."""
        ...

    def advance(self, context: Context, world: World, traces: TraceBank | None) -> Context:
        """Move the hidden context on by one interval; both lanes then meet the same one."""
        ...

    def begin(self, context: Context, world: World) -> Carry:
        """Return the state of a lane that has not run yet."""
        ...

    def play(self, context: Context, world: World, knobs: Knobs, carry: Carry) -> Outcome[Carry]:
        """Run one interval of one lane; draws no random numbers of its own."""
        ...


def objective(
    target_weights: Mapping[str, float], log_costs: Mapping[str, FloatArray]
) -> FloatArray:
    """Return J [N], the negative weighted sum of the log costs, added up in the weights' order."""
    names = list(target_weights)
    total = -target_weights[names[0]] * log_costs[names[0]]
    for name in names[1:]:
        total = total - target_weights[name] * log_costs[name]
    return np.asarray(total)


def knobs_of(group: ParameterGroup, values_ND: FloatArray) -> Knobs:
    """Return the columns of decoded values by name, each contiguous."""
    return {
        name: np.ascontiguousarray(values_ND[:, column]) for column, name in enumerate(group.names)
    }
