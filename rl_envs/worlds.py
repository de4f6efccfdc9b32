"""Makes seeded batches of worlds of one side of the split."""

from typing import Final

import gymnasium as gym

from novacron.errors import UnknownNameError
from rl_envs import ENVIRONMENTS
from rl_envs.scenarios import ALL
from rl_envs.vector_env import DwcpVectorEnv

MAX_COST_INCREASE_RATIO: Final = 0.10
"""Limit of the cost increase that policies are trained and judged under, unless said otherwise."""


def make_worlds(  # noqa: PLR0913 - one argument for each choice
    target: str,
    worlds: int,
    *,
    seed: int,
    split: str = "train",
    scenario: str = ALL,
    episode_steps: int | None = None,
    frames: int | None = None,
    max_cost_increase_ratio: float | None = None,
    peers: int = 1,
) -> DwcpVectorEnv:
    """Return a batch that was reset with `seed`: same arguments, same worlds.

    With a limit of the cost increase, rewards fall beyond it; with peers, they are over those of
    the peers; see `DwcpVectorEnv`.

    Raises:
        UnknownNameError: No such target, scenario or split.
        OutOfRangeError: The number of worlds or of steps is not positive.
    """
    if target not in ENVIRONMENTS:
        raise UnknownNameError(kind="target", got=target, known=tuple(ENVIRONMENTS))
    env = gym.make_vec(
        ENVIRONMENTS[target],
        worlds,
        vectorization_mode="vector_entry_point",
        scenario=scenario,
        split=split,
        episode_steps=episode_steps,
        frames=frames,
        max_cost_increase_ratio=max_cost_increase_ratio,
        peers=peers,
    ).unwrapped
    if not isinstance(env, DwcpVectorEnv):
        raise AssertionError("every target has a batch of its own")
    env.reset(seed=seed)
    return env
