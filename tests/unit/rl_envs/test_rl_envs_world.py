import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

from novacron.errors import OutOfRangeError, SchemaError, UnknownNameError
from novacron.telemetry.datasets.throughput import load_traces
from novacron.telemetry.traces import Trace
from rl_envs.dynamics import begin_state, next_state, world_of
from rl_envs.environments import AmstTransportVectorEnv, PbaPredictionVectorEnv
from rl_envs.noise import Noise, Purpose, episode_keys, mix64
from rl_envs.records import put_rows
from rl_envs.scenarios import CLASSES, SCENARIOS, SPLITS, path_of, scenario_set
from rl_envs.tables import codec_tables
from rl_envs.targets.catalogue import target_of
from rl_envs.targets.encoding import sample_data
from rl_envs.traces import MIN_MBPS, TraceBank, sift_traces


def noise_of(rows, seed=0, step=0):
    index = np.arange(rows)
    return Noise(key=episode_keys(seed, index, index * 0), step=np.full(rows, step))


def trace_of(mbps, *, t_s=None, **channels):
    times = np.arange(len(mbps), dtype=float) if t_s is None else np.asarray(t_s, float)
    return Trace(
        trace_id="t", path_class="synthetic", t_s=times, bandwidth_mbps=np.asarray(mbps, float),
        **channels,
    )  # fmt: skip


def test_uniform_numbers_are_uniform_and_uncorrelated_over_rows_steps_and_purposes():
    noise = noise_of(20_000)

    draws = [
        noise.uniform(Purpose.LINK),
        noise.uniform(Purpose.LINK, 1),
        noise_of(20_000, step=1).uniform(Purpose.LINK),
        noise_of(20_000, seed=1).uniform(Purpose.LINK),
        np.roll(noise.uniform(Purpose.LINK), 1),
    ]

    counts = np.histogram(draws[0], bins=50, range=(0, 1))[0]
    assert np.sum((counts - 400) ** 2 / 400) < 100  # chi-squared, 49 degrees of freedom
    correlation = np.corrcoef(draws)
    assert np.abs(correlation - np.eye(len(draws))).max() < 0.03


def test_normal_numbers_have_the_moments_of_a_standard_normal():
    block = noise_of(2000).normal_block(30, Purpose.SERIES)

    assert block.mean() == pytest.approx(0, abs=0.02)
    assert block.std() == pytest.approx(1, abs=0.02)
    assert np.isfinite(block).all()


def test_block_of_numbers_equals_its_columns_drawn_alone():
    noise = noise_of(5)

    block = noise.normal_block(4, Purpose.SERIES)

    for column in range(4):
        np.testing.assert_array_equal(block[:, column], noise.normal(Purpose.SERIES, column))


def test_neighbouring_seeds_share_no_numbers():
    keys = [episode_keys(seed, np.arange(512), np.zeros(512, dtype=int)) for seed in range(8)]

    assert np.unique(np.concatenate(keys)).size == 8 * 512


def test_mixing_is_one_to_one_on_a_sample():
    words = np.arange(100_000, dtype=np.uint64)

    assert np.unique(mix64(words)).size == words.size


def test_path_is_the_same_path_in_every_run():
    index, number = np.zeros(3, dtype=int), np.array([5, 6, 5])

    paths = path_of(index, number)

    assert paths.capacity_mbps[0] == paths.capacity_mbps[2]
    assert paths.capacity_mbps[0] != paths.capacity_mbps[1]


@pytest.mark.parametrize("name", list(SCENARIOS))
def test_paths_of_a_class_stay_inside_its_ranges(name):
    row = SCENARIOS[name]
    paths = path_of(np.full(400, list(SCENARIOS).index(name)), np.arange(400))

    for field in dataclasses.fields(row)[1:]:
        low, high = getattr(row, field.name)
        values = getattr(paths, field.name)
        slack = 0.5 if field.name in ("cross_flows", "cores") else 1e-9
        assert (values >= low - slack).all()
        assert (values <= high * (1 + 1e-9) + slack).all()


def test_no_path_is_on_two_sides_of_the_split():
    drawn = {
        split: set(scenario_set("wan", split).draw(noise_of(4000)).number.tolist())
        for split in SPLITS
    }

    for one in SPLITS:
        for other in SPLITS:
            assert one == other or not drawn[one] & drawn[other]


