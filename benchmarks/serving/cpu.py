"""CPU seconds of a whole tree of processes, those that ended meanwhile included."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import psutil


@dataclass
class TreeClock:
    """Adds up user and system time of the processes under some roots.

    A process that ends between two readings counts with its last reading; its parent has the rest
    as time of children it waited for, which is not read here, so that nothing counts twice.

    Args:
        roots: Pids, asked again at every reading, for trees that change.
    """

    roots: Callable[[], Iterable[int]]
    _last: dict[int, float] = field(default_factory=dict)
    _ended_s: float = 0.0

    def read_s(self) -> float:
        """Return the seconds so far."""
        now: dict[int, float] = {}
        for pid in self.roots():
            try:
                root = psutil.Process(pid)
                for process in (root, *root.children(recursive=True)):
                    times = process.cpu_times()
                    now[process.pid] = times.user + times.system
            except psutil.NoSuchProcess:
                continue
        self._ended_s += sum(seconds for pid, seconds in self._last.items() if pid not in now)
        self._last = now
        return self._ended_s + sum(now.values())
