import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from leftovers import adopting_orphans, children_now, living_children

from ray_jobs.cluster_state import free_ports

pytestmark = [pytest.mark.ray, pytest.mark.serve, pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
TINY = """
data: {sets: [fcc], generator: {links: 12, hours: 0.3}}
fit:
  seeds: [1]
  lstm: {epochs: 1, tuning_epochs: 1, rows_per_class: 300, tuning_rows: 300, hidden: 4, head: 4}
  twin: {rounds: 5, examples: 500, min_rows_per_leaf: 20}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    (folder / "tiny.yaml").write_text(TINY)
    gate = "limits: [{name: wape_ratio_to_ewma, limit: 9.0, min_n: 1, tolerance_ratio: 1}]\n"
    (folder / "gate.yaml").write_text(gate)
    serve = (ROOT / "configs" / "serve" / "local.yaml").read_text()
    (folder / "serve.yaml").write_text(serve.replace("8000", str(free_ports(1)[0])))
    return folder


def start_demo(place: Path, *options: str) -> "subprocess.Popen[str]":
    unset = ("NOVACRON_DATA_DIR", "RAY_ADDRESS")
    env = {name: value for name, value in os.environ.items() if name not in unset}
    env |= {"NOVACRON_RUNS_DIR": str(place / "runs"), "HOME": str(place)}
    files = ("--config", place / "tiny.yaml", "--gate", place / "gate.yaml")
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "ray_jobs.demo", *map(str, files)),
            *("--serve", str(place / "serve.yaml"), *options),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=env,
    )


def run_demo(place: Path, *options: str) -> tuple[dict, str]:
    with start_demo(place, *options) as process:
        out, err = process.communicate(timeout=500)
    assert process.returncode == 0, out + err
    return json.loads((place / "runs" / "demo" / "summary.json").read_text()), out + err


@pytest.fixture(scope="module")
def first(place: Path) -> dict:
    """The summary of a first demo, and under `left` the processes that outlived it."""
    before = children_now()
    with adopting_orphans():
        summary, _ = run_demo(place)
        return summary | {"left": living_children(before, patience_s=10)}


def test_the_demo_goes_from_nothing_to_answers(first: dict) -> None:
    assert first["data_source"] == "generator seed 7"
    assert first["promotion"]["passed"]
    assert first["endpoint"]["model_version"] == first["training"]["version"]
    assert {one["rows"] for one in first["endpoint"]["latency"]} == {1, 100}
    assert first["batch"]["rows"] > 0
    assert Path(first["training"]["report"]).is_file()
    assert any(one["name"] == "wape_ratio_to_ewma" for one in first["training"]["metrics"])


def test_the_demo_leaves_no_process(first: dict) -> None:
    assert first["left"] == []


def test_a_second_demo_reuses_the_trained_version_and_says_so(first: dict, place: Path) -> None:
    second, said = run_demo(place)

    assert second["training"]["reused"]
    assert second["training"]["version"] == first["training"]["version"]
    assert "reused" in said


def test_an_interrupted_demo_leaves_no_process(place: Path) -> None:
    before = children_now()

    with adopting_orphans(), start_demo(place) as process:
        time.sleep(random.uniform(3.0, 25.0))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
        left = living_children(before, patience_s=30)

    assert left == []


def test_the_readme_commands_train_as_a_job_and_deploy(first: dict, place: Path) -> None:
    bin_dir = Path(sys.executable).parent
    env = os.environ | {
        "NOVACRON_RUNS_DIR": str(place / "runs"),
        "PATH": f"{bin_dir}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(place),
    }
    env.pop("NOVACRON_DATA_DIR", None)
    script = f"""
        set -e
        trap 'novacron down' EXIT
        novacron up --json
        eval "$(novacron env)"
        ray job submit --working-dir . -- python -m ray_jobs.train --model bandwidth \
          --config {place}/tiny.yaml
        novacron promote bandwidth {first["training"]["version"]} --gate {place}/gate.yaml
        serve deploy {place}/serve.yaml
        novacron serve --config {place}/serve.yaml --json
        novacron status --json
        novacron predict {place}/runs/demo/telemetry.parquet {place}/out.parquet --model bandwidth
        mkdir {place}/in
        cp {place}/runs/demo/telemetry.parquet {place}/in/monday.parquet
        novacron predict {place}/in {place}/out --model bandwidth --ray --json
    """

    finished = subprocess.run(
        ["bash", "-c", script],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )

    assert finished.returncode == 0, finished.stdout + finished.stderr
    answers = [json.loads(line) for line in finished.stdout.splitlines() if line[:1] == "{"]
    status = next(one for one in answers if "registry" in one)
    assert status["endpoint"]["ready"]
    assert [job["status"] for job in status["jobs"]] == ["SUCCEEDED"]
    alone = (place / "out.parquet").read_bytes()
    assert (place / "out" / "monday.parquet").read_bytes() == alone
    assert answers[-1]["files"] == 1