def test_all_eight_classes_are_drawn_and_the_odd_one_never():
    indices = scenario_set("all", "train").draw(noise_of(2000)).class_index

    names = {tuple(SCENARIOS)[i] for i in indices}
    assert names == {row.name for row in CLASSES}
    assert len(names) == 8


def test_out_of_distribution_set_lies_outside_the_training_ranges():
    odd = SCENARIOS["out_of_distribution"]

    assert odd.rtt_ms[0] > max(row.rtt_ms[1] for row in CLASSES)
    assert odd.loss_ratio[0] >= max(row.loss_ratio[1] for row in CLASSES)
    assert "random" in [
        name
        for name, side in zip(codec_tables().curves.corpora, codec_tables().splits, strict=True)
        if side == "ood"
    ]


def world_for(rows=300, split="train"):
    noise = noise_of(rows)
    path = scenario_set("all", split).draw(noise)
    return world_of(path, begin_state(path, noise, None, 0.0, 100.0), noise, None, 5.0)


def test_no_kind_of_data_is_on_two_sides_of_the_split():
    sides = {
        split: set(sample_data(world_for(), split).corpus.tolist())
        for split in ("train", "validation", "test", "ood")
    }

    assert all(sides.values())
    assert sum(map(len, sides.values())) == len(set().union(*sides.values()))


def test_workload_of_a_process_is_on_one_side_with_its_memory_and_its_dirty_pages():
    tables = codec_tables()
    side = dict(zip(tables.curves.corpora, tables.splits, strict=True))

    for name in side:
        if name.startswith("dirty_"):
            assert side[name] == side["memory_" + name.removeprefix("dirty_")]


def test_capacity_wanders_switches_and_drifts():
    noise = noise_of(400)
    path = scenario_set("cellular").draw(noise)
    state = begin_state(path, noise, None, 0.0, 100.0)
    capacity, levels = [], []

    for step in range(1, 60):
        noise = noise_of(400, step=step)
        state = next_state(state, path, noise, 5.0)
        capacity.append(world_of(path, state, noise, None, 5.0).link.capacity_mbps)
        levels.append(state.level)

    switches = (np.diff(levels, axis=0) != 0).sum(axis=0)
    expected = path.switches_per_h * 58 * 5 / 3600
    assert switches.mean() == pytest.approx(expected.mean(), rel=0.2)
    assert np.std(np.log(capacity), axis=0).min() > 0.01


def test_replayed_trace_is_the_capacity_the_link_has():
    mbps = np.repeat(np.arange(1.0, 61.0), 5)
    env = AmstTransportVectorEnv(4, traces=[trace_of(mbps)], episode_steps=10)
    env.reset(seed=3)
    start = env.hidden_state().state.trace_start_N2

    _, world = env.simulator.advance(env.hidden_state())

    for row in range(4):
        first = start[row, 1] + 5
        assert world.link.capacity_mbps[row] == pytest.approx(mbps[first : first + 5].mean())


def test_replayed_round_trip_and_loss_replace_the_paths_own_where_measured():
    mbps = np.full(200, 50.0)
    rtt = np.where(np.arange(200) < 100, 33.0, np.nan)
    bank = TraceBank.of(
        [trace_of(mbps, rtt_ms=rtt, loss_ratio=np.full(200, 0.02))],
        min_length_s=100, max_gap_s=5,
    )  # fmt: skip
    start = np.array([[0, 0], [0, 150]])

    _, seen_rtt, loss = bank.mean_between(start, np.zeros(2), 5.0)

    assert seen_rtt[0] == 33.0
    assert np.isnan(seen_rtt[1])
    assert loss.tolist() == pytest.approx([0.02, 0.02])


def test_allocation_meets_the_replayed_seconds_one_by_one():
    mbps = np.random.default_rng(1).gamma(4, 10, 1200)
    env = PbaPredictionVectorEnv(3, traces=[trace_of(mbps)], episode_steps=5)
    env.reset(seed=1)
    env.step(np.zeros((3, 3), dtype=np.float32))

    hidden = env.hidden_state()

    for row in range(3):
        first = hidden.state.trace_start_N2[row, 1] + int(hidden.state.elapsed_s[row])
        expected = mbps[first - 40 : first + 20]
        np.testing.assert_allclose(hidden.context.latest_NT[row], expected)


