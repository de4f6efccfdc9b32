"""What a search says while it runs: one line for each trial that ended, with the time left."""

import sys
import time
from collections.abc import Mapping
from typing import Protocol, TextIO

from tuning.choice import is_better
from tuning.journal import Record
from tuning.objective import Metric


class Listener(Protocol):
    """Hears how a search goes."""

    def phase(self, name: str, *, total: int, done: int, parallel: int) -> None:
        """A phase begins, of `total` trials, of which `done` were there already."""
        ...

    def ended(self, record: Record, left_s: float | None) -> None:
        """A trial ended; `left_s` is what is left of the phase's time, where that is limited."""
        ...

    def said(self, text: str) -> None:
        """Something else worth a line."""
        ...


class Silent:
    """Says nothing."""

    def phase(self, name: str, *, total: int, done: int, parallel: int) -> None:
        """Say nothing."""

    def ended(self, record: Record, left_s: float | None) -> None:
        """Say nothing."""

    def said(self, text: str) -> None:
        """Say nothing."""


class Lines:
    """Writes a line for each event.

    Args:
        metrics: Of the objective; a line shows them all, and the best of the first.
        stream: Where to; standard error by default, which leaves the answer alone.
    """

    def __init__(self, metrics: tuple[Metric, ...], stream: TextIO | None = None) -> None:
        self._metrics, self._stream = metrics, stream or sys.stderr
        self._name, self._total, self._done, self._parallel = "search", 0, 0, 1
        self._began = time.monotonic()
        self._spent: list[float] = []
        self._best: float | None = None

    def phase(self, name: str, *, total: int, done: int, parallel: int) -> None:
        """Write how much there is to do."""
        self._name, self._total, self._done, self._parallel = name, total, done, parallel
        self._began, self._spent = time.monotonic(), []
        there = f", {done} there already" if done else ""
        self.said(f"{name}: {total} trials{there}, {parallel} at a time")

    def ended(self, record: Record, left_s: float | None) -> None:
        """Write a trial's outcome, the best so far and the time left."""
        self._done += 1
        self._spent.append(record.seconds)
        parts = [f"{self._name} {self._done}/{self._total}", _name(record), self._figures(record)]
        parts += [f"{record.seconds:.1f} s", f"left {_clock(self.left_s(left_s))}"]
        self.said("  ".join(each for each in parts if each))

    def said(self, text: str) -> None:
        """Write one line."""
        self._stream.write(text + "\n")
        self._stream.flush()

    def left_s(self, limit_s: float | None) -> float:
        """Estimate the time left: the mean of the trials so far, for those to come."""
        mean = sum(self._spent) / len(self._spent) if self._spent else 0.0
        work = mean * max(0, self._total - self._done) / self._parallel
        return work if limit_s is None else min(work, limit_s)

    def _figures(self, record: Record) -> str:
        if record.state == "failed":
            return f"{record.error.splitlines()[0][:200]}  with {dict(record.values)}"
        metrics: Mapping[str, float] = record.metrics
        if not metrics:
            return ""
        target = self._metrics[0]
        shown = ", ".join(f"{one.name} {metrics[one.name]:.4g}" for one in self._metrics)
        if record.spec.phase != "search":
            return shown
        value = metrics[target.name]
        if record.state == "finished" and (
            self._best is None or is_better(value, self._best, target)
        ):
            self._best = value
        return shown + ("" if self._best is None else f" (best {self._best:.4g})")


def _name(record: Record) -> str:
    what = "default" if record.spec.number == 0 else f"setting {record.spec.number}"
    seed = "" if record.spec.phase == "search" else f" seed {record.spec.seed}"
    step = "" if record.spec.budget is None else f" at {record.step}/{record.spec.budget}"
    return f"{what}{seed} {record.state}{step}"


def _clock(seconds: float) -> str:
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
