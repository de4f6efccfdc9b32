import json
import time
from pathlib import Path

import httpx
import pytest

from ray_jobs.cluster import LocalCluster
from ray_jobs.jobs import Jobs

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
CSV = (
    "ts,link_id,bandwidth_mbps,loss_ratio\n"
    "2026-03-01T00:00:10Z,a,5,0.01\n"
    "2026-03-01T00:00:20Z,a,5,3\n"
    "2026-03-01T00:00:50Z,a,7,\n"
)


def exported(cluster: LocalCluster, name: str, *, timeout_s: float) -> dict[str, float]:
    """The series of a counter by their labels, once the node exports it."""
    url = f"http://127.0.0.1:{cluster.state.metrics_port}/metrics"
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        lines = httpx.get(url).text.splitlines()
        found = [line for line in lines if line.startswith(name + "{")]
        if found:
            return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in found}
        time.sleep(1)
    return {}


def test_an_ingestion_submitted_as_a_job_is_counted_in_the_metrics_of_the_cluster(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    path = tmp_path / "links.csv"
    path.write_text(CSV)
    command = ["python", "-m", "ray_jobs.ingest", "--json", "--schema", "link"]
    jobs = Jobs(cluster.state)

    submission_id = jobs.submit(
        [*command, "--out", str(tmp_path / "out"), str(path)], working_dir=ROOT
    )
    outcome = jobs.follow(submission_id, lambda _line: None, timeout_s=120)

    assert outcome.exit_code == 0, outcome.message
    assert json.loads(outcome.last_line)["rows_read"] == 3
    read = exported(cluster, "ray_novacron_rows_read_total", timeout_s=30)
    rejected = exported(cluster, "ray_novacron_rows_rejected_total", timeout_s=5)
    assert list(read.values()) == [3.0]
    assert [(key, value) for key, value in rejected.items() if "percent_not_ratio" in key]
