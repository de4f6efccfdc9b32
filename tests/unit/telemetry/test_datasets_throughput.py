import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from novacron.contracts.telemetry import LINK_SCHEMA
from novacron.errors import DatasetNotFoundError, OutOfRangeError, SchemaError
from novacron.telemetry.datasets.adapted import Sieve
from novacron.telemetry.datasets.paths import sift_paths, traces_of
from novacron.telemetry.datasets.throughput import (
    TRACE_SETS,
    adapt_throughput,
    load_traces,
    sift_throughput,
    trace_files,
)

FCC = "net_tput_traces/fcc.parquet"
PUFFER = "net_tput_traces/puffer211017_train.parquet"


def sessions(*, trace=(0, 0, 0, 1, 1), t_s=(0.0, 1.01, 2.0, 0.0, 0.5), mbps=(1, 2, 3, 4, 5)):
    return {
        "trace": np.array(trace, np.int32),
        "t_s": np.array(t_s, np.float32),
        "mbps": np.array(mbps, np.float32),
    }


def test_each_trace_number_becomes_one_trace(publish):
    folder = publish(FCC, sessions())

    traces = load_traces(folder, "fcc")

    assert [trace.trace_id for trace in traces] == ["fcc-0000", "fcc-0001"]
    assert traces[0].t_s.tolist() == [0.0, 1.01, 2.0]
    assert traces[1].bandwidth_mbps.tolist() == [4.0, 5.0]
    assert {trace.path_class for trace in traces} == {"fcc"}
    assert all(trace.start is None and trace.rtt_ms is None for trace in traces)


def test_samples_that_do_not_advance_the_clock_are_set_aside_with_a_reason(publish):
    folder = publish(FCC, sessions(trace=(0,) * 5, t_s=(0, 1, 1, 0.5, 2)))

    result = adapt_throughput(folder, "fcc")

    assert result.rejected_counts == {
        "duplicate time within the trace": 1,
        "time runs backwards within the trace": 1,
    }
    assert result.table["bandwidth_mbps"].to_pylist() == [1.0, 2.0, 5.0]
    assert result.rows_read == 5


def test_a_rate_that_is_no_number_or_negative_is_set_aside(publish):
    folder = publish(FCC, sessions(mbps=(1, np.nan, -1, 4, np.inf)))

    sieve = sift_throughput(folder, "fcc")

    assert {reason: len(rows) for reason, rows in sieve.rejected.items()} == {
        "bandwidth_mbps is not a finite number": 2,
        "bandwidth_mbps outside [0, 1e+06]": 1,
    }


def test_link_samples_without_a_clock_start_at_a_nominal_time(publish):
    folder = publish(FCC, sessions())

    table = adapt_throughput(folder, "fcc").table

    assert tuple(table.schema.names) == LINK_SCHEMA.names
    assert str(table["ts"][0].as_py()) == "2001-01-01 00:00:00+00:00"
    assert str(table["ts"][3].as_py()) == "2001-01-01 00:00:01.010000+00:00"
    assert table["rtt_ms"].null_count == table.num_rows


def test_both_puffer_parts_are_one_path_class():
    assert (
        TRACE_SETS["puffer_train"].path_class == TRACE_SETS["puffer_test"].path_class == "puffer"
    )


def test_a_puffer_file_still_in_megabytes_is_refused(publish):
    folder = publish(PUFFER, sessions(mbps=(0.30, 0.35, 0.3, 3.0, 3.6)))

    with pytest.raises(OutOfRangeError, match="multiply them by 8"):
        load_traces(folder, "puffer_train")


def test_a_puffer_file_in_megabits_is_read_as_it_is(publish):
    folder = publish(PUFFER, sessions(mbps=(2.4, 2.5, 2.6, 20, 30)))

    traces = load_traces(folder, "puffer_train")

    np.testing.assert_allclose(traces[0].bandwidth_mbps, [2.4, 2.5, 2.6], rtol=1e-6)


def test_an_unknown_set_names_the_nearest_and_lists_all(tmp_path):
    with pytest.raises(DatasetNotFoundError, match=r"'hsdpa'.*puffer_train") as caught:
        load_traces(tmp_path, "hspda")

    assert caught.value.exit_code == 2


def test_a_missing_file_says_where_it_was_looked_for(tmp_path):
    with pytest.raises(DatasetNotFoundError, match=r"oboe\.parquet.*NOVACRON_DATA_DIR"):
        load_traces(tmp_path, "oboe")


def test_a_missing_column_is_named(publish):
    folder = publish(FCC, {"trace": [0], "t_s": [0.0]})

    with pytest.raises(SchemaError, match="mbps"):
        load_traces(folder, "fcc")


def test_the_files_behind_a_set_are_known_for_the_digest(tmp_path):
    assert trace_files(tmp_path, "5g") == (tmp_path / "net_5g_ucc/kpi_1s.parquet",)


numbers = st.one_of(
    st.floats(-10, 1e7), st.sampled_from([float("nan"), float("inf"), -float("inf"), 0.0])
)


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(st.tuples(st.sampled_from("ab"), numbers, numbers, numbers), max_size=30),
)
def test_whatever_comes_in_only_sound_traces_come_out_and_no_row_is_lost(rows):
    columns = ["trace", "t_s", "bandwidth_mbps", "rtt_ms"]
    frame = pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(columns[1:], float))
    sieve = Sieve(frame)

    sift_paths(sieve)
    traces = traces_of(sieve.kept, "any")

    assert sum(map(len, traces)) == len(sieve.kept)
    assert len(sieve.kept) + sum(map(len, sieve.rejected.values())) == len(rows)
