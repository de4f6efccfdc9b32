"""What every registered environment keeps, whatever its target."""

import hashlib
import inspect
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers.vector import DictInfoToList

import rl_envs
from novacron.errors import (
    EpisodeFinishedError,
    OutOfRangeError,
    SchemaError,
    UnknownNameError,
)
from novacron.params.encode import encode_values
from novacron.params.groups import GROUPS
from rl_envs.datasheet import data_sheet
from rl_envs.simulator import REWARD_LIMIT

TARGETS = tuple(rl_envs.ENVIRONMENTS)
HORIZON = 34  # past the end of the longest episode


def make(target, **options):
    return gym.make(rl_envs.ENVIRONMENTS[target], disable_env_checker=True, **options).unwrapped


def make_batch(target, num_envs, **options):
    return gym.make_vec(
        rl_envs.ENVIRONMENTS[target],
        num_envs,
        vectorization_mode="vector_entry_point",
        **options,
    )


def actions_of(target, rows, steps=HORIZON, seed=0):
    size = len(GROUPS[target])
    draws = np.random.default_rng(seed).uniform(-1, 1, (steps, rows, size))
    return draws.astype(np.float32)


def rollout(env, actions, seed):
    """Observations and rewards of a batch, the reset's observation first."""
    observation, _ = env.reset(seed=seed)
    seen, rewards = [observation], []
    for action in actions:
        observation, reward, _, _, _ = env.step(action)
        seen.append(observation)
        rewards.append(reward)
    return np.stack(seen), np.stack(rewards)


@pytest.mark.parametrize("target", TARGETS)
def test_gymnasium_checker_accepts_it(target):
    check_env(make(target), skip_render_check=True)


@pytest.mark.parametrize("target", TARGETS)
def test_docstring_is_the_data_sheet_of_the_tables(target):
    env = make(target)
    sheet = inspect.getdoc(type(env))

    missing = [line for line in data_sheet(env.batch.target) if line not in sheet]

    assert missing == []


@pytest.mark.parametrize("target", TARGETS)
def test_spaces_are_finite_and_observations_stay_inside(target):
    env = make_batch(target, 32)

    seen, rewards = rollout(env, actions_of(target, 32), seed=5)

    space = env.single_observation_space
    assert np.isfinite(space.low).all()
    assert np.isfinite(space.high).all()
    assert seen.dtype == np.float32
    assert np.abs(seen).max() <= 1.0
    assert np.abs(rewards).max() <= REWARD_LIMIT


@pytest.mark.parametrize("target", TARGETS)
def test_one_environment_is_row_zero_of_a_batch_of_one_bit_for_bit(target):
    actions = actions_of(target, 1)
    batch_seen, batch_rewards = rollout(make_batch(target, 1), actions, seed=11)
    single = make(target)
    observation, _ = single.reset(seed=11)

    seen, rewards, finished = [observation], [], False
    for action in actions[:, 0]:
        if finished:
            observation, _ = single.reset()
            reward, finished = 0.0, False
        else:
            observation, reward, _, finished, _ = single.step(action)
        seen.append(observation)
        rewards.append(reward)

    assert np.stack(seen).tobytes() == batch_seen[:, 0].tobytes()
    assert np.array(rewards).tobytes() == batch_rewards[:, 0].tobytes()


@pytest.mark.parametrize("target", TARGETS)
def test_row_of_a_large_batch_equals_the_environment_of_that_index_bit_for_bit(target):
    rows = 256
    actions = actions_of(target, rows)
    seen, rewards = rollout(make_batch(target, rows), actions, seed=3)

    for row in (0, 1, 7, 100, 255):
        alone = make_batch(target, 1, first_env_index=row)
        alone_seen, alone_rewards = rollout(alone, actions[:, row : row + 1], seed=3)
        assert alone_seen.tobytes() == seen[:, row : row + 1].tobytes()
        assert alone_rewards.tobytes() == rewards[:, row : row + 1].tobytes()


@pytest.mark.parametrize("target", TARGETS)
def test_two_workers_split_a_run_without_changing_it(target):
    actions = actions_of(target, 12, steps=6)
    seen, rewards = rollout(make_batch(target, 12), actions, seed=8)

    first = rollout(make_batch(target, 5), actions[:, :5], seed=8)
    second = rollout(make_batch(target, 7, first_env_index=5), actions[:, 5:], seed=8)

    assert np.concatenate([first[0], second[0]], axis=1).tobytes() == seen.tobytes()
    assert np.concatenate([first[1], second[1]], axis=1).tobytes() == rewards.tobytes()


