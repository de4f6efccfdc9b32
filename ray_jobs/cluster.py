"""The place that starts Ray or connects to it; a search alone may have a Ray of its own.

`LocalCluster` starts one private cluster on this machine and ends every process of it, whatever
happens in between. `connect` is what code inside a job calls.
"""

import contextlib
import fcntl
import importlib
import logging
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from novacron.errors import NotReadyError
from ray_jobs.cluster_state import (
    ClusterConfig,
    ClusterState,
    cluster_dir,
    free_ports,
    port_or_free,
    read_state,
    remove_state,
    state_path,
    write_state,
)
from ray_jobs.guard import Guard
from ray_jobs.interrupts import interrupts_raise, signals_ignored
from ray_jobs.locations import RUNS_DIR_VARIABLE
from ray_jobs.processes import MARKER, end_cluster_processes, find_cluster_processes

log = logging.getLogger(__name__)

# Unix socket paths end at 107 characters and Ray appends about 70 to this folder.
_TEMP_ROOT: Final = Path("/tmp")  # noqa: S108 - a private folder is made in it
# What a shell or an outer job may have set about another cluster.
_FOREIGN_VARIABLES: Final = (
    "RAY_ADDRESS",
    "RAY_API_SERVER_ADDRESS",
    "RAY_DASHBOARD_ADDRESS",
    "RAY_AUTH_TOKEN",
    "RAY_AUTH_TOKEN_PATH",
    "RAY_DASHBOARD_ADDRESS",
    "RAY_JOB_CONFIG_JSON",
    "RAY_TMPDIR",
)


class LocalCluster:
    """One Ray cluster on this machine, in processes and folders of its own.

    As a context manager it starts the cluster, or takes the healthy one that is already running
    for this runs folder, and at the end stops it if it started it. An interrupt at any moment,
    the start included, ends every process it started; so does the end of this process by force.

    Args:
        config: How to start it.
        runs: The runs folder; there is one local cluster for each.
        now: The time of the start, UTC.
    """

    def __init__(self, config: ClusterConfig, *, runs: Path, now: datetime) -> None:
        self._config = config
        self._runs = runs.resolve()
        self._now = now
        self._cluster_id = ""
        self._session_ids: set[int] = set()
        self._temp_dir: Path | None = None
        self._guard: Guard | None = None
        self._signals = contextlib.ExitStack()
        self._state: ClusterState | None = None
        self.reused = False
        self.keep = False
        """Set to leave the cluster running when the context ends."""

    @property
    def state(self) -> ClusterState:
        """Return where the started cluster is."""
        if self._state is None:
            raise NotReadyError("The local cluster is not started.")
        return self._state

    def __enter__(self) -> Self:
        self._signals.enter_context(interrupts_raise())
        try:
            self._start()
        except BaseException:
            self._signals.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.keep:
            self._release_guard()
        elif not self.reused:
            self.stop()
        self._signals.close()

    def start(self) -> ClusterState:
        """Start the cluster, or take the one that is running; it outlives this process.

        Raises:
            NotReadyError: It could not be started in `config.attempts` attempts.
        """
        with interrupts_raise():
            state = self._start()
            self._release_guard()
        return state

    def stop(self) -> int:
        """End every process this object started and remove their folder.

        Returns:
            How many processes were ended.

        Raises:
            NovacronError: Some process could not be ended.
        """
        with signals_ignored():
            ended = 0
            if self._cluster_id:
                ended = end_cluster_processes(self._cluster_id, self._session_ids)
                remove_state(self._runs)
            if self._temp_dir is not None:
                shutil.rmtree(self._temp_dir, ignore_errors=True)
            self._release_guard()
            self._cluster_id, self._temp_dir, self._state = "", None, None
            self._session_ids = set()
        return ended

    def _release_guard(self) -> None:
        if self._guard is not None:
            self._guard.release()
            self._guard = None

    def _start(self) -> ClusterState:
        with _only_one_starter(self._runs):
            running = read_state(self._runs)
            if running is not None and running.is_healthy():
                self._state, self.reused = running, True
                return running
            if running is not None:
                log.info("the cluster started at %s no longer answers", running.started_at)
                stop_cluster(running)
            try:
                self._state = self._start_anew()
            except BaseException:
                self.stop()
                raise
            return self._state

    def _start_anew(self) -> ClusterState:
        reason = ""
        for attempt in range(1, self._config.attempts + 1):
            try:
                return self._start_once()
            except NotReadyError as error:
                reason = error.message
                log.warning("attempt %d to start Ray failed: %s", attempt, reason)
                self.stop()
        raise NotReadyError(
            f"Ray did not start in {self._config.attempts} attempts; the last said: {reason}",
            remedy="Try again when the machine is less busy, or raise start_timeout_s.",
        )

    def _start_once(self) -> ClusterState:
        self._cluster_id = secrets.token_hex(8)
        self._temp_dir = Path(tempfile.mkdtemp(prefix="nc-", dir=_TEMP_ROOT))
        self._guard = Guard(self._cluster_id, [self._temp_dir, state_path(self._runs)])
        ports = free_ports(10)
        dashboard_port = port_or_free(self._config.dashboard_port)
        token_path = _write_token(self._runs) if self._config.auth == "token" else None
        log_path = self._temp_dir / "ray_start.log"
        with log_path.open("w") as output:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and arguments
                _start_command(self._config, self._temp_dir, dashboard_port, ports),
                env=self._environment(token_path, ports),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C in a terminal reaches every process of the session: it must reach only
                # us, or the cluster dies in an order nobody chose.
                start_new_session=True,
            )
        self._session_ids = {process.pid}
        self._guard.watch_session(process.pid)
        self._wait_for_start(process, log_path)
        state = ClusterState(
            cluster_id=self._cluster_id,
            session_id=process.pid,
            started_at=self._now,
            temp_dir=self._temp_dir,
            gcs_address=(self._temp_dir / "ray_current_cluster").read_text().strip(),
            dashboard_url=f"http://127.0.0.1:{dashboard_port}",
            auth=self._config.auth,
            token_path=token_path,
            metrics_port=ports[1],
            runs_dir=self._runs,
            pids=tuple(
                found.pid for found in find_cluster_processes(self._cluster_id, self._session_ids)
            ),
        )
        if not state.is_healthy():
            raise NotReadyError("The dashboard does not answer.")
        write_state(state)
        return state

    def _wait_for_start(self, process: "subprocess.Popen[bytes]", log_path: Path) -> None:
        try:
            code = process.wait(timeout=self._config.start_timeout_s)
        except BaseException as cause:
            process.kill()
            process.wait()
            if not isinstance(cause, subprocess.TimeoutExpired):
                raise
            raise NotReadyError(
                f"`ray start` took more than {self._config.start_timeout_s:.3g} s."
            ) from cause
        if code != 0:
            lines = log_path.read_text(errors="replace").strip().splitlines()
            raise NotReadyError(f"`ray start` ended with {code}: {' '.join(lines[-3:])}")

    def _environment(self, token_path: Path | None, ports: list[int]) -> dict[str, str]:
        env = {name: value for name, value in os.environ.items() if name not in _FOREIGN_VARIABLES}
        env |= {
            MARKER: self._cluster_id,
            RUNS_DIR_VARIABLE: str(self._runs),
            # Jobs say `python`: let it be this one.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', '')}",
            "RAY_AUTH_MODE": self._config.auth,
            "RAY_USAGE_STATS_ENABLED": "0",
            # Ray's default, 15, lets any other process of the machine starve the replicas.
            "RAY_worker_niceness": "0",
            "AUTOSCALER_METRIC_PORT": str(ports[6]),
            "DASHBOARD_METRIC_PORT": str(ports[7]),
        }
        if token_path is not None:
            env["RAY_AUTH_TOKEN_PATH"] = str(token_path)
        if self._config.ha_proxy:
            env |= _ha_proxy_environment(Path(str(self._temp_dir)), ports[8:])
        return env


