"""A real local cluster with the endpoint deployed on it by `serve deploy`, for each ingress."""

import os
from datetime import UTC, datetime

import httpx
import pytest
from served_endpoint import SITE, Endpoint, until, write_settings

from novacron.models.bundles import LOADERS
from novacron.registry.config import RegistryConfig
from novacron.registry.store import ModelStore
from ray_jobs.cluster import LocalCluster
from ray_jobs.cluster_state import ClusterConfig, free_ports


@pytest.fixture(scope="session")
def private_environment(tmp_path_factory):
    before = dict(os.environ)
    site = tmp_path_factory.mktemp("site")
    (site / "sitecustomize.py").write_text(SITE)
    os.environ["HOME"] = str(tmp_path_factory.mktemp("home"))
    os.environ["PYTHONPATH"] = str(site)
    LOADERS["doubling"] = "doubling_model"
    yield
    LOADERS.pop("doubling")
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session", params=["haproxy", "plain proxy"])
def endpoint(request, private_environment, tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    store = ModelStore.connect(RegistryConfig(root=runs / "registry"))
    # Slots, not cores: room for the further apps that tests start.
    config = ClusterConfig(
        cpus=4, dashboard_port=free_ports(1)[0], ha_proxy=request.param == "haproxy"
    )
    port, grpc_port = free_ports(2)
    with LocalCluster(config, runs=runs, now=datetime.now(UTC)) as cluster:
        deployed = Endpoint(
            url=f"http://127.0.0.1:{port}",
            grpc_address=f"127.0.0.1:{grpc_port}",
            state=cluster.state,
            env=os.environ | cluster.state.client_env(),
            store=store,
            bundles=tmp_path_factory.mktemp("bundles"),
            settings=write_settings(runs, port, grpc_port),
        )
        deployed.promote(2.0)
        finished = deployed.serve("deploy", str(deployed.settings))
        assert finished.returncode == 0, finished.stderr
        ready = f"{deployed.url}/v2/health/ready"
        until(lambda: httpx.get(ready).status_code == 200, "a ready endpoint")
        yield deployed
