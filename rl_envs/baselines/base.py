"""The one interface of everything that sets knobs in an evaluation.

Shape legend: N worlds, D knobs, O numbers of an observation.
"""

from typing import Literal, Protocol

import numpy as np

from novacron.params.encode import Float32, encode_values, numbers_of
from novacron.params.observations import observation_spec
from novacron.params.spec import ParameterGroup, ParameterValue
from rl_envs.physics.quantities import FloatArray
from rl_envs.vector_env import DwcpVectorEnv

Sees = Literal["telemetry", "rewards", "class", "world"]


class Controller(Protocol):
    """Sets the knobs of N worlds, decision by decision."""

    name: str
    sees: Sees
    """What it is allowed to look at: `telemetry` alone; also the `rewards` of its own probes; the
    true `class` of the path; or the whole `world`."""

    def begin(self, env: DwcpVectorEnv) -> None:
        """Start on fresh episodes of a batch."""
        ...

    def act(self, observation_NO: Float32) -> Float32:
        """Return the settings of the next interval, cube_ND."""
        ...

    def learn(self, reward_N: FloatArray) -> None:
        """Hear what the last settings earned, in nats over the shipped defaults."""
        ...


class BaseController:
    """A controller that learns nothing while it runs."""

    sees: Sees = "telemetry"

    def begin(self, env: DwcpVectorEnv) -> None:
        """Remember nothing."""

    def learn(self, reward_N: FloatArray) -> None:
        """Learn nothing."""


def cube_of(group: ParameterGroup, values: dict[str, ParameterValue]) -> Float32:
    """Return a whole setting as a point of the cube [D]."""
    return np.asarray(encode_values(group, numbers_of(group, values)[None, :])[0], np.float32)


def in_force(target: str, observation_NO: Float32) -> Float32:
    """Return the knobs in force in the latest frame, cube_ND."""
    spec = observation_spec(target)
    knobs = slice(spec.size - 1 - len(spec.group), spec.size - 1)
    return np.asarray(observation_NO[:, knobs])


def latest(target: str, observation_NO: Float32) -> dict[str, FloatArray]:
    """Return the channels of the latest frame in their own units, by name; see `encode_frame`."""
    spec = observation_spec(target)
    first = spec.size - spec.frame_size
    channels: dict[str, FloatArray] = {}
    for column, channel in enumerate(spec.channels):
        share = (observation_NO[:, first + column].astype(np.float64) + 1.0) / 2.0
        if channel.scale == "log":
            channels[channel.name] = channel.low * (channel.high / channel.low) ** share
        else:
            channels[channel.name] = channel.low + share * (channel.high - channel.low)
    return channels
