"""The event-time join: all metrics of an entity on one grid, from any number of sources.

A step ends at a multiple of the grid since 1970 and holds the samples with
`end - step < ts <= end`; it is labelled with its end, so a row never tells of a later sample. All
arrays have one axis, with one entry a row or one a step.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from novacron.contracts.fields import SampleSchema
from novacron.telemetry.aggregate import Steps, aggregate
from novacron.telemetry.arrow import TS_TYPE, stored_field
from novacron.telemetry.blocks import (
    NO_TS_US,
    US,
    BoolArray,
    IntArray,
    RowBlock,
    Vocabularies,
    concat_blocks,
    grown,
    iso_utc,
    row_digests,
    stable_order,
)
from novacron.telemetry.quarantine import Reason, Rejection

_CHUNK_ROWS: Final = 262_144
_NO_STEP: Final = int(np.iinfo(np.int64).min)
_ALL_STEPS: Final = int(np.iinfo(np.int64).max)


class JoinConfig(BaseModel):
    """The grid, and how long it waits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step_s: float = Field(default=60.0, ge=0.001, le=86_400)
    """Length of a grid step."""
    allowed_lateness_s: float = Field(default=60.0, ge=0, le=86_400)
    """A step closes when a source has a sample this much later than its end; rows after that
    are late."""
    max_gap_steps: int = Field(default=1_440, ge=0, le=1_000_000)
    """Steps without a sample are filled in, flagged `gap`, up to this many in a row; a longer
    pause breaks the grid of the entity and is only counted."""


@dataclass(frozen=True, slots=True)
class Joined:
    """Closed steps in the form of `joined_schema`, and rows that turned out to be repeated."""

    batch: pa.RecordBatch
    rejected: list[Rejection]


def joined_schema(schema: SampleSchema) -> pa.Schema:
    """Return the Arrow schema of the join.

    The columns of the table, then `n_samples` (rows of any source in the step), `gap` (there was
    none) and `age_s` (seconds from the newest sample up to the end of the step).
    """
    keys = ("ts", schema.entity)
    columns = [stored_field(spec, nullable=spec.name not in keys) for spec in schema]
    extras = [
        pa.field("n_samples", pa.int32(), nullable=False, metadata={"unit": "rows"}),
        pa.field("gap", pa.bool_(), nullable=False, metadata={"unit": "flag"}),
        pa.field("age_s", pa.float64(), nullable=False, metadata={"unit": "s"}),
    ]
    return pa.schema([*columns, *extras], metadata={"table": f"{schema.name}Grid"})


@dataclass(slots=True)
class _Feed:
    """What is known about one source."""

    columns: frozenset[str]
    frontier_us: int
    newest_us: int = NO_TS_US
    open: bool = True


@dataclass(slots=True)
class _Pending:
    """Rows whose step is not closed yet."""

    blocks: list[RowBlock] = field(default_factory=list)
    steps: list[IntArray] = field(default_factory=list)
    first_step: int = _ALL_STEPS