DIGEST = """
import sys, hashlib
sys.path.insert(0, {tests!r})
from test_env_contract import TARGETS, actions_of, make_batch, rollout
for target in TARGETS:
    seen, rewards = rollout(make_batch(target, 4), actions_of(target, 4), seed=21)
    print(hashlib.sha256(seen.tobytes() + rewards.tobytes()).hexdigest())
"""


def test_same_seed_gives_the_same_rollout_in_another_process():
    here = []
    for target in TARGETS:
        seen, rewards = rollout(make_batch(target, 4), actions_of(target, 4), seed=21)
        here.append(hashlib.sha256(seen.tobytes() + rewards.tobytes()).hexdigest())

    script = DIGEST.format(tests=__file__.rsplit("/", 1)[0])
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert answer.stdout.split() == here


@pytest.mark.parametrize("target", TARGETS)
def test_other_seeds_and_other_rows_meet_other_worlds(target):
    env = make_batch(target, 8)
    first, _ = env.reset(seed=1)
    second, _ = env.reset(seed=2)

    assert not np.array_equal(first, second)
    assert len({row.tobytes() for row in first}) == 8


@pytest.mark.parametrize("target", TARGETS)
def test_reset_without_a_seed_starts_another_episode_of_the_same_run(target):
    env = make(target)
    first, _ = env.reset(seed=4)
    second, _ = env.reset()
    again, _ = env.reset(seed=4)

    assert not np.array_equal(first, second)
    assert np.array_equal(first, again)


@pytest.mark.parametrize("target", TARGETS)
def test_shipped_defaults_earn_exactly_nothing(target):
    env = make_batch(target, 64)
    env.reset(seed=9)
    shipped = encode_values(GROUPS[target], env.hidden_state().default_values)

    for _ in range(5):
        _, reward, _, _, info = env.step(shipped.astype(np.float32))
        assert (reward == 0.0).all()
        assert all((part == 0.0).all() for part in info["components"].values())


@pytest.mark.parametrize("target", TARGETS)
def test_reward_is_the_clipped_sum_of_the_components_in_info(target):
    env = make_batch(target, 64)
    env.reset(seed=2)

    _, reward, _, _, info = env.step(actions_of(target, 64)[0])

    total = sum(info["components"].values())
    np.testing.assert_allclose(reward, np.clip(total, -REWARD_LIMIT, REWARD_LIMIT), atol=1e-9)
    assert set(info["components"]) == set(env.target.weights)


@pytest.mark.parametrize("target", TARGETS)
def test_episode_is_truncated_and_the_next_step_only_restarts(target):
    env = make_batch(target, 3)
    env.reset(seed=6)
    actions = actions_of(target, 3, steps=40)
    length = env.target.episode_steps

    ends = [env.step(action)[2:4] for action in actions[:length]]
    restarted, reward, terminated, truncated, info = env.step(actions[length])

    assert not np.stack([end[0] for end in ends]).any()
    assert np.stack([end[1] for end in ends]).sum(axis=0).tolist() == [1, 1, 1]
    assert ends[-1][1].all()
    assert (reward == 0).all()
    assert not (terminated | truncated).any()
    assert info == {}
    fresh = make_batch(target, 3)
    fresh.reset(seed=6)
    assert np.array_equal(restarted, fresh.reset()[0])


@pytest.mark.parametrize("target", TARGETS)
def test_peeking_tells_the_next_reward_and_moves_nothing(target):
    env, twin = make_batch(target, 6), make_batch(target, 6)
    env.reset(seed=13)
    twin.reset(seed=13)
    actions = actions_of(target, 6, steps=4)

    told = env.peek_rewards(actions)
    price = env.peek(actions)[2].metrics["cost_usd_per_gb"]
    _, reward, _, _, info = env.step(actions[2])

    assert np.array_equal(told[2], reward)
    assert np.array_equal(info["metrics"]["cost_usd_per_gb"], price)
    assert np.array_equal(twin.step(actions[2])[1], reward)


