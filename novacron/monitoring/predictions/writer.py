"""Writes answers to Parquet from a thread of its own; whoever answers never waits for it.

`record` appends to a buffer that is bounded by rows and bytes; when it is full, rows are dropped
and counted. The thread writes a block when enough rows wait or enough time passed. Where the disk
refuses, the rows wait on, within the bounds, and `is_healthy` says so.
"""

import logging
import random
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from novacron.monitoring.predictions.actuals import remove_old_actuals
from novacron.monitoring.predictions.config import PredictionLogConfig
from novacron.monitoring.predictions.counters import (
    Loss,
    WriterCounts,
    noted_losses,
    settle_losses,
)
from novacron.monitoring.predictions.entry import WRITER_CHARS, Entry, answer_id, parse_id
from novacron.monitoring.predictions.files import BlockFile, remove_old, write_block
from novacron.monitoring.predictions.known import SHADOW, Known, known_of
from novacron.monitoring.predictions.tables import build_table, day_of, group_entries

logger = logging.getLogger(__name__)

_TIDY_S: Final = 3_600.0
_BREATH_S: Final = 0.0002
_PIECE_ENTRIES: Final = 128
"""So many are made into columns in one go."""


class PredictionWriter:
    """The log of one process; `record` and `new_id` are for one thread, the one that answers.

    Args:
        directory: Where it lies; several processes may share it.
        config: Sizes and times.
        now: The day by which old files go.
        rng: Chooses the requests whose inputs are kept.
        write: Writes a block, as `write_block`.
    """

    def __init__(
        self,
        directory: Path,
        config: PredictionLogConfig | None = None,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        rng: random.Random | None = None,
        write: Callable[..., Path] = write_block,
    ) -> None:
        self.directory = directory
        self.config = config or PredictionLogConfig()
        self.writer = secrets.token_hex(WRITER_CHARS // 2)
        self._now = now
        self._rng = rng or random.Random()
        self._write_block = write
        self._sequence = 0
        self._block_rows = self.config.block_rows
        self._max_rows, self._max_bytes = self.config.max_buffer_rows, self.config.max_buffer_bytes
        self._buffer: deque[Entry] = deque()
        self._in_work: list[Entry] = []
        self._stuck: _Block | None = None
        """Made already, and refused by the disk."""
        # Each number has one thread that changes it, so that no lock is needed: the buffer holds
        # their difference.
        self._added_bytes = self._gone_bytes = 0
        self._gone_rows = 0
        self.refused_rows = 0
        """Dropped on arrival because the buffer was full."""
        self._write_error = self._open_error = ""
        self._wake = threading.Event()
        self._flushing = threading.Lock()
        self._is_open = True
        self._counts = WriterCounts(directory / "writers", self.writer)
        self.losses: list[Loss] = []
        """What processes that ended before this one began did not write."""
        self._open_counts()
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
        self._thread.start()

    def new_id(self) -> str:
        """Return the id of the next answer; no other answer of any process has it."""
        self._sequence += 1
        return answer_id(self.writer, self._sequence)

    def record(self, entry: Entry) -> bool:
        """Take an answer over; return False where it was dropped because the buffer is full."""
        # Every answer passes here: settings and fields are read once.
        n_rows = entry.n_rows
        waiting = self._counts.recorded - self._gone_rows + n_rows
        added_bytes = self._added_bytes + entry.weight_bytes
        if waiting > self._max_rows or added_bytes - self._gone_bytes > self._max_bytes:
            self.refused_rows += n_rows
            return False
        self._added_bytes = added_bytes
        self._counts.add_recorded(n_rows)
        self._buffer.append(entry)
        if waiting > self._block_rows:
            self._wake.set()
        return True

    @property
    def is_healthy(self) -> bool:
        """Whether the last block could be written, and a crash could be told of."""
        return not self.last_error

    @property
    def last_error(self) -> str:
        """Why it is not healthy; empty while it is."""
        return self._write_error or self._open_error

    @property
    def blocks(self) -> int:
        """Blocks written so far."""
        return self._counts.blocks

    @property
    def waiting_rows(self) -> int:
        """Rows that are recorded and not written."""
        return self._counts.recorded - self._gone_rows

    def waiting(self, prediction_id: str) -> Known | None:
        """Return a prediction of this process that waits for its block; None where none does."""
        asked = parse_id(prediction_id)
        if asked is None or asked.writer != self.writer:
            return None
        stuck = self._stuck
        refused = [] if stuck is None else stuck.entries
        for entry in (*tuple(self._buffer), *tuple(self._in_work), *refused):
            if entry.prediction_id == asked.answer and entry.role != SHADOW:
                return known_of(entry, asked.row or 0) if asked.fits(entry.n_rows) else None
        return None

    def flush(self) -> None:
        """Write what waits, now, from the calling thread."""
        with self._flushing:
            for _ in range(len(self._buffer)):
                # In this order, so that `waiting` finds it at any moment.
                self._in_work.append(self._buffer[0])
                self._buffer.popleft()
            self._write_waiting()
            self._open_counts()

    def close(self) -> None:
        """Write what waits and end the thread."""
        self._is_open = False
        self._wake.set()
        self._thread.join()
        self.flush()
        self._counts.close()

    def status(self) -> dict[str, Any]:
        """Return counts and health, as JSON values."""
        losses = noted_losses(self.directory)
        return {
            "healthy": self.is_healthy,
            "last_error": self.last_error,
            "rows_recorded": self._counts.recorded,
            "rows_written": self._counts.written,
            "rows_waiting": self.waiting_rows,
            "rows_refused": self.refused_rows,
            "rows_failed": self._counts.dropped,
            "blocks": self.blocks,
            "rows_lost_by_dead_processes": sum(loss.lost for loss in losses),
        }

    def _run(self) -> None:
        tidied_s = -_TIDY_S
        while self._is_open:
            self._wake.wait(self.config.block_interval_s)
            self._wake.clear()
            self.flush()
            if time.monotonic() - tidied_s >= _TIDY_S:
                tidied_s = time.monotonic()
                self._tidy()
            if not self.is_healthy and self._is_open:
                # A full buffer wakes at every answer; a broken disk is not asked that often.
                time.sleep(min(1.0, self.config.block_interval_s))

    def _open_counts(self) -> None:
        """Keep counts where a successor finds them; a folder that cannot be written is tried again."""
        if self._counts.is_kept:
            return
        error = ""
        try:
            for loss in settle_losses(self.directory):
                logger.error("%s ended before %d rows were written", loss.writer, loss.lost)
                self.losses.append(loss)
            self._counts.open()
        except OSError as cause:
            error = f"{type(cause).__name__}: {cause}"
            if error != self._open_error:
                logger.exception("the prediction log cannot be opened")
        self._open_error = error

    def _write_waiting(self) -> None:
        had_work = bool(self._in_work) or self._stuck is not None
        error = "" if self._stuck is None else self._try(self._stuck)
        groups = [] if error else group_entries(self._in_work)
        for done, group in enumerate(groups, start=1):
            try:
                block = self._build(group)
            except Exception:
                # What cannot be put into a table now cannot be later.
                logger.exception("%d rows of %s fit no table", _rows(group), group[0].model)
                self._counts.add_dropped(_rows(group))
                self._forget(group)
                continue
            error = self._try(block)
            if error:
                # The disk refuses: the others are left as they are, which costs nothing.
                self._in_work = [entry for left in groups[done:] for entry in left]
                break
        else:
            if not error:
                self._in_work = []
        if error and error != self._write_error:
            logger.error("the prediction log cannot be written: %s", error)
        if had_work:
            self._write_error = error

    def _try(self, block: "_Block") -> str:
        """Write a block; return why it could not be written, and keep it then."""
        try:
            self._write_block(self.directory, block.file, block.table, fsync=self.config.fsync)
        except OSError as cause:
            self._stuck = block
            return f"{type(cause).__name__}: {cause}"
        self._counts.add_written(_rows(block.entries))
        self._forget(block.entries)
        self._stuck = None
        return ""

    def _forget(self, entries: Sequence[Entry]) -> None:
        """Give their room in the buffer back."""
        self._gone_rows += _rows(entries)
        self._gone_bytes += sum(entry.weight_bytes for entry in entries)

    def _build(self, group: list[Entry]) -> "_Block":
        pieces = []
        for start in range(0, len(group), _PIECE_ENTRIES):
            piece = group[start : start + _PIECE_ENTRIES]
            pieces.append(
                build_table(
                    piece,
                    [self._rng.random() < self.config.inputs_ratio for _ in piece],
                    max_text_chars=self.config.max_text_chars,
                    # Sleeping lets go of the interpreter, so that answers need not wait for it.
                    breathe=lambda: time.sleep(_BREATH_S),
                )
            )
        numbers = [parsed.sequence for entry in group if (parsed := parse_id(entry.prediction_id))]
        file = BlockFile(
            path=self.directory,
            model=group[0].model,
            day=day_of(group[0].made_at_us),
            writer=self.writer,
            first=min(numbers),
            last=max(numbers),
            block=self._counts.blocks,
        )
        return _Block(group, pa.concat_tables(pieces, promote_options="default"), file)

    def _tidy(self) -> None:
        try:
            remove_old(
                self.directory,
                today=self._now().date(),
                max_age_days=self.config.max_age_days,
                max_bytes=self.config.max_bytes,
            )
            remove_old_actuals(
                self.directory, today=self._now().date(), max_age_days=self.config.max_age_days
            )
        except OSError:
            logger.exception("old predictions could not be removed")


@dataclass(frozen=True, slots=True)
class _Block:
    """Entries as a table, and the file that it becomes."""

    entries: list[Entry]
    table: pa.Table
    file: BlockFile


def _rows(entries: Sequence[Entry]) -> int:
    return sum(entry.n_rows for entry in entries)
