"""Plays controllers in the same worlds and compares them, path by path.

Every controller meets the same worlds on the same random numbers; intervals resample whole paths
(and training seeds, where there are several), never decisions. Shape legend: S seeds, K decisions,
N worlds, P paths, B resamples.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from novacron.params.encode import Float32
from rl_envs.baselines.base import BaseController, Controller
from rl_envs.physics.quantities import FloatArray, IntArray
from rl_envs.scenarios import SCENARIOS
from rl_envs.worlds import MAX_COST_INCREASE_RATIO, make_worlds

WORSE_BY_2_PERCENT: Final = float(np.log(0.98))
"""Reward below which a world fares worse than under the shipped defaults by more than 2 %."""
RESAMPLES: Final = 1000
_PATH_STRIDE: Final = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Worlds:
    """Which worlds an evaluation is over; same fields, same worlds."""

    target: str
    worlds: int = 512
    decisions: int = 6
    split: str = "test"
    scenario: str = "all"
    seed: int = 20_261
    max_cost_increase_ratio: float | None = MAX_COST_INCREASE_RATIO
    """Limit that everyone's rewards keep to, the oracle's as well."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Played:
    """What a controller did: rewards in nats over the shipped defaults, metrics of both lanes."""

    name: str
    reward_KN: FloatArray
    metrics_KN: Mapping[str, FloatArray]
    default_metrics_KN: Mapping[str, FloatArray]
    action_KND: FloatArray
    class_N: IntArray
    path_N: IntArray
    """One number for each path; worlds on the same path are not independent."""

    def classes(self) -> list[str]:
        """Names of the classes that occur, in the simulator's order."""
        return [name for i, name in enumerate(SCENARIOS) if (self.class_N == i).any()]

    def of_class(self, name: str) -> NDArray[np.bool_]:
        """Say which worlds are of a class."""
        return np.asarray(self.class_N == tuple(SCENARIOS).index(name))


@runtime_checkable
class Charges(Protocol):
    """A controller whose trials cost part of an interval."""

    def charge(self, reward_N: FloatArray) -> FloatArray:
        """Return the rewards with that cost in them."""
        ...

    def charge_cost(self, metrics: Mapping[str, FloatArray]) -> Mapping[str, FloatArray]:
        """Return an interval's metrics with it in the price of a gigabyte."""
        ...


class NetworkController(BaseController):
    """A policy network: the mean action, clipped to the cube."""

    def __init__(self, name: str, network: Callable[[Float32], Float32]) -> None:
        self.name = name
        self._network = network

    def act(self, observation_NO: Float32) -> Float32:
        """Return the network's answer."""
        return np.clip(self._network(observation_NO), -1.0, 1.0).astype(np.float32)


