"""Live samples of links and nodes, the same in every process that shares a folder.

Each accepted batch is one block of an append-only log. The process that takes a batch locks the
folder, reads what others wrote, judges the batch by that, and appends it; every process, that one
too, fills its ring buffers from the log alone, so all of them hold the same samples after a
restart and at any time.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from novacron.contracts.fields import SampleSchema
from novacron.contracts.telemetry import SCHEMAS
from novacron.errors import ConfigError, NotReadyError, UnknownNameError
from novacron.telemetry.blocks import NO_TS_US, US, BoolArray, FloatArray, IntArray, RowBlock
from novacron.telemetry.live.config import StoreConfig
from novacron.telemetry.live.ledger import Ledger
from novacron.telemetry.live.log_blocks import DATA, Block, Rest
from novacron.telemetry.live.log_writer import LogWriter
from novacron.telemetry.live.rejected import RejectedSamples
from novacron.telemetry.live.rings import Rows
from novacron.telemetry.live.row_codec import encode_rows
from novacron.telemetry.live.segments import SegmentReader, locked, numbers
from novacron.telemetry.quarantine import Reason, Rejection
from novacron.telemetry.text_formats import JsonLines
from novacron.telemetry.text_readers import read_lines
from novacron.telemetry.validate import Validator

logger = logging.getLogger(__name__)

MAX_ENTITY_CHARS: Final = 256


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of a batch: every sample is in one of the two."""

    accepted: int
    rejected: tuple[Rejection, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The newest samples of one entity, oldest first.

    `ts_us` is t_S in microseconds since 1970; `metrics` holds x_S by name, NaN where missing.
    """

    ts_us: IntArray
    metrics: dict[str, FloatArray]

    def __len__(self) -> int:
        return len(self.ts_us)


class SampleStore:
    """Takes samples, and hands out the newest ones of an entity. Safe for several threads.

    Args:
        directory: Where the log lies; processes that share it hold the same samples.
        config: Bounds and safety.
        now: The clock against which timestamps are judged.

    Raises:
        ConfigError: The folder cannot be written.
    """

    def __init__(
        self,
        directory: Path,
        config: StoreConfig | None = None,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.directory = directory
        self.config = config or StoreConfig()
        self._now = now
        # Held for a whole batch, across processes by the folder's lock.
        self._writing = threading.Lock()
        # Held while rings are read or filled: never while a disk or another process is waited for.
        self._state = threading.Lock()
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._writer = LogWriter(directory, self.config)
            self._rejected = RejectedSamples(
                directory / "quarantine", self.config.max_quarantine_bytes
            )
            with self._exclusive():
                self._ledger, self._reader = self._recover()
                self._settle()
        except OSError as cause:
            raise ConfigError(
                field="streaming.directory",
                got=str(directory),
                expected="a folder that can be written",
                remedy=str(cause),
            ) from cause

    def ingest(self, table: str, lines: bytes, *, source: str = "live") -> Ingested:
        """Take a batch of samples; the good ones are kept when this returns, whatever the others.

        Args:
            table: `link` or `node`.
            lines: A JSON object a line, with the columns of the table.
            source: Named in the quarantine.

        Raises:
            UnknownNameError: There is no such table, or it is not taken.
            NotReadyError: The log cannot be written; nothing of the batch was kept.
        """
        schema = self._schema(table)
        text = JsonLines(schema)
        text.expect_all()
        validator = Validator(schema, self.config.validation, now=self._now)
        checked = validator.check(read_lines(lines, text, source=source))
        block, rejected = checked.accepted, list(checked.rejected)
        judge = _Judge(validator, schema, source, self.config)
        block = judge.drop_long_names(block, rejected)
        accepted = 0
        if len(block):
            try:
                with self._exclusive():
                    self._settle()
                    rows = judge.drop_known(block, self._ledger, table, rejected)
                    accepted = len(rows)
                    if accepted:
                        self._append(table, rows)
            except OSError as cause:
                raise NotReadyError(
                    f"The log of samples cannot be written: {cause}.",
                    remedy="Nothing of this batch was kept: send it again when the disk is mended.",
                ) from cause
        rejected.sort(key=lambda one: one.row)
        self._rejected.add(rejected)
        return Ingested(accepted=accepted, rejected=tuple(rejected))

    def window(self, table: str, entity: str, steps: int) -> Window:
        """Return the newest samples of an entity, those that other processes took too.

        Raises:
            UnknownNameError: There is no such table, or it is not taken.
        """
        metrics = self.config.metrics[self._known(table)]
        with self._state:
            self._catch_up()
            ts_us, x_SC = self._ledger.rings[table].window(entity, steps)
        columns = {name: x_SC[:, place].copy() for place, name in enumerate(metrics)}
        return Window(ts_us=ts_us, metrics=columns)

    def windows(
        self, table: str, entities: Sequence[str], steps: int
    ) -> tuple[IntArray, dict[str, FloatArray]]:
        """Return newest timestamps ts_us_N and metric to window x_NS, left-padded with NaN.

        Raises:
            UnknownNameError: There is no such table, or it is not taken.
        """
        metrics = self.config.metrics[self._known(table)]
        with self._state:
            self._catch_up()
            newest_N, x_NSC = self._ledger.rings[table].windows(entities, steps)
        return newest_N, {name: x_NSC[:, :, place] for place, name in enumerate(metrics)}

    def is_at_hand(self) -> bool:
        """Tell whether a window can be read without waiting or much catching up."""
        if self._state.locked():
            return False
        return self._reader.behind_bytes() <= _LITTLE_BYTES

    def flush(self) -> None:
        """Wait until the disk has what this process wrote; call it about once a second."""
        with self._writing:
            self._writer.sync()

    def close(self) -> None:
        """Flush and close; the samples stay."""
        with self._writing, self._state:
            self._writer.close()
            self._reader.close()
            self._rejected.close()

    def status(self) -> dict[str, Any]:
        """Return what is held and what was lost, as JSON values."""
        with self._state:
            self._catch_up()
            told = self._ledger.describe()
        return told | {
            "quarantined": self._rejected.total,
            "quarantined_not_kept": self._rejected.not_kept,
            "snapshot_failures": self._writer.snapshot_failures,
            "fsync": self.config.fsync,
        }

    def _known(self, table: str) -> str:
        if table not in self.config.metrics:
            raise UnknownNameError(
                kind="table of samples", got=table[:100], known=tuple(self.config.metrics)
            )
        return table

    def _schema(self, table: str) -> SampleSchema:
        return SCHEMAS[self._known(table)]

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        with self._writing, locked(self.directory):
            yield

    def _recover(self) -> tuple[Ledger, SegmentReader]:
        """Read the newest snapshot that is whole, and say where the log goes on behind it."""
        damaged = 0
        for number in reversed(numbers(self.directory, "snapshot")):
            ledger = Ledger.read(self.directory, number, self.config)
            if ledger is not None:
                ledger.losses["snapshots"] += damaged
                return ledger, SegmentReader(self.directory, number)
            damaged += 1
            logger.error("snapshot %d of %s is damaged", number, self.directory)
        ledger = Ledger(self.config)
        ledger.losses["snapshots"] += damaged
        first = next(iter(numbers(self.directory, "segment")), 1)
        return ledger, SegmentReader(self.directory, first)

    def _settle(self) -> None:
        """Under the folder's lock: read everything, and cut off what a dead writer left half."""
        with self._state:
            rest = self._catch_up()
        if rest is not None:
            logger.error("cut %d bytes (%d rows) off the log", rest.n_bytes, rest.n_rows)
            self._writer.cut(self._reader, rest, self._ledger.n_rows)
            with self._state:
                self._catch_up()

    def _catch_up(self) -> Rest | None:
        rest = None
        for part in self._reader.read():
            if isinstance(part, Rest):
                rest = part
            else:
                self._ledger.apply(part)
        if self._reader.is_missing:
            self._jump()
        return rest

    def _jump(self) -> None:
        """Go on from a snapshot where the segments up to it were removed meanwhile."""
        snapshots = numbers(self.directory, "snapshot")
        if snapshots and snapshots[-1] > self._reader.number:
            self._reader.close()
            self._ledger, self._reader = self._recover()
            for part in self._reader.read():
                if not isinstance(part, Rest):
                    self._ledger.apply(part)

    def _append(self, table: str, rows: Rows) -> None:
        payload = encode_rows(table, self.config.metrics[table], rows)
        block = Block(DATA, self._ledger.n_rows, len(rows), payload)
        full = self._writer.append(self._reader.number, block)
        with self._state:
            # From the log, as everybody else: what is acknowledged can be read back.
            self._catch_up()
        if full:
            self._writer.end_segment(self._reader.number, self._ledger.n_rows)
            with self._state:
                self._catch_up()
                whole = self._ledger.encode()
            self._writer.write_snapshot(self._reader.number, whole)


_LITTLE_BYTES: Final = 64 * 1024


class _Judge:
    """Rejects rows by what the ring buffers hold, with the reasons of the quarantine."""

    def __init__(
        self, validator: Validator, schema: SampleSchema, source: str, config: StoreConfig
    ) -> None:
        self._words = validator.vocabularies
        self._schema = schema
        self._source = source
        self._config = config

    def drop_long_names(self, block: RowBlock, rejected: list[Rejection]) -> RowBlock:
        """Reject rows whose entity has a name too long to keep."""
        words = self._words.entities.words
        long = [code for code, word in enumerate(words) if len(word) > MAX_ENTITY_CHARS]
        if not long:
            return block
        mask = np.isin(block.entities, long)
        expected = f"at most {MAX_ENTITY_CHARS} characters"
        self._reject(block, mask, "out_of_range", self._schema.entity, expected, rejected)
        return block.take(~mask)

    def drop_known(
        self, block: RowBlock, ledger: Ledger, table: str, rejected: list[Rejection]
    ) -> Rows:
        """Reject what goes back too far or repeats; return the rest as rows of the rings."""
        rings = ledger.rings[table]
        block = self._fit(block, rings.max_entities, rejected)
        rows = self._rows(block, table)
        newest_N = rings.newest_us(rows)
        disorder_us = round(self._config.validation.max_disorder_s * US)
        oldest_N = np.where(newest_N == NO_TS_US, NO_TS_US, newest_N - disorder_us)
        back_N = rows.ts_us_N < oldest_N
        equal_N, other_N = rings.repeats(rows)
        once = "one row for each entity and timestamp"
        limit = f"at most {self._config.validation.max_disorder_s:g} s before the newest row"
        self._reject(block, back_N, "clock_went_back", "ts", limit, rejected)
        self._reject(block, equal_N & ~back_N, "duplicate", "ts", once, rejected)
        self._reject(block, other_N & ~back_N, "conflicting_duplicate", "ts", once, rejected)
        good = ~(back_N | equal_N | other_N)
        return rows if good.all() else self._rows(block.take(good), table)

    def _fit(self, block: RowBlock, limit: int, rejected: list[Rejection]) -> RowBlock:
        first_N = np.unique(block.entities, return_index=True)[1]
        if len(first_N) <= limit:
            return block
        kept = block.entities[np.sort(first_N)[:limit]]
        mask = ~np.isin(block.entities, kept)
        expected = f"at most {limit} entities in a batch"
        self._reject(block, mask, "entity_limit", self._schema.entity, expected, rejected)
        return block.take(~mask)

    def _rows(self, block: RowBlock, table: str) -> Rows:
        used, code_N = np.unique(block.entities, return_inverse=True)
        words = self._words.entities.words
        missing = np.full(len(block), np.nan)
        columns = [block.metrics.get(name, missing) for name in self._config.metrics[table]]
        return Rows(
            [words[code] for code in used],
            code_N.astype(np.int32),
            block.ts_us,
            np.stack(columns, axis=1) if len(block) else np.empty((0, len(columns))),
        )

    def _reject(
        self,
        block: RowBlock,
        mask: BoolArray,
        reason: Reason,
        column: str,
        expected: str,
        rejected: list[Rejection],
    ) -> None:
        for index in np.flatnonzero(mask):
            raw = block.describe(int(index), self._schema.entity, self._words)
            rejected.append(
                Rejection(
                    source=self._source,
                    row=int(block.rows[index]),
                    reason=reason,
                    column=column,
                    got=str(raw.get(column, ""))[:80],
                    expected=expected,
                    raw=raw,
                )
            )
