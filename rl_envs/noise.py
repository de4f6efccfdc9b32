"""Random numbers as a pure function of (seed, environment, episode, step, purpose).

A counter-based generator: no state moves, so a number does not depend on the batch size, on the
order of calls, on the process, or on what another environment does; and two actions can be judged
on the same numbers. Shape legend: N batch, T numbers in a block.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from rl_envs.physics.quantities import FloatArray, IntArray

Keys = NDArray[np.uint64]

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_1: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2: Final = np.uint64(0x94D049BB133111EB)
_STEP_STRIDE: Final = np.uint64(1 << 20)


class Purpose(IntEnum):
    """First number of the block that each use draws from within a step; blocks are disjoint."""

    PATH = 0
    TRACE = 64
    LINK = 128
    CONTEXT = 256
    EVENT = 512
    MEASUREMENT = 1024
    SERIES = 4096


def mix64(word: Keys) -> Keys:
    """Scramble 64-bit words so that neighbours become unrelated.

    Source: the finaliser of SplitMix64, Steele, Lea and Flood 2014.

    >>> [hex(int(word)) for word in mix64(np.array([0x9E3779B97F4A7C15], dtype=np.uint64))]
    ['0xe220a8397b1dcdaf']
    """
    word = (word ^ (word >> np.uint64(30))) * _MIX_1
    word = (word ^ (word >> np.uint64(27))) * _MIX_2
    scrambled: Keys = word ^ (word >> np.uint64(31))
    return scrambled


def derive(key: Keys, number: Keys | IntArray) -> Keys:
    """Return the key of one child, by number, of each key."""
    child: Keys = mix64(key + (number.astype(np.uint64) + np.uint64(1)) * _GOLDEN)
    return child


def episode_keys(seed: int, env_index_N: IntArray, episode_N: IntArray) -> Keys:
    """Return one key per environment and episode of a run.

    Args:
        seed: The run's seed; any integer, taken modulo 2^64.
        env_index_N: Number of the environment within the run, over all workers.
        episode_N: Number of the episode of that environment.
    """
    root = np.full(env_index_N.shape, seed % 2**64, dtype=np.uint64)
    return derive(derive(mix64(root + _GOLDEN), env_index_N), episode_N)


@dataclass(frozen=True, kw_only=True, slots=True)
class Noise:
    """The random numbers of one step of each environment, arrays [N]."""

    key: Keys
    step: IntArray

    def _words(self, purpose: Purpose, offset: int) -> Keys:
        counter = self.step.astype(np.uint64) * _STEP_STRIDE
        counter = counter + np.uint64(int(purpose) + offset + 1)
        return mix64(self.key + counter * _GOLDEN)

    def uniform(self, purpose: Purpose, offset: int = 0) -> FloatArray:
        """Return numbers in the open interval (0, 1).

        >>> noise = Noise(key=np.zeros(2, dtype=np.uint64), step=np.array([0, 1]))
        >>> bool((noise.uniform(Purpose.LINK) != noise.uniform(Purpose.LINK, 1)).all())
        True
        """
        top = (self._words(purpose, offset) >> np.uint64(11)).astype(np.float64)
        number: FloatArray = (top + 0.5) * 2.0**-53
        return number

    def normal(self, purpose: Purpose, offset: int = 0) -> FloatArray:
        """Return standard normal numbers, by inversion."""
        number: FloatArray = ndtri(self.uniform(purpose, offset))
        return number

    def between(self, low: float, high: float, purpose: Purpose, offset: int = 0) -> FloatArray:
        """Return numbers uniform in [low, high]."""
        number: FloatArray = low + (high - low) * self.uniform(purpose, offset)
        return number

    def log_between(
        self, low: float, high: float, purpose: Purpose, offset: int = 0
    ) -> FloatArray:
        """Return numbers uniform in log over [low, high], low > 0."""
        number: FloatArray = low * np.exp(np.log(high / low) * self.uniform(purpose, offset))
        return number

    def uniform_block(self, count: int, purpose: Purpose) -> FloatArray:
        """Return numbers in (0, 1), [N, T], T = count: those of offsets 0 to T - 1."""
        counter: Keys = self.step.astype(np.uint64)[:, None] * _STEP_STRIDE
        offsets = np.arange(int(purpose) + 1, int(purpose) + count + 1).astype(np.uint64)
        words = mix64(self.key[:, None] + (counter + offsets) * _GOLDEN)
        number: FloatArray = ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
        return number

    def normal_block(self, count: int, purpose: Purpose) -> FloatArray:
        """Return standard normal numbers [N, T], T = count."""
        number: FloatArray = ndtri(self.uniform_block(count, purpose))
        return number
