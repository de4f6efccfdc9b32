"""One local cluster for all tests of this folder that need one."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ray_jobs.cluster import LocalCluster
from ray_jobs.cluster_state import ClusterConfig, free_ports

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def private_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home of the tests' own: Ray and MLflow keep tokens and caches there."""
    home = tmp_path_factory.mktemp("home")
    before = dict(os.environ)
    os.environ["HOME"] = str(home)
    yield home
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def cluster_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs folder of the shared cluster."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="session")
def cluster(private_home: Path, cluster_runs: Path) -> Iterator[LocalCluster]:
    """A running cluster with two CPU slots, token auth and a dashboard."""
    config = ClusterConfig(cpus=2, dashboard_port=free_ports(1)[0])
    with LocalCluster(config, runs=cluster_runs, now=datetime.now(UTC)) as cluster:
        yield cluster
