"""How many runs a search has had, and how long they took together."""

import time
from datetime import UTC, datetime
from typing import Self

from tuning.storage import Storage


class RunClock:
    """Counts this run of a search, and writes now and then how long it has taken.

    Args:
        storage: Folder of the notes.
        number: Of this run, from 1.
        before_s: What the search phases of earlier runs took.
        total_before_s: What earlier runs took in all.
    """

    def __init__(
        self, storage: Storage, number: int, before_s: float, total_before_s: float
    ) -> None:
        self._storage, self.number = storage, number
        self._before_s, self._total_before_s = before_s, total_before_s
        self._began = time.monotonic()
        self._search_s: float | None = None
        self._started_at = datetime.now(UTC).isoformat(timespec="seconds")

    @classmethod
    def start(cls, folder: Storage) -> Self:
        """Begin a run; read what the earlier ones noted."""
        storage = folder.below("runs")
        notes = [storage.read_json(name) or {} for name in storage.names()]
        clock = cls(
            storage,
            len(notes) + 1,
            sum(one["search_s"] for one in notes),
            sum(one["seconds"] for one in notes),
        )
        clock.note()
        return clock

    @property
    def seconds(self) -> float:
        """Wall time of all runs."""
        return self._total_before_s + time.monotonic() - self._began

    @property
    def search_s(self) -> float:
        """Wall time of the search phases of all runs."""
        own = time.monotonic() - self._began if self._search_s is None else self._search_s
        return self._before_s + own

    def search_is_over(self) -> None:
        """Stop counting for the search phase."""
        self._search_s = time.monotonic() - self._began
        self.note()

    def note(self) -> None:
        """Write down how long this run has taken so far."""
        self._storage.write_json(
            f"{self.number:04d}.json",
            {
                "started_at": self._started_at,
                "seconds": round(self.seconds - self._total_before_s, 1),
                "search_s": round(self.search_s - self._before_s, 1),
            },
        )
