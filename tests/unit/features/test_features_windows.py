import numpy as np
import pytest

from novacron.errors import OutOfRangeError, SchemaError
from novacron.features.matrix import request_features, trace_features, trace_windows
from novacron.features.spec import BANDWIDTH, LINK_FULL, FeatureSpec
from novacron.features.windows import (
    sequence_names,
    sequence_tensor,
    window_features,
    window_level,
)


@pytest.mark.parametrize("spec", [LINK_FULL, BANDWIDTH])
def test_every_column_has_one_name(spec):
    windows = {"bandwidth_mbps": np.ones((3, spec.history))}

    x_NF = window_features(spec, windows, np.zeros(3))

    assert x_NF.shape == (3, len(spec.names))
    assert len(set(spec.names)) == len(spec.names)


def test_an_unknown_channel_is_refused_by_name():
    with pytest.raises(SchemaError, match="bandwidth_gbps"):
        window_features(LINK_FULL, {"bandwidth_gbps": np.ones((1, 60))})


def test_windows_of_different_shapes_are_refused():
    windows = {"bandwidth_mbps": np.ones((1, 60)), "rtt_ms": np.ones((2, 60))}

    with pytest.raises(SchemaError, match="rtt_ms"):
        window_features(LINK_FULL, windows)


def test_an_infinite_sample_is_refused():
    with pytest.raises(OutOfRangeError, match="bandwidth_mbps"):
        window_features(LINK_FULL, {"bandwidth_mbps": np.array([[1.0, np.inf]])})


def test_no_windows_give_no_rows():
    x_NF = window_features(LINK_FULL, {"bandwidth_mbps": np.empty((0, 60))}, np.empty(0))

    assert x_NF.shape == (0, len(LINK_FULL.names))


def test_a_channel_without_samples_is_missing_and_says_so_in_its_counts():
    windows = {"bandwidth_mbps": np.arange(120.0).reshape(2, 60)}

    x_NF = window_features(LINK_FULL, windows)

    row = dict(zip(LINK_FULL.names, x_NF[1], strict=True))
    rtt = {name: value for name, value in row.items() if name.startswith("rtt_ms__")}
    assert rtt.pop("rtt_ms__present_count") == 0
    assert rtt.pop("rtt_ms__steps_since_present") == LINK_FULL.history
    assert np.isnan(list(rtt.values())).all()


def test_only_the_newest_samples_of_a_long_window_are_read():
    rng = np.random.default_rng(0)
    x_NT = rng.gamma(2.0, 5.0, (4, 100))

    long = window_features(LINK_FULL, {"bandwidth_mbps": x_NT})
    exact = window_features(LINK_FULL, {"bandwidth_mbps": x_NT[:, -60:]})

    np.testing.assert_array_equal(long, exact)


def test_a_request_may_carry_tensors_that_are_no_channels():
    tensors = {
        "bandwidth_mbps": np.array([[1.0, 2.0, 3.0]]),
        "path_class": np.array(["wan"], dtype=object),
    }

    x_NF = request_features(BANDWIDTH, tensors)

    assert x_NF[0, BANDWIDTH.names.index("bandwidth_mbps__present_count")] == 3


def test_trace_windows_take_no_memory_of_their_own():
    x_T = np.arange(1000.0)

    windows = trace_windows(LINK_FULL, {"bandwidth_mbps": x_T})

    assert windows["bandwidth_mbps"].shape == (1000, 60)
    assert windows["bandwidth_mbps"].base is not None
    assert not windows["bandwidth_mbps"].flags.writeable


def test_sequences_are_log_ratios_to_the_level_with_a_mask():
    windows = {"bandwidth_mbps": np.array([[np.nan, 4.0, np.nan, 8.0]])}
    spec = FeatureSpec(channels=("bandwidth_mbps",), history=4, relative=("bandwidth_mbps",))

    x_NTC = sequence_tensor(spec, windows)

    level_mbps = window_level(spec, windows, "bandwidth_mbps")[0]
    ratio, present = (
        x_NTC[0, :, sequence_names(spec).index(f"bandwidth_mbps__{what}")]
        for what in ("log_ratio", "present")
    )
    np.testing.assert_allclose(ratio, [0, np.log(4 / level_mbps), 0, np.log(8 / level_mbps)])
    np.testing.assert_array_equal(present, [0, 1, 0, 1])


def test_the_newest_steps_of_a_sequence_keep_the_level_of_the_whole_window():
    windows = {"bandwidth_mbps": np.random.default_rng(1).gamma(2.0, 5.0, (3, BANDWIDTH.history))}

    whole = sequence_tensor(BANDWIDTH, windows)
    newest = sequence_tensor(BANDWIDTH, windows, steps=7)

    np.testing.assert_array_equal(newest, whole[:, -7:])


@pytest.mark.parametrize("steps", [0, BANDWIDTH.history + 1])
def test_a_sequence_longer_than_the_history_is_refused(steps):
    with pytest.raises(OutOfRangeError, match="steps"):
        sequence_tensor(BANDWIDTH, {"rtt_ms": np.ones((1, 3))}, steps=steps)


def test_sequences_scale_other_channels_by_their_unit():
    windows = {"rtt_ms": np.array([[100.0]]), "loss_ratio": np.array([[0.25]])}
    spec = FeatureSpec(channels=("rtt_ms", "loss_ratio"), history=2)

    x_NTC = sequence_tensor(spec, windows)

    names = sequence_names(spec)
    assert x_NTC[0, -1, names.index("rtt_ms__scaled")] == pytest.approx(np.log(2))
    assert x_NTC[0, -1, names.index("loss_ratio__scaled")] == pytest.approx(0.5)


def test_the_level_of_a_channel_that_is_not_there_is_refused():
    with pytest.raises(SchemaError, match="streams"):
        window_level(BANDWIDTH, {"bandwidth_mbps": np.ones((1, 3))}, "streams")


def test_levels_of_many_windows_are_those_of_each_alone():
    x_NT = np.random.default_rng(1).gamma(2.0, 5.0, (2000, 60))

    level_N = window_level(BANDWIDTH, {"bandwidth_mbps": x_NT}, "bandwidth_mbps")

    for at in (0, 767, 768, 1999):
        alone = window_level(BANDWIDTH, {"bandwidth_mbps": x_NT[at : at + 1]}, "bandwidth_mbps")
        assert level_N[at] == alone[0]


def test_a_series_of_two_dimensions_is_refused():
    with pytest.raises(SchemaError, match="one series"):
        trace_features(LINK_FULL, {"bandwidth_mbps": np.ones((2, 2))})


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"channels": ("bandwidth_gbps",)}, "no telemetry table"),
        ({"rolling": (61,)}, "longer than history"),
        ({"lags": (60,)}, "beyond history"),
        ({"relative": ("rtt_ms",)}, "subset of channels"),
        ({"rolling": (5, 5)}, "repeated entry"),
        ({"quantiles": (0.1, 0.10000001), "rolling": (5,)}, "share a name"),
        ({"ewma_half_lives": (0.05,)}, "weights vanish"),
        ({"window": 5}, "Extra inputs"),
    ],
)
def test_a_spec_that_makes_no_sense_is_refused(changes, complaint):
    with pytest.raises(ValueError, match=complaint):
        FeatureSpec(**({"channels": ("bandwidth_mbps",)} | changes))