@pytest.mark.parametrize("target", TARGETS)
def test_peers_share_a_world_and_are_told_what_they_gain_over_the_others(target):
    peers, alone = make_batch(target, 6, peers=3), make_batch(target, 2)
    actions = actions_of(target, 6)

    seen, told = rollout(peers, actions, seed=17)
    own = [rollout(alone, actions[:, row::3], seed=17) for row in range(3)]

    reward = np.stack([each[1] for each in own], axis=2).reshape(HORIZON, 6)
    others = np.stack([each[1] for each in own]).sum(axis=0).repeat(3, axis=1) - reward
    assert np.allclose(told, reward - others / 2.0)
    for row in range(6):
        assert np.array_equal(seen[:, row], own[row % 3][0][:, row // 3])
    restarts = HORIZON // (peers.target.episode_steps + 1)
    assert peers.take_gain() == pytest.approx(reward.sum() / (reward.size - 6 * restarts))
    assert np.isnan(peers.take_gain())


def test_peers_that_do_not_divide_the_batch_are_refused():
    with pytest.raises(OutOfRangeError, match="multiple of 4 peers"):
        make_batch("joint", 6, peers=4)
    with pytest.raises(OutOfRangeError, match="peers"):
        make_batch("joint", 6, peers=0)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("bad", [np.nan, 1.5, -np.inf])
def test_unusable_action_is_refused_and_the_world_stands_still(target, bad):
    env, twin = make(target), make(target)
    env.reset(seed=1)
    twin.reset(seed=1)
    good = actions_of(target, 1)[0, 0]
    wrong = good.copy()
    wrong[0] = bad

    with pytest.raises(OutOfRangeError, match="action"):
        env.step(wrong)

    assert np.array_equal(env.step(good)[0], twin.step(good)[0])


@pytest.mark.parametrize("target", TARGETS)
def test_action_of_the_wrong_shape_is_refused(target):
    env = make(target)
    env.reset(seed=1)

    with pytest.raises(SchemaError, match="action"):
        env.step(np.zeros(len(GROUPS[target]) + 1, dtype=np.float32))


@pytest.mark.parametrize("target", TARGETS)
def test_stepping_before_reset_or_after_the_end_says_so(target):
    env = make(target, episode_steps=2)
    action = actions_of(target, 1)[0, 0]

    with pytest.raises(EpisodeFinishedError, match="reset"):
        env.step(action)
    env.reset(seed=1)
    env.step(action)
    env.step(action)
    with pytest.raises(EpisodeFinishedError, match="over"):
        env.step(action)


def test_batch_that_never_started_says_so():
    env = make_batch("joint", 2)

    for call in (
        lambda: env.step(actions_of("joint", 2)[0]),
        lambda: env.peek_rewards(actions_of("joint", 2)),
        env.hidden_state,
    ):
        with pytest.raises(EpisodeFinishedError, match="reset"):
            call()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"scenario": "moon"}, UnknownNameError),
        ({"split": "production"}, UnknownNameError),
        ({"scenario": "out_of_distribution"}, OutOfRangeError),
        ({"episode_steps": 0}, OutOfRangeError),
        ({"env_index": -1}, OutOfRangeError),
        ({"traces": ()}, SchemaError),
    ],
)
def test_unknown_or_impossible_option_is_a_typed_error(options, error):
    with pytest.raises(error):
        make("hde_compression", **options)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("split", ["validation", "test", "ood"])
def test_every_side_of_the_split_runs(target, split):
    env = make_batch(target, 16, split=split)

    seen, rewards = rollout(env, actions_of(target, 16, steps=3), seed=1)

    assert np.isfinite(seen).all()
    assert np.isfinite(rewards).all()


@pytest.mark.parametrize("target", TARGETS)
def test_infos_convert_to_one_dictionary_per_row(target):
    env = DictInfoToList(make_batch(target, 3, episode_steps=1))
    env.reset(seed=3)
    action = actions_of(target, 3)[0]

    ran = env.step(action)[4]
    restarted = env.step(action)[4]

    assert [sorted(info) for info in ran] == [["components", "default_metrics", "metrics"]] * 3
    assert isinstance(ran[2]["components"], dict)
    assert restarted == [{}, {}, {}]


@pytest.mark.parametrize("target", TARGETS)
def test_steps_without_info_earn_the_same(target):
    loud, quiet = make_batch(target, 4), make_batch(target, 4)
    quiet.with_info = False
    actions = actions_of(target, 4, steps=3)

    loud_run, quiet_run = rollout(loud, actions, seed=3), rollout(quiet, actions, seed=3)

    assert np.array_equal(loud_run[1], quiet_run[1])
    assert quiet.step(actions[0])[4] == {}
