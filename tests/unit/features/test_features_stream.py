import io

import numpy as np
import pytest

from novacron.errors import FeatureMismatchError, OutOfRangeError, SchemaError
from novacron.features.matrix import trace_features
from novacron.features.spec import LINK_FULL, FeatureSpec
from novacron.features.stream import StreamingFeatures

SPEC = FeatureSpec(
    channels=("bandwidth_mbps", "rtt_ms"), history=8, rolling=(4,), lags=(0, 1), frequency=True
)
PRESENT = SPEC.names.index("bandwidth_mbps__present_count")
NEWEST = SPEC.names.index("bandwidth_mbps__lag_0")
BEFORE = SPEC.names.index("bandwidth_mbps__lag_1")


def push(stream, entity_id, ts_s, bandwidth_mbps):
    return stream.push(entity_id, ts_s, {"bandwidth_mbps": bandwidth_mbps})


def test_entities_do_not_mix():
    rng = np.random.default_rng(1)
    x_TN = rng.gamma(2.0, 5.0, (20, 3))
    stream = StreamingFeatures(SPEC)

    for at, x_N in enumerate(x_TN):
        row = stream.push_many(["a", "b", "c"], np.full(3, float(at)), {"bandwidth_mbps": x_N})

    for place in range(3):
        alone = trace_features(SPEC, {"bandwidth_mbps": x_TN[:, place]}, np.arange(20.0))
        np.testing.assert_array_equal(row[place], alone[-1])


def test_entities_may_come_and_go_between_calls():
    stream = StreamingFeatures(SPEC)
    stream.push_many(["a", "b"], np.array([0.0, 0.0]), {"bandwidth_mbps": np.array([1.0, 2.0])})
    stream.push_many(["c", "a"], np.array([1.0, 1.0]), {"bandwidth_mbps": np.array([3.0, 4.0])})

    row = push(stream, "b", 2.0, 5.0)

    assert (row[BEFORE], row[NEWEST], row[PRESENT]) == (2.0, 5.0, 2.0)


def test_a_value_of_none_is_a_missing_sample():
    stream = StreamingFeatures(SPEC)
    push(stream, "a", 0.0, 3.0)

    row = push(stream, "a", 1.0, None)

    assert np.isnan(row[NEWEST])
    assert row[PRESENT] == 1


def test_steps_without_a_sample_count_as_missing_on_a_grid():
    stream = StreamingFeatures(SPEC, step_s=60.0)
    x_T = np.array([1.0, 2.0, np.nan, np.nan, 5.0, 6.0, np.nan, 8.0, 9.0, 10.0])
    whole = trace_features(SPEC, {"bandwidth_mbps": x_T}, 60.0 * np.arange(10))

    for at in np.flatnonzero(~np.isnan(x_T)):
        row = push(stream, "a", 60.0 * at, x_T[at])
        np.testing.assert_array_equal(row, whole[at])


def test_a_silence_longer_than_the_history_empties_the_window():
    stream = StreamingFeatures(SPEC, step_s=1.0)
    push(stream, "a", 0.0, 1.0)

    row = push(stream, "a", 1e6, 2.0)

    assert row[PRESENT] == 1


def test_grid_times_with_rounding_errors_fall_in_their_own_step():
    stream = StreamingFeatures(SPEC, step_s=0.1)

    rows = [push(stream, "a", at * 0.1, 1.0) for at in range(8)]

    assert [row[PRESENT] for row in rows] == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("step_s", [None, 60.0])
@pytest.mark.parametrize("ts_s", [600.0, 599.0])
def test_a_sample_that_is_not_later_is_refused_and_changes_nothing(step_s, ts_s):
    stream = StreamingFeatures(SPEC, step_s=step_s)
    push(stream, "a", 600.0, 1.0)

    with pytest.raises(OutOfRangeError, match="ts_s"):
        stream.push_many(["new", "a"], np.array([600.0, ts_s]), {"bandwidth_mbps": np.ones(2)})

    assert len(stream) == 1
    assert push(stream, "a", 700.0, 1.0)[PRESENT] == 2