def stop_cluster(state: ClusterState) -> int:
    """End every process of a cluster that another process started, and forget it.

    Returns:
        How many processes were ended.

    Raises:
        NovacronError: Some process could not be ended.
    """
    with signals_ignored():
        ended = end_cluster_processes(state.cluster_id, {state.session_id})
        shutil.rmtree(state.temp_dir, ignore_errors=True)
        remove_state(state.runs_dir)
    return ended


def use_cluster(state: ClusterState) -> None:
    """Point this process and its children at a cluster: address, token, runs folder."""
    os.environ.update(state.client_env())
    if "ray" in sys.modules:
        # Ray reads the mode and the token once, when it is imported.
        raylet = importlib.import_module("ray._raylet")
        raylet.Config.initialize("")
        raylet.AuthenticationTokenLoader.instance().reset_cache()


@contextlib.contextmanager
def connect() -> Iterator[None]:
    """Connect to the cluster that `RAY_ADDRESS` names, as it does inside a job.

    Raises:
        NotReadyError: `RAY_ADDRESS` is not set; nothing is started in its place.
    """
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        raise NotReadyError(
            "RAY_ADDRESS is not set, so there is no cluster to connect to.",
            remedy='Submit this as a job, or run `novacron up` and `eval "$(novacron env)"`.',
        )
    import ray  # two seconds, which commands that need no cluster do not pay

    ray.init(address=address, configure_logging=False, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _only_one_starter(runs: Path) -> Iterator[None]:
    folder = cluster_dir(runs)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write_token(runs: Path) -> Path:
    path = cluster_dir(runs) / "auth_token"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(32))
    return path


def _start_command(
    config: ClusterConfig, temp_dir: Path, dashboard_port: int, ports: list[int]
) -> list[str]:
    options = {
        "port": ports[0],
        "metrics-export-port": ports[1],
        "dashboard-agent-listen-port": ports[2],
        "dashboard-agent-grpc-port": ports[3],
        "runtime-env-agent-port": ports[4],
        "ray-client-server-port": ports[5],
        "dashboard-host": "127.0.0.1",
        "dashboard-port": dashboard_port,
        "num-cpus": config.cpu_slots,
        "object-store-memory": config.object_store_mib * 2**20,
        "temp-dir": temp_dir,
        "log-color": "false",
    }
    base = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head"]
    return [
        *base,
        "--disable-usage-stats",
        *(f"--{key}={value}" for key, value in options.items()),
    ]


def _ha_proxy_environment(temp_dir: Path, ports: list[int]) -> dict[str, str]:
    """Return Serve's settings for HAProxy, with all its files inside the cluster's own folder."""
    folder = temp_dir / "haproxy"
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        # A replica that dies or leaves with a request in hand: another one answers it.
        "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
        "RAY_SERVE_HAPROXY_STATS_PORT": str(ports[0]),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(ports[1]),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
    }
