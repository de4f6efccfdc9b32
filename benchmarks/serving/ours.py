"""This project's endpoint on a local cluster, and Ray Serve without it, as servers to be measured."""

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import grpc
import httpx
import mlflow.lightgbm
import numpy as np
from mlflow import MlflowClient
from mlflow.models import ModelSignature
from mlflow.types import Schema
from mlflow.types import TensorSpec as MlflowTensor

from benchmarks.serving.bodies import FEATURES, Floats, make_rows
from benchmarks.serving.load import Load, run_load
from benchmarks.serving.peers import Running
from novacron.registry.config import RegistryConfig
from novacron.registry.store import ModelStore
from ray_jobs import serving
from ray_jobs.cluster import LocalCluster
from ray_jobs.cluster_state import ClusterConfig, ClusterState, free_ports
from ray_jobs.processes import find_cluster_processes
from serve_apps.grpc_ingress import SERVICE
from serve_apps.grpc_messages import new_message

_READY_S: Final = 120.0
_DEPLOY_TRIES: Final = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """A local cluster that serves something."""

    state: ClusterState
    running: Running
    grpc_port: int


def write_mlflow_model(booster: Any, folder: Path) -> None:
    """Log the model as any user of MLflow would, with a signature of one tensor."""
    matrix = MlflowTensor(np.dtype("float64"), (-1, FEATURES))
    answer = MlflowTensor(np.dtype("float64"), (-1,))
    mlflow.lightgbm.save_model(
        booster,
        str(folder),
        signature=ModelSignature(Schema([matrix]), Schema([answer])),
        pip_requirements=["lightgbm"],
    )


def register(folder: Path, root: Path) -> None:
    """Register the logged model by MLflow's own client, as `lgb` with the alias `champion`."""
    uri = ModelStore.connect(RegistryConfig(root=root)).config.connection_uri
    client = MlflowClient(uri, uri)
    client.create_registered_model("lgb")
    version = client.create_model_version("lgb", str(folder)).version
    client.set_registered_model_alias("lgb", "champion", version)


def endpoint_config(
    root: Path, port: int, grpc_port: int, *, max_replicas: int, short_path: bool = True
) -> dict[str, Any]:
    """Return the Serve config of the endpoint, one replica at first."""
    scaling = {
        "min_replicas": 1,
        "max_replicas": max_replicas,
        "upscale_delay_s": 1.0,
        "downscale_delay_s": 5.0,
    }
    return {
        "http_options": {"host": "127.0.0.1", "port": port},
        "grpc_options": {
            "port": grpc_port,
            "grpc_servicer_functions": ["serve_apps.grpc_ingress:add_inference_service"],
            "request_timeout_s": 60,
        },
        "logging_config": {"enable_access_log": False},
        "applications": [
            {
                "name": "novacron",
                "route_prefix": "/",
                "import_path": "serve_apps.app:build",
                "args": {
                    "models": ["lgb"],
                    "registry": {"root": str(root)},
                    "scaling": scaling,
                    "replica": {"num_cpus": 0.5, "short_path": short_path},
                },
            }
        ],
    }


def plain_config(app: str, port: int) -> dict[str, Any]:
    """Return the Serve config of a peer application, on Serve's own defaults."""
    return {
        "http_options": {"host": "127.0.0.1", "port": port},
        "applications": [
            {
                "name": app,
                "route_prefix": "/predict",
                "import_path": f"benchmarks.serving.peer_apps.ray_apps:{app}",
            }
        ],
    }


@contextmanager
def cluster_with(
    config: dict[str, Any], work: Path, *, ha_proxy: bool, ready_path: str
) -> Iterator[Cluster]:
    """Start a cluster of its own, deploy a config, wait until it answers, and stop all of it."""
    work.mkdir(parents=True, exist_ok=True)
    cluster_config = ClusterConfig(
        cpus=4, dashboard_port=free_ports(1)[0], auth="disabled", ha_proxy=ha_proxy
    )
    with LocalCluster(cluster_config, runs=work, now=datetime.now(UTC)) as cluster:
        state = cluster.state
        url = _deploy(state, config)
        _until_ready(url + ready_path)
        running = Running(
            port=int(url.rpartition(":")[2]),
            roots=lambda: [
                process.pid
                for process in find_cluster_processes(state.cluster_id, {state.session_id})
            ],
        )
        grpc_port = int(config.get("grpc_options", {}).get("port", 0))
        yield Cluster(state=state, running=running, grpc_port=grpc_port)


