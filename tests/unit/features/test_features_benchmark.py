import numpy as np
import pytest

from benchmarks import telemetry_features
from benchmarks.telemetry_features import measure_features
from novacron.errors import NovacronError


def test_the_speed_of_features_is_reported_beside_a_pandas_script_that_agrees():
    metrics = {metric.name: metric for metric in measure_features(rows=900, seed=1)}

    assert set(metrics) == {
        "features_batch_rows_per_s",
        "features_pandas_rows_per_s",
        "features_cpu_time_ratio_pandas_to_batch",
        "features_stream_rows_per_s",
        "features_request_rows_per_s",
    }
    for metric in metrics.values():
        assert 0 < metric.lo <= metric.value <= metric.hi
        assert metric.n == 3


def test_speeds_of_scripts_that_disagree_are_not_reported(monkeypatch):
    exact = telemetry_features.trace_features
    monkeypatch.setattr(
        telemetry_features, "trace_features", lambda *args: np.round(exact(*args), 2)
    )

    with pytest.raises(NovacronError, match="disagree on"):
        measure_features(rows=900, seed=1)
