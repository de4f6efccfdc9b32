"""The files of the sample log: segments that grow, snapshots that let old segments go.

`segment-00000001.log` holds blocks, the last of which ends it; `snapshot-00000002.bin` holds what
all segments before number 2 led to. Whoever writes holds the lock of the folder.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from novacron.telemetry.live.log_blocks import END, Block, Damage, Rest, read_blocks

LOCK_FILE: Final = "lock"
KEPT_SNAPSHOTS: Final = 2
"""So many are kept, and the segments since the older one: a damaged snapshot loses nothing."""


def segment_path(directory: Path, number: int) -> Path:
    """Return the file of a segment."""
    return directory / f"segment-{number:08d}.log"


def snapshot_path(directory: Path, number: int) -> Path:
    """Return the file of the snapshot that the segments from `number` on follow."""
    return directory / f"snapshot-{number:08d}.bin"


def numbers(directory: Path, kind: str) -> list[int]:
    """Return the numbers of the segments or snapshots that are there, in order."""
    found = (path.stem.removeprefix(f"{kind}-") for path in directory.glob(f"{kind}-*"))
    return sorted(int(number) for number in found if number.isdecimal())


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the lock of a folder; it is let go of when the process ends, however it ends."""
    handle = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all, whatever happens in between."""
    temporary = path.with_name(f".{path.name}.part")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make new and removed names of a folder last."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class SegmentReader:
    """Follows the segments from a place on; several processes may, while one writes.

    Args:
        directory: Where they lie.
        number: The segment to begin with.
    """

    def __init__(self, directory: Path, number: int) -> None:
        self._directory = directory
        self.number = number
        self.offset = 0
        self._handle = -1

    @property
    def path(self) -> Path:
        """The segment that is read."""
        return segment_path(self._directory, self.number)

    @property
    def is_missing(self) -> bool:
        """Whether the segment to read is not there: not begun yet, or removed already."""
        return self._handle < 0 and not self.path.exists()

    def behind_bytes(self) -> int:
        """Return how many bytes of the segment were not read yet."""
        if self._handle < 0:
            try:
                self._handle = os.open(self.path, os.O_RDONLY)
            except FileNotFoundError:
                return 0
        return os.fstat(self._handle).st_size - self.offset

    def read(self) -> Iterator[Block | Damage | Rest]:
        """Yield what was written since; a `Rest` is not passed over and comes again next time."""
        while (behind := self.behind_bytes()) > 0:
            start = self.offset
            data = os.pread(self._handle, behind, start)
            ended = False
            for end, part in read_blocks(data):
                if isinstance(part, Rest):
                    yield part
                    return
                self.offset = start + end
                ended = isinstance(part, Block) and part.kind == END
                if not ended:
                    yield part
            if not ended:
                return
            self.close()
            self.number, self.offset = self.number + 1, 0

    def close(self) -> None:
        """Close the file."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
