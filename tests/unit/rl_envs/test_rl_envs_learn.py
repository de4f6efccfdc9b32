import numpy as np
import pytest
import torch

from novacron.errors import ArtifactError, OutOfRangeError
from novacron.models.policy.config import GuardConfig
from novacron.models.policy.effects import EFFECTS, setting_features, setting_size
from novacron.models.policy.network import OnnxNetwork, write_onnx
from novacron.params.groups import parameter_group
from novacron.params.observations import observation_spec
from rl_envs.evaluate import NetworkController, Worlds, harm, play
from rl_envs.guarded import GuardedController, Seen
from rl_envs.learn.assemble import Origin, assemble_part
from rl_envs.learn.config import PpoConfig
from rl_envs.learn.effects import EffectsConfig, QRegression
from rl_envs.learn.labels import draw_labels, label
from rl_envs.learn.margins import candidates, choose_margins
from rl_envs.learn.ppo import train_ppo
from rl_envs.worlds import make_worlds

TARGET = "acp_consensus"
TINY = PpoConfig(
    env_steps=24_576, num_envs=128, batch_steps=2048, hidden=(32, 32), learning_rate=3e-3
)


@pytest.fixture(scope="module")
def network():
    torch.set_num_threads(1)
    return train_ppo(TARGET, TINY)


@pytest.fixture(scope="module")
def assembled(network, tmp_path_factory):
    config = EffectsConfig(worlds=96, steps=8, epochs=8, margin_worlds=32)
    origin = Origin(version="t-1", trainer="own loop", seed=0, env_steps=24_576, frames=4)
    return assemble_part(TARGET, network, config, origin, tmp_path_factory.mktemp("part"))


@pytest.mark.learn
def test_smoke_training_learns_something_on_paths_it_never_saw(network):
    worlds = Worlds(target=TARGET, worlds=96, decisions=3)

    played = play(NetworkController("policy", network), worlds)

    assert played.reward_KN.mean() > 0.2


@pytest.mark.learn
def test_same_seed_gives_the_same_weights():
    short = TINY.model_copy(update={"env_steps": 4096})

    one, other = train_ppo(TARGET, short), train_ppo(TARGET, short)

    for (weight, bias), (weight_2, bias_2) in zip(one.layers, other.layers, strict=True):
        assert np.array_equal(weight, weight_2)
        assert np.array_equal(bias, bias_2)


@pytest.mark.learn
@pytest.mark.parametrize("gamma", [0.0, 0.9])
def test_progress_tells_steps_cpu_time_and_reward(gamma):
    seen = []

    train_ppo(
        TARGET,
        TINY.model_copy(update={"env_steps": 4096, "gamma": gamma, "frames": 2}),
        on_progress=seen.append,
    )

    assert [each.env_steps for each in seen] == [2048, 4096]
    assert seen[1].cpu_s > seen[0].cpu_s > 0.0


@pytest.mark.learn
def test_onnx_answers_as_the_weights_do(network, tmp_path):
    write_onnx(network, tmp_path / "policy.onnx")
    session = OnnxNetwork(tmp_path / "policy.onnx", inputs=network.inputs, outputs=4)
    x = np.random.default_rng(0).uniform(-1, 1, (257, network.inputs)).astype(np.float32)

    assert np.abs(session(x) - network(x)).max() <= 1e-5
    assert session(x[:1]).shape == (1, 4)


def test_file_that_is_no_network_is_refused(tmp_path):
    (tmp_path / "policy.onnx").write_bytes(b"no network")

    with pytest.raises(ArtifactError):
        OnnxNetwork(tmp_path / "policy.onnx", inputs=3, outputs=1)


