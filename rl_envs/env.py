"""One environment: row 0 of a batch of one, with the scalars that Gymnasium expects."""

from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from novacron.errors import EpisodeFinishedError, SchemaError
from novacron.params.encode import Float32, decode_unit, values_of
from novacron.telemetry.traces import Trace
from rl_envs.scenarios import ALL
from rl_envs.vector_env import DwcpVectorEnv


class DwcpEnv(gym.Env[Float32, Float32]):
    """One environment of a target; use the classes of `rl_envs.environments`.

    Arguments and errors are those of `DwcpVectorEnv`.

    `env_index` is the environment's number within the run: the environments of indices 0 to N - 1
    are the rows of the batch of N.
    """

    batch_class: ClassVar[type[DwcpVectorEnv]]
    """The batched form, of which this is row 0."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}  # type: ignore[misc]

    def __init__(
        self,
        *,
        scenario: str = ALL,
        split: str = "train",
        traces: Sequence[Trace] | None = None,
        episode_steps: int | None = None,
        env_index: int = 0,
    ) -> None:
        self.batch = self.batch_class(
            1,
            scenario=scenario,
            split=split,
            traces=traces,
            episode_steps=episode_steps,
            first_env_index=env_index,
        )
        self.observation_space = self.batch.single_observation_space
        self.action_space = self.batch.single_action_space
        self._running = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float32, dict[str, Any]]:
        """Start a new episode; a seed starts the run over from its first episode."""
        super().reset(seed=seed)
        observation, _ = self.batch.reset(seed=seed, options=options)
        self._running = True
        return observation[0], {}

    def step(self, action: Float32) -> tuple[Float32, float, bool, bool, dict[str, Any]]:
        """Run one interval; `info` names reward components, metrics and the decoded knobs.

        Raises:
            EpisodeFinishedError: The episode is over, or was never started.
            SchemaError: The action has another shape than the action space.
            OutOfRangeError: The action is NaN or outside [-1, 1].
        """
        if not self._running:
            raise EpisodeFinishedError(
                "The episode is over or was never started.", remedy="Call reset() first."
            )
        given = np.asarray(action)
        if given.shape != self.action_space.shape:
            raise SchemaError(
                field="action", got=given.shape, expected=f"{self.action_space.shape}"
            )
        observation, reward, terminated, truncated, batch_info = self.batch.step(given[None, :])
        group = self.batch.target.group
        values = decode_unit(group, given[None, :].astype(np.float64))
        info: dict[str, Any] = {
            name: {key: float(column[0]) for key, column in batch_info[name].items()}
            for name in ("components", "metrics", "default_metrics")
        }
        info["parameters"] = values_of(group, values[0])
        info["default_parameters"] = values_of(group, self.batch.hidden_state().default_values[0])
        self._running = not (terminated[0] or truncated[0])
        return observation[0], float(reward[0]), bool(terminated[0]), bool(truncated[0]), info
