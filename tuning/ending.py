"""When a search ends early: its time is over, or someone asked it to."""

import contextlib
import signal
import time
from collections.abc import Iterator
from types import FrameType
from typing import Literal

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ending:
    """Says when to stop; the first reason stands."""

    def __init__(self) -> None:
        self.reason: Literal["", "time", "interrupted"] = ""
        self.signum = 0
        self._deadline: float | None = None

    def limit(self, seconds: float | None) -> None:
        """Set or lift the time that is left from now on."""
        self._deadline = None if seconds is None else time.monotonic() + seconds

    @property
    def left_s(self) -> float | None:
        """Seconds until the time is over; None without a limit."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def __call__(self) -> bool:
        """Say whether it is time to stop."""
        if not self.reason and self._deadline is not None and time.monotonic() >= self._deadline:
            self.reason = "time"
        return bool(self.reason)

    def over(self) -> None:
        """Go on after the time of one phase was over; an interrupt stays."""
        self._deadline = None
        if self.reason == "time":
            self.reason = ""

    @property
    def exit_code(self) -> int:
        """Of a process that a signal ended: 130 for Ctrl-C."""
        return 128 + self.signum if self.signum else 0

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """Let the first Ctrl-C, SIGTERM or SIGHUP end the search; a second one ends the process."""

        def on_signal(signum: int, _frame: FrameType | None) -> None:
            if self.reason == "interrupted":
                raise KeyboardInterrupt
            self.reason, self.signum = "interrupted", signum

        try:
            before = {each: signal.signal(each, on_signal) for each in _SIGNALS}
        except ValueError:  # not the main thread, which alone may set handlers
            yield
            return
        try:
            yield
        finally:
            for each, previous in before.items():
                signal.signal(each, previous)
