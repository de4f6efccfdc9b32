"""What a process recorded and wrote, in a file that outlives it however it ends.

The counts lie in mapped memory: the kernel keeps them when the process is killed between two
instructions, so that the next one can say how many rows were lost. A live process holds a lock on
its file, by which it is told from a dead one.
"""

import fcntl
import json
import mmap
import os
import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from novacron.monitoring.predictions.files import rows_written_by

_COUNTS: Final = struct.Struct("=QQQQ")
_BLOCK: Final = struct.Struct("=QQ")
SUFFIX: Final = ".counts"
LOSSES_FILE: Final = "losses.jsonl"


class WriterCounts:
    """The counts of this process: rows recorded, written and dropped.

    They are counted in memory until `open` finds the disk ready for the file.

    Args:
        folder: Where the counts of all processes lie.
        writer: The token of this one.
    """

    def __init__(self, folder: Path, writer: str) -> None:
        self._folder = folder
        self._path = folder / f"{writer}{SUFFIX}"
        self._handle = -1
        self._map: mmap.mmap | None = None
        self._counts = memoryview(bytearray(_COUNTS.size)).cast("Q")
        self.recorded = self.dropped = self.written = self.blocks = 0

    @property
    def is_kept(self) -> bool:
        """Whether the counts would outlive this process."""
        return self._handle >= 0

    def open(self) -> None:
        """Keep the counts in the file from now on.

        Raises:
            OSError: It cannot be made.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            # Written, not only made longer: memory mapped onto a full disk would kill the process.
            os.pwrite(
                handle, _COUNTS.pack(self.recorded, self.dropped, self.written, self.blocks), 0
            )
            mapped = mmap.mmap(handle, _COUNTS.size)
        except OSError:
            os.close(handle)
            raise
        # Counts that came since `pwrite` are in again with the next one: each is a total.
        self._counts = memoryview(mapped).cast("Q")
        self._map, self._handle = mapped, handle

    def add_recorded(self, n_rows: int) -> None:
        """Count rows that were answered and wait for their block."""
        self.recorded += n_rows
        self._counts[0] = self.recorded

    def add_written(self, n_rows: int) -> None:
        """Count a block of so many rows that is on the disk."""
        self.written += n_rows
        self.blocks += 1
        # Both at once: a kill in between would count the block twice.
        _BLOCK.pack_into(self._counts.cast("B"), 16, self.written, self.blocks)

    def add_dropped(self, n_rows: int) -> None:
        """Count rows that were recorded, and given up because they could not be written."""
        self.dropped += n_rows
        self._counts[1] = self.dropped

    def close(self) -> None:
        """Let go of the file, and remove it where nothing was lost."""
        if not self.is_kept:
            return
        mapped, self._map = self._map, None
        self._counts.release()
        self._counts = memoryview(bytearray(_COUNTS.size)).cast("Q")
        if mapped is not None:
            mapped.close()
        if self.recorded == self.written + self.dropped:
            self._path.unlink(missing_ok=True)
        os.close(self._handle)
        self._handle = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What a process that ended too early did not write."""

    writer: str
    recorded: int
    written: int
    dropped: int

    @property
    def lost(self) -> int:
        """Rows that were answered and are in no file."""
        return max(0, self.recorded - self.written - self.dropped)


def settle_losses(directory: Path) -> list[Loss]:
    """Find processes that ended without writing all, note each once, and return them.

    Args:
        directory: The folder of the log.
    """
    found = []
    for path in sorted((directory / "writers").glob(f"*{SUFFIX}")):
        loss = _settle_one(directory, path)
        if loss is not None:
            found.append(loss)
    return found


def noted_losses(directory: Path) -> list[Loss]:
    """Return every loss that was ever noted."""
    path = directory / LOSSES_FILE
    if not path.exists():
        return []
    return [Loss(**json.loads(line)) for line in path.read_text(encoding="ascii").splitlines()]


def _settle_one(directory: Path, path: Path) -> Loss | None:
    try:
        handle = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Its process lives.
            return None
        counts = os.pread(handle, _COUNTS.size, 0)
        if len(counts) < _COUNTS.size or not path.exists():
            # Made and not filled yet, or settled by another process meanwhile.
            return None
        recorded, dropped, written, blocks = _COUNTS.unpack(counts)
        # A block may have reached the disk whose count did not.
        written += rows_written_by(directory, path.stem, since_block=blocks)
        loss = Loss(writer=path.stem, recorded=recorded, written=written, dropped=dropped)
        if loss.lost:
            _note(directory, loss)
        path.unlink(missing_ok=True)
        return loss if loss.lost else None
    finally:
        os.close(handle)


def _note(directory: Path, loss: Loss) -> None:
    line = json.dumps(asdict(loss)).encode("ascii") + b"\n"
    target = os.open(directory / LOSSES_FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(target, line)
        os.fsync(target)
    finally:
        os.close(target)
