"""Turns the signals that end a program into an exception, and keeps them out of a clean-up."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Terminated(KeyboardInterrupt):
    """The process was asked to end by a signal other than Ctrl-C."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"signal {signum}")
        self.exit_code = 128 + signum


@contextlib.contextmanager
def interrupts_raise() -> Iterator[None]:
    """Turn the first Ctrl-C, SIGTERM or SIGHUP into an exception; ignore those that follow.

    A second Ctrl-C is a plea to hurry, and must not cut the clean-up short.
    """

    def on_signal(signum: int, _frame: FrameType | None) -> None:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise Terminated(signum)

    with _handlers(on_signal):
        yield


@contextlib.contextmanager
def signals_ignored() -> Iterator[None]:
    """Ignore Ctrl-C, SIGTERM and SIGHUP for the length of a clean-up."""
    with _handlers(signal.SIG_IGN):
        yield


@contextlib.contextmanager
def _handlers(
    handler: Callable[[int, FrameType | None], None] | signal.Handlers,
) -> Iterator[None]:
    try:
        before = {each: signal.signal(each, handler) for each in _SIGNALS}
    except ValueError:  # not the main thread, which alone may set handlers
        yield
        return
    try:
        yield
    finally:
        for each, previous in before.items():
            signal.signal(each, previous)