def test_outage_in_a_trace_is_replayed_as_a_trickle():
    bank = TraceBank.of([trace_of(np.zeros(100))], min_length_s=50, max_gap_s=5)

    bandwidth, _, _ = bank.mean_between(np.zeros((1, 2), dtype=int), np.zeros(1), 5.0)

    assert bandwidth[0] == MIN_MBPS


@pytest.mark.parametrize(
    ("trace", "error", "match"),
    [
        (trace_of(np.ones(20)), SchemaError, "episode"),
        (trace_of([1.0]), SchemaError, "episode"),
        (trace_of(np.ones(3), t_s=[0, 1, 400]), SchemaError, "gap"),
    ],
)
def test_trace_that_cannot_be_replayed_is_refused(trace, error, match):
    with pytest.raises(error, match=match):
        TraceBank.of([trace], min_length_s=100, max_gap_s=30)


def test_negative_rate_is_refused_before_it_is_replayed():
    with pytest.raises(OutOfRangeError, match="bandwidth_mbps"):
        TraceBank.of([trace_of([5.0, -1.0])], min_length_s=1, max_gap_s=30)


def test_traces_are_sifted_with_the_reason_of_each_refusal():
    good, short = trace_of(np.ones(200)), trace_of(np.ones(20))
    short = dataclasses.replace(short, trace_id="short")

    usable, refused = sift_traces([short, good], min_length_s=100, max_gap_s=5)

    assert usable == (good,)
    assert list(refused) == ["short"]
    assert "episode" in str(refused["short"])


@pytest.mark.data
@pytest.mark.parametrize("set_name", ["fcc", "lte", "5g", "puffer_test"])
def test_public_traces_drive_transport_and_allocation(set_name):
    folder = os.environ.get("NOVACRON_DATA_DIR")
    if not folder:
        pytest.skip("NOVACRON_DATA_DIR names no folder with the public data sets")
    traces = load_traces(Path(folder), set_name)
    usable, refused = sift_traces(traces, min_length_s=360, max_gap_s=30)

    assert len(usable) + len(refused) == len(traces)
    assert usable
    for make in (AmstTransportVectorEnv, PbaPredictionVectorEnv):
        env = make(16, traces=usable[:50], episode_steps=2)
        env.reset(seed=1)
        for _ in range(4):
            seen, reward, _, _, _ = env.step(np.zeros((16, len(env.target.group)), np.float32))
            assert np.isfinite(seen).all()
            assert np.isfinite(reward).all()


def test_environment_refuses_a_trace_shorter_than_its_episode():
    with pytest.raises(SchemaError, match="episode_steps"):
        AmstTransportVectorEnv(2, traces=[trace_of(np.ones(50))])


def test_only_the_named_rows_of_a_record_are_replaced():
    @dataclasses.dataclass(frozen=True)
    class Inner:
        a: np.ndarray

    @dataclasses.dataclass(frozen=True)
    class Outer:
        inner: Inner
        b: np.ndarray
        shared: str

    old = Outer(Inner(np.zeros(3)), np.zeros((3, 2)), "x")
    new = Outer(Inner(np.ones(1)), np.ones((1, 2)), "y")

    merged = put_rows(old, np.array([1]), new)

    assert merged.inner.a.tolist() == [0, 1, 0]
    assert merged.b.tolist() == [[0, 0], [1, 1], [0, 0]]
    assert merged.shared == "x"
    assert old.inner.a.tolist() == [0, 0, 0]


def test_rows_that_end_at_different_times_restart_alone():
    env = AmstTransportVectorEnv(3)
    env.reset(seed=2)
    still = AmstTransportVectorEnv(3)
    still.reset(seed=2)
    action = np.zeros((3, 4), dtype=np.float32)
    env._ended[1] = True

    observation, reward, _, _, info = env.step(action)
    expected, rewards, _, _, _ = still.step(action)

    assert np.array_equal(observation[[0, 2]], expected[[0, 2]])
    assert reward[1] == 0.0
    assert reward[0] == rewards[0]
    assert info["_components"].tolist() == [True, False, True]
    assert env.hidden_state().step.tolist() == [1, 0, 1]


@pytest.mark.parametrize(("name", "split"), [("routing", "train"), ("joint", "production")])
def test_unknown_target_or_split_lists_the_known_ones(name, split):
    with pytest.raises(UnknownNameError, match="known"):
        target_of(name, split)
