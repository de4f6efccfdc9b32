"""Frees those that wait for a model call which hangs, with one timer for all of them.

A timeout of its own for every request would cost each about 3 us; this costs a place in a set.
"""

import asyncio
from collections.abc import Callable

_TICKS: int = 4
"""Looks in each limit: a stall is seen a quarter late at most."""


class StallWatch:
    """Watches one version. All methods run on one event loop.

    Args:
        running_s: Seconds that the model call in progress has taken so far; 0 when idle.
        limit_s: Seconds after which it counts as hanging.
    """

    def __init__(self, running_s: Callable[[], float], limit_s: float) -> None:
        self._running_s = running_s
        self._limit_s = limit_s
        self._waiting: set[asyncio.Task[object]] = set()
        self._freed: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.stalled = False
        """Whether the last look found a hanging call; `is_stalled` looks again."""

    def is_stalled(self) -> bool:
        """Tell whether a call hangs; cheap while none was found to."""
        if self.stalled:
            self.stalled = self._running_s() > self._limit_s
        return self.stalled

    def enter(self) -> asyncio.Task[object]:
        """Let the current task wait; it must `leave`, and ask `was_freed` when it is cancelled."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("only a task can wait")
        self._waiting.add(task)
        if self._timer is None:
            self._arm()
        return task

    def leave(self, task: asyncio.Task[object]) -> None:
        """Let a task go on."""
        self._waiting.discard(task)

    def was_freed(self, task: asyncio.Task[object]) -> bool:
        """Tell a cancelled task whether it was this watch alone that cancelled it."""
        if task not in self._freed:
            return False
        self._freed.discard(task)
        # Somebody else may have cancelled it too, and wants it to end.
        return task.uncancel() == 0

    def free(self) -> None:
        """Cancel all that wait; they are told by `was_freed`."""
        for task in self._waiting:
            self._freed.add(task)
            task.cancel()
        self._waiting.clear()

    def _arm(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._limit_s / _TICKS, self._look)

    def _look(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        self.stalled = self._running_s() > self._limit_s
        if self.stalled:
            self.free()
        self._arm()
