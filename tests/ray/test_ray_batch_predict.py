import json

import pytest

from benchmarks.batch_predict import main
from benchmarks.results_format import BenchmarkResult

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300)]


def test_ray_data_answers_every_row_that_the_loop_answers(private_home, tmp_path):
    main(["--quick", "--out", str(tmp_path)])

    found = json.loads((tmp_path / "batch_predict.json").read_text())
    result = BenchmarkResult.model_validate(found)
    assert {metric.set for metric in result.metrics} == {"patterns", "anomaly"}
    assert all(metric.value > 0 for metric in result.metrics)
