import gymnasium as gym
import numpy as np
import pytest

import rl_envs
from novacron.errors import ConfigError, OutOfRangeError, UnknownNameError

# RLlib is imported inside: it changes logging for a whole process, the unit lane's too.
pytestmark = pytest.mark.ray


class Worker:
    def __init__(self, worker_index):
        self.worker_index = worker_index


def placed(worker_index, num_envs=3):
    """What a worker of RLlib gets: a creator called with a plain dict, then the callback."""
    from rl_envs.rllib import PlaceEnvironments, create_env

    env = create_env("amst_transport", {"scenario": "wan", "num_envs": num_envs})
    PlaceEnvironments().on_environment_created(
        env_runner=Worker(worker_index), env=env, env_context={}
    )
    return env


@pytest.mark.parametrize("target", rl_envs.ENVIRONMENTS)
def test_every_target_can_be_made_from_a_plain_dict(target):
    from rl_envs.rllib import create_env

    env = create_env(target, {"num_envs": 2})

    assert env.num_envs == 2
    assert env.metadata["autoreset_mode"] is gym.vector.AutoresetMode.NEXT_STEP


def test_environment_without_a_place_among_the_workers_does_not_start():
    from rl_envs.rllib import create_env

    env = create_env("amst_transport", {"num_envs": 2})

    with pytest.raises(ConfigError, match=r"place\(\)"):
        env.reset(seed=1)


def test_workers_continue_one_numbering_and_share_no_random_numbers():
    whole = gym.make_vec(
        rl_envs.ENVIRONMENTS["amst_transport"],
        9,
        vectorization_mode="vector_entry_point",
        scenario="wan",
    )
    expected, _ = whole.reset(seed=4)

    parts = [placed(worker_index).reset(seed=4)[0] for worker_index in range(3)]

    assert np.array_equal(np.concatenate(parts), expected)
    assert len(np.unique(expected, axis=0)) == 9


def test_local_worker_without_a_number_is_the_first():
    assert np.array_equal(placed(None).reset(seed=4)[0], placed(0).reset(seed=4)[0])


def test_single_environments_are_refused_with_the_setting_to_change():
    from rl_envs.rllib import create_env

    with pytest.raises(ConfigError, match="vector_entry_point"):
        create_env("amst_transport", {"scenario": "wan"})


@pytest.mark.parametrize(
    ("target", "settings", "error"),
    [
        ("routing", {}, UnknownNameError),
        ("joint", {"scenario": "moon"}, UnknownNameError),
        ("joint", {"episode_steps": 0}, OutOfRangeError),
        ("joint", {"first_env_index": 0}, ConfigError),
        ("joint", {"worker_index": 1}, ConfigError),
    ],
)
def test_wrong_settings_end_before_any_worker_starts(target, settings, error):
    from ray.rllib.algorithms.ppo import PPOConfig

    from rl_envs.rllib import with_environment

    with pytest.raises(error):
        with_environment(PPOConfig(), target, num_envs=2, settings=settings)


def test_config_asks_for_whole_batches_of_the_registered_environment():
    from ray.rllib.algorithms.ppo import PPOConfig

    from rl_envs.rllib import with_environment

    config = with_environment(
        PPOConfig(), "hde_compression", num_envs=16, settings={"split": "validation"}
    )

    assert config.env == rl_envs.ENVIRONMENTS["hde_compression"]
    assert config.env_config == {"split": "validation"}
    assert config.num_envs_per_env_runner == 16
    assert config.gym_env_vectorize_mode == "vector_entry_point"


def test_negative_place_is_refused():
    from rl_envs.rllib import create_env

    with pytest.raises(OutOfRangeError, match="first_env_index"):
        create_env("joint", {"num_envs": 1}).place(-1)
