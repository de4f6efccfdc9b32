"""The Ray that a search runs on: the cluster that is named, or a private one on this machine."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray


@contextmanager
def ray_session(parallel: int | None) -> Iterator[None]:
    """Connect to `RAY_ADDRESS`, or start Ray for the length of the context; take one that is there.

    Args:
        parallel: CPU slots of a private Ray; None: as many as this process may use.
    """
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS")
    quiet: dict[str, Any] = {"configure_logging": False, "log_to_driver": False}
    if address:
        ray.init(address=address, **quiet)
    else:
        slots = parallel or len(os.sched_getaffinity(0))
        ray.init(address="local", num_cpus=slots, include_dashboard=False, **quiet)
    try:
        yield
    finally:
        ray.shutdown()


def cpu_slots() -> float:
    """Return how many CPU slots the connected cluster has in all."""
    found: Any = ray.cluster_resources  # untyped
    return float(found().get("CPU", 1.0))
