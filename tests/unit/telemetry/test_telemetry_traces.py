import pickle
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from novacron.errors import OutOfRangeError, SchemaError
from novacron.telemetry.traces import Trace, by_class


def make_trace(**changes):
    fields = {
        "trace_id": "a",
        "path_class": "fcc",
        "t_s": [0.0, 1.0, 3.0],
        "bandwidth_mbps": [1.0, 2.0, 3.0],
    }
    return Trace(**(fields | changes))


def test_a_trace_keeps_its_samples_as_read_only_float64():
    trace = make_trace(bandwidth_mbps=[1, 2, 3])

    assert trace.bandwidth_mbps.dtype == np.float64
    with pytest.raises(ValueError, match="read-only"):
        trace.bandwidth_mbps[0] = 9


def test_a_trace_does_not_change_when_the_callers_array_does():
    mine = np.array([1.0, 2.0, 3.0])
    trace = make_trace(bandwidth_mbps=mine)

    mine[0] = 99

    assert trace.bandwidth_mbps[0] == 1.0


def test_duration_and_step_come_from_the_clock():
    trace = make_trace()

    assert (len(trace), trace.duration_s, trace.step_s) == (3, 3.0, 1.5)


@pytest.mark.parametrize("t_s", [[0.0, 1.0, 1.0], [0.0, 2.0, 1.0], [0.0, np.nan, 2.0]])
def test_time_that_does_not_increase_is_refused(t_s):
    with pytest.raises(SchemaError, match="strictly increasing"):
        make_trace(t_s=t_s)


def test_an_empty_trace_is_refused():
    with pytest.raises(SchemaError, match="at least one sample"):
        make_trace(t_s=[], bandwidth_mbps=[])


def test_a_channel_of_another_length_is_refused_by_name():
    with pytest.raises(SchemaError, match="rtt_ms"):
        make_trace(rtt_ms=[10.0])


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("bandwidth_mbps", [1.0, -0.1, 2.0]),
        ("bandwidth_mbps", [1.0, np.nan, 2.0]),
        ("bandwidth_mbps", [1.0, 2e6, 2.0]),
        ("rtt_ms", [1.0, np.inf, 2.0]),
        ("loss_ratio", [0.0, 1.5, 0.0]),
        ("jitter_ms", [0.0, -1.0, 0.0]),
    ],
)
def test_a_value_outside_its_unit_is_refused_with_its_place(field, values):
    with pytest.raises(OutOfRangeError, match=rf"{field}\[1\]"):
        make_trace(**{field: values})


def test_an_optional_channel_may_lack_samples():
    trace = make_trace(rtt_ms=[np.nan, 20.0, np.nan])

    assert np.isnan(trace.rtt_ms).tolist() == [True, False, True]


@pytest.mark.parametrize(
    "start",
    [
        datetime(2024, 1, 1, tzinfo=UTC).replace(tzinfo=None),
        datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=1))),
    ],
)
def test_a_start_that_is_not_utc_is_refused(start):
    with pytest.raises(OutOfRangeError, match="UTC"):
        make_trace(start=start)


def test_a_part_keeps_its_id_and_its_absolute_times():
    start = datetime(2024, 1, 1, tzinfo=UTC)
    trace = make_trace(start=start, loss_ratio=[0.0, 0.1, 0.2], extras={"cqi": [5, 6, 7]})

    part = trace.part(1, 3)

    assert part.trace_id == "a"
    assert part.t_s.tolist() == [0.0, 2.0]
    assert part.start == start + timedelta(seconds=1)
    assert part.loss_ratio.tolist() == [0.1, 0.2]
    assert part.extras["cqi"].tolist() == [6.0, 7.0]


def test_an_empty_part_is_refused():
    with pytest.raises(SchemaError, match="at least one sample"):
        make_trace().part(2, 2)


def test_a_trace_survives_the_way_to_a_worker_process():
    trace = make_trace(rtt_ms=[1.0, np.nan, 3.0], extras={"cqi": [1, 2, 3]})

    back = pickle.loads(pickle.dumps(trace))  # noqa: S301 - our own bytes, made one line above

    assert back.trace_id == trace.trace_id
    np.testing.assert_array_equal(back.rtt_ms, trace.rtt_ms)
    np.testing.assert_array_equal(back.extras["cqi"], trace.extras["cqi"])


def test_traces_group_by_class_in_their_order():
    traces = [
        make_trace(trace_id=i, path_class=c) for i, c in [("1", "b"), ("2", "a"), ("3", "b")]
    ]

    groups = by_class(traces)

    assert list(groups) == ["b", "a"]
    assert [trace.trace_id for trace in groups["b"]] == ["1", "3"]
