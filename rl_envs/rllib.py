"""Hands the batched environments to RLlib; the only file here that knows Ray.

RLlib calls the creator of a batched environment with a plain dict, so the number of the worker is
not in it: the environment is made without a place among all, and the callback gives it one.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final, TypeVar

import gymnasium as gym
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.tune.registry import register_env

from novacron.errors import ConfigError, UnknownNameError
from rl_envs import ENVIRONMENTS
from rl_envs.vector_env import DwcpVectorEnv

Config = TypeVar("Config", bound=AlgorithmConfig)

SETTINGS: Final = (
    "scenario", "split", "traces", "episode_steps", "frames", "max_cost_increase_ratio",
    "peers",
)  # fmt: skip
"""What may be set of an environment; see `DwcpVectorEnv`."""


class PlaceEnvironments(RLlibCallback):
    """Numbers the environments of all workers through, so that no two share random numbers."""

    def on_environment_created(
        self,
        *,
        env_runner: Any,
        metrics_logger: Any = None,
        env: Any,
        env_context: Any,
        **kwargs: Any,
    ) -> None:
        """Give a worker's N environments the indices from worker_index * N on."""
        del metrics_logger, env_context, kwargs
        env.place((env_runner.worker_index or 0) * env.num_envs)


def create_env(target: str, context: Mapping[str, Any]) -> DwcpVectorEnv:
    """Return a batch of `context["num_envs"]` environments that has no place among all yet.

    Args:
        target: The group of knobs that is tuned.
        context: RLlib's `env_config` with `num_envs` added: a plain dict without a worker's number.

    Raises:
        ConfigError: RLlib asks for single environments, or a setting is unknown.
        UnknownNameError: No such target, scenario or split.
    """
    if target not in ENVIRONMENTS:
        raise UnknownNameError(kind="target", got=target, known=tuple(ENVIRONMENTS))
    if "num_envs" not in context:
        raise ConfigError(
            field="gym_env_vectorize_mode",
            got="single environments",
            expected="vector_entry_point",
            remedy="Configure the algorithm with rl_envs.rllib.with_environment.",
        )
    settings = {name: value for name, value in context.items() if name != "num_envs"}
    for name in settings:
        if name not in SETTINGS:
            raise ConfigError(
                field=f"env_config.{name}", got=settings[name], expected=", ".join(SETTINGS)
            )
    env = gym.make_vec(
        ENVIRONMENTS[target],
        context["num_envs"],
        vectorization_mode="vector_entry_point",
        first_env_index=None,
        **settings,
    ).unwrapped
    if not isinstance(env, DwcpVectorEnv):
        raise ConfigError(field=target, got=type(env).__name__, expected="a DwcpVectorEnv")
    return env


def with_environment(
    config: Config, target: str, *, num_envs: int, settings: Mapping[str, Any] | None = None
) -> Config:
    """Set an algorithm's environment: batches of `num_envs` in every worker, on the new API stack.

    Registers the environment under its Gymnasium id, and sets the environment, the vectorisation
    and the callback class; a callback class set later must derive from `PlaceEnvironments`.

    Args:
        config: An algorithm's config, changed in place and returned.
        target: The group of knobs that is tuned.
        num_envs: Environments in each worker.
        settings: Arguments of the environment among `SETTINGS`.

    Raises:
        ConfigError: A setting is unknown.
        UnknownNameError: No such target, scenario or split.
        OutOfRangeError: The number of environments or of steps is not positive.
        SchemaError: A trace is shorter than an episode or has a gap.
    """
    chosen = dict(settings or {})
    # Here, not in a worker, is where a wrong setting should end.
    create_env(target, chosen | {"num_envs": num_envs})
    register_env(ENVIRONMENTS[target], partial(create_env, target))
    config.environment(ENVIRONMENTS[target], env_config=chosen)
    config.env_runners(
        num_envs_per_env_runner=num_envs, gym_env_vectorize_mode="vector_entry_point"
    )
    config.callbacks(PlaceEnvironments)
    return config