def play(controller: Controller, worlds: Worlds) -> Played:
    """Play all decisions in every world.

    Raises:
        UnknownNameError: No such target, split or scenario.
    """
    env = make_worlds(
        worlds.target, worlds.worlds, seed=worlds.seed, split=worlds.split,
        scenario=worlds.scenario, episode_steps=worlds.decisions,
        max_cost_increase_ratio=worlds.max_cost_increase_ratio,
    )  # fmt: skip
    observation, _ = env.reset(seed=worlds.seed)
    path = env.hidden_state().path
    controller.begin(env)
    rewards, infos, actions = [], [], []
    for _ in range(worlds.decisions):
        action = controller.act(observation)
        observation, reward, _, _, info = env.step(action)
        controller.learn(reward)
        if isinstance(controller, Charges):
            reward = controller.charge(reward)
            info["metrics"] = controller.charge_cost(info["metrics"])
        rewards.append(reward)
        infos.append(info)
        actions.append(action)

    def stacked(lane: str) -> dict[str, FloatArray]:
        return {name: np.stack([info[lane][name] for info in infos]) for name in infos[0][lane]}

    return Played(
        name=controller.name,
        reward_KN=np.stack(rewards),
        metrics_KN=stacked("metrics"),
        default_metrics_KN=stacked("default_metrics"),
        action_KND=np.stack(actions),
        class_N=path.class_index,
        path_N=path.class_index * _PATH_STRIDE + path.number,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A figure with its 95 % interval over `n` paths."""

    value: float
    lo: float
    hi: float
    n: int


def mean_interval(value_SN: FloatArray, path_N: IntArray, *, seed: int = 0) -> Interval:
    """Return the mean over worlds; seeds and paths are resampled."""
    return ratio_interval(value_SN, np.ones_like(np.atleast_2d(value_SN)), path_N, seed=seed)


def ratio_interval(
    above_SN: FloatArray, below_SN: FloatArray, path_N: IntArray, *, seed: int = 0
) -> Interval:
    """Return sum over sum, such as gain over the oracle's gain; seeds and paths are resampled.

    Args:
        above_SN: One row for each training seed; [N] is one seed.
        below_SN: The same shape, or one row for all seeds.
        path_N: The path of each world.
        seed: Of the resampling.
    """
    above, below = np.atleast_2d(above_SN), np.atleast_2d(below_SN)
    paths, place = np.unique(path_N, return_inverse=True)
    above_SP = np.stack([np.bincount(place, row, len(paths)) for row in above])
    below_SP = np.stack([np.bincount(place, row, len(paths)) for row in below])
    below_SP = np.broadcast_to(below_SP, above_SP.shape)
    rng = np.random.default_rng(seed)
    seeds_BS = rng.integers(len(above), size=(RESAMPLES, len(above)))
    ratios = np.empty(RESAMPLES)
    for b, chosen_S in enumerate(seeds_BS):
        weight_P = np.bincount(rng.integers(len(paths), size=len(paths)), minlength=len(paths))
        weighted = above_SP[chosen_S] @ weight_P, below_SP[chosen_S] @ weight_P
        ratios[b] = weighted[0].sum() / weighted[1].sum()
    lo, hi = np.quantile(ratios, (0.025, 0.975))
    return Interval(
        value=float(above_SP.sum() / below_SP.sum()), lo=float(lo), hi=float(hi), n=len(paths)
    )


def as_improvement(interval: Interval) -> Interval:
    """Turn a mean gain in nats into the share by which the objective is lower: 1 - exp(-gain)."""
    value, lo, hi = (float(-np.expm1(-x)) for x in (interval.value, interval.lo, interval.hi))
    return Interval(value=value, lo=lo, hi=hi, n=interval.n)


@dataclass(frozen=True, kw_only=True, slots=True)
class Harm:
    """How often and how badly worlds fare worse than under the shipped defaults."""

    worse_ratio: Interval
    """Share of worlds worse by over 2 % over their episode."""
    worst: float
    """The worst world's change of the objective over its episode: -0.05 is 5 % worse."""
    worst_decision: float
    """The same of the worst single decision."""


def harm(reward_SKN: FloatArray, path_N: IntArray) -> Harm:
    """Judge worlds by the mean over their decisions, and the worst single decision beside."""
    episode_SN = reward_SKN.mean(axis=1)
    worse = (episode_SN < WORSE_BY_2_PERCENT).astype(np.float64)
    return Harm(
        worse_ratio=mean_interval(worse, path_N),
        worst=float(np.expm1(min(episode_SN.min(), 0.0))),
        worst_decision=float(np.expm1(min(reward_SKN.min(), 0.0))),
    )


def component_changes(played: Sequence[Played]) -> dict[str, Interval]:
    """Return the relative change of each metric against the shipped defaults, worlds paired.

    Ratios are geometric means over worlds and decisions; metrics that may be zero are compared
    by their difference of means instead and named `..._difference`.
    """
    first = played[0]
    changes: dict[str, Interval] = {}
    for name in first.metrics_KN:
        agent = np.stack([each.metrics_KN[name].mean(axis=0) for each in played])
        shipped = np.stack([each.default_metrics_KN[name].mean(axis=0) for each in played])
        if name.endswith("_ratio") and name != "encode_ratio":
            changes[f"{name}_difference"] = mean_interval(agent - shipped, first.path_N)
            continue
        log = mean_interval(np.log(agent) - np.log(shipped), first.path_N)
        value, lo, hi = (float(np.expm1(x)) for x in (log.value, log.lo, log.hi))
        changes[name] = Interval(value=value, lo=lo, hi=hi, n=log.n)
    return changes
