"""Finds every process that outlives what a test started."""

import contextlib
import ctypes
import os
import time
from collections.abc import Iterator

import psutil

_PR_SET_CHILD_SUBREAPER = 36


@contextlib.contextmanager
def adopting_orphans() -> Iterator[None]:
    """Become the parent of every orphan below this process.

    A child subreaper is given each of them, whatever it did to its name, session and environment.
    """
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def living_children(before: set[int], *, patience_s: float = 0.0) -> list[str]:
    """Return what is still running below this process, once nothing is or patience ends."""
    deadline = time.monotonic() + patience_s
    while (found := _alive(before)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def _alive(before: set[int]) -> list[str]:
    found = []
    for child in psutil.Process().children(recursive=True):
        if child.pid in before:
            continue
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.status() == psutil.STATUS_ZOMBIE:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(child.pid, os.WNOHANG)
            else:
                found.append(f"{child.pid} {' '.join(child.cmdline())[:80]}")
    return found


def children_now() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}
