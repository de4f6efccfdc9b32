"""Ends a local cluster when the process that owns it is gone, however that happened.

The owner may be killed outright, and Ray itself aborts a driver whose cluster goes away under it;
no handler in the owner survives either. The guard is a process of its own that reads a pipe from
the owner: when the pipe closes without a word, it ends every process of the cluster.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ray_jobs.processes import end_cluster_processes

_RELEASE: Final = "release"


class Guard:
    """The owner's side of the pipe.

    Args:
        cluster_id: The cluster to end.
        leftovers: Files and folders to remove with it.
    """

    def __init__(self, cluster_id: str, leftovers: Iterable[Path]) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and arguments
            [sys.executable, "-m", "ray_jobs.guard", cluster_id, *map(str, leftovers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            # Ctrl-C in a terminal must not reach it.
            start_new_session=True,
        )

    def watch_session(self, session_id: int) -> None:
        """Name a system session whose processes are the cluster's."""
        self._tell(str(session_id))

    def release(self) -> None:
        """Let the cluster outlive its owner, or say that it is already ended."""
        self._tell(_RELEASE)
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(timeout=30)

    def _tell(self, word: str) -> None:
        if self._process.stdin is not None and self._process.poll() is None:
            self._process.stdin.write(f"{word}\n")
            self._process.stdin.flush()


def stand_guard(words: Iterable[str], cluster_id: str, leftovers: Iterable[Path]) -> None:
    """Read words until the owner goes away; end the cluster unless one of them was `release`."""
    session_ids: set[int] = set()
    for word in words:
        if word.strip() == _RELEASE:
            return
        session_ids.add(int(word))
    end_cluster_processes(cluster_id, session_ids)
    for path in leftovers:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def main() -> None:
    """Stand guard over standard input."""
    stand_guard(sys.stdin, sys.argv[1], [Path(each) for each in sys.argv[2:]])


if __name__ == "__main__":
    main()
