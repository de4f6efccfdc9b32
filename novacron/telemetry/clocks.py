"""The clock of every entity: order, duplicates and gaps, causally across blocks.

All arrays have one axis, with one entry a row or one an entity.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from novacron.telemetry.blocks import (
    NO_TS_US,
    BoolArray,
    CodeArray,
    DigestArray,
    IntArray,
    grown,
    stable_order,
)


@dataclass(frozen=True, slots=True)
class OrderFaults:
    """Masks over the rows that were checked; a row is in at most one."""

    went_back: BoolArray
    duplicate: BoolArray
    conflict: BoolArray

    @property
    def any(self) -> BoolArray:
        """Rows with any of the faults."""
        return self.went_back | self.duplicate | self.conflict


@dataclass(frozen=True, slots=True)
class _Recent:
    """Rows that a later row could still repeat."""

    entities: CodeArray
    ts_us: IntArray
    digests: DigestArray


class EntityClocks:
    """Remembers the newest timestamp of each entity and the rows within `max_disorder_us` of it.

    Memory is bounded by the number of entities and the rows they send in that time, since a row
    older than that is refused whatever it holds.

    Args:
        max_disorder_us: How far a row may lie before the newest row of its entity.
        max_gap_us: Pauses longer than this are counted as gaps.
    """

    def __init__(self, *, max_disorder_us: int, max_gap_us: int) -> None:
        self._max_disorder_us = max_disorder_us
        self._max_gap_us = max_gap_us
        self._recent = _Recent(
            np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.uint64)
        )
        self.newest_us: IntArray = np.empty(0, np.int64)
        """By entity code; `NO_TS_US` where nothing was accepted yet."""
        self.gaps: IntArray = np.empty(0, np.int64)
        """Number of pauses longer than `max_gap_us`, by entity code."""
        self.longest_gap_us: IntArray = np.empty(0, np.int64)
        """Longest such pause, by entity code; 0 if there was none."""
        self.disordered: IntArray = np.empty(0, np.int64)
        """Accepted rows older than an earlier row, by entity code."""

    def check(
        self,
        entities: CodeArray,
        ts_us: IntArray,
        digest: Callable[[IntArray], DigestArray],
    ) -> OrderFaults:
        """Judge rows in order of arrival and remember the good ones.

        Args:
            entities: Entity codes.
            ts_us: Timestamps, microseconds since 1970.
            digest: Returns a digest of the measured values of the rows at given indices; called
                only for rows that may repeat.
        """
        n_rows = len(ts_us)
        went_back, duplicate, conflict = (np.zeros(n_rows, np.bool_) for _ in range(3))
        faults = OrderFaults(went_back, duplicate, conflict)
        if n_rows == 0:
            return faults
        size = int(entities.max()) + 1
        self.newest_us = grown(self.newest_us, size, NO_TS_US)
        self.gaps = grown(self.gaps, size, 0)
        self.longest_gap_us = grown(self.longest_gap_us, size, 0)
        self.disordered = grown(self.disordered, size, 0)
        order = stable_order(entities)
        entity, ts = entities[order], ts_us[order]
        starts = np.flatnonzero(np.concatenate([[True], entity[1:] != entity[:-1]]))
        before = np.empty_like(ts)
        before[1:] = ts[:-1]
        before[starts] = self.newest_us[entity[starts]]
        if not (ts > before).all():
            _carry_maximum(ts, before, starts)
            went_back[order] = (before != NO_TS_US) & (
                ts < np.where(before == NO_TS_US, ts, before) - self._max_disorder_us
            )
            self._mark_repeats(order[~went_back[order]], entities, ts_us, digest, faults)
            np.add.at(self.disordered, entity[(ts < before) & ~faults.any[order]], 1)
        good = ~faults.any[order]
        self._count_gaps(entity[good], ts[good], before[good])
        np.maximum.at(self.newest_us, entity[good], ts[good])
        self._remember(np.flatnonzero(~faults.any), entities, ts_us, digest)
        return faults

    def _mark_repeats(
        self,
        index: IntArray,
        entities: CodeArray,
        ts_us: IntArray,
        digest: Callable[[IntArray], DigestArray],
        faults: OrderFaults,
    ) -> None:
        recent = self._recent
        n_recent = len(recent.ts_us)
        entity = np.concatenate([recent.entities, entities[index]])
        ts = np.concatenate([recent.ts_us, ts_us[index]])
        # Stable, so that of equal keys the one that came first leads.
        order = np.lexsort((ts, entity))
        entity, ts = entity[order], ts[order]
        repeats = np.zeros(len(order), np.bool_)
        repeats[1:] = (entity[1:] == entity[:-1]) & (ts[1:] == ts[:-1])
        if not repeats.any():
            return
        leader = np.maximum.accumulate(np.where(repeats, 0, np.arange(len(order))))
        members = np.flatnonzero(repeats)
        digests = np.concatenate([recent.digests, digest(index)])[order]
        equal = digests[members] == digests[leader[members]]
        rows = index[order[members] - n_recent]
        faults.duplicate[rows[equal]] = True
        faults.conflict[rows[~equal]] = True

    def _count_gaps(self, entity: CodeArray, ts: IntArray, before: IntArray) -> None:
        known = before != NO_TS_US
        pause = np.where(known, ts - np.where(known, before, 0), 0)
        long = pause > self._max_gap_us
        if long.any():
            np.add.at(self.gaps, entity[long], 1)
            np.maximum.at(self.longest_gap_us, entity[long], pause[long])

    def _remember(
        self,
        good: IntArray,
        entities: CodeArray,
        ts_us: IntArray,
        digest: Callable[[IntArray], DigestArray],
    ) -> None:
        old = self._recent
        horizon = self.newest_us - self._max_disorder_us
        keep_old = old.ts_us >= horizon[old.entities]
        new = good[ts_us[good] >= horizon[entities[good]]]
        self._recent = _Recent(
            np.concatenate([old.entities[keep_old], entities[new]]),
            np.concatenate([old.ts_us[keep_old], ts_us[new]]),
            np.concatenate([old.digests[keep_old], digest(new)]),
        )


def _carry_maximum(ts: IntArray, before: IntArray, starts: IntArray) -> None:
    """Turn `before` from the previous timestamp of each entity into the newest one so far."""
    ends = np.append(starts[1:], len(ts))
    disordered = np.logical_or.reduceat(ts <= before, starts)
    for start, end in zip(starts[disordered], ends[disordered], strict=True):
        np.maximum.accumulate(before[start:end], out=before[start:end])