def test_older_frames_can_be_hidden_from_a_policy():
    spec = observation_spec(TARGET)
    shown = make_worlds(TARGET, 3, seed=1).reset(seed=1)[0]
    hidden = make_worlds(TARGET, 3, seed=1, frames=1).reset(seed=1)[0]

    assert np.array_equal(hidden[:, -spec.frame_size :], shown[:, -spec.frame_size :])
    assert not hidden[:, : -spec.frame_size].any()
    with pytest.raises(OutOfRangeError, match="frames"):
        make_worlds(TARGET, 3, seed=1, frames=5)


def test_rewards_fall_beyond_the_limit_of_the_cost_increase_and_only_there():
    free, limited = (
        make_worlds("acp_consensus", 64, seed=2, max_cost_increase_ratio=limit)
        for limit in (None, 0.1)
    )
    often = np.tile(np.float32([0.0, 0.0, 0.0, -0.9]), (64, 1))

    _, reward, _, _, info = free.step(often)
    _, held, _, _, seen = limited.step(often)

    price = "cost_usd_per_gb"
    beyond = np.log(info["metrics"][price] / info["default_metrics"][price]) - np.log(1.1)
    assert (beyond > 0).any()
    assert (beyond < 0).any()
    assert np.allclose(held[beyond < 0], reward[beyond < 0])
    unclipped = (beyond > 0) & (reward - 3.0 * beyond > -3.0) & (reward < 3.0)
    assert np.allclose((reward - held)[unclipped], 3.0 * beyond[unclipped])
    assert (seen["components"]["cost_limit"] <= 0.0).all()
    with pytest.raises(OutOfRangeError, match="max_cost"):
        make_worlds("acp_consensus", 2, seed=1, max_cost_increase_ratio=-0.1)


def test_labels_are_what_the_next_step_gives():
    env = make_worlds("amst_transport", 16, seed=2)
    cube = np.random.default_rng(0).uniform(-1, 1, (2, 16, 4)).astype(np.float32)

    effects = label(env, cube)
    _, reward, _, _, info = env.step(cube[1])

    columns = dict(zip(EFFECTS, effects[1].T, strict=True))
    assert np.allclose(columns["gain_nats"], reward, atol=1e-5)
    ratio = info["metrics"]["throughput_mbps"] / info["default_metrics"]["throughput_mbps"]
    assert np.allclose(columns["throughput_log_ratio"], np.clip(np.log(ratio), -3, 3), atol=1e-5)
    assert ((columns["cpu_busy_ratio"] >= 0) & (columns["cpu_busy_ratio"] <= 1)).all()


def test_labels_over_a_horizon_are_the_mean_of_the_intervals_a_setting_is_kept_for():
    env = make_worlds("hde_compression", 16, seed=2, episode_steps=6)
    cube = np.random.default_rng(0).uniform(-1, 1, (1, 16, 6)).astype(np.float32)

    kept = label(env, cube, horizon=3)[0]
    rewards = [env.step(cube[0])[1] for _ in range(3)]

    assert np.allclose(kept[:, EFFECTS.index("gain_nats")], np.mean(rewards, axis=0), atol=1e-5)


@pytest.mark.learn
def test_margins_are_the_most_gain_among_those_that_harm_little(assembled):
    part, _ = assembled

    chosen = choose_margins(part, 48, decisions=3)

    assert chosen == choose_margins(part, 48, decisions=3)
    assert chosen in candidates(TARGET)
    assert len(candidates("pba_prediction")) < len(candidates(TARGET))


def test_shipped_setting_is_among_the_labels_and_gains_nothing_at_the_start():
    labels = draw_labels(
        "hde_compression", lambda o: np.full((len(o), 6), 0.3, np.float32),
        worlds=16, steps=1, seed=1,
    )  # fmt: skip

    assert labels.effect_MAE.shape == (16, 11, len(EFFECTS))
    assert np.abs(labels.effect_MAE[:, 4, 1]).max() < 1e-6


