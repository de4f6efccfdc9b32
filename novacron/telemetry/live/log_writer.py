"""Appends blocks to the newest segment, ends segments, writes snapshots; under the folder's lock."""

import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from novacron.telemetry.live.config import StoreConfig
from novacron.telemetry.live.log_blocks import END, NOTE, Block, Rest
from novacron.telemetry.live.segments import (
    KEPT_SNAPSHOTS,
    SegmentReader,
    numbers,
    segment_path,
    snapshot_path,
    sync_directory,
    write_whole,
)

logger = logging.getLogger(__name__)


class LogWriter:
    """The writing half of the log in one process.

    Args:
        directory: Where it lies.
        config: Sizes, and when the disk is waited for.
        clock: Seconds, monotonic.
    """

    def __init__(
        self, directory: Path, config: StoreConfig, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._directory = directory
        self._config = config
        self._clock = clock
        self._handle = -1
        self._number = 0
        self._synced_s = clock()
        self._is_dirty = False
        self.snapshot_failures = 0

    def append(self, number: int, block: Block) -> bool:
        """Write a block at the end of a segment; return whether the segment is full.

        Raises:
            OSError: It could not be written; the segment is as it was.
        """
        handle = self._open(number)
        size = os.fstat(handle).st_size
        data = memoryview(block.encode())
        written = 0
        try:
            while written < len(data):
                written += os.write(handle, data[written:])
        except OSError:
            # Half a block would be cut off by the next writer; better at once.
            os.ftruncate(handle, size)
            raise
        self._is_dirty = True
        is_due = self._clock() - self._synced_s >= self._config.fsync_interval_s
        if is_due or self._config.fsync == "block":
            self.sync()
        return size + written >= self._config.segment_bytes

    def cut(self, reader: SegmentReader, rest: Rest, n_rows: int) -> None:
        """Cut off a block that its writer did not finish, and note that in the log."""
        handle = self._open(reader.number)
        os.ftruncate(handle, reader.offset)
        note = {"torn_bytes": rest.n_bytes, "torn_rows": rest.n_rows}
        self.append(reader.number, Block(NOTE, n_rows, 0, json.dumps(note).encode("ascii")))

    def end_segment(self, number: int, n_rows: int) -> None:
        """Write the block after which readers go on with the next segment, and begin that."""
        self.append(number, Block(END, n_rows, 0, b""))
        self.sync(wait=True)
        self._open(number + 1)
        sync_directory(self._directory)

    def write_snapshot(self, number: int, content: bytes) -> None:
        """Write what the segments before `number` led to, and remove what is not needed any more.

        A snapshot that cannot be written is counted: the log is whole without it.
        """
        try:
            write_whole(snapshot_path(self._directory, number), content)
            kept = numbers(self._directory, "snapshot")[-KEPT_SNAPSHOTS:]
            if len(kept) < KEPT_SNAPSHOTS:
                return
            for old in numbers(self._directory, "snapshot"):
                if old < kept[0]:
                    snapshot_path(self._directory, old).unlink(missing_ok=True)
            for old in numbers(self._directory, "segment"):
                if old < kept[0]:
                    segment_path(self._directory, old).unlink(missing_ok=True)
        except OSError:
            self.snapshot_failures += 1
            logger.exception("no snapshot of the samples could be written")

    def sync(self, *, wait: bool = False) -> None:
        """Wait until the disk has what was written; does nothing under `never` unless told to."""
        if self._is_dirty and (wait or self._config.fsync != "never"):
            os.fsync(self._handle)
            self._is_dirty = False
        self._synced_s = self._clock()

    def close(self) -> None:
        """Flush and close."""
        if self._handle >= 0:
            self.sync()
            os.close(self._handle)
            self._handle = -1

    def _open(self, number: int) -> int:
        if self._handle < 0 or self._number != number:
            self.close()
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            self._handle = os.open(segment_path(self._directory, number), flags, 0o644)
            self._number = number
        return self._handle
