"""Oracles: what could be gained at all, by searching with the hidden world in sight.

The informed oracle knows the hidden state and not the next interval's random numbers: it maximises
the mean over drawn futures. The clairvoyant knows those as well; no controller can reach it where
chance decides. Shape legend: N worlds, D knobs, A actions, M futures.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np
from scipy.stats import qmc

from novacron.params.encode import Float32, decode_unit
from rl_envs.baselines.base import BaseController, Sees
from rl_envs.noise import derive
from rl_envs.physics.quantities import FloatArray
from rl_envs.vector_env import DwcpVectorEnv

LEVELS: Final = np.linspace(-1.0, 1.0, 13, dtype=np.float32)
"""Settings of one knob that a search tries around its best point; the ends are the bounds."""

Score = Callable[[Float32], FloatArray]
"""Actions [A, N, D] to their worth [A, N]."""


def cube_points(size: int, count: int) -> Float32:
    """Return points [A, D] that cover the cube evenly."""
    sampler = qmc.Sobol(size, scramble=True, rng=np.random.default_rng(5))
    return np.asarray(2.0 * sampler.random(count) - 1.0, dtype=np.float32)


def futures_score(env: DwcpVectorEnv, futures: int) -> Score:
    """Return the mean reward over `futures` draws of the next interval's random numbers."""
    episode = env.hidden_state()
    simulator, group = env.simulator, env.target.group
    worlds = []
    for number in range(futures):
        # Another key is another future: the state carries all of the past.
        key = derive(episode.key, np.full(episode.key.shape, 1_000_003 + number))
        worlds.append(simulator.advance(replace(episode, key=key)))

    def score(actions_AND: Float32) -> FloatArray:
        rows = []
        for actions in actions_AND:
            values = decode_unit(group, actions)
            rewards = [
                simulator.play(advanced, world, values)[1].reward for advanced, world in worlds
            ]
            rows.append(np.mean(rewards, axis=0))
        return np.stack(rows)

    return score


def search(score: Score, start_AND: Float32, rounds: int = 2) -> tuple[Float32, FloatArray]:
    """Improve the best start of each world, one knob at a time over LEVELS.

    Returns:
        The best action found [N, D] and its worth [N].
    """
    worth = score(start_AND)
    rows = np.arange(start_AND.shape[1])
    chosen = worth.argmax(axis=0)
    best, reward = start_AND[chosen, rows].copy(), worth[chosen, rows]
    for _ in range(rounds):
        for knob in range(best.shape[1]):
            tried = np.repeat(best[None], LEVELS.size, axis=0)
            tried[:, :, knob] = LEVELS[:, None]
            worth = score(tried)
            level = worth.argmax(axis=0)
            better = worth[level, rows] > reward
            best[better, knob] = LEVELS[level[better]]
            reward = np.maximum(reward, worth[level, rows])
    return best, reward


class Oracle(BaseController):
    """Searches every decision in the true world.

    Args:
        futures: Draws of the next interval the mean is over; 0 sees the true one (clairvoyant).
        starts: Points of the cube, beside the knobs in force, that the search starts from.
    """

    sees: Sees = "world"

    def __init__(self, futures: int = 16, starts: int = 64) -> None:
        self.name = f"oracle_{futures}_futures" if futures else "clairvoyant"
        self._futures = futures
        self._starts = starts
        self._env: DwcpVectorEnv | None = None

    def begin(self, env: DwcpVectorEnv) -> None:
        """Look into the batch."""
        self._env = env

    def act(self, observation_NO: Float32) -> Float32:
        """Return the best setting found for the next interval of each world."""
        env = self._env
        if env is None:
            raise AssertionError("begin() comes first")
        points = cube_points(len(env.target.group), self._starts)
        starts = np.repeat(points[:, None], len(observation_NO), axis=1)
        score = futures_score(env, self._futures) if self._futures else env.peek_rewards
        return search(score, starts)[0]