def test_choices_are_known_to_the_effects_by_name_not_by_distance():
    group = parameter_group("amst_transport")
    cube = np.array([[0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]], dtype=np.float32)

    features = setting_features(group, cube)

    assert features.shape == (2, setting_size(group))
    assert features[:, 4:].tolist() == [[1, 0, 0], [0, 1, 0]]


@pytest.mark.learn
def test_part_expects_gains_whose_interval_covers_most_of_what_happens(assembled):
    part, _ = assembled
    env = make_worlds(TARGET, 128, seed=5, split="test")
    observation, _ = env.reset(seed=5)

    own = part.propose(observation)
    expected = part.expect(observation, own)
    gain = label(env, own[None], horizon=4)[0, :, 1]

    covered = (gain >= expected.gain_lo_nats) & (gain <= expected.gain_hi_nats)
    assert covered.mean() > 0.7
    assert np.isfinite(expected.cost_log_ratio).all()
    assert np.isnan(expected.cpu_busy_ratio).all()


@pytest.mark.learn
def test_guard_makes_a_poor_policy_harmless(assembled):
    part, _ = assembled
    worlds = Worlds(target=TARGET, worlds=64, decisions=5)

    bare = play(NetworkController("policy", lambda o: -part.propose(o)), worlds)
    guarded = GuardedController(part)
    part_propose = part.propose
    part.propose = lambda o: -part_propose(o)
    try:
        safe = play(guarded, worlds)
    finally:
        part.propose = part_propose

    assert bare.reward_KN.mean() < -0.1
    assert harm(safe.reward_KN[None], safe.path_N).worse_ratio.value <= 0.05
    assert safe.reward_KN.mean() > -0.01
    assert guarded.reasons


@pytest.mark.learn
def test_learning_among_peers_gains_and_its_curve_tells_the_gain_over_the_defaults():
    curve = []

    train_ppo(TARGET, TINY.model_copy(update={"peers": 8}), on_progress=curve.append)

    assert curve[-1].reward > curve[0].reward + 0.1
    assert min(abs(each.reward) for each in curve) > 1e-6


@pytest.mark.learn
def test_measured_costs_keep_worlds_within_the_limit_that_expected_ones_let_pass(
    assembled, monkeypatch
):
    part, _ = assembled
    worlds = Worlds(target=TARGET, worlds=96, decisions=6)
    daring = GuardConfig(sure_gain_nats=-5.0)

    measured = _dear_ratio(play(GuardedController(part, daring), worlds))
    monkeypatch.setattr(Seen, "increase", lambda *_: -0.5)
    expected = _dear_ratio(play(GuardedController(part, daring), worlds))

    assert expected > 0.05
    assert measured < 0.4 * expected


def _dear_ratio(played):
    price = "cost_usd_per_gb"
    dearer = np.log(played.metrics_KN[price] / played.default_metrics_KN[price])
    return (dearer.mean(axis=0) > np.log(1.1)).mean()


@pytest.mark.learn
def test_guard_returns_most_unfamiliar_paths_to_the_defaults(assembled):
    part, _ = assembled
    guarded = GuardedController(part)

    play(guarded, Worlds(target=TARGET, worlds=64, decisions=2, split="ood"))

    unlike = sum(n for reason, n in guarded.reasons.items() if "unlike" in reason)
    assert unlike > 0.5 * 128


@pytest.mark.learn
def test_regression_on_labels_is_a_policy_of_its_own(assembled):
    part, effects = assembled
    env = make_worlds(TARGET, 64, seed=6, split="test")
    observation, _ = env.reset(seed=6)
    controller = QRegression(TARGET, effects)
    controller.begin(env)

    chosen = controller.act(observation)

    mine, theirs = (part.expect(observation, each) for each in (chosen, part.propose(observation)))
    assert (mine.gain_nats > theirs.gain_nats).mean() > 0.9
    assert np.array_equal(chosen, _again(controller, env, observation))


def _again(controller, env, observation):
    controller.begin(env)
    return controller.act(observation)
