import gymnasium as gym
import numpy as np
import pytest

import rl_envs
from ray_jobs.cluster import LocalCluster, connect, use_cluster

# RLlib is imported inside: it changes logging for a whole process, the unit lane's too.
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300)]

NUM_ENVS = 8
TARGET = "amst_transport"


@pytest.fixture(scope="module", autouse=True)
def connected(cluster: LocalCluster):
    use_cluster(cluster.state)
    with connect():
        yield


def tiny_config():
    from ray.rllib.algorithms.ppo import PPOConfig

    from rl_envs.rllib import with_environment

    config = (
        PPOConfig()
        .env_runners(num_env_runners=0, rollout_fragment_length=10)
        .training(train_batch_size_per_learner=80, minibatch_size=40, num_epochs=1)
        .debugging(seed=3, log_level="ERROR")
    )
    return with_environment(
        config, TARGET, num_envs=NUM_ENVS, settings={"scenario": "wan", "episode_steps": 5}
    )


def test_ppo_of_the_new_stack_steps_the_batch_and_learns_from_it():
    algorithm = tiny_config().build_algo()
    try:
        before = algorithm.get_module().get_state()
        result = algorithm.train()
        after = algorithm.get_module().get_state()
        env = algorithm.env_runner.env.unwrapped
    finally:
        algorithm.stop()

    assert isinstance(env, gym.vector.VectorEnv)
    assert type(env).__module__ == "rl_envs.environments"
    assert env.num_envs == NUM_ENVS
    sampled = result["env_runners"]
    assert sampled["num_env_steps_sampled"] >= 80
    # Episodes end where they should: the step that only restarts a row is not counted as one.
    assert sampled["episode_len_mean"] == 5
    assert np.isfinite(sampled["episode_return_mean"])
    assert any(not np.array_equal(before[name], after[name]) for name in before)


# RLlib registers every runner's environment under one name; in production each has its process.
@pytest.mark.filterwarnings("ignore:.*Overriding environment rllib-single-agent-env-v0")
def test_runner_of_each_worker_plays_its_own_rows_of_one_numbering():
    from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

    config = tiny_config()
    config.create_env_on_local_worker = True
    whole = gym.make_vec(
        rl_envs.ENVIRONMENTS[TARGET],
        NUM_ENVS,
        vectorization_mode="vector_entry_point",
        scenario="wan",
        episode_steps=5,
        first_env_index=2 * NUM_ENVS,
    )

    runner = SingleAgentEnvRunner(config=config, worker_index=2, num_workers=2)
    episodes = runner.sample(num_timesteps=NUM_ENVS, random_actions=True)
    runner.stop()

    # RLlib adds the worker's number to the seed.
    expected, _ = whole.reset(seed=3 + 2)
    first = {tuple(episode.get_observations(0)) for episode in episodes}
    assert first == {tuple(row) for row in expected}
