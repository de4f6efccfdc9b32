"""How results reach the disk: Parquet in even row groups, one writer at a time, whole or not."""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from novacron.errors import ConfigError

_LOCK_FILE = ".lock"


class GridWriter:
    """Writes batches as row groups of equal length, however long the batches are.

    Args:
        path: The Parquet file.
        schema: Of all batches.
        row_group_rows: Rows of a row group; the last one may be shorter.
    """

    def __init__(self, path: Path, schema: pa.Schema, row_group_rows: int) -> None:
        texts = [name for name in schema.names if pa.types.is_string(schema.field(name).type)]
        self._rows = row_group_rows
        self._schema = schema
        self._waiting: list[pa.RecordBatch] = []
        self._n_waiting = 0
        self._writer = pq.ParquetWriter(
            path, schema, compression="zstd", use_dictionary=texts, write_page_index=True
        )

    def write(self, batch: pa.RecordBatch) -> None:
        """Take a batch over."""
        self._waiting.append(batch)
        self._n_waiting += batch.num_rows
        if self._n_waiting >= self._rows:
            self._flush(self._n_waiting - self._n_waiting % self._rows)

    def close(self) -> None:
        """Write what waits, and the footer; further calls do nothing."""
        if self._writer.is_open:
            self._flush(self._n_waiting)
            self._writer.close()

    def _flush(self, n_rows: int) -> None:
        table = pa.Table.from_batches(self._waiting, self._schema)
        if n_rows:
            self._writer.write_table(table.slice(0, n_rows), row_group_size=self._rows)
        self._waiting = table.slice(n_rows).to_batches()
        self._n_waiting -= n_rows


@contextmanager
def sole_writer(directory: Path) -> Iterator[None]:
    """Hold the right to write into a directory; the system frees it when the process dies.

    Raises:
        ConfigError: Another process holds it.
    """
    with (directory / _LOCK_FILE).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                field="out_dir",
                got=str(directory),
                expected="a directory that no other run writes to",
                remedy="Wait for the other run, or choose another directory.",
            ) from error
        yield


def publish(part: Path, directory: Path, names: Sequence[str]) -> None:
    """Move finished files to their place; the last name is the seal of the whole.

    The old seal goes first and the new one comes last, so files under a seal belong together.
    """
    for name in names:
        with (part / name).open("rb") as file:
            os.fsync(file.fileno())
    (directory / names[-1]).unlink(missing_ok=True)
    for name in names:
        (part / name).replace(directory / name)
