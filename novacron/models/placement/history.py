"""What a cluster has learned of lifetimes: exposure and ends by age, forgotten exponentially.

Legend: K age bins, L levels of likeness. A group is the workloads of one batch that ask for the
same; they share every feature. Whoever is still alive counts as exposed up to now, which is how
lifetimes cut off by the present (right-censored) are used and not guessed.
"""

import heapq
import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.errors import NotFoundError, OutOfRangeError
from novacron.models.placement.ages import AGE_EDGES_S, BINS, bin_of

Floats = NDArray[np.float64]

LEVELS: Final = 3
"""Same size; same size and count; same size, count and batch."""
_FIRST_ROWS: Final = 256
_LARGEST_EXPONENT: Final = 200.0
_MOST_EXPONENT: Final = 1000.0
_RATE_HALF_LIFE_S: Final = 3600.0
_NEVER_S: Final = 1e6


@dataclass(frozen=True, slots=True)
class Kind:
    """What is known of a group when it arrives; -1 where the caller did not say."""

    cpu_cores: float
    memory_gb: float
    batch_size: int = -1
    batch_same_size: int = -1
    batch_kinds: int = -1

    def keys(self) -> tuple[Hashable, ...]:
        """Return its name at each level of likeness, broadest first."""
        size = (self.cpu_cores, self.memory_gb)
        same = (*size, self.batch_same_size)
        return size, same, (*same, self.batch_size, self.batch_kinds)


@dataclass(slots=True)
class _Group:
    kind: Kind
    arrived_s: float
    alive: int
    rows: tuple[int, ...]
    next_bin: int = 0


@dataclass(slots=True)
class _Counts:
    """Exposure and ends by key and bin, in weights that grow with time instead of decaying."""

    rows: dict[Hashable, int] = field(default_factory=dict)
    exposed_MK: Floats = field(default_factory=lambda: np.zeros((_FIRST_ROWS, BINS)))
    ended_MK: Floats = field(default_factory=lambda: np.zeros((_FIRST_ROWS, BINS)))
    arrivals_M: Floats = field(default_factory=lambda: np.zeros(_FIRST_ROWS))
    seen_s_M: Floats = field(default_factory=lambda: np.full(_FIRST_ROWS, -math.inf))

    def row(self, key: Hashable) -> int:
        found = self.rows.setdefault(key, len(self.rows))
        if found >= len(self.exposed_MK):
            grow = ((0, len(self.exposed_MK)), (0, 0))
            self.exposed_MK = np.pad(self.exposed_MK, grow)
            self.ended_MK = np.pad(self.ended_MK, grow)
            self.arrivals_M = np.pad(self.arrivals_M, grow[0])
            self.seen_s_M = np.pad(self.seen_s_M, grow[0], constant_values=-math.inf)
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Likeness:
    """What was seen of groups like one that arrives now; arrays are [L] or [L, K]."""

    exposed_LK: Floats
    ended_LK: Floats
    arrivals_L: Floats
    """Workloads that arrived, with a half-life of an hour."""
    since_s_L: Floats
    """Seconds since the last one arrived, at most a million."""


