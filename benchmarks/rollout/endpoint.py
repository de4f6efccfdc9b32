"""The endpoint on a cluster of its own, serving the trial model, and the hands on its registry."""

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks.rollout import trial_model
from benchmarks.rollout.callers import Callers
from benchmarks.rollout.trial_model import KIND, NAME, Behaviour
from benchmarks.serving.ours import Cluster, cluster_with
from novacron.models.bundles import LOADERS
from novacron.monitoring.rollouts.folder import Kill, RolloutFolder
from novacron.monitoring.rollouts.plan import RolloutPlan
from novacron.monitoring.rollouts.starting import start
from novacron.monitoring.rollouts.state import Rollout
from novacron.registry.appointment import appoint, champion_of
from novacron.registry.config import RegistryConfig
from novacron.registry.records import Audit
from novacron.registry.store import ModelStore
from ray_jobs.cluster_state import free_ports
from ray_jobs.processes import find_cluster_processes

ROOT: Final = Path(__file__).parents[2]
POLL_S: Final = 1.0
_SITE: Final = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from novacron.models.bundles import LOADERS
LOADERS[{KIND!r}] = "benchmarks.rollout.trial_model"
"""


@dataclass
class Endpoint:
    """What a part measures."""

    cluster: Cluster
    store: ModelStore
    folder: RolloutFolder
    work: Path
    factors: dict[str, float] = field(default_factory=dict)

    @property
    def port(self) -> int:
        """Port of the endpoint."""
        return self.cluster.running.port

    def register(self, behaviour: Behaviour) -> str:
        """Register a version and return its number."""
        version = register(self.store, self.work, behaviour)
        self.factors[version] = behaviour.factor
        return version

    def appoint(self, version: str) -> None:
        """Move the champion's alias."""
        appoint(self.store, NAME, version, audit=_audit(), note="benchmark")

    def champion(self) -> str:
        """Return where the alias points."""
        return champion_of(self.store, NAME)

    def start(self, version: str, plan: RolloutPlan) -> Rollout:
        """Begin a rollout."""
        return start(
            self.folder,
            lambda name, ref: self.store.resolve(name, ref).version,
            NAME,
            version,
            plan,
            _audit(),
        )

    def kill(self) -> None:
        """Pull the kill switch."""
        now_s = datetime.now(UTC).timestamp()
        self.folder.kill(NAME, Kill(mode="stable", who="benchmark", why="a drill", at_s=now_s))

    def lift(self) -> None:
        """Lift it again."""
        self.folder.lift(NAME, "benchmark", datetime.now(UTC).timestamp())

    def kill_replica(self) -> None:
        """Kill a replica with SIGKILL, and wait until another one is there and has loaded its models."""
        before = self.replica_pids()
        os.kill(before[0], signal.SIGKILL)
        until(lambda: not _is_replica(before[0]), "the end of the replica", 10.0)
        until(lambda: len(self.replica_pids()) == len(before), "a new replica", 180.0)
        until(lambda: len(self._running()) == len(before), "a running replica", 180.0)

    def _running(self) -> list[str]:
        """Return the replicas that Serve calls running."""
        with self.cluster.state.http_client() as client:
            details = client.get("/api/serve/applications/").json()
        deployed = details["applications"]["novacron"]["deployments"]["Endpoint"]["replicas"]
        return [one["replica_id"] for one in deployed if one["state"] == "RUNNING"]

    @contextmanager
    def registry_down(self) -> Iterator[None]:
        """Hold the registry's database locked: nobody gets an answer from it meanwhile."""
        database = self.work / "registry" / "registry.db"
        with closing(sqlite3.connect(database, isolation_level=None, timeout=30.0)) as lock:
            lock.execute("BEGIN EXCLUSIVE")
            try:
                yield
            finally:
                lock.execute("ROLLBACK")

    def callers(self, *, callers: int = 8, retries: int = 0) -> Callers:
        """Return callers of this endpoint."""
        return Callers(self.port, self.factors, callers=callers, retries=retries)

    def replica_pids(self) -> list[int]:
        """Return the processes of the replicas."""
        state = self.cluster.state
        found = find_cluster_processes(state.cluster_id, {state.session_id})
        return [one.pid for one in found if _is_replica(one.pid)]


def _is_replica(pid: int) -> bool:
    try:
        return "ServeReplica" in " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return False


def register(store: ModelStore, work: Path, behaviour: Behaviour) -> str:
    """Register a version of the trial model."""
    folder = work / "bundles" / str(time.monotonic_ns())
    trial_model.load(write(behaviour, folder))
    return store.register(NAME, folder, trial_model.card()).version


def write(behaviour: Behaviour, folder: Path) -> Path:
    """Write the bundle of a version."""
    trial_model.TrialModel(behaviour=behaviour).save(folder)
    return folder


def serve_config(work: Path, port: int, *, replicas: int, models: str = NAME) -> dict[str, Any]:
    """Return the Serve config of the endpoint."""
    return {
        "http_options": {"host": "127.0.0.1", "port": port},
        "logging_config": {"enable_access_log": False},
        "applications": [
            {
                "name": "novacron",
                "route_prefix": "/",
                "import_path": "serve_apps.app:build",
                "args": {
                    "models": [models],
                    "registry": {"root": str(work / "registry")},
                    "scaling": {"min_replicas": replicas, "max_replicas": replicas},
                    "replica": {
                        "num_cpus": 0.5,
                        "registry_poll_s": POLL_S,
                        "health_check_period_s": 1.0,
                        "health_check_timeout_s": 5.0,
                    },
                    "rollout": {"look_s": 0.5},
                },
            }
        ],
    }


@contextmanager
def endpoint(
    work: Path, *, replicas: int, first: Behaviour | None = None, models: str = NAME
) -> Iterator[Endpoint]:
    """Start a cluster that serves version 1 of the trial model, and stop all of it at the end."""
    before = dict(os.environ)
    site = work / "site"
    site.mkdir(parents=True)
    (site / "sitecustomize.py").write_text(_SITE)
    (work / "home").mkdir()
    os.environ |= {
        "HOME": str(work / "home"),
        "RAY_AUTH_MODE": "disabled",
        "PYTHONPATH": f"{site}{os.pathsep}{ROOT}",
    }
    LOADERS[KIND] = trial_model.__name__
    try:
        store = ModelStore.connect(RegistryConfig(root=work / "registry"))
        version = register(store, work, first or Behaviour())
        appoint(store, NAME, version, audit=_audit(), note="first")
        config = serve_config(work, free_ports(1)[0], replicas=replicas, models=models)
        with cluster_with(
            config, work / "cluster", ha_proxy=True, ready_path="/v2/health/ready"
        ) as cluster:
            made = Endpoint(
                cluster=cluster,
                store=store,
                folder=RolloutFolder(work / "registry" / "rollouts"),
                work=work,
                factors={version: (first or Behaviour()).factor},
            )
            until(lambda: len(made.replica_pids()) == replicas, "all replicas", 120.0)
            yield made
    finally:
        LOADERS.pop(KIND, None)
        os.environ.clear()
        os.environ.update(before)


def until(condition: Callable[[], bool], what: str, timeout_s: float) -> float:
    """Wait for a condition; return the seconds that it took.

    Raises:
        RuntimeError: It did not become true.
    """
    began_s = time.monotonic()
    while not condition():
        if time.monotonic() - began_s > timeout_s:
            raise RuntimeError(f"{what} did not happen in {timeout_s:.0f} s")
        time.sleep(0.1)
    return time.monotonic() - began_s


def _audit() -> Audit:
    return Audit(who="benchmark", at=datetime.now(UTC), why="benchmark")
