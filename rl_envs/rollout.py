"""Plays one environment and tabulates what happened, for people to look at."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import gymnasium as gym
import numpy as np

from novacron.errors import UnknownNameError
from novacron.params.encode import Float32, encode_values, numbers_of
from novacron.params.groups import parameter_group
from novacron.params.spec import ParameterValue
from rl_envs import ENVIRONMENTS
from rl_envs.scenarios import ALL

Policy = Callable[[Float32], Float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutRow:
    """One decision: the knobs, the reward in nats, and the metrics of both lanes by name."""

    step: int
    parameters: Mapping[str, ParameterValue]
    reward: float
    metrics: Mapping[str, float]
    default_metrics: Mapping[str, float]


def fixed_policy(target: str, values: Mapping[str, ParameterValue]) -> Policy:
    """Return a policy that always sets the same knobs; what `values` leaves out stays shipped.

    Raises:
        UnknownNameError: No such target or knob.
        OutOfRangeError: A value is outside its knob's range, or not tunable.
    """
    group = parameter_group(target)
    row = numbers_of(group, group.defaults() | dict(values))
    action = encode_values(group, row[None, :])[0].astype(np.float32)
    return lambda _: action


def random_policy(target: str, seed: int) -> Policy:
    """Return a policy that draws every knob afresh, uniform in the cube."""
    size = len(parameter_group(target))
    rng = np.random.default_rng(seed)
    return lambda _: rng.uniform(-1.0, 1.0, size).astype(np.float32)


def simulate(
    target: str,
    policy: Policy,
    *,
    scenario: str = ALL,
    split: str = "test",
    seed: int = 0,
) -> list[RolloutRow]:
    """Play one episode.

    Raises:
        UnknownNameError: No such target, scenario or split.
        OutOfRangeError: The policy's action is NaN or outside [-1, 1].
    """
    if target not in ENVIRONMENTS:
        raise UnknownNameError(kind="target", got=target, known=tuple(ENVIRONMENTS))
    env = gym.make(
        ENVIRONMENTS[target], disable_env_checker=True, scenario=scenario, split=split
    ).unwrapped
    observation, _ = env.reset(seed=seed)
    rows: list[RolloutRow] = []
    finished = False
    while not finished:
        observation, reward, _, finished, info = env.step(policy(observation))
        rows.append(
            RolloutRow(
                step=len(rows) + 1,
                parameters=info["parameters"],
                reward=float(reward),
                metrics=info["metrics"],
                default_metrics=info["default_metrics"],
            )
        )
    return rows
