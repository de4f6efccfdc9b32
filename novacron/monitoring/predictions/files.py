"""The files of the log: `model=<name>/day=<date>/<writer>-<first>-<last>-<block>.parquet`."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from novacron.monitoring.predictions.entry import WRITER_CHARS

_NAME_PARTS: Final = 4
_TEXTS: Final = ["kind", "version", "role", "entity", "fallback"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockFile:
    """One file, as its name tells.

    `first` and `last` number the answers in it, `block` the files of its writer.
    """

    path: Path
    model: str
    day: str
    writer: str
    first: int
    last: int
    block: int


def block_files(directory: Path, *, model: str = "*", writer: str = "") -> Iterator[BlockFile]:
    """Yield the files of a log, oldest day first."""
    pattern = f"model={model}/day=*/{writer}*.parquet"
    for path in sorted(directory.glob(pattern), key=lambda one: (one.parent.name, one.name)):
        parts = path.stem.split("-")
        if len(parts) != _NAME_PARTS or len(parts[0]) != WRITER_CHARS:
            continue
        yield BlockFile(
            path=path,
            model=path.parents[1].name.removeprefix("model="),
            day=path.parent.name.removeprefix("day="),
            writer=parts[0],
            first=int(parts[1], 16),
            last=int(parts[2], 16),
            block=int(parts[3]),
        )


def rows_written_by(directory: Path, writer: str, *, since_block: int) -> int:
    """Return the rows in the files of a process from a block on."""
    found = (one for one in block_files(directory, writer=writer) if one.block >= since_block)
    return sum(pq.read_metadata(one.path).num_rows for one in found)


def write_block(directory: Path, block: BlockFile, table: pa.Table, *, fsync: bool) -> Path:
    """Write a file that is there whole or not at all.

    Raises:
        OSError: It could not be written.
    """
    folder = directory / f"model={block.model}" / f"day={block.day}"
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{block.writer}-{block.first:08x}-{block.last:08x}-{block.block:06d}.parquet"
    temporary = folder / f".{name}.part"
    try:
        with temporary.open("wb") as file:
            pq.write_table(
                table,
                file,
                compression="zstd",
                compression_level=1,
                # Numbers hardly repeat: a dictionary of them costs more than it saves.
                use_dictionary=_TEXTS,
                write_statistics=_TEXTS,
            )
            if fsync:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(folder / name)
    except (OSError, pa.ArrowException):
        temporary.unlink(missing_ok=True)
        raise
    return folder / name


def remove_old(directory: Path, *, today: date, max_age_days: int, max_bytes: int) -> int:
    """Remove files that are too old, then the oldest beyond a size; return how many."""
    files = list(block_files(directory))
    oldest = (today - timedelta(days=max_age_days - 1)).isoformat()
    sizes = {one.path: _size(one.path) for one in files}
    spare = sum(sizes.values()) - max_bytes
    removed = 0
    for one in files:
        if one.day >= oldest and spare <= 0:
            break
        spare -= sizes[one.path]
        one.path.unlink(missing_ok=True)
        removed += 1
        for folder in (one.path.parent, one.path.parents[1]):
            if not any(folder.iterdir()):
                folder.rmdir()
    return removed


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
