"""Ring buffers of the newest samples of each entity: bounded memory, always in order of time.

What a buffer holds is a function of the samples alone, the newest `samples` different timestamps,
not of the order in which they came.

Legend: E entities held, N rows of one call, W samples of a ring, S steps asked for, C metrics.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.errors import OutOfRangeError, SchemaError
from novacron.telemetry.blocks import NO_TS_US, BoolArray, CodeArray, FloatArray, IntArray

Slots = NDArray[np.intp]
_FIRST_SLOTS: Final = 16
_SCALARS_BYTES: Final = 24
UNKNOWN: Final = -1
"""Slot of an entity that is not held."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Samples of several entities: `code_N` numbers `entities`, `x_NC` is NaN where missing."""

    entities: Sequence[str]
    code_N: CodeArray
    ts_us_N: IntArray
    x_NC: FloatArray

    def __len__(self) -> int:
        return len(self.ts_us_N)

    def take(self, index: NDArray[np.generic]) -> "Rows":
        """Return some rows; the entities stay."""
        return Rows(self.entities, self.code_N[index], self.ts_us_N[index], self.x_NC[index])


class SampleRings:
    """The newest samples of each entity; not safe for use by several threads at once.

    A new entity beyond `max_entities` takes the place of the one that was silent for longest, and
    `evictions` counts it. Reading an entity does not count as hearing of it, so that whoever adds
    the same rows holds the same entities.

    Args:
        metrics: Names of the columns.
        samples: W, samples kept of each entity.
        max_entities: Upper bound of entities held.
    """

    def __init__(self, metrics: Sequence[str], *, samples: int, max_entities: int) -> None:
        if samples < 1:
            raise OutOfRangeError(field="samples", got=samples, expected="at least 1")
        if max_entities < 1:
            raise OutOfRangeError(field="max_entities", got=max_entities, expected="at least 1")
        self.metrics = tuple(metrics)
        self.samples = samples
        self.max_entities = max_entities
        self.evictions = 0
        # From the entity that was silent for longest to the newest; the value is its slot.
        self._slots: OrderedDict[str, int] = OrderedDict()
        self._ts_us_EW = np.empty((0, samples), dtype=np.int64)
        self._x_EWC = np.empty((0, samples, len(self.metrics)))
        self._next_E = np.empty(0, dtype=np.intp)
        self._count_E = np.empty(0, dtype=np.intp)
        self._newest_us_E: IntArray = np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        """Return how many entities are held."""
        return len(self._slots)

    def __contains__(self, entity: object) -> bool:
        """Tell whether an entity is held."""
        return entity in self._slots

    @property
    def bytes_per_entity(self) -> int:
        """Bytes of the arrays of one entity, without its name."""
        return ring_bytes(self.samples, len(self.metrics))

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return len(self._next_E) * self.bytes_per_entity

    def slots(self, entities: Sequence[str]) -> Slots:
        """Return the slot of each entity, `UNKNOWN` where it is not held."""
        found = (self._slots.get(name, UNKNOWN) for name in entities)
        return np.fromiter(found, dtype=np.intp, count=len(entities))

    def newest_us(self, rows: Rows) -> IntArray:
        """Return for each row the newest timestamp of its entity; `NO_TS_US` where it has none."""
        slot_N = self.slots(rows.entities)[rows.code_N]
        newest_N: IntArray = np.full(len(rows), NO_TS_US)
        held = slot_N != UNKNOWN
        newest_N[held] = self._newest_us_E[slot_N[held]]
        return newest_N

    def repeats(self, rows: Rows) -> tuple[BoolArray, BoolArray]:
        """Mark the rows whose entity already has their timestamp: with equal values, with others."""
        equal_N, other_N = np.zeros(len(rows), np.bool_), np.zeros(len(rows), np.bool_)
        slot_N = self.slots(rows.entities)[rows.code_N]
        asked = np.flatnonzero((slot_N != UNKNOWN) & (rows.ts_us_N <= self.newest_us(rows)))
        if len(asked) == 0:
            return equal_N, other_N
        slot_R, ts_R = slot_N[asked], rows.ts_us_N[asked]
        held_RW = np.arange(self.samples) < self._count_E[slot_R, None]
        match_RW = (self._ts_us_EW[slot_R] == ts_R[:, None]) & held_RW
        hit_R = match_RW.any(axis=1)
        place_R = match_RW.argmax(axis=1)
        kept_RC, new_RC = self._x_EWC[slot_R, place_R], rows.x_NC[asked]
        same_R = ((kept_RC == new_RC) | (np.isnan(kept_RC) & np.isnan(new_RC))).all(axis=1)
        equal_N[asked] = hit_R & same_R
        other_N[asked] = hit_R & ~same_R
        return equal_N, other_N

    def add(self, rows: Rows) -> None:
        """Add samples that repeat no timestamp of their entity, in any order.

        Raises:
            SchemaError: There are more entities than `max_entities`, or the columns do not fit.
        """
        if len(rows.entities) > self.max_entities:
            raise SchemaError(
                field="entities", got=len(rows.entities), expected=f"at most {self.max_entities}"
            )
        if rows.x_NC.shape != (len(rows), len(self.metrics)):
            raise SchemaError(
                field="x_NC", got=rows.x_NC.shape, expected=f"[rows, {len(self.metrics)}]"
            )
        slot_N = self._claim(rows.entities)[rows.code_N]
        order = np.argsort(slot_N, kind="stable")
        slot, ts = slot_N[order], rows.ts_us_N[order]
        starts = np.flatnonzero(np.concatenate([[True], slot[1:] != slot[:-1]]))[: len(slot)]
        sizes = np.diff(np.append(starts, len(slot)))
        before = np.empty_like(ts)
        before[1:] = ts[:-1]
        before[starts] = self._newest_us_E[slot[starts]]
        if len(starts) == 0:
            return
        in_order = np.logical_and.reduceat(ts > before, starts)
        rank = np.arange(len(slot)) - np.repeat(starts, sizes)
        # Of a longer run only its end would be left.
        stays = np.repeat(in_order, sizes) & (rank >= np.repeat(sizes, sizes) - self.samples)
        place = (self._next_E[slot] + rank) % self.samples
        self._ts_us_EW[slot[stays], place[stays]] = ts[stays]
        self._x_EWC[slot[stays], place[stays]] = rows.x_NC[order[stays]]
        own, size = slot[starts[in_order]], sizes[in_order]
        self._next_E[own] = (self._next_E[own] + size) % self.samples
        self._count_E[own] = np.minimum(self._count_E[own] + size, self.samples)
        self._newest_us_E[own] = ts[starts[in_order] + size - 1]
        for start, length in zip(starts[~in_order], sizes[~in_order], strict=True):
            part = order[start : start + length]
            self._merge(int(slot[start]), rows.ts_us_N[part], rows.x_NC[part])

    def window(self, entity: str, steps: int) -> tuple[IntArray, FloatArray]:
        """Return ts_us_S and x_SC of the newest samples of an entity, oldest first; maybe none."""
        slot = self._slots.get(entity, UNKNOWN)
        if slot == UNKNOWN:
            return np.empty(0, np.int64), np.empty((0, len(self.metrics)))
        count = min(steps, int(self._count_E[slot]))
        place = (self._next_E[slot] - count + np.arange(count)) % self.samples
        return self._ts_us_EW[slot, place], self._x_EWC[slot, place]

    def windows(self, entities: Sequence[str], steps: int) -> tuple[IntArray, FloatArray]:
        """Return the newest timestamp of each entity and its window x_NSC, left-padded with NaN.

        An entity that is not held has `NO_TS_US` and NaN alone; `steps` beyond W are NaN.
        """
        slot_N = self.slots(entities)
        newest_N: IntArray = np.full(len(entities), NO_TS_US)
        x_NSC = np.full((len(entities), steps, len(self.metrics)), np.nan)
        held = np.flatnonzero(slot_N != UNKNOWN)
        reach = min(steps, self.samples)
        slot = slot_N[held]
        newest_N[held] = self._newest_us_E[slot]
        place = (self._next_E[slot, None] - reach + np.arange(reach)) % self.samples
        found = self._x_EWC[slot[:, None], place]
        found[np.arange(reach) < reach - self._count_E[slot, None]] = np.nan
        x_NSC[held, steps - reach :] = found
        return newest_N, x_NSC

    def content(self) -> Rows:
        """Return everything held, entities from the one silent for longest, samples in order.

        Adding it to empty rings of the same size gives rings that answer the same.
        """
        entities = list(self._slots)
        slot_E = np.fromiter(self._slots.values(), dtype=np.intp, count=len(entities))
        count_E = self._count_E[slot_E]
        code_N = np.repeat(np.arange(len(entities), dtype=np.int32), count_E)
        first_E = np.cumsum(count_E) - count_E
        rank_N = np.arange(len(code_N)) - np.repeat(first_E, count_E)
        slot_N = slot_E[code_N]
        place_N = (self._next_E[slot_N] - count_E[code_N] + rank_N) % self.samples
        return Rows(
            entities, code_N, self._ts_us_EW[slot_N, place_N], self._x_EWC[slot_N, place_N]
        )

    def names(self) -> Iterator[str]:
        """Yield the entities, from the one that was silent for longest."""
        return iter(self._slots)

    def _claim(self, entities: Sequence[str]) -> Slots:
        """Mark entities as just heard of, and give each a slot."""
        # Known ones first: a new one must not evict an entity of the same call.
        for name in entities:
            if name in self._slots:
                self._slots.move_to_end(name)
        for name in entities:
            if name not in self._slots:
                self._slots[name] = self._free_slot()
        return self.slots(entities)

    def _free_slot(self) -> int:
        if len(self._slots) == self.max_entities:
            _, slot = self._slots.popitem(last=False)
            self.evictions += 1
        else:
            slot = len(self._slots)
            if slot == len(self._next_E):
                self._grow()
        self._next_E[slot] = self._count_E[slot] = 0
        self._newest_us_E[slot] = NO_TS_US
        return slot

    def _grow(self) -> None:
        held = len(self._next_E)
        more = min(max(_FIRST_SLOTS, held), self.max_entities - held)
        self._ts_us_EW = np.concatenate([self._ts_us_EW, np.empty((more, self.samples), np.int64)])
        self._x_EWC = np.concatenate(
            [self._x_EWC, np.empty((more, self.samples, len(self.metrics)))]
        )
        self._next_E = np.concatenate([self._next_E, np.zeros(more, np.intp)])
        self._count_E = np.concatenate([self._count_E, np.zeros(more, np.intp)])
        self._newest_us_E = np.concatenate([self._newest_us_E, np.full(more, NO_TS_US)])

    def _merge(self, slot: int, ts_us_N: IntArray, x_NC: FloatArray) -> None:
        """Put rows between those held, and keep the newest."""
        count = int(self._count_E[slot])
        place = (self._next_E[slot] - count + np.arange(count)) % self.samples
        ts = np.concatenate([self._ts_us_EW[slot, place], ts_us_N])
        x = np.concatenate([self._x_EWC[slot, place], x_NC])
        newest = np.argsort(ts, kind="stable")[-self.samples :]
        kept = len(newest)
        self._ts_us_EW[slot, :kept] = ts[newest]
        self._x_EWC[slot, :kept] = x[newest]
        self._next_E[slot] = kept % self.samples
        self._count_E[slot] = kept
        self._newest_us_E[slot] = ts[newest[-1]]


def ring_bytes(samples: int, metrics: int) -> int:
    """Return the bytes of the arrays of one entity."""
    return samples * 8 * (1 + metrics) + _SCALARS_BYTES
