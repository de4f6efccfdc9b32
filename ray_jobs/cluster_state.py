"""What is known of a local cluster: how it should be started, and where the running one is."""

import os
import socket
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ray_jobs.locations import RUNS_DIR_VARIABLE

_STATE_FILE: Final = "state.json"


class ClusterConfig(BaseModel):
    """How to start a cluster on this machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpus: int | None = Field(default=None, ge=1, le=1024)
    """CPU slots for tasks and replicas; the machine's cores, and at least 2, where not set."""
    object_store_mib: int = Field(default=512, ge=80, le=1_048_576)
    """Shared memory for objects that tasks exchange."""
    dashboard_port: int = Field(default=8265, ge=1024, le=65535)
    """Port of the dashboard and the job API on 127.0.0.1; another free one where it is taken."""
    auth: Literal["token", "disabled"] = "token"
    """`token`: every call needs the token that only this user can read. Ray listens on all
    interfaces, so without it whoever reaches this machine can run code on it."""
    ha_proxy: bool = True
    """Serve through HAProxy and in throughput mode, which takes about a tenth of the CPU time of
    the default proxy for each request."""
    start_timeout_s: float = Field(default=120.0, gt=0, le=3600)
    """How long one attempt to start may take."""
    attempts: int = Field(default=3, ge=1, le=10)
    """How often to try: on a loaded machine Ray's own limit of 30 s for a node can pass."""

    @property
    def cpu_slots(self) -> int:
        """Return the CPU slots that the node offers."""
        return self.cpus or max(2, os.cpu_count() or 2)


class ClusterState(BaseModel):
    """A started cluster, as written to `<runs>/cluster/state.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cluster_id: str
    session_id: int
    """System session of its processes, see `ray_jobs.processes`."""
    started_at: datetime
    temp_dir: Path
    gcs_address: str
    dashboard_url: str
    auth: Literal["token", "disabled"]
    token_path: Path | None
    metrics_port: int
    """Port of Ray's own Prometheus endpoint on this node."""
    runs_dir: Path
    pids: tuple[int, ...]
    """The processes seen right after the start; for people, since it grows with every worker."""

    def client_env(self) -> dict[str, str]:
        """Return the variables with which clients, such as `ray job submit`, find it."""
        env = {
            "RAY_ADDRESS": self.gcs_address,
            "RAY_API_SERVER_ADDRESS": self.dashboard_url,
            # The same for `serve deploy`, which reads a name of its own.
            "RAY_DASHBOARD_ADDRESS": self.dashboard_url,
            "RAY_AUTH_MODE": self.auth,
            "RAY_USAGE_STATS_ENABLED": "0",
            RUNS_DIR_VARIABLE: str(self.runs_dir),
        }
        if self.token_path is not None:
            env["RAY_AUTH_TOKEN_PATH"] = str(self.token_path)
        return env

    def http_client(self, *, timeout_s: float = 10.0) -> httpx.Client:
        """Return a client of the dashboard's HTTP API that carries the token."""
        headers = {}
        if self.token_path is not None:
            headers["Authorization"] = f"Bearer {self.token_path.read_text().strip()}"
        return httpx.Client(base_url=self.dashboard_url, headers=headers, timeout=timeout_s)

    def is_healthy(self) -> bool:
        """Say whether its dashboard and its control store answer."""
        try:
            with self.http_client(timeout_s=5.0) as client:
                answers = [client.get(path) for path in ("/api/version", "/api/gcs_healthz")]
        except (httpx.HTTPError, OSError):
            return False
        return all(answer.status_code == httpx.codes.OK for answer in answers)


def cluster_dir(runs: Path) -> Path:
    """Return the folder of the cluster's state, lock and token."""
    return runs / "cluster"


def state_path(runs: Path) -> Path:
    """Return the file that says where the cluster is."""
    return cluster_dir(runs) / _STATE_FILE


def read_state(runs: Path) -> ClusterState | None:
    """Return what was written about the last cluster, None where nothing or nothing readable."""
    try:
        text = state_path(runs).read_text()
        return ClusterState.model_validate_json(text)
    except (OSError, ValidationError):
        return None


def write_state(state: ClusterState) -> None:
    """Write the state in one step, so that no reader sees half of it."""
    path = state_path(state.runs_dir)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_text(state.model_dump_json(indent=1) + "\n")
    draft.replace(path)


def remove_state(runs: Path) -> None:
    """Forget the cluster."""
    state_path(runs).unlink(missing_ok=True)


def free_ports(count: int) -> list[int]:
    """Return ports nobody listens on now; a start that loses the race to one is tried again."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for sock in sockets:
            sock.bind(("", 0))
        return [sock.getsockname()[1] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


def port_or_free(preferred: int) -> int:
    """Return `preferred` if nobody listens on it, else any free port."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("", preferred))
        except OSError:
            return free_ports(1)[0]
    return preferred
