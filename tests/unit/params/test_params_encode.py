import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from novacron.errors import ConfigError, OutOfRangeError, SchemaError, UnknownNameError
from novacron.params.encode import (
    Channel,
    decode_unit,
    encode_frame,
    encode_values,
    numbers_of,
    stack_frames,
    values_of,
)
from novacron.params.groups import AMST_TRANSPORT, GROUPS
from novacron.params.observations import OBSERVATIONS, observation_spec

AMST = observation_spec("amst_transport")


def telemetry_of(spec, rows=2, value=1.0):
    return {channel.name: np.full(rows, value) for channel in spec.channels}


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(sorted(GROUPS)), seed=st.integers(0, 2**32 - 1))
def test_decoding_then_encoding_then_decoding_changes_nothing(name, seed):
    group = GROUPS[name]
    unit = np.random.default_rng(seed).uniform(-1, 1, (7, len(group)))

    values = decode_unit(group, unit)

    np.testing.assert_array_equal(decode_unit(group, encode_values(group, values)), values)
    for row in values:
        np.testing.assert_array_equal(numbers_of(group, values_of(group, row)), row)


@pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)
def test_corners_of_the_cube_are_the_bounds_of_the_table(group):
    corners = decode_unit(group, np.array([[-1.0] * len(group), [1.0] * len(group)]))

    np.testing.assert_allclose(corners[0], [knob.low for knob in group])
    np.testing.assert_allclose(corners[1], [knob.high for knob in group])


def test_log_knob_spends_equal_room_on_every_octave():
    streams = AMST_TRANSPORT.names.index("streams")
    unit = np.zeros((1, len(AMST_TRANSPORT)))

    middle = decode_unit(AMST_TRANSPORT, unit)[0, streams]

    assert middle == round(np.sqrt(512))


def test_every_choice_of_an_enum_gets_an_equal_share_of_the_axis():
    column = AMST_TRANSPORT.names.index("congestion_algorithm")
    unit = np.zeros((3000, len(AMST_TRANSPORT)))
    unit[:, column] = np.linspace(-1, 1, 3000)

    counts = np.bincount(decode_unit(AMST_TRANSPORT, unit)[:, column].astype(int))

    assert counts.tolist() == [1000, 1000, 1000]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1.01, -1.5])
def test_action_that_is_not_in_the_cube_is_refused_by_knob_name(bad):
    unit = np.zeros((2, len(AMST_TRANSPORT)))
    unit[1, 0] = bad

    with pytest.raises(OutOfRangeError, match=r"action\[1\]\.streams"):
        decode_unit(AMST_TRANSPORT, unit)


def test_single_precision_rounding_at_the_edge_is_accepted():
    unit = np.full((1, len(AMST_TRANSPORT)), np.float32(1.0) + np.float32(1e-7))

    values = decode_unit(AMST_TRANSPORT, unit.astype(np.float32))

    assert values[0, 0] == 512


def test_action_of_the_wrong_width_is_refused():
    with pytest.raises(SchemaError, match="amst_transport"):
        decode_unit(AMST_TRANSPORT, np.zeros((2, 3)))
    with pytest.raises(SchemaError):
        encode_values(AMST_TRANSPORT, np.zeros(4))


def test_value_outside_its_bounds_is_not_encoded():
    values = numbers_of(AMST_TRANSPORT, AMST_TRANSPORT.defaults())[None, :]
    values[0, 0] = 0

    with pytest.raises(OutOfRangeError, match="streams"):
        encode_values(AMST_TRANSPORT, values)


@pytest.mark.parametrize("spec", OBSERVATIONS.values(), ids=OBSERVATIONS)
def test_frame_stays_in_the_cube_whatever_the_telemetry(spec):
    values = np.tile(numbers_of(spec.group, spec.group.defaults()), (2, 1))

    for value in (-1.0, 0.0, 1e-12, 1.0, 1e30, np.inf):
        frame = encode_frame(spec, telemetry_of(spec, value=value), values)
        assert frame.dtype == np.float32
        assert frame.shape == (2, spec.frame_size)
        assert np.abs(frame).max() <= 1.0


def test_missing_channel_is_neutral_and_counted():
    values = np.tile(numbers_of(AMST.group, AMST.group.defaults()), (2, 1))
    telemetry = telemetry_of(AMST)
    telemetry["min_rtt_ms"][1] = np.nan

    frame = encode_frame(AMST, telemetry, values)

    column = AMST.names.index("min_rtt_ms")
    assert frame[1, column] == 0.0
    assert frame[0, -1] == -1.0
    assert frame[1, -1] == pytest.approx(2 / len(AMST.channels) - 1)


@pytest.mark.parametrize("change", ["absent", "extra"])
def test_telemetry_with_another_set_of_channels_is_refused(change):
    telemetry = telemetry_of(AMST)
    if change == "absent":
        del telemetry["min_rtt_ms"]
    else:
        telemetry["true_capacity_mbps"] = np.ones(2)
    values = np.tile(numbers_of(AMST.group, AMST.group.defaults()), (2, 1))

    with pytest.raises(SchemaError, match=r"min_rtt_ms|true_capacity_mbps"):
        encode_frame(AMST, telemetry, values)


@pytest.mark.parametrize("channel", ["capacity", "random_loss", "corpus", "cross"])
def test_no_observation_names_a_hidden_quantity(channel):
    for spec in OBSERVATIONS.values():
        assert not any(channel in name for name in spec.names)


def test_short_history_repeats_its_oldest_frame_and_long_history_forgets():
    frames = [np.full((1, AMST.frame_size), i, dtype=np.float32) for i in range(6)]

    short = stack_frames(AMST, frames[:2]).reshape(AMST.frames, -1)
    long = stack_frames(AMST, frames).reshape(AMST.frames, -1)

    assert short[:, 0].tolist() == [0, 0, 0, 1]
    assert long[:, 0].tolist() == [2, 3, 4, 5]


def test_history_without_frames_or_of_another_width_is_refused():
    with pytest.raises(SchemaError, match="at least one"):
        stack_frames(AMST, [])
    with pytest.raises(SchemaError):
        stack_frames(AMST, [np.zeros((1, 3), dtype=np.float32)])


def test_channel_that_cannot_be_scaled_is_refused():
    with pytest.raises(ConfigError):
        Channel(name="x", unit="1", low=0.0, high=1.0, scale="log", source="s")


def test_unknown_target_lists_the_targets():
    with pytest.raises(UnknownNameError, match="itp_partition"):
        observation_spec("routing")
