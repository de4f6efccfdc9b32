"""Observations are telemetry: worlds that look the same from one end give the same observation."""

import dataclasses

import numpy as np
import pytest

from novacron.params.encode import encode_values, numbers_of
from rl_envs.environments import (
    AcpConsensusVectorEnv,
    AmstTransportVectorEnv,
    HdeCompressionVectorEnv,
    ItpPartitionVectorEnv,
    JointVectorEnv,
    PbaPredictionVectorEnv,
)

ROWS = 48


def observed(env, knobs, change, steps=3):
    """Frames under fixed knobs, with `change` applied to the hidden episode before each step."""
    env.reset(seed=17)
    group = env.target.group
    row = numbers_of(group, group.defaults() | knobs)
    values = np.tile(row, (env.num_envs, 1))
    frames = []
    for _ in range(steps):
        episode, world = env.simulator.advance(env.hidden_state())
        episode, world = change(episode, world)
        env._episode, interval = env.simulator.play(episode, world, values)
        frames.append(interval.frame)
    assert np.abs(encode_values(group, values)).max() <= 1
    return np.stack(frames)


def with_link(**factors):
    def change(episode, world):
        fields = {name: getattr(world.link, name) * factor for name, factor in factors.items()}
        return episode, dataclasses.replace(world, link=dataclasses.replace(world.link, **fields))

    return change


def with_context(**changes):
    def change(episode, world):
        fields = {name: law(getattr(episode.context, name)) for name, law in changes.items()}
        return dataclasses.replace(
            episode, context=dataclasses.replace(episode.context, **fields)
        ), world

    return change


def small_window(then):
    """Receive windows so small that no path of the class is ever filled, and nobody else there."""

    def change(episode, world):
        tiny = np.full_like(world.link.window_bytes, 4000.0)
        link = dataclasses.replace(
            world.link, window_bytes=tiny, loss_ratio=tiny * 0 + 1e-8, cross_flows=tiny * 0
        )
        return then(episode, dataclasses.replace(world, link=link))

    return change


def unchanged(episode, world):
    return episode, world


def slow_encoder(then):
    """A host so small that the encoder is slower than every path of the class, nobody else there.

    Others who fill the path would show its size by the queue and the losses that they make.
    """

    def change(episode, world):
        cores = np.full_like(world.path.cores, 0.001)
        path = dataclasses.replace(world.path, cores=cores)
        link = dataclasses.replace(world.link, cross_flows=0.0 * cores)
        return then(episode, dataclasses.replace(world, path=path, link=link))

    return change


def test_window_limited_sender_does_not_see_how_much_larger_the_path_is():
    knobs = {"streams": 1, "congestion_algorithm": "cubic"}
    env = AmstTransportVectorEnv(ROWS, scenario="wan")

    plain = observed(env, knobs, small_window(unchanged))
    larger = observed(env, knobs, small_window(with_link(capacity_mbps=2.0)))

    np.testing.assert_allclose(plain, larger, atol=2e-6)


def test_loss_limited_sender_does_not_see_the_capacity_it_never_reaches():
    def lossy(then):
        def change(episode, world):
            loss = np.full_like(world.link.loss_ratio, 0.15)
            return then(
                episode,
                dataclasses.replace(world, link=dataclasses.replace(world.link, loss_ratio=loss)),
            )

        return change

    knobs = {"streams": 1, "congestion_algorithm": "reno"}
    env = AmstTransportVectorEnv(ROWS, scenario="wan")

    plain = observed(env, knobs, lossy(unchanged))
    larger = observed(env, knobs, lossy(with_link(capacity_mbps=3.0)))

    np.testing.assert_allclose(plain, larger, atol=2e-6)


@pytest.mark.parametrize("make", [HdeCompressionVectorEnv, JointVectorEnv])
def test_encode_bound_sender_does_not_see_how_fast_the_path_is(make):
    knobs = {"codec": "zstd-19", "workers": 1}
    env = make(ROWS, scenario="lan")

    def faster(episode, world):
        if hasattr(episode.context, "wire_mb_s"):
            return with_context(wire_mb_s=lambda rate: rate * 2.0)(episode, world)
        return with_link(capacity_mbps=2.0)(episode, world)

    plain = observed(env, knobs, slow_encoder(unchanged))
    other = observed(env, knobs, slow_encoder(faster))

    np.testing.assert_allclose(plain, other, atol=2e-5)


def test_law_of_the_rate_is_hidden_behind_what_was_measured():
    env = PbaPredictionVectorEnv(ROWS)
    law = with_context(
        fast_sd=lambda sd: sd * 3.0, slow_sd=lambda sd: sd * 3.0, level=lambda x: x + 1.0
    )

    np.testing.assert_array_equal(observed(env, {}, unchanged, 1), observed(env, {}, law, 1))


def test_crash_rate_of_voters_is_hidden():
    env = AcpConsensusVectorEnv(ROWS)
    more = with_context(crash_per_s=lambda rate: rate * 10.0)

    np.testing.assert_array_equal(observed(env, {}, unchanged), observed(env, {}, more))


def test_rate_of_a_path_without_traffic_is_hidden():
    env = ItpPartitionVectorEnv(ROWS)
    knobs = {
        "path_1_weight": 256,
        "path_2_weight": 1,
        "path_3_weight": 256,
        "path_4_weight": 1,
    }

    def faster(episode, world):
        paths = episode.context.paths
        access = paths.access_mbps_NK * np.array([1.0, 3.0, 1.0, 3.0])
        return with_context(paths=lambda old: dataclasses.replace(old, access_mbps_NK=access))(
            episode, world
        )

    np.testing.assert_array_equal(observed(env, knobs, unchanged), observed(env, knobs, faster))


def test_probe_model_learns_no_capacity_from_senders_that_never_reach_it():
    env = AmstTransportVectorEnv(1500, scenario="wan")
    knobs = {"streams": 1, "congestion_algorithm": "cubic"}
    shuffled = np.random.default_rng(3).permutation(1500)
    capacity = np.exp(np.random.default_rng(4).normal(size=1500))

    frames = observed(env, knobs, small_window(with_link(capacity_mbps=5.0 * capacity)), steps=1)[
        0
    ]

    target = np.log(env.hidden_state().path.capacity_mbps * 0 + capacity)
    features = np.column_stack([frames, frames**2, np.ones(1500)])
    train, test = shuffled[:1000], shuffled[1000:]
    weights = np.linalg.lstsq(features[train], target[train], rcond=None)[0]
    error = np.mean((features[test] @ weights - target[test]) ** 2)
    assert 1 - error / np.var(target[test]) < 0.03
