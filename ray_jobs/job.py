"""The frame of every job: logging on, one JSON line out, an exit code, failures counted."""

import getpass
import os
from collections.abc import Callable

from novacron.errors import NovacronError
from novacron.monitoring.metric_names import JOB_ERRORS
from ray_jobs.answers import Answer, answer, configure_logging
from ray_jobs.cluster import connect


def run_job(name: str, work: Callable[[], Answer], *, on_cluster: bool = False) -> int:
    """Run a job's work as a command of its own: its answer is one JSON line on standard output.

    Args:
        name: The job's name in the metrics.
        work: What to do.
        on_cluster: Connect first where `RAY_ADDRESS` names a cluster, as it does inside a Ray job.

    Returns:
        The exit code: 0 done, 1 failed, 2 bad input, 3 gate refused.
    """
    configure_logging()
    connected = on_cluster and bool(os.environ.get("RAY_ADDRESS"))

    def connected_work() -> Answer:
        with connect():
            try:
                return work()
            except NovacronError as error:
                _count_failure(name, type(error).__name__)
                raise

    # The answer comes last, after all that Ray may write when it disconnects.
    return answer(connected_work if connected else work, as_json=True)


def _count_failure(name: str, code: str) -> None:
    from ray.util import metrics

    JOB_ERRORS.create(metrics).inc(1, tags={"job": name, "code": code})


def user_name() -> str:
    """Return who runs this, for the history of a model; a container may have a number only."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
