"""Many series planned as Ray tasks, one of whose workers is killed on the way."""

import os
import signal
import threading
import time

import numpy as np
import pandas as pd
import psutil
import pyarrow.parquet as pq
import pytest

from novacron.models.capacity.config import CapacityConfig
from novacron.telemetry.synthesize.demand import generate_demand
from ray_jobs import plan_capacity
from ray_jobs.capacity_plans import in_units
from ray_jobs.cluster import LocalCluster, connect, use_cluster

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300)]

CONFIG = CapacityConfig(members=("weekday_mean", "decomposed", "boosted"), origins=2, paths=200)


def kill_one_busy_worker(killed: list[int]) -> None:
    """Wait for a worker that runs a unit, and kill it as hard as can be."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not killed:
        for process in psutil.process_iter():
            try:
                title = " ".join(process.cmdline())
            except psutil.Error:
                continue
            if "ray::_fit_in_task" in title and _is_ours(process):
                os.kill(process.pid, signal.SIGKILL)
                killed.append(process.pid)
                return
        time.sleep(0.05)


def _is_ours(process: psutil.Process) -> bool:
    try:
        return process.environ().get("NOVACRON_RUNS_DIR") == os.environ["NOVACRON_RUNS_DIR"]
    except psutil.Error:
        return False


def test_every_series_is_planned_although_a_worker_was_killed(
    cluster: LocalCluster, cluster_runs, tmp_path, monkeypatch
):
    monkeypatch.setenv("NOVACRON_RUNS_DIR", str(cluster_runs))
    monkeypatch.setattr(plan_capacity, "in_units", lambda names: in_units(names, 3))
    frame = generate_demand(5, series=12, days=150).reset_index(names="ts")
    long = frame.melt("ts", var_name="series_id", value_name="value")
    long.to_parquet(tmp_path / "series.parquet")
    use_cluster(cluster.state)
    killed: list[int] = []
    hunter = threading.Thread(target=kill_one_busy_worker, args=(killed,), daemon=True)

    with connect():
        hunter.start()
        payload = plan_capacity.plan_answer(
            tmp_path / "series.parquet", tmp_path / "plans.parquet", config=CONFIG
        ).payload
    hunter.join()

    plans = pq.read_table(tmp_path / "plans.parquet").to_pandas()
    assert killed
    assert (payload["planned"], payload["errors"]) == (12, 0)
    assert sorted(plans.series_id) == sorted(pd.unique(long.series_id))
    assert all(np.isfinite(row).all() for row in plans.value)
