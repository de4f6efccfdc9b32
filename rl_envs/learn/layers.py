"""What the layers of a policy know beforehand: the spread of their inputs, and interchangeable paths.

Both are reparametrisations: what is learnt are other numbers, what comes out are plain weights, so
that an exported network is the same perceptron as without. Legend: I inputs, J outputs, O numbers
of an observation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize

from novacron.models.policy.network import Perceptron, from_torch
from novacron.params.encode import Float32
from novacron.params.observations import observation_spec
from rl_envs.learn.config import PpoConfig
from rl_envs.learn.symmetry import (
    Layout,
    bias_orbits,
    hidden_layout,
    layout_of,
    observation_layout,
    value_layout,
    weight_orbits,
)
from rl_envs.physics.quantities import FloatArray, IntArray
from rl_envs.worlds import make_worlds

_WORLDS: Final = 512
_DECISIONS: Final = 12
_SEED: Final = 99
"""Worlds of the training side, decisions and seed that the spread of observations is taken from."""


class Tied(nn.Module):
    """Sets each weight to the mean of its orbit."""

    orbit: Any
    size: Any

    def __init__(self, orbit: Any) -> None:
        super().__init__()
        flat = torch.from_numpy(np.asarray(orbit).reshape(-1))
        self.register_buffer("orbit", flat, persistent=False)
        self.register_buffer("size", torch.bincount(flat).to(torch.float32), persistent=False)

    def forward(self, weight: Any) -> Any:
        """Return weights of the same shape."""
        total = torch.zeros_like(self.size).index_add(0, self.orbit, weight.reshape(-1))
        return (total / self.size)[self.orbit].reshape(weight.shape)


class Whitened(nn.Module):
    """Lets a first layer's weights act on inputs without correlation and of unit variance."""

    matrix: Any

    def __init__(self, matrix_OO: Float32) -> None:
        super().__init__()
        self.register_buffer("matrix", torch.from_numpy(matrix_OO), persistent=False)

    def forward(self, weight: Any) -> Any:
        """Return the weights that act on centred inputs."""
        return weight @ self.matrix


@dataclass(frozen=True, kw_only=True, slots=True)
class Whitener:
    """Mean and whitening matrix of observations; called before a layer, it centres its inputs."""

    mean_O: Float32
    matrix_OO: Float32

    def __call__(self, layer: nn.Module, inputs: tuple[Any, ...]) -> Any:
        """Return the inputs without their mean."""
        del layer
        return inputs[0] - torch.from_numpy(self.mean_O)


@lru_cache(maxsize=8)
def whitener(target: str, floor: float, *, symmetric: bool) -> Whitener:
    """Return what whitens a target's observations on training paths.

    Settings are drawn anywhere in the cube. Differences between paths, or between two intervals,
    are far smaller than what a number is between worlds; whitened, a network sees them as well.

    Args:
        target: The group of knobs.
        floor: Standard deviation, in the [-1, 1] of observations, that is added: directions with
            less of it, such as noise of measurement, stay small.
        symmetric: Whether mean and spread are averaged over all numberings of the paths.
    """
    env = make_worlds(target, _WORLDS, seed=_SEED)
    env.with_info = False
    observation, _ = env.reset(seed=_SEED)
    rng, rows = np.random.default_rng(_SEED), [observation]
    for _ in range(_DECISIONS):
        action = rng.uniform(-1.0, 1.0, env.action_space.shape or ())
        rows.append(env.step(action.astype(np.float32))[0])
    seen = np.concatenate(rows).astype(np.float64)
    mean = seen.mean(axis=0)
    spread = (seen - mean).T @ (seen - mean) / len(seen)
    if symmetric:
        layout = observation_layout(env.target.observation)
        mean = _averaged(mean, bias_orbits(layout))
        spread = _averaged(spread, weight_orbits(layout, layout))
    values, vectors = np.linalg.eigh(spread)
    root = np.sqrt(np.maximum(values, 0.0) + floor**2)
    return Whitener(
        mean_O=mean.astype(np.float32),
        matrix_OO=((vectors / root) @ vectors.T).astype(np.float32),
    )


def _averaged(values: FloatArray, orbit: IntArray) -> FloatArray:
    """Return each number's mean over its orbit."""
    mean: FloatArray = np.bincount(orbit.ravel(), values.ravel()) / np.bincount(orbit.ravel())
    return mean[orbit]


def shape_layers(layers: Sequence[Any], target: str, config: PpoConfig) -> None:
    """Give torch linear layers, in order, what the config says of their weights.

    The last one answers with a target's knobs, or with one value.

    Raises:
        ConfigError: The target has no interchangeable paths, and `symmetric` is set.
    """
    spec = observation_spec(target)
    if config.symmetric:
        before = observation_layout(spec)
        for layer in layers:
            after = hidden_layout(layer.out_features)
            if layer is layers[-1]:
                is_value = layer.out_features == 1
                after = value_layout() if is_value else layout_of(spec.group.names)
            _tie(layer, after, before)
            before = after
    if config.whitening_floor is not None:
        white = whitener(target, config.whitening_floor, symmetric=config.symmetric)
        parametrize.register_parametrization(layers[0], "weight", Whitened(white.matrix_OO))
        layers[0].register_forward_pre_hook(white)


def plain_network(layers: Sequence[Any]) -> Perceptron:
    """Return layers as the perceptron that answers alike, what they know folded into its numbers."""
    network = from_torch(layers)
    (weight, bias), *later = network.layers
    for hook in layers[0]._forward_pre_hooks.values():
        if isinstance(hook, Whitener):
            bias = bias - weight @ hook.mean_O
    return Perceptron(layers=((weight, bias), *later))


def _tie(layer: Any, rows: Layout, columns: Layout) -> None:
    """Tie a layer's weights within their orbits; together they stay as large as they were."""
    tied = Tied(weight_orbits(rows, columns))
    with torch.no_grad():
        weight = layer.weight
        weight.mul_(weight.norm() / tied(weight).norm().clamp(min=1e-12))
    parametrize.register_parametrization(layer, "weight", tied)
    parametrize.register_parametrization(layer, "bias", Tied(bias_orbits(rows)))
