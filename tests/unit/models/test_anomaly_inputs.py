"""What the detector accepts, and what it refuses by name."""

import numpy as np
import pandas as pd
import pytest

from novacron.errors import OutOfRangeError, PayloadTooLargeError, SchemaError
from novacron.models.anomaly.config import AnomalyConfig
from novacron.models.anomaly.inputs import read_series

CONFIG = AnomalyConfig()


def times(n, step_s=60.0):
    return 1.7e9 + step_s * np.arange(n)


def test_times_in_a_column_an_index_or_seconds_mean_the_same():
    stamps = pd.date_range("2024-01-01", periods=5, freq="60s", tz="UTC")
    values = [1.0, 2.0, 3.0, 4.0, 5.0]

    column = read_series(pd.DataFrame({"ts": stamps, "cpu_ratio": values}), CONFIG)
    index = read_series(pd.DataFrame({"cpu_ratio": values}, index=stamps), CONFIG)
    seconds = read_series({"ts": column.ts_s, "cpu_ratio": values}, CONFIG)

    assert column.step_s == index.step_s == seconds.step_s == 60
    np.testing.assert_array_equal(column.ts_s, index.ts_s)
    np.testing.assert_array_equal(column.ts_s, seconds.ts_s)


def test_a_missing_sample_is_flagged_and_takes_the_value_before():
    series = read_series({"ts": times(4), "value": [np.nan, 2.0, np.nan, 3.0]}, CONFIG)

    assert series.value_TM[:, 0].tolist() == [2.0, 2.0, 2.0, 3.0]
    assert series.missing_TM[:, 0].tolist() == [True, False, True, False]


def test_a_metric_that_is_missing_everywhere_is_left_out():
    series = read_series({"ts": times(2), "value": [1.0, 2.0], "cpu_ratio": [np.nan] * 2}, CONFIG)

    assert series.metrics == ("value",)


def test_the_sample_after_a_pause_is_flagged():
    series = read_series({"ts": [0.0, 60, 120, 1000, 1060], "value": np.arange(5.0)}, CONFIG)

    assert series.gap_T.tolist() == [False, False, False, True, False]


def test_an_unknown_metric_names_the_nearest_one():
    with pytest.raises(SchemaError, match="cpu_ratio"):
        read_series({"ts": times(2), "cpu_ratios": [1.0, 2.0]}, CONFIG)


def test_a_metric_named_in_the_config_is_known():
    config = AnomalyConfig(extra_metrics=("queue_len",))

    series = read_series({"ts": times(2), "queue_len": [1.0, 2.0]}, config)

    assert series.metrics == ("queue_len",)


@pytest.mark.parametrize("ts", [[0.0, 60.0, 30.0], [0.0, 60.0, 60.0]])
def test_a_clock_that_stands_or_runs_backwards_is_refused_where_it_does(ts):
    with pytest.raises(OutOfRangeError, match=r"ts\[2\]"):
        read_series({"ts": ts, "value": [1.0, 2.0, 3.0]}, CONFIG)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ({}, SchemaError),
        ({"ts": []}, SchemaError),
        ({"ts": [], "value": []}, SchemaError),
        ({"ts": [0.0, 1.0], "value": [1.0]}, SchemaError),
        ({"ts": [0.0, 1.0], "value": ["a", "b"]}, SchemaError),
        ({"ts": [0.0, 1.0], "value": [np.nan, np.nan]}, SchemaError),
        ({"ts": [0.0, 1.0], "value": [[1.0, 2.0], [3.0, 4.0]]}, SchemaError),
        ({"ts": ["never", "ever"], "value": [1.0, 2.0]}, SchemaError),
        ({"ts": [0.0], "value": [1.0]}, SchemaError),
        ({"value": [1.0, 2.0]}, SchemaError),
        ({"ts": [0.0, 1.0], "value": [1.0, np.inf]}, OutOfRangeError),
        ({"ts": [0.0, 1.0], "node_id": ["a", "b"], "value": [1.0, 2.0]}, SchemaError),
    ],
)
def test_what_cannot_be_a_series_is_refused(data, error):
    with pytest.raises(error):
        read_series(data, CONFIG)


def test_more_samples_than_the_limit_are_refused():
    config = AnomalyConfig(longest_series=1024)

    with pytest.raises(PayloadTooLargeError):
        read_series({"ts": times(1025), "value": np.zeros(1025)}, config)
