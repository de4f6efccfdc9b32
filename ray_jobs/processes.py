"""Finds and ends every process of one local cluster, and no other.

A cluster is started in a session of its own with a marker in its environment. Ray's processes
rename themselves, which wipes the environment that the system shows; they keep the session, and
the processes they start keep the marker. Either is enough.
"""

import logging
import os
import time
from typing import Final

import psutil

from novacron.errors import NovacronError

log = logging.getLogger(__name__)

MARKER: Final = "NOVACRON_CLUSTER_ID"
_TERM_GRACE_S: Final = 3.0


def find_cluster_processes(cluster_id: str, session_ids: set[int]) -> list[psutil.Process]:
    """Return the running processes of a cluster, oldest first.

    Args:
        cluster_id: The value of `MARKER` in the environment of its processes.
        session_ids: System sessions known to be the cluster's; those of marked processes and of
            their descendants are added.
    """
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    running = [process for process in psutil.process_iter() if process.pid not in own]
    marked = [process for process in running if _marker_of(process) == cluster_id]
    sessions = session_ids | {_session_of(process.pid) for process in marked}
    sessions -= {_session_of(pid) for pid in own} | {0}
    found = {
        process.pid: process
        for process in running
        if process in marked or _session_of(process.pid) in sessions
    }
    for process in list(found.values()):
        found |= {child.pid: child for child in _children_of(process) if child.pid not in own}
    alive = [process for process in found.values() if _is_alive(process)]
    return sorted(alive, key=lambda process: process.pid)


def end_cluster_processes(
    cluster_id: str, session_ids: set[int], *, timeout_s: float = 30.0
) -> int:
    """End every process of a cluster and check that none is left.

    Asks first (SIGTERM), insists after three seconds (SIGKILL), and looks again until a look
    finds nothing, since a dying cluster can still start a worker.

    Returns:
        How many processes were ended.

    Raises:
        NovacronError: Some are still there after `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    ended: set[int] = set()
    known_sessions = set(session_ids)
    while True:
        processes = find_cluster_processes(cluster_id, known_sessions)
        if not processes:
            return len(ended)
        if time.monotonic() > deadline:
            left = ", ".join(f"{process.pid} {_name_of(process)}" for process in processes)
            raise NovacronError(
                f"Processes of cluster {cluster_id} are still running: {left}.",
                remedy="End them by their process id.",
            )
        known_sessions |= {_session_of(process.pid) for process in processes}
        known_sessions -= {0, _session_of(os.getpid())}
        ended |= {process.pid for process in processes}
        _end(processes)


def _end(processes: list[psutil.Process]) -> None:
    for process in processes:
        _signal(process, "terminate")
    _, alive = psutil.wait_procs(processes, timeout=_TERM_GRACE_S)
    for process in alive:
        _signal(process, "kill")
    psutil.wait_procs(alive, timeout=_TERM_GRACE_S)


def _signal(process: psutil.Process, verb: str) -> None:
    try:
        getattr(process, verb)()
    except psutil.NoSuchProcess:
        log.debug("process %d had already ended", process.pid)


def _marker_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(MARKER)
    except (psutil.Error, OSError):  # another user's process, or one that has just ended
        return None


def _children_of(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _session_of(pid: int) -> int:
    """Return the system session of a process, 0 if it has ended."""
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _name_of(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return "(ended)"
