"""Submits commands to a cluster as Ray jobs, follows their log, and says how they ended."""

import json
import logging
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from novacron.errors import InvalidInputError, NotFoundError, NotReadyError, NovacronError
from ray_jobs.cluster import use_cluster
from ray_jobs.cluster_state import ClusterState

log = logging.getLogger(__name__)

# What a job needs is code and configs. `.gitignore` is honoured too, as by `ray job submit`.
WORKING_DIR_EXCLUDES: Final = (
    ".git",
    ".venv",
    "__pycache__",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    "/build",
    "/data",
    "/runs",
    "*.db",
)
_TALKATIVE: Final = (
    "ray._private.runtime_env",
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
)
_TERMINAL: Final = ("SUCCEEDED", "FAILED", "STOPPED")
_ACCEPT_TIMEOUT_S: Final = 60.0
_POLL_S: Final = 0.5
_BYTES_FOR_ONE_MORE_SECOND: Final = 500_000


@dataclass(frozen=True, kw_only=True, slots=True)
class JobOutcome:
    """How a job ended."""

    submission_id: str
    status: str
    """SUCCEEDED, FAILED or STOPPED."""
    exit_code: int | None
    """What the job's command returned; None if it never ran to its end."""
    message: str
    """What Ray says about the end."""
    last_line: str
    """The last line the job wrote."""
    answer: dict[str, Any] | None
    """The last JSON object on a line of its own: what every job of this project ends with."""

    @property
    def never_began(self) -> bool:
        """Whether the cluster failed to unpack the job's folder, so that no line of it ran."""
        return self.status == "FAILED" and self.message.startswith("runtime_env setup failed")


