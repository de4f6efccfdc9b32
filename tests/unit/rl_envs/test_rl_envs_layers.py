from itertools import permutations

import numpy as np
import pytest
import torch
from torch import nn

from novacron.errors import ConfigError
from novacron.params.observations import observation_spec
from rl_envs.learn.config import PpoConfig
from rl_envs.learn.layers import whitener
from rl_envs.learn.ppo import GaussianPolicy, train_ppo
from rl_envs.learn.symmetry import observation_layout
from rl_envs.worlds import make_worlds

TARGET = "itp_partition"
SHAPED = PpoConfig(
    env_steps=2048, num_envs=64, batch_steps=1024, hidden=(32, 32), learning_rate=3e-3,
    symmetric=True, whitening_floor=0.05,
)  # fmt: skip


def observations(rows=20):
    size = observation_spec(TARGET).size
    return np.random.default_rng(0).uniform(-1.0, 1.0, (rows, size)).astype(np.float32)


def renumbered(observation_NO, order):
    layout = observation_layout(observation_spec(TARGET))
    moved = observation_NO.copy()
    for place, path in enumerate(order):
        moved[:, layout.path_KP[place]] = observation_NO[:, layout.path_KP[path]]
    return moved


def stirred(config):
    """Return a policy whose weights are far from those it starts with."""
    torch.manual_seed(1)
    policy = GaussianPolicy(TARGET, config)
    with torch.no_grad():
        for each in policy.parameters():
            each.add_(0.3 * torch.randn_like(each))
    return policy


@pytest.mark.parametrize("order", list(permutations(range(4)))[1::5])
def test_symmetric_policy_answers_in_the_order_that_paths_are_numbered_in(order):
    network, x = stirred(SHAPED).network(), observations()

    answer, moved = network(x), network(renumbered(x, order))

    assert np.ptp(answer[:, :4], axis=1).min() > 0.01
    assert np.allclose(moved[:, :4], answer[:, list(order)], atol=1e-4)
    assert np.allclose(moved[:, 4], answer[:, 4], atol=1e-4)


def test_symmetric_value_is_the_same_however_paths_are_numbered():
    policy, x = stirred(SHAPED), observations()
    with torch.no_grad():
        values = [
            policy.value(torch.from_numpy(renumbered(x, order))).numpy()
            for order in ((0, 1, 2, 3), (2, 0, 3, 1))
        ]

    assert np.ptp(values[0]) > 0.01
    assert np.allclose(values[0], values[1], atol=1e-4)


def test_policy_without_symmetry_depends_on_the_numbering():
    network = stirred(SHAPED.model_copy(update={"symmetric": False})).network()
    x = observations()

    assert np.abs(network(renumbered(x, (1, 0, 2, 3)))[:, 4] - network(x)[:, 4]).max() > 0.01


def test_learning_keeps_the_symmetry_and_moves_the_weights():
    before, after = GaussianPolicy(TARGET, SHAPED).network(), train_ppo(TARGET, SHAPED)
    x, order = observations(), (3, 1, 0, 2)

    assert np.allclose(after(renumbered(x, order))[:, :4], after(x)[:, list(order)], atol=1e-4)
    assert np.abs(after(x) - before(x)).max() > 1e-3


def test_exported_network_is_the_same_plain_perceptron_as_the_policy():
    policy, x = stirred(SHAPED), observations()
    with torch.no_grad():
        wanted = policy.mean(torch.from_numpy(x)).numpy()

    assert [weight.shape for weight, _ in policy.network().layers] == [
        (32, observation_spec(TARGET).size), (32, 32), (5, 32),
    ]  # fmt: skip
    assert np.allclose(policy.network()(x), wanted, atol=1e-5)


def test_tied_layers_start_as_large_as_untied_ones():
    torch.manual_seed(0)
    plain = GaussianPolicy(TARGET, PpoConfig(hidden=(64, 64))).mean
    torch.manual_seed(0)
    tied = GaussianPolicy(TARGET, PpoConfig(hidden=(64, 64), symmetric=True)).mean

    for one, other in zip(plain, tied, strict=True):
        if isinstance(one, nn.Linear):
            sizes = [float(each.weight.detach().norm()) for each in (one, other)]
            assert sizes[0] == pytest.approx(sizes[1], rel=1e-3)


@pytest.mark.parametrize("target", ["hde_compression", "amst_transport", "joint"])
def test_symmetry_of_a_target_without_paths_is_refused(target):
    with pytest.raises(ConfigError, match="interchangeable paths"):
        GaussianPolicy(target, PpoConfig(symmetric=True))


@pytest.mark.parametrize("target", ["acp_consensus", TARGET])
def test_whitened_observations_have_unit_spread_above_the_floor(target):
    white = whitener(target, 0.05, symmetric=False)
    env = make_worlds(target, 512, seed=7)
    env.with_info = False
    rows, rng = [env.reset(seed=7)[0]], np.random.default_rng(7)
    for _ in range(8):
        action = rng.uniform(-1.0, 1.0, env.action_space.shape)
        rows.append(env.step(action.astype(np.float32))[0])
    seen = np.concatenate(rows)
    plain, white = (
        np.linalg.eigvalsh(np.cov(x.T)) for x in (seen, (seen - white.mean_O) @ white.matrix_OO)
    )

    assert np.median(plain) < 0.5 * np.median(white)
    assert white.max() < 3.0
    assert plain.max() / np.median(plain) > 5.0 * white.max() / np.median(white)
