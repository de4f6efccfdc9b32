"""Live samples give the features of training: after a restart, on every replica, in any order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live_samples import close_stores, lines, open_store, sample
from tiny_bandwidth import FEATURES

from novacron.errors import SchemaError
from novacron.features.live import hold_last, live_features
from novacron.features.matrix import trace_features
from novacron.features.spec import BANDWIDTH, LINK_FULL
from novacron.features.stream import StreamingFeatures


@pytest.fixture(autouse=True)
def _closing():
    yield
    close_stores()


def walk(seed, count):
    """Samples of one link at uneven seconds, some metrics missing."""
    rng = np.random.default_rng(seed)
    second = np.cumsum(rng.integers(1, 4, count))
    return [
        sample(
            int(at),
            mbps=float(rng.gamma(2.0, 20.0)),
            **({"rtt_ms": float(rng.gamma(3, 9))} if rng.random() > 0.2 else {}),
            **({"loss_ratio": float(rng.beta(1, 50))} if rng.random() > 0.3 else {}),
        )
        for at in second
    ]


def batch_features(spec, samples):
    """Features at the last of some samples, computed as training does."""
    ordered = sorted(samples, key=lambda one: one["ts"])
    columns = {
        name: np.array([one.get(name, np.nan) for one in ordered], dtype=float)
        for name in spec.channels
    }
    ts_s = np.array([np.datetime64(one["ts"][:-1], "us").astype(int) / 1e6 for one in ordered])
    return trace_features(spec, columns, ts_s)[-1]


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 130),
    cut=st.integers(1, 40),
    shuffle=st.booleans(),
)
def test_features_equal_those_of_training_after_a_restart_and_across_replicas(
    tmp_path_factory, seed, count, cut, shuffle
):
    directory = tmp_path_factory.mktemp("samples")
    small = {"segment_bytes": 4096, "validation": {"max_disorder_s": 600}}
    samples = walk(seed, count)
    arriving = list(samples)
    if shuffle:
        np.random.default_rng(seed).shuffle(arriving)
    replicas = [open_store(directory, **small) for _ in range(2)]
    for turn, start in enumerate(range(0, count, cut)):
        part = lines(arriving[start : start + cut])
        # What comes too late by the rules comes in the batch features neither.
        for bad in replicas[turn % 2].ingest("link", part).rejected:
            samples.remove(arriving[start + bad.row - 1])
    restarted = open_store(directory, **small)

    for spec in (BANDWIDTH, LINK_FULL, FEATURES):
        expected = batch_features(spec, samples)
        for store in (*replicas, restarted):
            (row,) = live_features(spec, store, "link", ["a"])
            np.testing.assert_allclose(row, expected, rtol=0, atol=1e-9)


def test_a_stream_of_the_feature_library_says_the_same(tmp_path):
    store = open_store(tmp_path)
    stream = StreamingFeatures(BANDWIDTH)
    for one in walk(3, 110):
        store.ingest("link", lines([one]))
        ts_s = np.datetime64(one["ts"][:-1], "us").astype(int) / 1e6
        values = {name: one.get(name) for name in BANDWIDTH.channels}
        row = stream.push("a", ts_s, values)

    np.testing.assert_array_equal(live_features(BANDWIDTH, store, "link", ["a"])[0], row)


def test_an_entity_without_samples_has_missing_features_and_counts_none(tmp_path):
    store = open_store(tmp_path)
    store.ingest("link", lines([sample(1)]))

    rows = live_features(BANDWIDTH, store, "link", ["a", "nobody"])

    present = BANDWIDTH.names.index("bandwidth_mbps__present_count")
    assert rows[:, present].tolist() == [1, 0]


def test_a_store_that_keeps_too_little_for_a_spec_says_so(tmp_path):
    short = open_store(tmp_path / "short", samples_per_entity=90)
    with pytest.raises(SchemaError, match="samples_per_entity"):
        live_features(BANDWIDTH, short, "link", ["a"])
    narrow = open_store(tmp_path / "narrow", link_metrics=("bandwidth_mbps",))
    with pytest.raises(SchemaError, match="link_metrics"):
        live_features(BANDWIDTH, narrow, "link", ["a"])


def test_gaps_hold_the_value_before_and_the_first_one_at_the_start():
    held = hold_last(np.array([np.nan, 2.0, np.nan, np.nan, 5.0, np.nan]))

    assert held.tolist() == [2, 2, 2, 2, 5, 5]
    assert hold_last(np.full(3, np.nan)) is None
