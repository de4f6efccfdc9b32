"""Plays one environment and tabulates what happened, for people to look at."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import gymnasium as gym
import numpy as np

from novacron.errors import InvalidInputError, UnknownNameError
from novacron.params.encode import Float32, encode_values, numbers_of
from novacron.params.groups import parameter_group
from novacron.params.observations import observation_spec
from novacron.params.spec import ParameterValue
from novacron.telemetry.traces import Trace
from rl_envs import ENVIRONMENTS
from rl_envs.scenarios import ALL
from rl_envs.targets.catalogue import target_of
from rl_envs.traces import sift_traces
from rl_envs.vector_env import MAX_TRACE_GAP_S, trace_span_s

Policy = Callable[[Float32], Float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutRow:
    """One decision: the knobs and metrics of both lanes by name, and the reward in nats.

    `t_s` is the simulated time at its end, in seconds from the start of the episode.
    """

    step: int
    t_s: float
    parameters: Mapping[str, ParameterValue]
    default_parameters: Mapping[str, ParameterValue]
    reward: float
    metrics: Mapping[str, float]
    default_metrics: Mapping[str, float]


def fixed_policy(target: str, values: Mapping[str, ParameterValue]) -> Policy:
    """Return a policy that always sets the same knobs; what `values` leaves out stays in force.

    An episode starts under the knobs shipped for its path, so these are what stays.

    Raises:
        UnknownNameError: No such target or knob.
        OutOfRangeError: A value is outside its knob's range, or not tunable.
    """
    group = parameter_group(target)
    row = numbers_of(group, group.defaults() | dict(values))
    chosen = encode_values(group, row[None, :])[0].astype(np.float32)
    given = np.array([name in values for name in group.names])
    # The latest frame ends with the knobs in force and the share of missing channels.
    in_force = slice(observation_spec(target).size - 1 - len(group), -1)
    return lambda observation: np.where(given, chosen, observation[in_force])


def random_policy(target: str, seed: int) -> Policy:
    """Return a policy that draws every knob afresh, uniform in the cube."""
    size = len(parameter_group(target))
    rng = np.random.default_rng(seed)
    return lambda _: rng.uniform(-1.0, 1.0, size).astype(np.float32)


def replayable(
    target: str, traces: Sequence[Trace], steps: int | None = None
) -> tuple[tuple[Trace, ...], dict[str, InvalidInputError]]:
    """Tell traces long and whole enough for an episode of `steps` decisions from the others.

    Returns:
        The usable traces in order, and the error of each other one by its id.

    Raises:
        UnknownNameError: No such target.
    """
    played = target_of(target)
    span_s = trace_span_s(played, played.episode_steps if steps is None else steps)
    return sift_traces(traces, min_length_s=span_s, max_gap_s=MAX_TRACE_GAP_S)


def simulate(
    target: str,
    policy: Policy,
    *,
    scenario: str = ALL,
    split: str = "test",
    seed: int = 0,
    steps: int | None = None,
    traces: Sequence[Trace] | None = None,
) -> list[RolloutRow]:
    """Play one episode of `steps` decisions, by default the target's own number.

    Raises:
        UnknownNameError: No such target, scenario or split.
        OutOfRangeError: The policy's action is NaN or outside [-1, 1], or `steps` is not positive.
        SchemaError: A trace is shorter than the episode or has a gap.
    """
    if target not in ENVIRONMENTS:
        raise UnknownNameError(kind="target", got=target, known=tuple(ENVIRONMENTS))
    env = gym.make(
        ENVIRONMENTS[target],
        disable_env_checker=True,
        scenario=scenario,
        split=split,
        traces=traces,
        episode_steps=steps,
    ).unwrapped
    interval_s = target_of(target, split).interval_s
    observation, _ = env.reset(seed=seed)
    rows: list[RolloutRow] = []
    finished = False
    while not finished:
        observation, reward, _, finished, info = env.step(policy(observation))
        rows.append(
            RolloutRow(
                step=len(rows) + 1,
                t_s=(len(rows) + 1) * interval_s,
                parameters=info["parameters"],
                default_parameters=info["default_parameters"],
                reward=float(reward),
                metrics=info["metrics"],
                default_metrics=info["default_metrics"],
            )
        )
    return rows
