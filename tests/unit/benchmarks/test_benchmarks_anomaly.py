"""The anomaly benchmark, in its quick form."""

import json
import os

import numpy as np
import pytest

from benchmarks.anomaly import main
from benchmarks.results_format import BenchmarkResult
from benchmarks.score_cache import cached

pytestmark = [
    pytest.mark.data,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        "NOVACRON_DATA_DIR" not in os.environ, reason="NOVACRON_DATA_DIR is not set"
    ),
]


def test_the_quick_run_writes_results_of_every_part_and_the_plots(tmp_path, monkeypatch):
    monkeypatch.setenv("NOVACRON_RUNS_DIR", str(tmp_path / "runs"))
    assert main(["--quick", "--results", str(tmp_path)]) == 0

    result = BenchmarkResult.model_validate(json.loads((tmp_path / "anomaly.json").read_text()))
    parts = {metric.name.split("_")[0] for metric in result.metrics}
    assert parts == {"nab", "cpu", "nezha", "injected"}
    counts = {"nezha_false_episodes_with_cpu_above_0.8", "nezha_delays_found_by_best_rule"}
    assert {metric.name for metric in result.metrics if metric.lo is None} == counts
    assert "injected_recall" in (tmp_path / "anomaly.html").read_text()
    assert {path.name for path in tmp_path.glob("*.png")} == {
        "anomaly_timeline.png",
        "anomaly_budget.png",
    }


def test_scores_are_kept_until_samples_settings_or_code_change(tmp_path, monkeypatch):
    monkeypatch.setenv("NOVACRON_RUNS_DIR", str(tmp_path))
    made = []

    def scores(value):
        def make():
            made.append(value)
            return np.full(3, value)

        return make

    first = cached(("tails",), "a", np.arange(3.0), scores(1.0))
    again = cached(("tails",), "a", np.arange(3.0), scores(2.0))
    cached(("tails",), "b", np.arange(3.0), scores(3.0))
    cached(("tails",), "a", np.arange(4.0), scores(4.0))
    cached(("tails", "stuck"), "a", np.arange(3.0), scores(5.0))

    assert first.tolist() == again.tolist()
    assert made == [1.0, 3.0, 4.0, 5.0]
