"""Sources whose rows are in no order, such as files sorted by link: sorted by time on disk first.

Rows are cut into runs that fit memory, each run is sorted and spooled, and the runs are merged.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from novacron.telemetry.blocks import NO_TS_US, IntArray, RawBlock
from novacron.telemetry.quarantine import Rejection
from novacron.telemetry.readers import Source

_RUN_ROWS: Final = 500_000
_MERGE_ROWS: Final = 8_192
_ROW: Final = "row number"


class TimeSorted:
    """A source that yields the rows of another one in order of time.

    Lines that did not parse come first, while the rows are spooled. Memory holds one run, then
    8,192 rows of every run; the disk holds all rows once. Rows of the same time keep their order.

    Args:
        source: In any order; read once a call of `blocks`.
        folder: Where the runs are spooled; must exist, and be removed by the caller.
    """

    def __init__(self, source: Source, folder: Path) -> None:
        self.name = source.name
        self.columns = source.columns
        self._source = source
        self._folder = folder

    def first_ts_us(self) -> int | None:
        """Return a time before all rows, since the first ones say nothing about the rest."""
        return None if self._source.first_ts_us() is None else 0

    def blocks(self) -> Iterator[RawBlock]:
        """Spool the rows, then yield them in order of time."""
        runs: list[Path] = []
        waiting: list[pa.RecordBatch] = []
        for block in self._source.blocks():
            if block.malformed:
                yield self._block(block.batch.slice(0, 0), block.rows[:0], block.malformed)
            waiting.append(_spooled(block))
            if sum(batch.num_rows for batch in waiting) >= _RUN_ROWS:
                runs.append(self._spool(waiting, len(runs)))
                waiting = []
        if waiting:
            runs.append(self._spool(waiting, len(runs)))
        for table in _merge(runs):
            rows = table.column(_ROW).to_numpy()
            plain = table.drop_columns([_ROW]).combine_chunks().to_batches()[0]
            yield self._block(_encoded(plain), rows, ())
        for run in runs:
            run.unlink()

    def _block(
        self, batch: pa.RecordBatch, rows: IntArray, malformed: tuple[Rejection, ...]
    ) -> RawBlock:
        return RawBlock(source=self.name, rows=rows, batch=batch, malformed=malformed)

    def _spool(self, batches: list[pa.RecordBatch], number: int) -> Path:
        table = pa.Table.from_batches(batches)
        order = np.argsort(_ts_us(table), kind="stable")
        path = self._folder / f"run-{number:05d}.arrow"
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table.take(pa.array(order)), max_chunksize=_MERGE_ROWS)
        return path


def _merge(runs: list[Path]) -> Iterator[pa.Table]:
    """Yield the rows of sorted runs in order of time, then of row number."""
    readers = [_tables(run) for run in runs]
    heads: dict[int, pa.Table] = {}
    for index, reader in enumerate(readers):
        _refill(heads, index, reader)
    while heads:
        # No unread row comes before the last one of the head that ends first; runs hold rows in
        # order of row number, so of equal times the earlier run goes first.
        limit, last = min((int(_ts_us(head)[-1]), index) for index, head in heads.items())
        parts = []
        for index, head in list(heads.items()):
            side: Literal["left", "right"] = "right" if index <= last else "left"
            count = int(np.searchsorted(_ts_us(head), limit, side=side))
            parts.append(head.slice(0, count))
            heads[index] = head.slice(count)
            if count == head.num_rows:
                del heads[index]
                _refill(heads, index, readers[index])
        table = pa.concat_tables(parts)
        order = np.lexsort((table.column(_ROW).to_numpy(), _ts_us(table)))
        yield table.take(pa.array(order))


def _tables(run: Path) -> Iterator[pa.Table]:
    with pa.OSFile(str(run)) as file:
        reader = pa.ipc.open_file(file)
        for index in range(reader.num_record_batches):
            yield pa.Table.from_batches([reader.get_batch(index)])


def _refill(heads: dict[int, pa.Table], index: int, reader: Iterator[pa.Table]) -> None:
    head = next((table for table in reader if table.num_rows), None)
    if head is not None:
        heads[index] = head


def _spooled(block: RawBlock) -> pa.RecordBatch:
    """Return a batch with its row numbers and plain text, since runs differ in dictionaries."""
    arrays = [
        array.cast(array.type.value_type) if pa.types.is_dictionary(array.type) else array
        for array in block.batch.columns
    ]
    return pa.RecordBatch.from_arrays(
        [*arrays, pa.array(block.rows)], names=[*block.batch.schema.names, _ROW]
    )


def _encoded(batch: pa.RecordBatch) -> pa.RecordBatch:
    arrays = [
        pc.dictionary_encode(array) if pa.types.is_string(array.type) else array
        for array in batch.columns
    ]
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def _ts_us(table: pa.Table) -> IntArray:
    ts_us: IntArray = table.column("ts").cast(pa.int64()).fill_null(NO_TS_US).to_numpy()
    return ts_us
