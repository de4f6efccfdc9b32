import numpy as np
import pandas as pd

from novacron.contracts.telemetry import NODE_SCHEMA
from novacron.telemetry.datasets import anomaly

MINUTES = pd.date_range("2022-08-22 03:51:19", periods=3, freq="min")


def test_donut_labels_become_booleans_and_odd_ones_are_set_aside(publish):
    folder = publish(
        anomaly.DONUT_FILE,
        {"series": ["cpu4"] * 3, "ts": MINUTES, "value": [0.8, -0.1, 3.9], "label": [0, 2, 1]},
    )

    result = anomaly.adapt_donut(folder)

    assert result.table["is_anomaly"].to_pylist() == [False, True]
    assert result.rejected_counts == {"label is neither 0 nor 1": 1}


def test_timestamps_without_a_stated_zone_get_none(publish):
    folder = publish(
        anomaly.DONUT_FILE,
        {"series": ["cpu4"] * 3, "ts": MINUTES, "value": [0.8, -0.1, 3.9], "label": [0, 0, 1]},
    )

    field = anomaly.adapt_donut(folder).table.schema.field("local_ts")

    assert field.type.tz is None


def test_nab_repeated_hours_and_stuck_collectors_keep_the_first_row(publish):
    ts = MINUTES[[0, 1, 0, 2]].append(MINUTES[[2]])
    folder = publish(
        anomaly.NAB_SERIES_FILE,
        {
            "series": ["a"] * 5,
            "ts": ts,
            "value": [1.0, 2.0, 3.0, 4.0, 4.0],
            "in_window": [True] * 5,
        },
    )

    result = anomaly.adapt_nab(folder)

    assert result.table["value"].to_pylist() == [1.0, 2.0, 4.0]
    assert result.rejected_counts == {"duplicate of an earlier row by series and ts": 2}


def test_nab_rows_that_go_back_in_time_are_set_aside(publish):
    folder = publish(
        anomaly.NAB_SERIES_FILE,
        {
            "series": ["a"] * 3,
            "ts": MINUTES[[0, 2, 1]],
            "value": [1.0, 2.0, 3.0],
            "in_window": [False] * 3,
        },
    )

    result = anomaly.adapt_nab(folder)

    assert result.rejected_counts == {"time runs backwards within the series": 1}


def test_a_nab_window_that_ends_before_it_starts_is_set_aside(publish):
    folder = publish(
        anomaly.NAB_WINDOWS_FILE,
        {"series": ["a", "b"], "start": MINUTES[[0, 2]], "end": MINUTES[[1, 1]]},
    )

    result = anomaly.adapt_nab_windows(folder)

    assert result.table["series"].to_pylist() == ["a"]
    assert result.rejected_counts == {"window ends before it starts": 1}


def publish_pods(publish, **changes):
    names = ["CpuUsage", "MemoryUsage", "SyscallRead", "SyscallWrite", "NetworkReceiveBytes"]
    names += ["NetworkTransmitBytes", "PodServerLatencyP95", "NodeCpuUsageRate"]
    names += ["NodeMemoryUsageRate", "NodeNetworkReceiveBytes", "PodWorkload"]
    columns = {name: np.array([5.0, 6.0, 7.0], np.float32) for name in names}
    columns |= {
        "ts": MINUTES,
        "pod": ["frontend"] * 3,
        "CpuUsageRate": [50.0, 110.0, 20.0],
        "MemoryUsageRate": [80.0, 148.0, 81.0],
        "PodClientLatencyP95": [0.1, 3600.0, np.nan],
        "PodClientLatencyP99": [0.2, 900.0, np.nan],
        "PodSuccessRate": [0.0, 0.0, 0.0],
    }
    return publish(anomaly.NEZHA_METRICS_FILE, columns | changes)


def test_nezha_percent_and_seconds_become_ratios_and_milliseconds(publish):
    folder = publish_pods(publish)

    table = anomaly.adapt_nezha(folder).table

    assert tuple(table.schema.names) == NODE_SCHEMA.names
    assert table["cpu_ratio"].to_pylist() == [0.5, 1.1, 0.2]
    assert table["latency_p95_ms"].to_pylist() == [100.0, None, None]


def test_nezha_impossible_cells_are_masked_and_their_rows_kept(publish):
    folder = publish_pods(publish)

    result = anomaly.adapt_nezha(folder)

    assert result.table.num_rows == 3
    assert result.table["mem_ratio"].to_pylist() == [0.8, None, 0.81]
    assert result.masked == {
        "memory above 100 %": 1,
        "PodClientLatencyP95 at the collector's ceiling": 1,
        "PodClientLatencyP99 above 600 s": 1,
    }


def test_nezha_success_rate_of_zero_is_not_an_error_rate_of_one(publish):
    folder = publish_pods(publish)

    table = anomaly.adapt_nezha(folder).table

    assert table["error_ratio"].null_count == 3


def test_nezha_duplicates_keep_the_first_row(publish):
    folder = publish_pods(publish, ts=MINUTES[[0, 0, 1]])

    result = anomaly.adapt_nezha(folder)

    assert result.rejected_counts == {"duplicate of an earlier row by pod and ts": 1}


def test_nezha_host_percent_becomes_a_ratio(publish):
    folder = publish_pods(publish)

    table = anomaly.adapt_nezha_pods(folder).table

    np.testing.assert_allclose(table["host_cpu_ratio"].to_numpy(), [0.05, 0.06, 0.07])


def faults(publish):
    return publish(
        anomaly.NEZHA_FAULTS_FILE,
        {
            "inject_time": ["2023-01-29 10:45:10", "2023-01-29 13:31:54"],
            "pod": ["a", "b"],
            "fault": ["exception", "cpu_contention"],
            "inject_ts": pd.to_datetime(["2023-01-29 18:45:10", "2023-01-29 13:31:54"]),
            "resource_fault": [False, True],
        },
    )


def test_nezha_faults_start_at_the_injection_log_and_last_five_minutes(publish):
    result = anomaly.adapt_nezha_faults(faults(publish))

    assert str(result.table["start"][0].as_py()) == "2023-01-29 10:45:10+00:00"
    assert str(result.table["end"][1].as_py()) == "2023-01-29 13:36:54+00:00"


def test_nezha_epochs_that_are_hours_off_are_counted(publish):
    result = anomaly.adapt_nezha_faults(faults(publish))

    assert result.masked == {"published epoch differs from the injection log": 1}


def test_nezha_code_faults_are_marked_as_hardly_visible(publish):
    table = anomaly.adapt_nezha_faults(faults(publish)).table

    assert table["shows_in_metrics"].to_pylist() == [False, True]
