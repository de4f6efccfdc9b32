import numpy as np
import pytest

import rl_envs
from novacron.errors import UnknownNameError
from novacron.params.encode import decode_unit, encode_values, values_of
from novacron.params.groups import parameter_group
from rl_envs.baselines.base import cube_of, in_force, latest
from rl_envs.baselines.oracle import Oracle
from rl_envs.baselines.rules import RULES, HandRule
from rl_envs.baselines.search import HillClimb, OptunaSearch
from rl_envs.baselines.static import Fixed, ShippedDefault, fit_fixed
from rl_envs.evaluate import (
    Worlds,
    as_improvement,
    component_changes,
    harm,
    mean_interval,
    play,
    ratio_interval,
)
from rl_envs.judge import improvement_over, oracle_run, oracle_share
from rl_envs.worlds import make_worlds

TARGETS = tuple(rl_envs.ENVIRONMENTS)


def small(target="amst_transport", **changes):
    return Worlds(**({"target": target, "worlds": 24, "decisions": 3} | changes))


@pytest.mark.parametrize("target", TARGETS)
def test_default_against_itself_gains_and_loses_nothing(target):
    played = play(ShippedDefault(target), small(target))

    assert np.array_equal(played.reward_KN, np.zeros((3, 24)))
    control = improvement_over([played])
    assert (control.value, control.lo, control.hi) == (0.0, 0.0, 0.0)
    changes = component_changes([played])
    assert all(change.value == pytest.approx(0.0, abs=1e-12) for change in changes.values())
    assert harm(played.reward_KN[None], played.path_N).worse_ratio.value == 0.0


def test_controllers_meet_the_same_worlds():
    one = play(ShippedDefault("hde_compression"), small("hde_compression"))
    other = play(HandRule("hde_compression", "zstd_adapt"), small("hde_compression"))

    assert np.array_equal(one.path_N, other.path_N)
    for name, default in one.default_metrics_KN.items():
        assert np.array_equal(default, other.default_metrics_KN[name])


def test_oracles_are_ordered_by_what_they_see():
    settings = fit_fixed("amst_transport", worlds=96)
    worlds = small(worlds=32, decisions=1)

    gains = {
        controller.name: play(controller, worlds).reward_KN.mean()
        for controller in (Oracle(0, starts=16), Oracle(4, starts=16), settings.best)
    }

    assert gains["clairvoyant"] > gains["oracle_4_futures"] > gains["best_static"]


def test_clairvoyant_profits_from_chance_that_the_oracle_cannot_see():
    worlds = small("pba_prediction", worlds=32, decisions=1)

    clairvoyant = play(Oracle(0, starts=16), worlds).reward_KN.mean()
    informed = play(Oracle(2, starts=16), worlds).reward_KN.mean()

    assert clairvoyant > informed + 0.1


def test_best_static_per_class_is_at_least_as_good_where_it_was_fitted():
    settings = fit_fixed("acp_consensus", worlds=128)
    env = make_worlds("acp_consensus", 64, seed=3)

    rewards = {}
    for fixed in (settings.best, settings.per_class):
        fixed.begin(env)
        rewards[fixed.name] = env.peek_rewards(fixed.act(np.zeros((64, 1)))[None]).mean()

    assert rewards["best_per_class"] > rewards["best_static"] > 0.0
    assert settings.per_class.sees == "class"


def test_stream_rule_of_the_original_opens_fewer_streams_at_longer_delay():
    rule = RULES["amst_transport"]["stream_rule"]
    telemetry = {
        "goodput_mbps": np.array([1000.0, 1000.0, 1.0]),
        "min_rtt_ms": np.array([10.0, 200.0, 1.0]),
    }

    assert rule(telemetry, {})["streams"].tolist() == [500.0, 25.0, 5.0]


def test_adaptive_zstd_raises_its_level_only_where_the_sockets_wait():
    rule = RULES["hde_compression"]["zstd_adapt"]
    now = {"codec": np.array([6.0, 6.0, 6.0])}
    telemetry = {
        "send_blocked_ratio": np.array([0.9, 0.0, 0.0]),
        "encode_busy_ratio": np.array([0.9, 0.9, 0.2]),
    }

    assert rule(telemetry, now)["codec"].tolist() == [7.0, 5.0, 6.0]


@pytest.mark.parametrize(("target", "rule"), [(t, r) for t, rules in RULES.items() for r in rules])
def test_hand_rules_set_what_they_know_and_keep_the_rest(target, rule):
    played = play(HandRule(target, rule), small(target))

    group = parameter_group(target)
    numbers = decode_unit(group, played.action_KND[-1])
    defaults = numbers_of_worlds(target)
    known = {name for name in group.names if name in WHAT_RULES_SET[rule]}
    for column, name in enumerate(group.names):
        if name not in known:
            assert np.array_equal(numbers[:, column], defaults[:, column])