@pytest.mark.parametrize(
    ("entity_ids", "ts_s", "values", "error"),
    [
        (["a", "a"], [0.0, 1.0], {"rtt_ms": np.ones(2)}, SchemaError),
        (["a", "b"], [0.0], {"rtt_ms": np.ones(2)}, SchemaError),
        (["a"], [0.0], {"rtt_ms": np.ones(2)}, SchemaError),
        (["a"], [0.0], {"rtt": np.ones(1)}, SchemaError),
        (["a", "b", "c"], [0.0, 0.0, 0.0], {"rtt_ms": np.ones(3)}, SchemaError),
        (["a"], [0.0], {"rtt_ms": np.array([np.inf])}, OutOfRangeError),
        (["a"], [np.nan], {"rtt_ms": np.ones(1)}, OutOfRangeError),
    ],
)
def test_a_malformed_call_is_refused_and_changes_nothing(entity_ids, ts_s, values, error):
    stream = StreamingFeatures(SPEC, max_entities=2)

    with pytest.raises(error):
        stream.push_many(entity_ids, np.array(ts_s), values)

    assert len(stream) == 0


def test_metrics_that_the_spec_does_not_name_are_not_read():
    stream = StreamingFeatures(SPEC)

    row = stream.push("a", 0.0, {"bandwidth_mbps": 1.0, "streams": 4.0})

    assert row[NEWEST] == 1


def test_the_entity_silent_for_longest_makes_room_and_is_counted():
    stream = StreamingFeatures(SPEC, max_entities=2)
    for at, name in enumerate(["a", "b", "a", "c"]):
        push(stream, name, float(at), 1.0)

    kept = push(stream, "a", 10.0, 1.0)
    returned = push(stream, "b", 11.0, 1.0)

    assert kept[PRESENT] == 3
    assert returned[PRESENT] == 1
    assert (len(stream), stream.evictions) == (2, 2)


def test_a_new_entity_never_evicts_one_of_the_same_call():
    stream = StreamingFeatures(SPEC, max_entities=2)
    push(stream, "a", 0.0, 1.0)
    push(stream, "b", 1.0, 1.0)

    rows = stream.push_many(["c", "a"], np.array([2.0, 2.0]), {"bandwidth_mbps": np.ones(2)})

    assert rows[1, PRESENT] == 2


def test_memory_grows_with_the_entities_up_to_the_bound():
    stream = StreamingFeatures(SPEC, max_entities=50)

    for at in range(200):
        push(stream, f"link-{at}", 0.0, 1.0)

    assert stream.snapshot()["windows"].shape == (50, 2, 8)
    assert stream.evictions == 150


def test_a_stream_goes_on_from_a_snapshot_as_if_never_stopped():
    rng = np.random.default_rng(2)
    stream = StreamingFeatures(SPEC, max_entities=3, step_s=1.0)
    for at in range(30):
        push(stream, f"link-{rng.integers(4)}", float(at), rng.gamma(2.0, 5.0))
    file = io.BytesIO()
    np.savez(file, **stream.snapshot())
    file.seek(0)

    again = StreamingFeatures(SPEC, max_entities=3, step_s=1.0)
    with np.load(file, allow_pickle=False) as snapshot:
        again.restore(snapshot)

    for at in range(30, 50):
        name, value = f"link-{rng.integers(4)}", rng.gamma(2.0, 5.0)
        np.testing.assert_array_equal(
            push(again, name, float(at), value), push(stream, name, float(at), value)
        )
    assert again.evictions == stream.evictions


def test_a_snapshot_is_not_changed_by_later_samples():
    stream = StreamingFeatures(SPEC)
    push(stream, "a", 0.0, 1.0)
    snapshot = stream.snapshot()
    before = snapshot["windows"].copy()

    push(stream, "a", 1.0, 2.0)

    np.testing.assert_array_equal(snapshot["windows"], before)


def test_a_snapshot_of_other_features_is_refused():
    snapshot = StreamingFeatures(LINK_FULL).snapshot()

    with pytest.raises(FeatureMismatchError, match="taken with features"):
        StreamingFeatures(SPEC).restore(snapshot)


def test_a_snapshot_with_too_many_entities_is_refused():
    stream = StreamingFeatures(SPEC)
    for name in "abc":
        push(stream, name, 0.0, 1.0)

    with pytest.raises(SchemaError, match="at most 2"):
        StreamingFeatures(SPEC, max_entities=2).restore(stream.snapshot())


def test_a_snapshot_whose_arrays_do_not_fit_together_is_refused():
    stream = StreamingFeatures(SPEC)
    push(stream, "a", 0.0, 1.0)
    snapshot = stream.snapshot()

    with pytest.raises(SchemaError, match="windows"):
        StreamingFeatures(SPEC).restore(snapshot | {"windows": snapshot["windows"][:, :, 1:]})


@pytest.mark.parametrize("settings", [{"max_entities": 0}, {"step_s": 0.0}, {"step_s": -1.0}])
def test_bounds_that_make_no_sense_are_refused(settings):
    with pytest.raises(OutOfRangeError, match=next(iter(settings))):
        StreamingFeatures(SPEC, **settings)
