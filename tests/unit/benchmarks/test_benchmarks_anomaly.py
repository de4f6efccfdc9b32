"""The anomaly benchmark, in its quick form."""

import json
import os

import pytest

from benchmarks.anomaly import main
from benchmarks.results_format import BenchmarkResult

pytestmark = [
    pytest.mark.data,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        "NOVACRON_DATA_DIR" not in os.environ, reason="NOVACRON_DATA_DIR is not set"
    ),
]


def test_the_quick_run_writes_results_of_every_part_and_the_plots(tmp_path):
    assert main(["--quick", "--results", str(tmp_path)]) == 0

    result = BenchmarkResult.model_validate(json.loads((tmp_path / "anomaly.json").read_text()))
    parts = {metric.name.split("_")[0] for metric in result.metrics}
    assert parts == {"nab", "cpu", "nezha", "injected"}
    assert all(metric.lo is not None for metric in result.metrics)
    assert {path.name for path in tmp_path.glob("*.svg")} == {
        "anomaly_timeline.svg",
        "anomaly_budget.svg",
    }