WHAT_RULES_SET = {
    "stream_rule": {"streams"},
    "zstd_adapt": {"codec"},
    "zstd_1": {"codec"},
    "bbr_1_stream": {"streams", "congestion_algorithm"},
    "bbr_1_stream_zstd_1": {"streams", "congestion_algorithm", "codec"},
}


def numbers_of_worlds(target):
    env = make_worlds(target, 24, seed=small().seed, split="test", episode_steps=3)
    return env.hidden_state().default_values


def test_unknown_rule_is_refused():
    with pytest.raises(UnknownNameError, match="stream_rule"):
        HandRule("amst_transport", "stream_rul")


def test_hill_climb_ends_no_worse_than_it_began_and_pays_for_its_probes():
    climb = play(HillClimb("acp_consensus", probes=20), small("acp_consensus", decisions=24))

    gains = climb.reward_KN.mean(axis=1)
    assert gains[-1] > 0.05
    assert gains[:5].mean() < gains[-1]
    assert np.array_equal(climb.action_KND[-1], climb.action_KND[-2])


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_tpe_starts_with_what_ships_and_ends_with_its_best_probe():
    worlds = small("hde_compression", worlds=4, decisions=9)

    tpe = play(OptunaSearch("hde_compression", "tpe", probes=8), worlds)

    default = play(ShippedDefault("hde_compression"), worlds)
    assert tpe.name == "tpe_8"
    assert np.array_equal(
        decode_unit(parameter_group("hde_compression"), tpe.action_KND[0]),
        decode_unit(parameter_group("hde_compression"), default.action_KND[0]),
    )
    tried = tpe.action_KND[:8]
    assert all(
        any(np.array_equal(tpe.action_KND[8, n], each[n]) for each in tried) for n in (0, 3)
    )


def test_telemetry_comes_back_in_its_own_units():
    env = make_worlds("amst_transport", 8, seed=1)
    observation, _ = env.reset(seed=1)

    channels = latest("amst_transport", observation)
    knobs = in_force("amst_transport", observation)

    rtt = env.hidden_state().path.rtt_ms
    assert np.all(np.abs(channels["min_rtt_ms"] / rtt - 1.0) < 0.1)
    shipped = encode_values(env.target.group, env.hidden_state().default_values)
    assert np.allclose(knobs, shipped, atol=1e-6)
    defaults = env.target.group.defaults()
    assert (
        values_of(
            env.target.group,
            decode_unit(env.target.group, cube_of(env.target.group, defaults)[None])[0],
        )
        == defaults
    )


def test_share_of_a_controller_that_does_as_the_oracle_is_one(tmp_path):
    worlds = small("acp_consensus", decisions=3)
    oracle = oracle_run(worlds, futures=2, cache=tmp_path, digest="abc")
    again = oracle_run(worlds, futures=2, cache=tmp_path, digest="abc")
    same = play(Oracle(2), worlds)

    assert np.array_equal(oracle.reward_KN, again.reward_KN)
    share = oracle_share([same], oracle, 3)
    assert (share.value, share.lo, share.hi) == (1.0, 1.0, 1.0)


def test_intervals_resample_paths_and_not_their_worlds():
    rng = np.random.default_rng(0)
    by_path = rng.standard_normal(30)
    path = np.repeat(np.arange(30), 50)

    clustered = mean_interval(by_path[path], path)
    pretended = mean_interval(by_path[path], np.arange(1500))

    assert clustered.n == 30
    assert clustered.hi - clustered.lo > 4 * (pretended.hi - pretended.lo)


def test_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(60):
        value = 0.5 + rng.standard_normal(40)
        found = mean_interval(value, np.arange(40))
        hits += found.lo <= 0.5 <= found.hi

    assert hits >= 51


def test_ratio_of_sums_resamples_seeds_as_well():
    above = np.array([np.full(20, 1.0), np.full(20, 3.0)])

    share = ratio_interval(above, np.full((1, 20), 4.0), np.arange(20))

    assert share.value == 0.5
    assert (share.lo, share.hi) == (0.25, 0.75)


def test_improvement_is_the_share_by_which_costs_fall():
    halved = mean_interval(np.full(10, np.log(2.0)), np.arange(10))

    assert as_improvement(halved).value == pytest.approx(0.5)


def test_worse_worlds_are_counted_by_their_episode_and_the_worst_decision_beside():
    reward = np.zeros((1, 2, 4))
    reward[0, :, 0] = (-0.5, 0.5)
    reward[0, :, 1] = -0.1

    found = harm(reward, np.arange(4))

    assert found.worse_ratio.value == 0.25
    assert found.worst == pytest.approx(np.expm1(-0.1))
    assert found.worst_decision == pytest.approx(np.expm1(-0.5))


def test_fixed_setting_needs_no_class():
    fixed = Fixed("mine", np.zeros((1, 4), dtype=np.float32))

    assert play(fixed, small()).reward_KN.shape == (3, 24)