def _deploy(state: ClusterState, config: dict[str, Any]) -> str:
    """Deploy; a busy machine may need longer to take the config than the call waits."""
    for _ in range(_DEPLOY_TRIES - 1):
        try:
            return serving.deploy(state, config, timeout_s=300)
        except httpx.TimeoutException:
            time.sleep(5)
    return serving.deploy(state, config, timeout_s=300)


def _until_ready(url: str) -> None:
    deadline_s = time.monotonic() + _READY_S
    while time.monotonic() < deadline_s:
        try:
            # A route that takes POST alone answers too.
            if httpx.get(url, timeout=5).status_code < 500:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.3)
    raise RuntimeError(f"{url} does not answer")


def grpc_bodies(rows: Floats, *, n_rows: int) -> list[bytes]:
    """Return `ModelInfer` requests with raw tensors."""
    starts = range(len(rows)) if n_rows == 1 else range(20)
    parts = [np.roll(rows, -start, axis=0)[:n_rows] for start in starts]
    return [
        new_message(
            "ModelInferRequest",
            model_name="lgb",
            inputs=[{"name": "input", "datatype": "FP64", "shape": part.shape}],
            raw_input_contents=[part.tobytes()],
        ).SerializeToString()
        for part in parts
    ]


async def run_grpc_load(port: int, bodies: list[bytes], *, in_flight: int, seconds: float) -> Load:
    """Ask over gRPC in a closed loop, a channel for every eight calls in flight."""
    began_s = time.perf_counter()
    latency_s: list[float] = []
    failed = 0
    at = 0

    async def caller(call: Any) -> None:
        nonlocal at, failed
        while time.perf_counter() < began_s + seconds:
            at += 1
            sent_s = time.perf_counter()
            try:
                await call(bodies[at % len(bodies)], timeout=30)
            except grpc.RpcError:
                failed += 1
            latency_s.append(time.perf_counter() - sent_s)

    channels = [
        grpc.aio.insecure_channel(
            f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]
        )
        for _ in range(max(1, in_flight // 8))
    ]
    method = f"/{SERVICE}/ModelInfer"
    calls = [
        channel.unary_unary(method, request_serializer=None, response_deserializer=None)
        for channel in channels
    ]
    await asyncio.gather(*(caller(calls[i % len(calls)]) for i in range(in_flight)))
    for channel in channels:
        await channel.close()
    return Load(
        requests=len(latency_s),
        failed=failed,
        seconds=time.perf_counter() - began_s,
        latency_s=tuple(latency_s),
    )


def ask_grpc(port: int) -> Floats:
    """Return the answers over gRPC to the first rows, one request each."""
    answers = []
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(
            f"/{SERVICE}/ModelInfer", request_serializer=None, response_deserializer=None
        )
        for body in grpc_bodies(make_rows()[:50], n_rows=1):
            response = new_message("ModelInferResponse")
            response.ParseFromString(call(body, timeout=30))
            answers.append(np.frombuffer(response.raw_output_contents[0], dtype="<f8"))
    return np.concatenate(answers)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scaling:
    """What a load step did: replicas at their most, and requests lost on the way up and down."""

    most_replicas: int
    replicas_after: int
    requests: int
    lost: int
    failures: tuple[str, ...] = ()
    """What came instead of the answers that were lost."""
    reconnects: int = 0


def load_step(cluster: Cluster, bodies: list[bytes], *, seconds: float, calm_s: float) -> Scaling:
    """Put a step of load on the endpoint, let it pass, and count."""
    seen = [1]

    async def watch(until_s: float) -> None:
        while time.monotonic() < until_s:
            details = await asyncio.to_thread(serving.describe, cluster.state)
            seen.append(details["applications"]["novacron"]["replicas"])
            await asyncio.sleep(1.0)

    async def step() -> tuple[Load, Load]:
        port = cluster.running.port
        end_s = time.monotonic() + seconds
        high, _ = await asyncio.gather(
            run_load(port, bodies, connections=192, seconds=seconds), watch(end_s)
        )
        low, _ = await asyncio.gather(
            run_load(port, bodies, connections=1, seconds=calm_s),
            watch(time.monotonic() + calm_s),
        )
        return high, low

    high, low = asyncio.run(step())
    return Scaling(
        most_replicas=max(seen),
        replicas_after=seen[-1],
        requests=high.requests + low.requests,
        lost=high.failed + low.failed,
        failures=(high.failures + low.failures)[:20],
        reconnects=high.reconnects + low.reconnects,
    )


def prepare_environment(home: Path, model: Path) -> None:
    """Give Serve's processes a home of their own and the model's file."""
    os.environ |= {"RAY_AUTH_MODE": "disabled", "HOME": str(home), "MODEL": str(model)}
    home.mkdir(parents=True, exist_ok=True)
