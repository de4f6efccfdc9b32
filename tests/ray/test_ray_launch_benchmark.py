import json

import pytest

from benchmarks.results_format import BenchmarkResult
from benchmarks.training_launch import main

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300)]


def test_the_quick_form_writes_a_ratio_for_every_way_to_launch(private_home, tmp_path):
    main(["--quick", "--out", str(tmp_path)])

    found = json.loads((tmp_path / "training_launch.json").read_text())
    result = BenchmarkResult.model_validate(found)
    assert {metric.set for metric in result.metrics} == {"ray_task", "torch_trainer_1"}
    assert all(metric.value > 0 for metric in result.metrics)
