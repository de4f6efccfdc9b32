"""Who listens to the searches and trials of the tuning benchmark: the CPU clock, or nobody."""

import json
import os
import time
from pathlib import Path
from typing import Any, Final

from tuning.journal import Record

CPU_FILE: Final = "cpu_s.jsonl"


class Told:
    """Shows each trial's end."""

    def phase(self, name: str, *, total: int, done: int, parallel: int) -> None:
        """Name the phase."""
        del total, done, parallel
        self.said(name)

    def ended(self, record: Record, left_s: float | None) -> None:
        """Show what a trial came to."""
        del left_s
        shown = ", ".join(f"{name} {value:.4g}" for name, value in record.metrics.items())
        self.said(f"{record.spec.id} {record.state} {record.seconds:.1f} s {shown}")

    def said(self, text: str) -> None:
        """Show that it is alive."""
        os.write(2, f"{text}\n".encode())


class CpuListener(Told):
    """Keeps the CPU seconds of each search trial in a file, over all runs of a search."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._last = time.process_time()

    def phase(self, name: str, *, total: int, done: int, parallel: int) -> None:
        """Begin to count."""
        super().phase(name, total=total, done=done, parallel=parallel)
        self._last = time.process_time()

    def ended(self, record: Record, left_s: float | None) -> None:
        """Note what a trial took."""
        super().ended(record, left_s)
        now = time.process_time()
        row = {"id": record.spec.id, "cpu_s": round(now - self._last, 3)}
        self._last = now
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")


class Unheard:
    """A progress that nobody listens to."""

    resume: Path | None = None
    resume_step: int = 0
    is_judged: bool = False

    def report(self, step: int, scores: Any, save: Any = None) -> None:
        """Say nothing."""


def cpu_of(path: Path) -> dict[str, float]:
    """Return the CPU seconds of each trial; those of several attempts add up."""
    found: dict[str, float] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        row = json.loads(line)
        found[row["id"]] = found.get(row["id"], 0.0) + float(row["cpu_s"])
    return found
