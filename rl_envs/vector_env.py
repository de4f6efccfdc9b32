"""A batch of environments stepped as arrays, for training.

Shape legend: N environments, D knobs, K frames, F channels of a frame.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from novacron.errors import ConfigError, EpisodeFinishedError, OutOfRangeError
from novacron.params.encode import (
    Float32,
    Float64,
    decode_unit,
    frames_hidden,
    stack_frames,
)
from novacron.telemetry.traces import Trace
from rl_envs.noise import episode_keys
from rl_envs.physics.quantities import BoolArray, FloatArray, IntArray
from rl_envs.scenarios import ALL, scenario_set
from rl_envs.simulator import Episode, Interval, Simulator, restart_rows
from rl_envs.targets.base import Target
from rl_envs.targets.catalogue import target_of
from rl_envs.traces import TraceBank

MAX_TRACE_GAP_S: Final = 30.0
"""Longest hole in a trace that is bridged by holding the last value."""

StepResult = tuple[Float32, FloatArray, BoolArray, BoolArray, dict[str, Any]]


class DwcpVectorEnv(VectorEnv[Float32, Float32, Any]):
    """N copies of one target's environment; row i equals the single environment of index i.

    Use one of the classes of `rl_envs.environments`, or `gymnasium.make_vec`.

    Rewards, observations and episodes are those of the single environment (see its data sheet).
    An episode ends by truncation; the next step starts a new one and ignores that row's action
    (`AutoresetMode.NEXT_STEP`).

    Args:
        num_envs: N.
        scenario: A scenario class, or `all`.
        split: `train`, `validation`, `test` or `ood`: which paths and data.
        traces: Measured traces to replay as the capacity of the paths.
        episode_steps: Decisions in an episode; the target's own number by default.
        frames: Latest frames that are shown, all by default; numbers of older ones are 0.
        first_env_index: Index of row 0 among all workers, so that no two share random numbers;
            None if `place` is going to tell.
        max_cost_increase_ratio: Limit of the cost increase that rewards keep to; see `Simulator`.
        peers: Rows that meet the same world on the same random numbers; with more than one, a row's
            reward is its gain over the mean of its peers', so that what chance does to all of them
            is not in it. Row i is then the single environment of index i // peers.

    Raises:
        UnknownNameError: No such scenario or split.
        OutOfRangeError: N, the index or the episode length is not positive, the limit negative, or
            N no multiple of the peers.
        SchemaError: A trace is shorter than an episode or has a gap.
    """

    target_name: ClassVar[str]
    """The group of knobs that is tuned."""

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": [],
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(  # noqa: PLR0913 - one argument for each choice
        self,
        num_envs: int = 1,
        *,
        scenario: str = ALL,
        split: str = "train",
        traces: Sequence[Trace] | None = None,
        episode_steps: int | None = None,
        frames: int | None = None,
        first_env_index: int | None = 0,
        max_cost_increase_ratio: float | None = None,
        peers: int = 1,
    ) -> None:
        target = target_of(self.target_name, split)
        steps = target.episode_steps if episode_steps is None else episode_steps
        _check_counts(num_envs, steps, peers)
        _check_choices(target, frames, max_cost_increase_ratio)
        self._hidden = 0 if frames is None else frames_hidden(target.observation, frames)
        bank = None
        if traces is not None:
            bank = TraceBank.of(
                traces,
                min_length_s=trace_span_s(target, steps),
                max_gap_s=MAX_TRACE_GAP_S,
            )
        self.simulator = Simulator(
            target, scenario_set(scenario, split), bank, steps, max_cost_increase_ratio
        )
        self.num_envs = num_envs
        self._peers = peers
        self._gained_nats, self._gained_rows = 0.0, 0
        self.with_info = True
        """Whether steps report reward components and metrics; off, they are quicker."""
        self.single_observation_space = Box(-1.0, 1.0, (target.observation.size,), np.float32)
        self.single_action_space = Box(-1.0, 1.0, (len(target.group),), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._index: IntArray | None = None
        if first_env_index is not None:
            self.place(first_env_index)
        self._episode_number: IntArray = np.full(num_envs, -1, dtype=np.int64)
        self._seed = 0
        self._ended: BoolArray = np.zeros(num_envs, dtype=bool)
        self._episode: Episode | None = None
        self._frames: list[Float32] = []

    @property
    def target(self) -> Target[Any, Any]:
        """What is tuned."""
        return self.simulator.target

    def place(self, first_env_index: int) -> None:
        """Give row 0 its index among all workers; takes effect with the next reset.

        Raises:
            OutOfRangeError: The index is negative.
        """
        if first_env_index < 0:
            raise OutOfRangeError(
                field="first_env_index", got=first_env_index, expected="at least 0"
            )
        self._index = (first_env_index + np.arange(self.num_envs)) // self._peers

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float32, dict[str, Any]]:
        """Start a new episode in every row; a seed starts the run over from its first episode.

        Returns:
            The observation of one interval under the shipped defaults, and an empty info.

        Raises:
            ConfigError: The environments have no index among all workers yet.
        """
        del options
        first = self._episode is None
        super().reset(seed=seed)
        if seed is not None or first:
            self._seed = int(self.np_random.integers(2**62)) if seed is None else seed
            self._episode_number[:] = -1
        self._restart(np.arange(self.num_envs))
        return self._observation(), {}

    def _restart(self, rows: IntArray) -> None:
        if self._index is None:
            raise ConfigError(
                field="first_env_index",
                got=None,
                expected="an index among all workers",
                remedy="Call place() first; under RLlib, PlaceEnvironments does.",
            )
        self._episode_number[rows] += 1
        key = episode_keys(self._seed, self._index[rows], self._episode_number[rows])
        fresh, frame = self.simulator.begin(key)
        frames = self.target.observation.frames
        if self._episode is None or rows.size == self.num_envs:
            self._episode, self._frames = fresh, [frame] * frames
        else:
            self._episode = restart_rows(self._episode, rows, fresh)
            self._frames = [_with_rows(old, rows, frame) for old in self._frames]
        self._ended[rows] = False

    def step(self, actions: Float32) -> StepResult:
        """Run one interval in every row.

        Raises:
            EpisodeFinishedError: The environment was never reset.
            SchemaError: The actions are not [N, D].
            OutOfRangeError: An action is NaN or outside [-1, 1].
        """
        if self._episode is None:
            raise EpisodeFinishedError(
                "The environments are not running.", remedy="Call reset() first."
            )
        values = decode_unit(self.target.group, self._checked(actions))
        ended = np.flatnonzero(self._ended)
        if ended.size == self.num_envs:
            self._restart(ended)
            nothing = np.zeros(self.num_envs)
            unended = np.zeros(self.num_envs, dtype=bool)
            return self._observation(), nothing, unended, unended.copy(), {}
        advanced, world = self.simulator.advance(self._episode)
        self._episode, interval = self.simulator.play(advanced, world, values)
        self._frames = [*self._frames[1:], interval.frame]
        reward = interval.reward
        self._ended = self._episode.step >= self.simulator.episode_steps
        truncated = self._ended.copy()
        if ended.size:
            self._restart(ended)
            reward = _with_rows(reward, ended, np.zeros(ended.size))
            truncated[ended] = False
        terminated = np.zeros(self.num_envs, dtype=bool)
        info = self._info(interval, ended) if self.with_info else {}
        self._gained_nats += float(reward.sum())
        self._gained_rows += self.num_envs - ended.size
        if self._peers > 1:
            reward = over_peers(reward, self._peers)
        return self._observation(), reward, terminated, truncated, info

    def take_gain(self) -> float:
        """Return the mean gain over the defaults a decision since this was last asked, in nats.

        NaN where nothing was decided. Rewards tell the same, but where rows have peers.
        """
        mean = self._gained_nats / self._gained_rows if self._gained_rows else float("nan")
        self._gained_nats, self._gained_rows = 0.0, 0
        return mean

    def _checked(self, actions: Float32) -> Float64:
        """Give rows that only restart a neutral action: theirs is ignored."""
        checked = np.array(actions, dtype=np.float64)
        if checked.shape == (self.num_envs, len(self.target.group)):
            checked[self._ended] = 0.0
        return checked

    def _info(self, interval: Interval, restarted: IntArray) -> dict[str, Any]:
        """Arrays by name; rows that only restarted are masked out, as Gymnasium does."""
        ran = np.ones(self.num_envs, dtype=bool)
        ran[restarted] = False
        return {
            "components": interval.components,
            "_components": ran,
            "metrics": interval.metrics,
            "_metrics": ran,
            "default_metrics": interval.default_metrics,
            "_default_metrics": ran,
        }

    def _observation(self) -> Float32:
        shown = stack_frames(self.target.observation, self._frames)
        shown[:, : self._hidden] = 0.0
        return shown

    def peek_rewards(self, actions_AND: Float32) -> FloatArray:
        """Return what each of A actions per row would earn in the next interval, [A, N].

        See `peek`.
        """
        return np.stack([interval.reward for interval in self.peek(actions_AND)])

    def peek(self, actions_AND: Float32) -> list[Interval]:
        """Return the next interval under each of A actions per row.

        Nothing moves: all A meet the same random numbers as the next step will. Meant for oracles
        and for baselines that are allowed to see the simulator, never for a policy.

        Raises:
            EpisodeFinishedError: The environment was never reset.
            OutOfRangeError: An action is NaN or outside [-1, 1].
        """
        if self._episode is None:
            raise EpisodeFinishedError(
                "The environments are not running.", remedy="Call reset() first."
            )
        advanced, world = self.simulator.advance(self._episode)
        intervals = []
        for actions in actions_AND:
            values = decode_unit(self.target.group, np.asarray(actions, dtype=np.float64))
            intervals.append(self.simulator.play(advanced, world, values)[1])
        return intervals

    def hidden_state(self) -> Episode:
        """Return the state that policies never see: paths, regimes, both lanes.

        Raises:
            EpisodeFinishedError: The environment was never reset.
        """
        if self._episode is None:
            raise EpisodeFinishedError(
                "The environments are not running.", remedy="Call reset() first."
            )
        return self._episode


def over_peers(reward_N: FloatArray, peers: int) -> FloatArray:
    """Return each row's reward over the mean of the others of its group; groups stand together.

    >>> over_peers(np.array([1.0, 3.0, 5.0, 5.0]), 2).tolist()
    [-2.0, 2.0, 0.0, 0.0]
    """
    groups = reward_N.reshape(-1, peers)
    over = (groups - groups.mean(axis=1, keepdims=True)) * (peers / (peers - 1))
    return np.asarray(over.reshape(-1))


def trace_span_s(target: Target[Any, Any], steps: int) -> float:
    """Return the seconds of a trace that an episode of `steps` decisions replays."""
    return target.history_s + (steps + 1) * target.interval_s


def _with_rows(array: Any, rows: IntArray, part: Any) -> Any:
    merged = array.copy()
    merged[rows] = part
    return merged


def _check_counts(num_envs: int, episode_steps: int, peers: int) -> None:
    counts = (("num_envs", num_envs), ("episode_steps", episode_steps), ("peers", peers))
    for name, number in counts:
        if number < 1:
            raise OutOfRangeError(field=name, got=number, expected="at least 1")
    if num_envs % peers:
        raise OutOfRangeError(
            field="num_envs", got=num_envs, expected=f"a multiple of {peers} peers"
        )


def _check_choices(
    target: Target[Any, Any], frames: int | None, max_cost_increase_ratio: float | None
) -> None:
    if frames is not None and not 1 <= frames <= target.observation.frames:
        raise OutOfRangeError(
            field="frames", got=frames, expected=f"1 to {target.observation.frames}"
        )
    if max_cost_increase_ratio is not None and not max_cost_increase_ratio >= 0.0:
        raise OutOfRangeError(
            field="max_cost_increase_ratio", got=max_cost_increase_ratio, expected="at least 0"
        )
