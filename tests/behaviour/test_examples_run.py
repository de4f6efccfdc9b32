"""The examples of the documentation run as they stand."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.learn
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_one_sample_walks_through_every_room(tmp_path):
    finished = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "one_sample.py")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )

    assert finished.returncode == 0, finished.stderr[-3000:]
    rooms = [line.split()[1] for line in finished.stdout.splitlines() if line[:1].isdigit()]
    assert rooms == ["arrive", "check", "shape", "learn", "keep", "answer"]


def test_the_walk_needs_no_ray():
    source = (ROOT / "examples" / "one_sample.py").read_text()

    assert "ray_jobs" not in source
    assert "import ray" not in source


@pytest.mark.learn
@pytest.mark.timeout(120)
def test_a_plan_from_a_cold_start_names_the_metric_that_runs_short(tmp_path):
    finished = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "plan_capacity.py")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )

    assert finished.returncode == 0, finished.stderr[-3000:]
    assert "cpu_ratio" in finished.stdout.splitlines()[0]
    assert "Add processors" in finished.stdout
