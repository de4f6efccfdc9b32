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
