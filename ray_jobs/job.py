"""The frame of every job: logging on, one JSON line out, an exit code, failures counted."""

import logging
import os
from collections.abc import Callable

from novacron.errors import NovacronError
from novacron.monitoring.metric_names import JOB_ERRORS
from ray_jobs.answers import Answer, answer, configure_logging

log = logging.getLogger(__name__)


def run_job(name: str, work: Callable[[], Answer]) -> int:
    """Run a job's work as a command of its own: its answer is one JSON line on standard output.

    Returns:
        The exit code: 0 done, 1 failed, 2 bad input, 3 gate refused.
    """
    configure_logging()

    def counted() -> Answer:
        try:
            return work()
        except NovacronError as error:
            _count_failure(name, type(error).__name__)
            raise

    return answer(counted, as_json=True)


def _count_failure(name: str, code: str) -> None:
    """Count a failed job in the cluster's metrics; outside a cluster there is nowhere to count."""
    if not os.environ.get("RAY_ADDRESS"):
        return
    import ray
    from ray.util import metrics

    if ray.is_initialized():
        JOB_ERRORS.create(metrics).inc(1, tags={"job": name, "code": code})
    else:
        log.info("job %s failed with %s before it connected; not counted", name, code)
