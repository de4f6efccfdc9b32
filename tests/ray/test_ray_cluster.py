import random
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from leftovers import adopting_orphans, children_now, living_children

from novacron.errors import NotReadyError
from ray_jobs.cluster import LocalCluster, connect, stop_cluster
from ray_jobs.cluster_state import ClusterConfig, free_ports, read_state

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300)]

# What a demo does, in short: a cluster, work on it, and an end that may come from outside.
SCRIPT = """
import sys, time
from datetime import UTC, datetime
from pathlib import Path
from ray_jobs.cluster import LocalCluster, connect, use_cluster
from ray_jobs.cluster_state import ClusterConfig, free_ports
config = ClusterConfig(cpus=2, dashboard_port=free_ports(1)[0])
print("entering", flush=True)
with LocalCluster(config, runs=Path(sys.argv[1]), now=datetime.now(UTC)) as cluster:
    print("started", flush=True)
    use_cluster(cluster.state)
    with connect():
        import ray
        hold = ray.remote(lambda: time.sleep(60))
        waiting = [hold.remote() for _ in range(4)]
        print("working", flush=True)
        ray.get(waiting)
"""


@pytest.fixture
def orphans() -> Iterator[None]:
    with adopting_orphans():
        yield


def run_and_interrupt(
    tmp_path: Path, *, signum: int, wait_for: str, delay_s: float, again: bool = False
) -> int:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process:
        for line in process.stdout:
            if line.strip() == wait_for:
                break
        else:
            pytest.fail(f"never {wait_for}: {process.stderr.read() if process.stderr else ''}")
        time.sleep(delay_s)
        process.send_signal(signum)
        if again:
            time.sleep(0.5)
            process.send_signal(signum)
        process.communicate(timeout=120)
    return process.returncode


@pytest.mark.parametrize("moment", ["just begun", "ray starting", "late in the start"])
def test_an_interrupt_during_start_up_leaves_no_process(
    orphans: None, tmp_path: Path, moment: str
) -> None:
    low_s, high_s = {
        "just begun": (0.0, 0.3),
        "ray starting": (0.5, 2.5),
        "late in the start": (2.5, 5.0),
    }[moment]
    before = children_now()

    code = run_and_interrupt(
        tmp_path,
        signum=signal.SIGINT,
        wait_for="entering",
        delay_s=random.uniform(low_s, high_s),
    )

    assert code != 0
    assert living_children(before) == []
    assert read_state(tmp_path) is None


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_while_tasks_run_leaves_no_process(
    orphans: None, tmp_path: Path, signum: int
) -> None:
    before = children_now()

    code = run_and_interrupt(tmp_path, signum=signum, wait_for="working", delay_s=2.0)

    assert code != 0
    assert living_children(before, patience_s=30) == []


def test_a_second_interrupt_does_not_cut_the_clean_up_short(orphans: None, tmp_path: Path) -> None:
    before = children_now()

    run_and_interrupt(tmp_path, signum=signal.SIGINT, wait_for="working", delay_s=1.0, again=True)

    assert living_children(before) == []


def test_the_folder_of_a_stopped_cluster_is_gone(tmp_path: Path) -> None:
    config = ClusterConfig(cpus=2, dashboard_port=free_ports(1)[0])

    with LocalCluster(config, runs=tmp_path, now=datetime.now(UTC)) as cluster:
        temp_dir = cluster.state.temp_dir
        assert temp_dir.is_dir()

    assert not temp_dir.exists()


def test_a_failed_start_is_tried_again_and_then_reported(orphans: None, tmp_path: Path) -> None:
    before = children_now()
    config = ClusterConfig(cpus=2, start_timeout_s=0.8, attempts=2)
    cluster = LocalCluster(config, runs=tmp_path, now=datetime.now(UTC))

    with pytest.raises(NotReadyError, match="2 attempts"):
        cluster.start()

    assert living_children(before) == []


def test_a_second_user_of_a_runs_folder_gets_the_running_cluster_and_leaves_it_alone(
    cluster: LocalCluster, cluster_runs: Path
) -> None:
    with LocalCluster(ClusterConfig(), runs=cluster_runs, now=datetime.now(UTC)) as second:
        assert second.reused
        assert second.state == cluster.state

    assert cluster.state.is_healthy()


def test_a_cluster_whose_owner_is_killed_outright_is_ended_by_its_guard(
    orphans: None, tmp_path: Path
) -> None:
    before = children_now()

    code = run_and_interrupt(tmp_path, signum=signal.SIGKILL, wait_for="working", delay_s=0.5)

    assert code == -signal.SIGKILL
    assert living_children(before, patience_s=30) == []
    assert read_state(tmp_path) is None


def test_a_cluster_left_running_can_be_stopped_from_its_state_file(
    orphans: None, tmp_path: Path
) -> None:
    before = children_now()
    config = ClusterConfig(cpus=2, dashboard_port=free_ports(1)[0])
    LocalCluster(config, runs=tmp_path, now=datetime.now(UTC)).start()
    state = read_state(tmp_path)
    assert state is not None
    assert state.is_healthy()

    stop_cluster(state)

    assert living_children(before) == []
    assert not state.is_healthy()
    assert read_state(tmp_path) is None


def test_the_job_api_refuses_whoever_has_no_token(cluster: LocalCluster) -> None:
    url = f"{cluster.state.dashboard_url}/api/jobs/"

    answers = [
        httpx.get(url).status_code,
        httpx.post(url, json={"entrypoint": "true"}).status_code,
        httpx.get(url, headers={"Authorization": "Bearer wrong"}).status_code,
    ]

    assert answers == [401, 401, 403]


def test_only_the_owner_can_read_the_token(cluster: LocalCluster) -> None:
    assert cluster.state.token_path is not None

    mode = stat.S_IMODE(cluster.state.token_path.stat().st_mode)

    assert mode == 0o600


def test_connecting_without_a_named_cluster_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    with pytest.raises(NotReadyError, match="RAY_ADDRESS"), connect():
        pass
