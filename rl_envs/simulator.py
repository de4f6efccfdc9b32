"""Runs a batch of episodes of one target: the agent's lane and the default's, side by side.

Shape legend: N batch, D knobs, F channels of a frame.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from novacron.params.encode import Float32, encode_frame, numbers_of
from rl_envs.dynamics import PathState, World, begin_state, next_state, world_of
from rl_envs.noise import Keys, Noise, Purpose
from rl_envs.physics.quantities import FloatArray, IntArray
from rl_envs.records import put_rows
from rl_envs.scenarios import Path, ScenarioSet
from rl_envs.targets.base import Outcome, Target, knobs_of, objective
from rl_envs.traces import TraceBank

REWARD_LIMIT: Final = 3.0
"""Bound of one reward in nats: a factor of twenty in the objective."""

COST_LIMIT_WEIGHT: Final = 3.0
"""Nats taken from the reward for each nat of cost above the limit, where one is set: more than any
target's objective pays for a nat of cost, so that no setting beyond the limit is worth it."""

MEASUREMENT_SD: Final = 0.05
"""Relative standard deviation of what telemetry measures."""

_PRICE: Final = "cost_usd_per_gb"

_UNMEASURED: Final = ("usd", "quorum", "memory_mb", "task_mb")
"""Parts of the names of channels that are known exactly."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Episode:
    """A batch of running episodes; every array has the batch on axis 0."""

    key: Keys
    step: IntArray
    path: Path
    state: PathState
    context: Any
    default_values: FloatArray
    agent: Any
    default: Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """What one interval gave, arrays [N]; `components` is each cost's part of the reward."""

    frame: Float32
    reward: FloatArray
    components: dict[str, FloatArray]
    metrics: dict[str, FloatArray]
    default_metrics: dict[str, FloatArray]


class Simulator:
    """The world of one target.

    Args:
        target: What is tuned.
        scenarios: The paths episodes are drawn from.
        traces: Measured traces to replay as capacity, or None for synthetic paths.
        episode_steps: Decisions in an episode.
        max_cost_increase_ratio: Increase of the cost of a gigabyte over the shipped defaults beyond
            which the reward falls by `COST_LIMIT_WEIGHT` a nat; None: no limit.
    """

    def __init__(
        self,
        target: Target[Any, Any],
        scenarios: ScenarioSet,
        traces: TraceBank | None,
        episode_steps: int,
        max_cost_increase_ratio: float | None = None,
    ) -> None:
        self.target = target
        self.scenarios = scenarios
        self.traces = traces
        self.episode_steps = episode_steps
        self.max_cost_increase_ratio = max_cost_increase_ratio
        self._shipped = {
            mode: numbers_of(target.group, target.group.defaults(mode))
            for mode in ("internet", "datacenter")
        }

    def begin(self, key: Keys) -> tuple[Episode, Float32]:
        """Start one episode per key; the default ran for one interval, whose frame is returned."""
        step = np.zeros(key.shape, dtype=np.int64)
        noise = Noise(key=key, step=step)
        path = self.scenarios.draw(noise)
        episode_s = (self.episode_steps + 1) * self.target.interval_s
        state = begin_state(path, noise, self.traces, self.target.history_s, episode_s)
        world = world_of(path, state, noise, self.traces, self.target.interval_s)
        context = self.target.sample(world, self.traces)
        shipped = self._shipped_values(world)
        lane = self.target.begin(context, world)
        outcome = self.target.play(context, world, knobs_of(self.target.group, shipped), lane)
        episode = Episode(
            key=key, step=step, path=path, state=state, context=context,
            default_values=shipped, agent=outcome.carry, default=outcome.carry,
        )  # fmt: skip
        return episode, self._frame(outcome.telemetry, shipped, noise)

    def _shipped_values(self, world: World) -> FloatArray:
        """The shipped knobs of the mode that DWCP's own rule picks, [N, D]."""
        link = world.link
        datacenter = (link.rtt_ms < 10.0) & (link.capacity_mbps >= 1000.0)
        return np.where(
            datacenter[:, None], self._shipped["datacenter"], self._shipped["internet"]
        )

    def advance(self, episode: Episode) -> tuple[Episode, World]:
        """Move the hidden world on by one interval."""
        interval_s = self.target.interval_s
        step = episode.step + 1
        noise = Noise(key=episode.key, step=step)
        state = next_state(episode.state, episode.path, noise, interval_s)
        world = world_of(episode.path, state, noise, self.traces, interval_s)
        context = self.target.advance(episode.context, world, self.traces)
        return replace(episode, step=step, state=state, context=context), world

    def play(
        self, episode: Episode, world: World, values_ND: FloatArray
    ) -> tuple[Episode, Interval]:
        """Run both lanes of an advanced episode; `values_ND` are the agent's knobs."""
        group = self.target.group
        agent = self.target.play(episode.context, world, knobs_of(group, values_ND), episode.agent)
        shipped = self.target.play(
            episode.context, world, knobs_of(group, episode.default_values), episode.default
        )
        moved = replace(episode, agent=agent.carry, default=shipped.carry)
        return moved, self._interval(agent, shipped, values_ND, world.noise)

    def _interval(
        self, agent: Outcome[Any], shipped: Outcome[Any], values_ND: FloatArray, noise: Noise
    ) -> Interval:
        weights = self.target.weights
        gain = objective(weights, agent.log_costs) - objective(weights, shipped.log_costs)
        components = {
            name: weights[name] * (shipped.log_costs[name] - agent.log_costs[name])
            for name in weights
        }
        if self.max_cost_increase_ratio is not None:
            dearer = np.log(agent.metrics[_PRICE]) - np.log(shipped.metrics[_PRICE])
            beyond = np.maximum(dearer - np.log1p(self.max_cost_increase_ratio), 0.0)
            components["cost_limit"] = -COST_LIMIT_WEIGHT * beyond
            gain = gain + components["cost_limit"]
        return Interval(
            frame=self._frame(agent.telemetry, values_ND, noise),
            reward=np.clip(gain, -REWARD_LIMIT, REWARD_LIMIT),
            components=components,
            metrics=agent.metrics,
            default_metrics=shipped.metrics,
        )

    def _frame(
        self, telemetry: Mapping[str, FloatArray], values_ND: FloatArray, noise: Noise
    ) -> Float32:
        """Encode telemetry as it is measured: with an error of a few percent."""
        reach = MEASUREMENT_SD * np.sqrt(3.0)
        measured = {}
        for number, channel in enumerate(self.target.observation.channels):
            exact = telemetry[channel.name]
            if any(part in channel.name for part in _UNMEASURED):
                measured[channel.name] = exact
                continue
            error = 1.0 + reach * (2.0 * noise.uniform(Purpose.MEASUREMENT, number) - 1.0)
            measured[channel.name] = exact * error
        return encode_frame(self.target.observation, measured, values_ND)


def restart_rows(episode: Episode, rows: IntArray, fresh: Episode) -> Episode:
    """Return `episode` with its rows `rows` replaced by freshly started ones."""
    if rows.size == episode.step.size:
        return fresh
    merged: Episode = put_rows(episode, rows, fresh)
    return merged
