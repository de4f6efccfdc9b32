"""Fits what settings are expected to do; as a policy of its own it is the Q-regression peer.

Legend: M states, A settings a state, N rows, D knobs, E effects.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from novacron.models.policy.effects import EFFECTS, QUANTILES, setting_features
from novacron.models.policy.network import Float32, Perceptron, from_torch
from novacron.params.groups import parameter_group
from rl_envs.baselines.base import BaseController
from rl_envs.learn.labels import Labels
from rl_envs.learn.ppo import perceptron
from rl_envs.vector_env import DwcpVectorEnv

_QUANTILE_EFFECTS: Final = len(QUANTILES)


class EffectsConfig(BaseModel):
    """How the effects are learnt."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    worlds: int = Field(512, ge=8)
    """Worlds that labels are drawn in, side by side."""
    steps: int = Field(16, ge=1)
    """Decisions played in each."""
    extra_settings: int = Field(6, ge=2)
    """Settings labelled in a state beside the policy's own and those toward the shipped one."""
    horizon: int = Field(4, ge=1)
    """Intervals that a setting is kept for: what it does is the mean over them."""
    hidden: tuple[int, ...] = (96, 96)
    epochs: int = Field(16, ge=1)
    margin_worlds: int = Field(768, ge=16)
    """Worlds of the validation side that the guard's margins are chosen on."""
    states_per_batch: int = Field(64, ge=1)
    learning_rate: float = Field(2e-3, gt=0)


def fit_effects(target: str, labels: Labels, config: EffectsConfig, *, seed: int) -> Perceptron:
    """Regress effects on observation and setting: quantiles of the gain, means of the others."""
    torch.manual_seed(seed)
    group = parameter_group(target)
    features = setting_features(group, labels.cube_MAD)
    inputs = labels.observation_MO.shape[1] + features.shape[-1]
    network = perceptron(inputs, config.hidden, len(EFFECTS), gain=0.1)
    optimizer = torch.optim.Adam(network.parameters(), config.learning_rate)
    rng = np.random.default_rng(seed)
    states = len(labels.observation_MO)
    batches = max(1, states // config.states_per_batch)
    done = 0
    for _ in range(config.epochs):
        for chosen in np.array_split(rng.permutation(states), batches):
            for each in optimizer.param_groups:
                each["lr"] = config.learning_rate * (1.0 - done / (config.epochs * batches))
            seen = np.repeat(labels.observation_MO[chosen, None], features.shape[1], axis=1)
            rows = np.concatenate([seen, features[chosen]], axis=-1).reshape(-1, inputs)
            found = network(torch.from_numpy(rows))
            wanted = torch.from_numpy(labels.effect_MAE[chosen].reshape(-1, len(EFFECTS)))
            loss = _loss(found, wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            done += 1
    return from_torch([layer for layer in network if isinstance(layer, nn.Linear)])


def _loss(found: Any, wanted: Any) -> Any:
    """Pinball loss of the quantiles, Huber loss of what else is there."""
    miss = wanted[:, :_QUANTILE_EFFECTS] - found[:, :_QUANTILE_EFFECTS]
    levels = torch.tensor(QUANTILES)
    pinball = torch.maximum(levels * miss, (levels - 1.0) * miss).mean()
    there = ~torch.isnan(wanted[:, _QUANTILE_EFFECTS:])
    others = nn.functional.smooth_l1_loss(
        found[:, _QUANTILE_EFFECTS:][there], wanted[:, _QUANTILE_EFFECTS:][there], beta=0.1
    )
    return 3.0 * pinball + others


class QRegression(BaseController):
    """Sets what is expected to gain most among many settings: supervised, no policy gradient.

    Args:
        target: The group of knobs.
        effects: See `fit_effects`.
        tries: Settings drawn anywhere, then as often near the best one.
        seed: Of those draws.
    """

    name = "q_regression"

    def __init__(
        self, target: str, effects: Callable[[Float32], Float32], *, tries: int = 64, seed: int = 0
    ) -> None:
        self._group = parameter_group(target)
        self._effects = effects
        self._tries = tries
        self._seed = seed

    def begin(self, env: DwcpVectorEnv) -> None:
        """Draw the same settings again."""
        del env
        self._rng = np.random.default_rng(self._seed)

    def act(self, observation_NO: Float32) -> Float32:
        """Return the setting with the highest expected gain, in two rounds."""
        shape = (self._tries, len(observation_NO), len(self._group))
        best = self._best(observation_NO, self._rng.uniform(-1.0, 1.0, shape))
        near = best + 0.2 * self._rng.standard_normal(shape) * (self._rng.random(shape) < 0.5)
        near[0] = best
        return self._best(observation_NO, np.clip(near, -1.0, 1.0))

    def _best(self, observation_NO: Float32, cube_AND: NDArray[np.float64]) -> Float32:
        cube = cube_AND.astype(np.float32)
        worth = np.stack([self._worth(observation_NO, each) for each in cube])
        return np.asarray(cube[worth.argmax(axis=0), np.arange(len(observation_NO))])

    def _worth(self, observation_NO: Float32, cube_ND: Float32) -> Float32:
        rows = np.concatenate([observation_NO, setting_features(self._group, cube_ND)], axis=1)
        return self._effects(rows)[:, 1]
