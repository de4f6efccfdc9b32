import itertools
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from novacron.errors import ConfigError
from novacron.telemetry.splits import recording, split_by_group, split_by_time
from novacron.telemetry.traces import Trace

EPOCH = datetime(2024, 1, 1, tzinfo=UTC)


def trace_of(name, n=10, start=None):
    numbers = np.arange(n, dtype=float)
    return Trace(trace_id=name, path_class="x", t_s=numbers, bandwidth_mbps=numbers, start=start)


def ids(traces):
    return [trace.trace_id for trace in traces]


def test_the_last_traces_are_held_out_in_the_given_order():
    traces = [trace_of(str(i)) for i in range(10)]

    split = split_by_group(traces, validation_share=0.2, test_share=0.1)

    assert ids(split.train) == list("0123456")
    assert ids(split.validation) == ["7", "8"]
    assert ids(split.test) == ["9"]


def test_no_recording_is_on_two_sides():
    traces = [trace_of(f"{i}.{side}") for i in range(7) for side in ("up", "down")]

    split = split_by_group(traces, validation_share=0.3, test_share=0.2, order="hashed", seed=3)
    sides = [{recording(t) for t in part} for part in (split.train, split.validation, split.test)]

    assert all(not (one & other) for one, other in itertools.combinations(sides, 2))
    assert sum(map(len, (split.train, split.validation, split.test))) == len(traces)


def test_the_start_order_holds_out_the_latest_dates():
    days = [5, 1, 4, 2, 3]
    traces = [trace_of(str(day), start=EPOCH + timedelta(days=day)) for day in days]

    split = split_by_group(traces, validation_share=0.2, order="start")

    assert ids(split.train) == ["1", "2", "3", "4"]
    assert ids(split.validation) == ["5"]


def test_the_start_order_needs_starts():
    with pytest.raises(ConfigError, match="start"):
        split_by_group([trace_of("a"), trace_of("b", start=EPOCH)], order="start")


def test_the_hashed_order_depends_on_the_seed_and_not_on_the_order_of_the_traces():
    traces = [trace_of(str(i)) for i in range(30)]

    split = split_by_group(traces, order="hashed", seed=1)
    again = split_by_group(traces[::-1], order="hashed", seed=1)
    other = split_by_group(traces, order="hashed", seed=2)

    assert ids(split.validation) == ids(again.validation)
    assert ids(split.validation) != ids(other.validation)


def test_two_traces_do_not_make_three_parts():
    with pytest.raises(ConfigError, match="groups"):
        split_by_group([trace_of("a"), trace_of("b")], test_share=0.2)


@pytest.mark.parametrize(("validation", "test"), [(0.0, 0.1), (0.6, 0.4), (1.2, 0.0), (0.2, -0.1)])
def test_shares_that_leave_nothing_are_refused(validation, test):
    with pytest.raises(ConfigError, match="share"):
        split_by_group([trace_of("a")], validation_share=validation, test_share=test)


@settings(max_examples=50, deadline=None)
@given(
    n=st.integers(1, 400),
    window=st.integers(1, 30),
    horizon=st.integers(1, 10),
    validation_share=st.floats(0.05, 0.4),
    test_share=st.sampled_from([0.0, 0.1, 0.3]),
)
def test_no_window_of_one_part_reaches_into_another(
    n, window, horizon, validation_share, test_share
):
    traces = [trace_of("a", n, EPOCH)]

    split = split_by_time(
        traces,
        window=window,
        horizon=horizon,
        validation_share=validation_share,
        test_share=test_share,
    )

    parts = [
        part[0].bandwidth_mbps for part in (split.train, split.validation, split.test) if part
    ]
    assert len(parts) + len(split.skipped) == (1 if split.skipped else 2 + bool(test_share))
    for earlier, later in itertools.pairwise(parts):
        assert later[0] - earlier[-1] > window + horizon
    assert all(len(part) >= window + horizon for part in parts)


def test_a_time_split_keeps_the_clock_of_the_later_part():
    split = split_by_time([trace_of("a", 100, EPOCH)], window=5, horizon=2, validation_share=0.3)

    later = split.validation[0]
    assert later.start == EPOCH + timedelta(seconds=float(later.bandwidth_mbps[0]))


def test_a_trace_too_short_to_cut_is_reported_and_not_used():
    split = split_by_time([trace_of("a", 20), trace_of("b", 200)], window=8, horizon=2)

    assert ids(split.skipped) == ["a"]
    assert ids(split.train) == ids(split.validation) == ["b"]


def test_a_window_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="window"):
        split_by_time([trace_of("a")], window=0, horizon=1)