class LifetimeHistory:
    """Follows arrivals and ends in the order of time.

    Args:
        half_life_s: After this time an observation counts half.
    """

    def __init__(self, half_life_s: float = 86_400.0) -> None:
        self.half_life_s = half_life_s
        self.now_s = -math.inf
        self._zero_s = math.nan
        self._counts = tuple(_Counts() for _ in range(LEVELS))
        self._groups: dict[int, _Group] = {}
        self._due: list[tuple[float, int]] = []
        self._number = 0

    def arrive(self, kind: Kind, count: int, at_s: float) -> int:
        """Note that a group arrived; returns its number, by which its ends are told.

        Raises:
            OutOfRangeError: Time runs backwards, or nobody arrived.
        """
        if count < 1:
            raise OutOfRangeError(field="count", got=count, expected="at least 1")
        self.advance(at_s)
        rows = tuple(one.row(key) for one, key in zip(self._counts, kind.keys(), strict=True))
        weight = self._rate_weight(at_s)
        for one, row in zip(self._counts, rows, strict=True):
            one.arrivals_M[row] += count * weight
            one.seen_s_M[row] = at_s
        number = self._number
        self._number += 1
        self._groups[number] = _Group(kind, at_s, count, rows)
        heapq.heappush(self._due, (at_s + AGE_EDGES_S[1], number))
        return number

    def end(self, number: int, at_s: float) -> None:
        """Note that one workload of a group ended.

        Raises:
            NotFoundError: There is no such group, or nobody of it is left.
            OutOfRangeError: Time runs backwards.
        """
        self.advance(at_s)
        group = self._groups.get(number)
        if group is None:
            raise NotFoundError(f"Nobody of group {number} is known to be alive.")
        age_bin = max(int(bin_of(np.array(at_s - group.arrived_s))), group.next_bin)
        self._add(group, min(age_bin, BINS - 1), exposed=1, ended=1, at_s=at_s)
        group.alive -= 1
        if group.alive == 0:
            del self._groups[number]

    def advance(self, at_s: float) -> None:
        """Let time pass: whoever outlived a bin by now was exposed in it.

        Raises:
            OutOfRangeError: Time runs backwards.
        """
        if at_s < self.now_s:
            raise OutOfRangeError(field="at_s", got=at_s, expected=f"no time before {self.now_s}")
        if math.isnan(self._zero_s):
            self._zero_s = at_s
        self.now_s = at_s
        self._rescale()
        while self._due and self._due[0][0] <= at_s:
            passed_s, number = heapq.heappop(self._due)
            group = self._groups.get(number)
            if group is None:
                continue
            self._add(group, group.next_bin, exposed=group.alive, ended=0, at_s=passed_s)
            group.next_bin += 1
            if group.next_bin < BINS:
                due_s = group.arrived_s + AGE_EDGES_S[group.next_bin + 1]
                heapq.heappush(self._due, (due_s, number))

    def like(self, kind: Kind) -> Likeness:
        """Return what was seen so far of groups like this one."""
        fade = 1 / self._weight(self.now_s)
        rate_fade = 1 / self._rate_weight(self.now_s)
        found = [one.rows.get(key, -1) for one, key in zip(self._counts, kind.keys(), strict=True)]
        nothing_K = np.zeros(BINS)
        pairs = list(zip(self._counts, found, strict=True))
        exposed = [one.exposed_MK[row] * fade if row >= 0 else nothing_K for one, row in pairs]
        ended = [one.ended_MK[row] * fade if row >= 0 else nothing_K for one, row in pairs]
        arrivals = [one.arrivals_M[row] * rate_fade if row >= 0 else 0.0 for one, row in pairs]
        since = [self.now_s - one.seen_s_M[row] if row >= 0 else _NEVER_S for one, row in pairs]
        return Likeness(
            exposed_LK=np.stack(exposed),
            ended_LK=np.stack(ended),
            arrivals_L=np.array(arrivals),
            since_s_L=np.minimum(np.array(since), _NEVER_S),
        )

    def _add(self, group: _Group, age_bin: int, *, exposed: int, ended: int, at_s: float) -> None:
        weight = self._weight(at_s)
        for one, row in zip(self._counts, group.rows, strict=True):
            one.exposed_MK[row, age_bin] += exposed * weight
            one.ended_MK[row, age_bin] += ended * weight

    def _weight(self, at_s: float) -> float:
        return _power((at_s - self._zero_s) / self.half_life_s)

    def _rate_weight(self, at_s: float) -> float:
        return _power((at_s - self._zero_s) / _RATE_HALF_LIFE_S)

    def _rescale(self) -> None:
        """Move the zero of time before the weights outgrow a double."""
        if (self.now_s - self._zero_s) / _RATE_HALF_LIFE_S < _LARGEST_EXPONENT:
            return
        slow, fast = self._weight(self.now_s), self._rate_weight(self.now_s)
        for one in self._counts:
            one.exposed_MK /= slow
            one.ended_MK /= slow
            one.arrivals_M /= fast
        self._zero_s = self.now_s


def _power(exponent: float) -> float:
    # What was seen so many half-lives ago counts nothing.
    return float(2.0 ** min(exponent, _MOST_EXPONENT))


def kinds_of_batch(sizes: Iterable[tuple[float, float]]) -> dict[Kind, int]:
    """Return the groups of a batch and how many workloads each has.

    Args:
        sizes: CPU cores and GB of each workload of the batch.
    """
    listed = list(sizes)
    by_size: dict[tuple[float, float], int] = {}
    for size in listed:
        by_size[size] = by_size.get(size, 0) + 1
    return {
        Kind(cpu, memory, len(listed), count, len(by_size)): count
        for (cpu, memory), count in by_size.items()
    }
