"""Time grid and random streams of the generator.

Every latent process of every entity has a stream of its own, named by both. So a new entity or
process changes no other one, and each stream is drawn from once, in time order: a longer span
begins with the same numbers.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

Series = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Streams:
    """The random streams of one seed."""

    seed: int

    def of(self, entity: str, process: str) -> np.random.Generator:
        """Return a fresh generator at the start of the stream of one process of one entity."""
        digest = hashlib.sha256(f"{entity}\0{process}".encode()).digest()
        key = tuple(int.from_bytes(digest[at : at + 4], "little") for at in range(0, 16, 4))
        return np.random.Generator(
            np.random.PCG64(np.random.SeedSequence(self.seed, spawn_key=key))
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Clock:
    """An even grid of `n` intervals of `step_s` seconds from `start` (UTC)."""

    start: datetime
    step_s: float
    n: int

    @property
    def ends(self) -> NDArray[np.datetime64]:
        """The end of each interval [T], datetime64[us] in UTC: the timestamp of its sample."""
        first = np.datetime64(self.start.astimezone(UTC).replace(tzinfo=None), "us")
        steps_us = np.arange(1, self.n + 1) * round(self.step_s * 1e6)
        return first + steps_us.astype("timedelta64[us]")

    @property
    def offsets_s(self) -> Series:
        """The middle of each interval [T], seconds after `start`."""
        return np.asarray((np.arange(self.n) + 0.5) * self.step_s, dtype=np.float64)

    def week_hours(self, lon_deg: float) -> Series:
        """Return local solar hours since Monday 00:00 [T], in [0, 168), at a longitude."""
        monday = datetime(2024, 1, 1, tzinfo=UTC)
        since_s = (self.start - monday) / timedelta(seconds=1)
        hours = (since_s + self.offsets_s) / 3600 + lon_deg / 15
        return np.asarray(np.mod(hours, 168.0))

    def time_of(self, index: int) -> datetime:
        """Return the start of interval `index`, which may lie beyond the last one."""
        return self.start + timedelta(seconds=index * self.step_s)
