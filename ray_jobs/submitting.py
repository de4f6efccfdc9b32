"""Runs a module of this project as a job of a cluster, follows it, and returns its answer."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from novacron.errors import NovacronError
from ray_jobs.cluster_state import ClusterState
from ray_jobs.jobs import Jobs
from ray_jobs.locations import DATA_DIR_VARIABLE, RUNS_DIR_VARIABLE, data_dir, runs_dir

log = logging.getLogger(__name__)

_ATTEMPTS_TO_BEGIN: Final = 2


def run_as_job(
    what: str,
    command: Sequence[str],
    cluster: ClusterState,
    on_line: Callable[[str], None],
    *,
    metadata: Mapping[str, str],
) -> dict[str, Any]:
    """Submit a command as a job, follow it to its end, and return its answer with the job's id.

    Args:
        what: Names the job in a failure: `Training job`.
        command: Program and arguments; its code is sent along where this is the project's folder.
        cluster: Where to.
        on_line: Gets each line of its log.
        metadata: Shown beside it in the dashboard.

    Raises:
        NovacronError: The job failed; the message repeats its last line.
    """
    jobs = Jobs(cluster)
    folder = data_dir()
    for _ in range(_ATTEMPTS_TO_BEGIN):
        job_id = jobs.submit(
            command,
            working_dir=project_folder(),
            env={
                RUNS_DIR_VARIABLE: str(runs_dir()),
                # Also when empty: the cluster may have been started with another one.
                DATA_DIR_VARIABLE: str(folder) if folder else "",
            },
            metadata=metadata,
        )
        ended = jobs.follow(job_id, on_line)
        if not ended.never_began:
            break
        log.warning("job %s never began: %s", job_id, ended.message.splitlines()[0])
    if ended.status != "SUCCEEDED" or ended.answer is None:
        said = (ended.answer or {}).get("error") or ended.last_line or ended.message
        raise NovacronError(
            f"{what} {job_id} {ended.status.lower()} with exit code {ended.exit_code}: {said}",
            remedy=f"Its log: ray job logs {job_id}.",
        )
    return ended.answer | {"job_id": job_id}


def project_folder() -> Path | None:
    """Return the folder of code to send along; elsewhere there is none, but perhaps a whole home."""
    here = Path.cwd()
    return here if (here / "ray_jobs" / "train.py").is_file() else None
