import numpy as np
import pytest
import tiny_bandwidth
from hypothesis import given, settings
from hypothesis import strategies as st

from novacron.errors import InvalidInputError
from novacron.models.bandwidth.config import BandwidthConfig
from novacron.models.bandwidth.examples import draw, pool, split_class, to_examples
from novacron.models.bandwidth.windows import (
    cut_windows,
    encode,
    hold_last,
    read_names,
    reference_mbps,
)
from novacron.telemetry.splits import recording
from novacron.telemetry.traces import Trace

TINY = tiny_bandwidth.TINY
SPEC = TINY.features


def ramp(samples, name="ramp"):
    return Trace(
        trace_id=name,
        path_class="ramp",
        t_s=np.arange(samples, dtype=float),
        bandwidth_mbps=np.arange(1.0, samples + 1),
    )


def test_a_window_ends_at_its_origin_and_the_future_starts_after_it():
    windows = cut_windows([ramp(40)], SPEC, 5)

    assert windows.channels["bandwidth_mbps"][30, -1] == 31
    assert windows.future_NH[30].tolist() == [32, 33, 34, 35, 36]


def test_origins_without_a_whole_future_give_no_window():
    windows = cut_windows([ramp(12), ramp(5, "short")], SPEC, 5)

    assert windows.origin_N.tolist() == list(range(7))


def test_a_short_history_is_missing_on_the_left():
    window = cut_windows([ramp(40)], SPEC, 5).channels["bandwidth_mbps"][2]

    assert np.isnan(window[:-3]).all()
    assert window[-3:].tolist() == [1, 2, 3]


def test_thinning_keeps_about_as_many_windows_as_asked():
    windows = cut_windows([ramp(1000)], SPEC, 5, most=100)

    assert 90 <= len(windows) <= 115


def test_a_channel_that_a_trace_lacks_is_missing_in_its_rows():
    with_rtt, without = tiny_bandwidth.wave(0, with_rtt=True), tiny_bandwidth.wave(1)

    windows = cut_windows([with_rtt, without], SPEC, 5)

    rtt = windows.channels["rtt_ms"]
    assert np.isnan(rtt[windows.trace_N == 1]).all()
    assert np.isfinite(rtt[windows.trace_N == 0][:, -1]).all()


def test_gaps_of_a_channel_hold_the_last_value_before_them():
    held = hold_last(np.array([np.nan, 3.0, np.nan, np.nan, 7.0]))

    assert np.isnan(held[0])
    assert held[1:].tolist() == [3, 3, 3, 7]


@settings(max_examples=40, deadline=None)
@given(
    scale=st.sampled_from([0.125, 8.0, 1024.0]),
    samples=st.lists(st.floats(0.5, 50), min_size=3, max_size=24),
)
def test_the_reference_scales_with_the_path(scale, samples):
    window = np.array([samples])

    small = reference_mbps(SPEC, {"bandwidth_mbps": window})
    large = reference_mbps(SPEC, {"bandwidth_mbps": scale * window})

    assert large == pytest.approx(scale * small)


def test_an_outage_does_not_bring_the_reference_to_zero():
    window = np.full((1, 24), 100.0)
    window[0, -6:] = 0.0

    assert reference_mbps(SPEC, {"bandwidth_mbps": window})[0] > 5


def test_sequences_are_cut_to_the_newest_steps_and_bounded():
    inputs = encode(TINY, {"bandwidth_mbps": np.array([[0.0, 1e5] * 12])})

    assert inputs.x_NTC.shape[1] == TINY.lstm.steps
    assert np.abs(inputs.x_NTC).max() <= 3


def test_a_recording_is_never_on_both_sides_of_the_split():
    traces = [tiny_bandwidth.wave(n, path_class=f"x{n // 2}") for n in range(12)]
    halves = [
        Trace(
            trace_id=f"drive-{n // 2}.{'up' if n % 2 else 'down'}",
            path_class="lte",
            t_s=t.t_s,
            bandwidth_mbps=t.bandwidth_mbps,
        )
        for n, t in enumerate(traces)
    ]

    split = split_class(halves, TINY)

    sides = [{recording(t) for t in part} for part in (split.train, split.validation)]
    assert not sides[0] & sides[1]
    assert sides[1]


def test_one_long_trace_is_split_in_time_with_a_gap():
    split = split_class([ramp(400)], TINY)

    last_seen = split.train[0].bandwidth_mbps[-1]
    first_checked = split.validation[0].bandwidth_mbps[0]
    assert first_checked - last_seen > SPEC.history


def test_traces_too_short_to_split_are_refused_with_what_would_do():
    with pytest.raises(InvalidInputError, match="long enough"):
        split_class([ramp(20)], TINY)


def test_weights_depend_on_the_past_alone():
    trace = tiny_bandwidth.wave(3)
    windows = cut_windows([trace], SPEC, 5)
    changed = cut_windows([trace], SPEC, 5)
    changed.future_NH[:] *= 50

    before, after = to_examples(windows, TINY), to_examples(changed, TINY)

    assert np.array_equal(before.weight_N, after.weight_N)


def test_pooled_classes_weigh_the_same_whatever_their_rates():
    parts = [
        to_examples(cut_windows([tiny_bandwidth.wave(1, scale_mbps=s)], SPEC, 5), TINY)
        for s in (1.0, 1000.0)
    ]

    joined = pool(parts)

    half = len(parts[0])
    assert joined.weight_N[:half].mean() == pytest.approx(joined.weight_N[half:].mean())


def test_drawing_more_rows_than_there_are_returns_all_in_order():
    assert draw(4, 9, np.random.default_rng(0)).tolist() == [0, 1, 2, 3]


def test_members_read_the_level_once_and_as_a_logarithm():
    names = read_names(BandwidthConfig().features)

    own = [name for name in names if name.startswith("bandwidth_mbps__")]
    in_mbps = [n for n in own if not any(w in n for w in ("log_", "count", "since", "dominant"))]
    assert in_mbps == ["bandwidth_mbps__spectral_entropy"]
    assert own.count("bandwidth_mbps__log_level") == 1


def test_what_members_read_but_the_level_is_the_same_on_a_path_ten_times_as_fast():
    window = tiny_bandwidth.wave(1).bandwidth_mbps[None, :24]

    slow, fast = (encode(TINY, {"bandwidth_mbps": scale * window}) for scale in (1.0, 10.0))

    level = read_names(SPEC).index("bandwidth_mbps__log_level")
    others = np.arange(slow.x_NF.shape[1]) != level
    assert np.allclose(slow.x_NF[:, others], fast.x_NF[:, others], atol=1e-4, equal_nan=True)


def test_blur_moves_the_level_and_nothing_else():
    plain = to_examples(cut_windows([tiny_bandwidth.wave(1)], SPEC, 5), TINY)

    blurred = plain.blurred(0.3, SPEC, np.random.default_rng(0))

    moved = blurred.inputs.x_NF - plain.inputs.x_NF
    level = read_names(SPEC).index("bandwidth_mbps__log_level")
    assert 0.2 < moved[:, level].std() < 0.4
    assert not np.nan_to_num(np.delete(moved, level, axis=1)).any()
