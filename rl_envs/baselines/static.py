"""Fixed settings: what ships, the best single one, and the best one of each class of paths."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from novacron.params.encode import Float32
from rl_envs.baselines.base import BaseController, Sees, cube_of, in_force
from rl_envs.baselines.oracle import LEVELS, cube_points
from rl_envs.physics.quantities import FloatArray, IntArray
from rl_envs.scenarios import CLASSES
from rl_envs.vector_env import DwcpVectorEnv
from rl_envs.worlds import MAX_COST_INCREASE_RATIO, make_worlds

POINTS: Final = 256
CLASS_NAMES: Final = tuple(row.name for row in CLASSES)


class ShippedDefault(BaseController):
    """Keeps what ships for the path: an episode starts under it."""

    name = "default"

    def __init__(self, target: str) -> None:
        self._target = target
        self._first: Float32 | None = None

    def begin(self, env: DwcpVectorEnv) -> None:
        """Forget the last episodes."""
        del env
        self._first = None

    def act(self, observation_NO: Float32) -> Float32:
        """Return the knobs that were in force at the start."""
        if self._first is None:
            self._first = in_force(self._target, observation_NO).copy()
        return self._first


class Fixed(BaseController):
    """The same setting for every world, or one for each class."""

    def __init__(self, name: str, cube_CD: Float32) -> None:
        self.name = name
        self.cube_CD = cube_CD
        self.sees: Sees = "class" if len(cube_CD) > 1 else "telemetry"
        self._class_N: IntArray | None = None

    def begin(self, env: DwcpVectorEnv) -> None:
        """Look up the class of each path where there is one setting for each."""
        self._class_N = class_numbers(env) if len(self.cube_CD) > 1 else None

    def act(self, observation_NO: Float32) -> Float32:
        """Return the setting of each world."""
        if self._class_N is None:
            return np.repeat(self.cube_CD, len(observation_NO), axis=0)
        return self.cube_CD[self._class_N]


def class_numbers(env: DwcpVectorEnv) -> IntArray:
    """Return the place of each world's class in `CLASSES` [N]."""
    return env.hidden_state().path.class_index


@dataclass(frozen=True, kw_only=True, slots=True)
class FixedSettings:
    """The fixed settings of one target, fitted on training paths."""

    best: Fixed
    per_class: Fixed


def fit_fixed(target: str, *, worlds: int = 512, seed: int = 3) -> FixedSettings:
    """Search the settings with the highest mean reward, over all training paths and per class.

    Half the worlds are at their first decision and half at their fourth, where the lanes have
    left what shipped.
    """
    envs = [
        make_worlds(
            target, worlds // 2, seed=seed + late, max_cost_increase_ratio=MAX_COST_INCREASE_RATIO
        )
        for late in (0, 1)
    ]
    start = cube_of(envs[1].target.group, envs[1].target.group.defaults())
    for _ in range(3):
        envs[1].step(np.repeat(start[None], worlds // 2, axis=0))
    classes = np.concatenate([class_numbers(env) for env in envs])
    everyone = np.zeros(len(classes), dtype=np.int64)
    return FixedSettings(
        best=Fixed("best_static", _fit(envs, everyone, 1)),
        per_class=Fixed("best_per_class", _fit(envs, classes, len(CLASSES))),
    )


def _fit(envs: list[DwcpVectorEnv], group_N: IntArray, groups: int) -> Float32:
    """Climb from the best of many points, each group by its own mean."""
    size = len(envs[0].target.group)
    rows = envs[0].num_envs

    def means(cube_AGD: Float32) -> FloatArray:
        per_world = cube_AGD[:, group_N]
        rewards = np.concatenate(
            [
                env.peek_rewards(per_world[:, i * rows : (i + 1) * rows])
                for i, env in enumerate(envs)
            ],
            axis=1,
        )
        sums = [np.bincount(group_N, weights=row, minlength=groups) for row in rewards]
        return np.stack(sums) / np.bincount(group_N, minlength=groups)

    points = np.repeat(cube_points(size, POINTS)[:, None], groups, axis=1)
    worth = means(points)
    chosen, each = worth.argmax(axis=0), np.arange(groups)
    best, reward = points[chosen, each].copy(), worth[chosen, each]
    for _ in range(2):
        for knob in range(size):
            tried = np.repeat(best[None], LEVELS.size, axis=0)
            tried[:, :, knob] = LEVELS[:, None]
            worth = means(tried)
            level = worth.argmax(axis=0)
            better = worth[level, each] > reward
            best[better, knob] = LEVELS[level[better]]
            reward = np.maximum(reward, worth[level, each])
    return np.asarray(best)