class Jobs:
    """The jobs of one cluster, through its job API.

    Args:
        cluster: Where the cluster is.
    """

    def __init__(self, cluster: ClusterState) -> None:
        # The client reads the token from the environment and nowhere else.
        use_cluster(cluster)
        from ray.job_submission import JobSubmissionClient

        # The client tells of every file that it leaves out, several times over.
        for name in _TALKATIVE:
            logging.getLogger(name).setLevel(logging.ERROR)
        self._client: Any = JobSubmissionClient(cluster.dashboard_url)

    def submit(
        self,
        command: Sequence[str],
        *,
        working_dir: Path | None,
        env: Mapping[str, str] | None = None,
        submission_id: str | None = None,
        metadata: Mapping[str, str] | None = None,
        cpus: float = 0,
    ) -> str:
        """Upload `working_dir`, start `command` in it, and return the submission id at once.

        Args:
            command: Program and arguments; quoted, so no shell reads them.
            working_dir: Folder of code and configs, of which `WORKING_DIR_EXCLUDES` stay behind;
                None runs what is installed on the cluster.
            env: Variables of the job.
            submission_id: A name of the caller's choice, so that a second submission of the same
                work is refused.
            metadata: Shown beside the job in the dashboard.
            cpus: CPU slots of the command itself; tasks that it starts ask for their own.

        Raises:
            InvalidInputError: The id is taken.
            NotReadyError: No node takes jobs.
        """
        environment: dict[str, Any] = {"env_vars": dict(env or {})}
        if working_dir is not None:
            environment["working_dir"] = str(working_dir)
            environment["excludes"] = list(WORKING_DIR_EXCLUDES)
        deadline = time.monotonic() + _ACCEPT_TIMEOUT_S
        while True:
            try:
                return str(
                    self._client.submit_job(
                        entrypoint=shlex.join(command),
                        submission_id=submission_id,
                        metadata=dict(metadata or {}),
                        entrypoint_num_cpus=cpus or None,
                        runtime_env=environment,
                    )
                )
            except RuntimeError as error:
                if "already exists" in str(error):
                    raise InvalidInputError(
                        field="submission_id", got=submission_id, expected="an id not used before"
                    ) from error
                # Right after a start the agent that runs jobs is not registered yet.
                if time.monotonic() > deadline:
                    raise NotReadyError(
                        f"The cluster takes no job: {_first_line(error)}"
                    ) from error
                time.sleep(_POLL_S)

    def status(self, submission_id: str) -> dict[str, Any]:
        """Return what the job API knows of a job.

        Raises:
            NotFoundError: There is no such job.
        """
        try:
            return dict(self._client.get_job_info(submission_id).model_dump(mode="json"))
        except RuntimeError as error:
            raise NotFoundError(f"No job {submission_id!r}: {_first_line(error)}") from error

    def recent(self) -> list[dict[str, Any]]:
        """Return all submitted jobs that the cluster remembers, newest first."""
        jobs = [dict(job.model_dump(mode="json")) for job in self._client.list_jobs()]
        submitted = [job for job in jobs if job["submission_id"]]
        return sorted(submitted, key=lambda job: job["start_time"] or 0, reverse=True)

    def logs(self, submission_id: str) -> str:
        """Return everything the job has written so far."""
        return str(self._client.get_job_logs(submission_id))

    def stop(self, submission_id: str, *, timeout_s: float = 30.0) -> str:
        """Ask a job to stop and return its status once it has, or after `timeout_s`."""
        self._client.stop_job(submission_id)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.status(submission_id)["status"] in _TERMINAL:
                break
            time.sleep(_POLL_S)
        return str(self.status(submission_id)["status"])

    def follow(
        self,
        submission_id: str,
        on_line: Callable[[str], None],
        *,
        pending_timeout_s: float = 120.0,
        timeout_s: float | None = None,
    ) -> JobOutcome:
        """Hand each line of a job's log to `on_line` until the job ends.

        Args:
            submission_id: The job.
            on_line: Called with complete lines, in order.
            pending_timeout_s: A job that asks for more than the cluster has stays PENDING for
                ever and says nothing; after this it is stopped.
            timeout_s: Stop the job after this; None waits without end.

        Raises:
            NotReadyError: It was still pending after `pending_timeout_s`.
            NovacronError: It ran longer than `timeout_s`.
        """
        started = time.monotonic()
        seen = 0
        while True:
            info = self.status(submission_id)
            text = self.logs(submission_id)
            ended = info["status"] in _TERMINAL
            complete = text if ended else text[: text.rfind("\n") + 1]
            for line in complete[seen:].splitlines():
                on_line(line)
            seen = max(seen, len(complete))
            if ended:
                return _outcome(submission_id, info, text)
            waited_s = time.monotonic() - started
            self._enforce_limits(submission_id, info, waited_s, pending_timeout_s, timeout_s)
            time.sleep(_POLL_S + len(text) / _BYTES_FOR_ONE_MORE_SECOND)

    def _enforce_limits(
        self,
        submission_id: str,
        info: Mapping[str, Any],
        waited_s: float,
        pending_timeout_s: float,
        timeout_s: float | None,
    ) -> None:
        if info["status"] == "PENDING" and waited_s > pending_timeout_s:
            self.stop(submission_id)
            raise NotReadyError(
                f"Job {submission_id} was still waiting for resources after "
                f"{pending_timeout_s:.0f} s: {info.get('message') or 'no reason given'}",
                remedy="Check `novacron status` for what the cluster has free.",
            )
        if timeout_s is not None and waited_s > timeout_s:
            self.stop(submission_id)
            raise NovacronError(
                f"Job {submission_id} ran longer than {timeout_s:.0f} s and was stopped.",
                remedy="Raise the limit; training goes on where it stopped.",
            )


def _outcome(submission_id: str, info: Mapping[str, Any], text: str) -> JobOutcome:
    lines = [line for line in text.splitlines() if line.strip()]
    return JobOutcome(
        submission_id=submission_id,
        status=str(info["status"]),
        exit_code=info.get("driver_exit_code"),
        message=str(info.get("message") or ""),
        last_line=lines[-1] if lines else "",
        answer=next(filter(None, map(_json_object, reversed(lines))), None),
    )


def _json_object(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
