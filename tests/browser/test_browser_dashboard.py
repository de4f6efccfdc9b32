"""What a person sees in the Ray dashboard, and in Prometheus, after a job and the endpoint ran.

`NOVACRON_SAVE_SCREENSHOTS=docs/images pytest -m browser` also keeps the pictures.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import numpy as np
import pytest

from novacron.registry.config import VARIABLES
from ray_jobs import serving
from ray_jobs.cluster import LocalCluster
from ray_jobs.cluster_state import ClusterConfig, ClusterState, free_ports
from ray_jobs.config import load_config
from ray_jobs.locations import registry_config
from ray_jobs.probe import infer
from ray_jobs.promote import GateConfig, promote
from ray_jobs.train import request_from, submit_training

pytestmark = [
    pytest.mark.browser,
    pytest.mark.ray,
    pytest.mark.serve,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed"),
]

ROOT = Path(__file__).parents[2]
TINY = """
data: {sets: [fcc], generator: {links: 12, hours: 0.3}}
fit:
  seeds: [1]
  lstm: {epochs: 2, tuning_epochs: 1, rows_per_class: 300, tuning_rows: 300, hidden: 4, head: 4}
  twin: {rounds: 5, examples: 500, min_rows_per_leaf: 20}
"""
GATE = "limits: [{name: wape_ratio_to_ewma, limit: 9.0, min_n: 1, tolerance_ratio: 1}]\n"


@dataclass(frozen=True)
class Scene:
    cluster: ClusterState
    job_id: str
    folder: Path
    url: str

    def ask(self, rows: int) -> None:
        """Have the endpoint answer some rows."""
        with httpx.Client(base_url=self.url) as client:
            infer(client, "bandwidth", {"bandwidth_mbps": np.full((rows, 16), 9.0)})


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A cluster on which a training job has run and the endpoint has answered.

    Without a token, since headless Chromium cannot be handed one.
    """
    folder = tmp_path_factory.mktemp("scene")
    (folder / "tiny.yaml").write_text(TINY)
    (folder / "gate.yaml").write_text(GATE)
    before = dict(os.environ)
    os.environ |= {"HOME": str(folder), "NOVACRON_RUNS_DIR": str(folder / "runs")}
    for name in ("NOVACRON_DATA_DIR", *VARIABLES.values()):
        os.environ.pop(name, None)
    config = ClusterConfig(cpus=2, dashboard_port=free_ports(1)[0], auth="disabled")
    try:
        with LocalCluster(config, runs=folder / "runs", now=datetime.now(UTC)) as cluster:
            request = request_from(
                model="bandwidth", config=folder / "tiny.yaml", data="generator", run_dir=None
            )
            outcome = submit_training(request, cluster.state, lambda _event, _units: None)
            gate = load_config(folder / "gate.yaml", GateConfig)
            promote(registry_config(), "bandwidth", outcome["version"], gate)
            wanted = serving.read_serve_config(ROOT / "configs" / "serve" / "local.yaml")
            wanted["http_options"]["port"] = free_ports(1)[0]
            url = serving.deploy(cluster.state, wanted)
            scene = Scene(cluster=cluster.state, job_id=outcome["job_id"], folder=folder, url=url)
            scene.ask(2)
            yield scene
    finally:
        os.environ.clear()
        os.environ.update(before)


def open_page(url: str, name: str, folder: Path) -> str:
    """Open a page in headless Chromium and return its text after its scripts ran."""
    kept = os.environ.get("NOVACRON_SAVE_SCREENSHOTS")
    target = (ROOT / kept if kept else folder) / f"{name}.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    base = [
        *("chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
        *(f"--user-data-dir={folder / 'chromium'}", "--window-size=1400,1200"),
        "--virtual-time-budget=20000",
    ]
    subprocess.run(
        [*base, f"--screenshot={target}", url], check=True, capture_output=True, timeout=120
    )
    assert target.stat().st_size > 10_000
    dumped = subprocess.run(
        [*base, "--dump-dom", url], check=True, capture_output=True, text=True, timeout=120
    )
    return dumped.stdout


def test_the_dashboard_shows_the_training_job_as_succeeded(scene: Scene) -> None:
    page = open_page(f"{scene.cluster.dashboard_url}/#/jobs", "ray_dashboard_jobs", scene.folder)

    assert scene.job_id in page
    assert "SUCCEEDED" in page
    assert "ray_jobs.train" in page


def test_the_page_of_the_job_shows_its_log_with_the_losses(scene: Scene) -> None:
    with scene.cluster.http_client() as client:
        job = client.get(f"/api/jobs/{scene.job_id}").json()

    page = open_page(
        f"{scene.cluster.dashboard_url}/#/jobs/{job['job_id']}", "ray_dashboard_job", scene.folder
    )

    assert scene.job_id in page
    assert "validation" in page


def test_the_dashboard_shows_the_endpoint_as_running(scene: Scene) -> None:
    page = open_page(f"{scene.cluster.dashboard_url}/#/serve", "ray_dashboard_serve", scene.folder)

    assert "novacron" in page
    assert "RUNNING" in page


def test_the_dashboard_without_grafana_says_so_on_its_metrics_page(scene: Scene) -> None:
    page = open_page(
        f"{scene.cluster.dashboard_url}/#/metrics", "ray_dashboard_metrics", scene.folder
    )

    assert "Grafana" in page


@pytest.fixture(scope="module")
def prometheus(scene: Scene) -> Iterator[str]:
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed")
    discovery = scene.cluster.temp_dir / "prom_metrics_service_discovery.json"
    config = scene.folder / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s}\n"
        "scrape_configs:\n"
        f"  - {{job_name: ray, file_sd_configs: [{{files: ['{discovery}']}}]}}\n"
    )
    port = free_ports(1)[0]
    with subprocess.Popen(
        [
            *("prometheus", f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}"),
            f"--storage.tsdb.path={scene.folder / 'tsdb'}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        yield f"http://127.0.0.1:{port}"
        process.terminate()


def wait_for(url: str, metric: str) -> list[dict]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            answer = httpx.get(f"{url}/api/v1/query", params={"query": metric}).json()
        except httpx.HTTPError:
            answer = {}
        if answer.get("data", {}).get("result"):
            return answer["data"]["result"]
        time.sleep(0.5)
    return []


@pytest.mark.parametrize(
    "metric",
    [
        "ray_novacron_training_rows_total",
        "ray_novacron_served_requests_total",
        "ray_novacron_served_rows_total",
        "ray_novacron_served_latency_seconds_count",
    ],
)
def test_prometheus_reads_the_platforms_metrics_from_rays_own_targets(
    scene: Scene, prometheus: str, metric: str
) -> None:
    found = wait_for(prometheus, metric)

    assert found
    assert {series["metric"]["model"] for series in found} == {"bandwidth"}


def test_prometheus_draws_the_platforms_metrics(scene: Scene, prometheus: str) -> None:
    wait_for(prometheus, "ray_novacron_served_requests_total")
    for rows in range(1, 31):  # a line needs several scrapes and something to show
        scene.ask(rows)
        time.sleep(0.5)

    page = open_page(
        f"{prometheus}/graph?g0.expr=sum+by+(model,version)+(ray_novacron_served_rows_total)"
        "&g0.tab=0&g0.range_input=1m",
        "prometheus_served_rows",
        scene.folder,
    )

    assert "ray_novacron_served_rows_total" in page
