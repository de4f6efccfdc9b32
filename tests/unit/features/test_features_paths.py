"""One law: whole series, streams and requests give the same features, and none looks ahead."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from novacron.features.matrix import request_features, trace_features, trace_windows
from novacron.features.spec import BANDWIDTH, LINK_CHANNELS, LINK_FULL, FeatureSpec
from novacron.features.stream import StreamingFeatures
from novacron.features.windows import sequence_tensor, window_features

SHORT = LINK_FULL.model_copy(
    update={"history": 12, "rolling": (3, 12), "lags": (0, 5), "differences": (4,)}
)
SPECS = {
    "full": LINK_FULL,
    "bandwidth": BANDWIDTH,
    "short": SHORT,
    "one channel": FeatureSpec(channels=("rtt_ms",), history=9, rolling=(4,), frequency=True),
}
TOLERANCE = {"rtol": 1e-9, "atol": 1e-12}


@st.composite
def series(draw):
    """A series of every link channel: noise or steps, gaps, runs of one value, absent channels."""
    steps = draw(st.integers(1, 150))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    missing_ratio = draw(st.sampled_from([0.0, 0.05, 0.6]))
    coarse = draw(st.booleans())
    channels = {}
    for name in draw(st.sets(st.sampled_from(LINK_CHANNELS), min_size=1)):
        x_T = rng.gamma(0.5, draw(st.sampled_from([1e-3, 1.0, 1e5])), steps)
        x_T = np.round(x_T) if coarse else x_T
        x_T[rng.random(steps) < missing_ratio] = np.nan
        channels[name] = x_T
    return channels, 1.7e9 + 60.0 * np.arange(steps)


def of_spec(spec, channels):
    kept = {name: x_T for name, x_T in channels.items() if name in spec.channels}
    return kept or {spec.channels[0]: np.full(len(next(iter(channels.values()))), np.nan)}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@settings(max_examples=15, deadline=None)
@given(data=series())
def test_a_stream_gives_the_features_of_the_whole_series(spec, data):
    channels, ts_s = of_spec(spec, data[0]), data[1]
    stream = StreamingFeatures(spec)

    live = [
        stream.push("link", t, {name: x_T[at] for name, x_T in channels.items()})
        for at, t in enumerate(ts_s)
    ]

    np.testing.assert_allclose(live, trace_features(spec, channels, ts_s), **TOLERANCE)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@settings(max_examples=30, deadline=None)
@given(data=series(), pick=st.floats(0, 1), extra=st.integers(0, 5))
def test_a_request_gives_the_features_of_the_whole_series(spec, data, pick, extra):
    channels, ts_s = of_spec(spec, data[0]), data[1]
    at = int(pick * (len(ts_s) - 1))
    first = max(0, at + 1 - spec.history - extra)
    tensors = {name: x_T[None, first : at + 1] for name, x_T in channels.items()}

    asked = request_features(spec, tensors, ts_s[at : at + 1])

    whole = trace_features(spec, channels, ts_s)
    np.testing.assert_allclose(asked[0], whole[at], **TOLERANCE)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@settings(max_examples=15, deadline=None)
@given(data=series(), pick=st.floats(0, 1))
def test_sequences_of_a_request_are_those_of_the_whole_series(spec, data, pick):
    channels, ts_s = of_spec(spec, data[0]), data[1]
    at = int(pick * (len(ts_s) - 1))
    first = max(0, at + 1 - spec.history)

    asked = sequence_tensor(
        spec, {name: x_T[None, first : at + 1] for name, x_T in channels.items()}
    )

    whole = sequence_tensor(spec, trace_windows(spec, channels))
    np.testing.assert_allclose(asked[0], whole[at], **TOLERANCE)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@settings(max_examples=20, deadline=None)
@given(data=series(), pick=st.floats(0, 1), future=st.sampled_from([np.nan, 0.0, 1e6]))
def test_features_never_read_a_sample_after_their_own_time(spec, data, pick, future):
    channels, ts_s = of_spec(spec, data[0]), data[1]
    now = int(pick * (len(ts_s) - 1)) + 1
    changed = {}
    for name, x_T in channels.items():
        changed[name] = np.concatenate([x_T[:now], np.full(len(x_T) - now + 3, future)])
    later_s = ts_s[0] + 60.0 * np.arange(len(ts_s) + 3)

    before = trace_features(spec, channels, ts_s)[:now]
    after = trace_features(spec, changed, later_s)[:now]

    np.testing.assert_array_equal(before, after)


@settings(max_examples=20, deadline=None)
@given(data=series(), cut=st.integers(0, 90))
def test_samples_older_than_the_history_change_nothing(data, cut):
    channels, ts_s = of_spec(SHORT, data[0]), data[1]
    first = min(cut, len(ts_s) - 1)
    kept = {name: x_T[first:] for name, x_T in channels.items()}

    whole = trace_features(SHORT, channels, ts_s)
    later = trace_features(SHORT, kept, ts_s[first:])

    settled = SHORT.history - 1 if first else 0
    np.testing.assert_array_equal(whole[first + settled :], later[settled:])


@settings(max_examples=20, deadline=None)
@given(data=series(), seed=st.integers(0, 1000))
def test_the_rows_of_a_batch_do_not_touch_each_other(data, seed):
    channels, ts_s = of_spec(LINK_FULL, data[0]), data[1]
    windows = trace_windows(LINK_FULL, channels)
    order = np.random.default_rng(seed).permutation(len(ts_s))

    together = window_features(LINK_FULL, windows, ts_s)
    shuffled = window_features(
        LINK_FULL, {name: x_TW[order] for name, x_TW in windows.items()}, ts_s[order]
    )

    np.testing.assert_array_equal(shuffled, together[order])


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_channel_left_out_equals_one_of_missing_samples_only(spec):
    x_T = np.random.default_rng(5).gamma(2.0, 5.0, 300)
    first, *others = spec.channels
    nothing = {name: np.full(300, np.nan) for name in others}

    left_out = trace_features(spec, {first: x_T})
    missing = trace_features(spec, {first: x_T} | nothing)

    np.testing.assert_array_equal(left_out, missing)


@pytest.mark.parametrize("history", [2, 3, 7, 8, 9, 10])
def test_very_short_histories_agree_on_all_paths(history):
    whole_window = (1, history)
    spec = FeatureSpec(
        channels=("bandwidth_mbps",),
        history=history,
        rolling=whole_window,
        quantiles=(0.5,),
        shape=True,
        lags=(0, history - 1),
        spikes=True,
        frequency=True,
        relative=("bandwidth_mbps",),
        relative_rolling=whole_window,
    )
    x_T = np.random.default_rng(history).gamma(2.0, 5.0, 40)
    x_T[[3, 4, 9]] = np.nan

    whole = trace_features(spec, {"bandwidth_mbps": x_T})

    for at in range(len(x_T)):
        tensors = {"bandwidth_mbps": x_T[None, : at + 1]}
        np.testing.assert_array_equal(request_features(spec, tensors)[0], whole[at])
    frequency = spec.names.index("bandwidth_mbps__dominant_cycles_per_step")
    assert np.isnan(whole[:, frequency]).all() == (history < 8)


def test_series_longer_than_a_block_of_columns_are_continued_without_a_seam():
    rng = np.random.default_rng(3)
    x_T = rng.gamma(2.0, 5.0, 2500)
    x_T[rng.random(2500) < 0.02] = np.nan

    whole = trace_features(LINK_FULL, {"bandwidth_mbps": x_T})

    rows = [0, 191, 192, 767, 768, 2499]
    for at in rows:
        alone = request_features(
            LINK_FULL, {"bandwidth_mbps": x_T[None, max(0, at - 59) : at + 1]}
        )
        np.testing.assert_array_equal(alone[0], whole[at])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), power=st.integers(-8, 8), shift=st.integers(-50, 50))
def test_statistics_follow_a_change_of_unit(seed, power, shift):
    x_NW = np.random.default_rng(seed).integers(100, 200, (3, 60)).astype(float)
    scale = 2.0**power

    plain = window_features(LINK_FULL, {"bandwidth_mbps": x_NW})
    moved = window_features(LINK_FULL, {"bandwidth_mbps": x_NW * scale + shift * scale})

    for name, before, after in zip(LINK_FULL.names, plain.T, moved.T, strict=True):
        channel, what = name.split("__") if "__" in name else ("", "")
        if channel != "bandwidth_mbps" or what.startswith("change_ratio"):
            continue
        family = what.split("_")[0].rstrip("0123456789")
        if family in ("mean", "min", "max", "q", "ewma", "lag"):
            expected = before * scale + shift * scale
        elif family in ("std", "diff"):
            expected = before * scale
        else:
            expected = before
        np.testing.assert_allclose(after, expected, rtol=1e-9, atol=1e-9, err_msg=name)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), factor=st.floats(0.5, 100))
def test_relative_features_of_fast_and_slow_links_compare(seed, factor):
    x_NW = np.random.default_rng(seed).gamma(4.0, 10.0, (3, 60)) + 1

    slow = window_features(BANDWIDTH, {"bandwidth_mbps": x_NW})
    fast = window_features(BANDWIDTH, {"bandwidth_mbps": x_NW * factor})

    relative = ["log_ratio" in name for name in BANDWIDTH.names]
    assert sum(relative) > 10
    np.testing.assert_allclose(fast[:, relative], slow[:, relative], rtol=1e-9, atol=1e-12)