class Joiner:
    """Joins the rows of several sources, each roughly in order of time, in bounded memory.

    It holds the rows of open steps only. Which rows are late depends on their own source alone
    and not on how it is cut into blocks. Rows of the output are sorted by step, then entity;
    filled-in gaps come right before the step that ends them.

    Args:
        schema: Says how each column is combined.
        config: Grid and waiting time.
        vocabularies: Those the blocks are encoded with.
    """

    def __init__(
        self, schema: SampleSchema, config: JoinConfig, vocabularies: Vocabularies
    ) -> None:
        self._schema = schema
        self._config = config
        self._vocabularies = vocabularies
        self._step_us = round(config.step_s * US)
        self._lateness_us = round(config.allowed_lateness_s * US)
        self._arrow = joined_schema(schema)
        self._feeds: dict[int, _Feed] = {}
        self._pending = _Pending()
        self._closed = _NO_STEP
        self._last_step: IntArray = np.empty(0, np.int64)
        self._newest_us: IntArray = np.empty(0, np.int64)
        self.steps: IntArray = np.empty(0, np.int64)
        """Steps on the grid, gaps included, by entity code."""
        self.gap_steps: IntArray = np.empty(0, np.int64)
        """Filled-in steps, by entity code."""
        self.grid_breaks = 0
        """Pauses too long to be filled in."""

    def open(self, source: int, columns: tuple[str, ...], first_ts_us: int | None) -> None:
        """Announce a source before any row is added.

        Args:
            source: Its code in the vocabulary of sources.
            columns: What it brings; two sources with the same columns may repeat each other.
            first_ts_us: No accepted row of it will be older, as far as is known; None if it has
                no rows.
        """
        frontier = _ALL_STEPS if first_ts_us is None else first_ts_us
        self._feeds[source] = _Feed(frozenset(columns), frontier)

    def next_source(self) -> int | None:
        """Return the open source that is furthest behind, None if all are closed."""
        behind = [(feed.frontier_us, source) for source, feed in self._feeds.items() if feed.open]
        return min(behind)[1] if behind else None

    def close(self, source: int) -> None:
        """Say that a source has no more rows."""
        self._feeds[source].open = False

    def add(self, source: int, block: RowBlock) -> list[Rejection]:
        """Take accepted rows of one source, in its order; return those that come too late."""
        if len(block) == 0:
            return []
        feed = self._feeds[source]
        step = -(-block.ts_us // self._step_us)
        newest = np.maximum.accumulate(np.concatenate([[feed.newest_us], block.ts_us]))
        feed.newest_us = int(newest[-1])
        feed.frontier_us = max(feed.frontier_us, feed.newest_us)
        late = (step * self._step_us + self._lateness_us < newest[:-1]) | (step <= self._closed)
        rejected = []
        if late.any():
            rejected = self._reject(block, np.flatnonzero(late), "late")
            block, step = block.take(~late), step[~late]
        if len(block):
            self._pending.blocks.append(block)
            self._pending.steps.append(step)
            self._pending.first_step = min(self._pending.first_step, int(step.min()))
        return rejected

    def drain(self) -> Iterator[Joined]:
        """Yield what is closed by now; everything once all sources are closed."""
        frontiers = [feed.frontier_us for feed in self._feeds.values() if feed.open]
        closed = _ALL_STEPS
        if frontiers and min(frontiers) != _ALL_STEPS:
            closed = -(-(min(frontiers) - self._lateness_us) // self._step_us) - 1
        if closed <= self._closed:
            return
        self._closed = closed
        if not self._pending.blocks or self._pending.first_step > closed:
            return
        block, step = self._take_closed(closed)
        rejected, keep = self._cross_repeats(block)
        if keep is not None:
            block, step = block.take(keep), step[keep]
        steps = aggregate(block, step, self._vocabularies.entities.ranks(), self._schema)
        for batch in self._emit(steps):
            yield Joined(batch, rejected)
            rejected = []

    def _take_closed(self, closed: int) -> tuple[RowBlock, IntArray]:
        """Return the rows of closed steps in order of time, source and row."""
        block, step = concat_blocks(self._pending.blocks), np.concatenate(self._pending.steps)
        self._pending = _Pending()
        ready = step <= closed
        if not ready.all():
            rest = step[~ready]
            self._pending = _Pending([block.take(~ready)], [rest], int(rest.min()))
            block, step = block.take(ready), step[ready]
        if len(self._feeds) > 1:
            order = np.lexsort((block.rows, block.sources, block.ts_us))
        elif (np.diff(block.ts_us) < 0).any():
            order = np.argsort(block.ts_us, kind="stable")
        else:
            return block, step
        return block.take(order), step[order]

    def _cross_repeats(self, block: RowBlock) -> tuple[list[Rejection], BoolArray | None]:
        """Find rows that repeat entity and timestamp of another source with the same columns."""
        kinds = list({feed.columns: None for feed in self._feeds.values()})
        if len(kinds) == len(self._feeds):
            return [], None
        kind_of = np.zeros(max(self._feeds) + 1, np.int64)
        for source, feed in self._feeds.items():
            kind_of[source] = kinds.index(feed.columns)
        kind = kind_of[block.sources]
        # Stable: of equal keys the source that was named first leads.
        order = np.lexsort((kind, block.entities, block.ts_us))
        repeats = np.zeros(len(order), np.bool_)
        repeats[1:] = True
        for key in (block.ts_us[order], block.entities[order], kind[order]):
            repeats[1:] &= key[1:] == key[:-1]
        if not repeats.any():
            return [], None
        leader = np.maximum.accumulate(np.where(repeats, 0, np.arange(len(order))))
        members = np.flatnonzero(repeats)
        rows, leaders = order[members], order[leader[members]]
        equal = row_digests(block, rows) == row_digests(block, leaders)
        keep = np.ones(len(order), np.bool_)
        keep[rows] = False
        rejected = self._reject(block, np.sort(rows[equal]), "duplicate")
        return rejected + self._reject(block, np.sort(rows[~equal]), "conflicting_duplicate"), keep

    def _emit(self, steps: Steps) -> Iterator[pa.RecordBatch]:
        """Fill gaps in and yield the steps in bounded batches."""
        missing, prior_us = self._advance(steps)
        total = missing + 1
        chunk = (np.cumsum(total) - total) // _CHUNK_ROWS
        for start in np.unique(chunk, return_index=True)[1]:
            group = np.flatnonzero(chunk == chunk[start])
            yield self._batch(steps, group, missing[group], prior_us[group])

    def _advance(self, steps: Steps) -> tuple[IntArray, IntArray]:
        """Return for each entry the steps to fill in before it and its entity's sample before."""
        size = int(steps.entities.max()) + 1
        self._last_step = grown(self._last_step, size, _NO_STEP)
        self._newest_us = grown(self._newest_us, size, NO_TS_US)
        self.steps = grown(self.steps, size, 0)
        self.gap_steps = grown(self.gap_steps, size, 0)
        order = stable_order(steps.entities)
        entity, step, newest = steps.entities[order], steps.step[order], steps.newest_us[order]
        first = np.concatenate([[True], entity[1:] != entity[:-1]])
        before = np.where(first, self._last_step[entity], np.roll(step, 1))
        prior_us = np.where(first, self._newest_us[entity], np.roll(newest, 1))
        pause = np.where(before == _NO_STEP, 0, step - np.where(before == _NO_STEP, 0, before) - 1)
        broken = pause > self._config.max_gap_steps
        self.grid_breaks += int(np.count_nonzero(broken & (before != _NO_STEP)))
        pause[broken | (before == _NO_STEP)] = 0
        np.maximum.at(self._last_step, entity, step)
        np.maximum.at(self._newest_us, entity, newest)
        np.add.at(self.steps, entity, pause + 1)
        np.add.at(self.gap_steps, entity, pause)
        missing, prior = np.empty_like(pause), np.empty_like(prior_us)
        missing[order], prior[order] = pause, prior_us
        return missing, prior

    def _batch(
        self, steps: Steps, group: IntArray, missing: IntArray, prior_us: IntArray
    ) -> pa.RecordBatch:
        total = missing + 1
        index = np.repeat(np.arange(len(group)), total)
        offset = np.arange(len(index)) - np.repeat(np.cumsum(total) - total, total)
        gap = offset < missing[index]
        entry = group[index]
        end_us = (steps.step[entry] - missing[index] + offset) * self._step_us
        newest_us = np.where(gap, prior_us[index], steps.newest_us[entry])
        n_samples = np.where(gap, 0, steps.n_samples[entry])
        columns: dict[str, pa.Array] = {
            "ts": pa.array(end_us, pa.int64()).cast(TS_TYPE),
            self._schema.entity: self._vocabularies.entities.decode(steps.entities[entry]),
            "n_samples": pa.array(n_samples.astype(np.int32)),
            "gap": pa.array(gap),
            "age_s": pa.array((end_us - newest_us) / US),
        }
        for name, codes in steps.labels.items():
            columns[name] = self._vocabularies.label(name).decode(np.where(gap, -1, codes[entry]))
        for spec in self._schema.metrics:
            values = steps.metrics[spec.name][entry]
            empty = gap | np.isnan(values)
            if spec.kind == "int":
                values = np.where(empty, 0, values).astype(np.int64)
            columns[spec.name] = pa.array(values, mask=empty)
        return pa.RecordBatch.from_arrays(
            [columns[name] for name in self._arrow.names], schema=self._arrow
        )

    def _reject(self, block: RowBlock, index: IntArray, reason: Reason) -> list[Rejection]:
        vocabularies = self._vocabularies
        expected = (
            f"at most {self._config.allowed_lateness_s:g} s after its step has ended"
            if reason == "late"
            else "one row for each entity and timestamp"
        )
        return [
            Rejection(
                source=vocabularies.sources.words[block.sources[i]],
                row=int(block.rows[i]),
                reason=reason,
                column="ts",
                got=iso_utc(int(block.ts_us[i])),
                expected=expected,
                hint="raise allowed_lateness_s, or ingest with order 'any'"
                if reason == "late"
                else "",
                raw=block.describe(int(i), self._schema.entity, vocabularies),
            )
            for i in index
        ]
