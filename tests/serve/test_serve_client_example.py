import subprocess
import sys
from pathlib import Path

import pytest
from bare_endpoint import bare_endpoint

from ray_jobs.cluster_state import free_ports

pytestmark = [pytest.mark.server]
EXAMPLE = Path(__file__).parents[2] / "examples" / "predict_frame.py"


def test_the_example_prints_a_row_for_each_path_and_explains_a_refusal(tmp_path):
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    good.write_text("berlin,oslo\n1,20\n2,30\n")
    bad.write_text("berlin,oslo\n1,20\n2,\n")
    ports = free_ports(2)

    with bare_endpoint(ports):
        answered, refused = (
            subprocess.run(
                [sys.executable, str(EXAMPLE), f"http://127.0.0.1:{ports[0]}", str(path)],
                capture_output=True,
                text=True,
                check=False,
            )
            for path in (good, bad)
        )

    assert answered.returncode == 0, answered.stderr
    assert answered.stdout.splitlines()[0] == "bandwidth version 1"
    assert [line.split() for line in answered.stdout.splitlines()[2:]] == [
        ["berlin", "3.0", "6.0"],
        ["oslo", "60.0", "90.0"],
    ]
    assert refused.returncode == 2
    assert refused.stderr.startswith("bandwidth_mbps[1, 1]: got nan")
