"""Telemetry files as streams of blocks: Parquet by row group, CSV and JSON lines by block.

Reading holds one block and a few pages, however long the file and its row groups are.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from novacron.contracts.fields import SampleSchema
from novacron.errors import NotFoundError, UnreadableInputError
from novacron.telemetry.arrow import (
    TS_TYPE,
    UnknownColumns,
    check_columns,
    check_types,
    to_reading_batch,
)
from novacron.telemetry.blocks import RawBlock
from novacron.telemetry.text_formats import CsvLines, JsonLines, TextFormat
from novacron.telemetry.text_readers import read_text_blocks

PARQUET_SUFFIXES: Final = (".parquet", ".pq")
CSV_SUFFIXES: Final = (".csv", ".csv.gz")
JSON_SUFFIXES: Final = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
READABLE_SUFFIXES: Final = (*PARQUET_SUFFIXES, *CSV_SUFFIXES, *JSON_SUFFIXES)

_BUFFER_BYTES: Final = 65_536
_PEEK_BYTES: Final = 65_536
_PEEK_ROWS: Final = 1_024


class ReadConfig(BaseModel):
    """How files are read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_rows: int = Field(default=65_536, ge=1, le=10_000_000)
    """Rows of a Parquet file that are decoded at once."""
    block_bytes: int = Field(default=4 * 2**20, ge=1_024, le=2**30)
    """Bytes of a text file that are parsed at once; also the longest line sure to be read."""
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    """Cell separator of CSV files."""
    unknown_columns: UnknownColumns = "error"
    """Whether a column that the table does not have stops the reading or is left out."""


class Source(Protocol):
    """Anything that ingestion can read: it knows its columns and streams its rows."""

    name: str
    columns: tuple[str, ...]
    """The columns of the table that this source brings."""

    def blocks(self) -> Iterator[RawBlock]:
        """Yield the rows from the start; may be called again."""
        ...

    def first_ts_us(self) -> int | None:
        """Return the smallest timestamp among the first rows, without reading further."""
        ...


def open_source(
    path: Path, schema: SampleSchema, config: ReadConfig | None = None, *, partial: bool = False
) -> Source:
    """Open a telemetry file by its suffix and check its columns.

    Args:
        path: A `.parquet`, `.csv`, `.jsonl` or `.ndjson` file; text may be gzipped (`.gz`).
        schema: The table its rows belong to.
        config: Reading options; the defaults if None.
        partial: Accept a file without some required metrics, because other files bring them.

    Raises:
        NotFoundError: There is no such file.
        SchemaError: A column is unknown, missing or of a type that cannot be read.
        UnreadableInputError: The suffix is unknown, or the file is not what its suffix says.
    """
    config = config or ReadConfig()
    if not path.is_file():
        raise NotFoundError(f"There is no file {path}.", remedy="Check the path.")
    name = path.name.lower()
    if name.endswith(PARQUET_SUFFIXES):
        return ParquetSource(path, schema, config, partial=partial)
    if name.endswith(CSV_SUFFIXES):
        lines = CsvLines(
            schema, delimiter=config.delimiter, unknown=config.unknown_columns, partial=partial
        )
        return TextSource(path, lines, config)
    if name.endswith(JSON_SUFFIXES):
        return TextSource(
            path, JsonLines(schema, unknown=config.unknown_columns, partial=partial), config
        )
    raise UnreadableInputError(
        field=path.name,
        got=path.suffix,
        expected="a file ending in " + ", ".join(READABLE_SUFFIXES),
        remedy="Rename the file after its format.",
    )


class TextSource:
    """A CSV or JSON lines file."""

    def __init__(self, path: Path, lines: TextFormat, config: ReadConfig) -> None:
        self.name = str(path)
        self._path = path
        self._lines = lines
        self._config = config
        self.columns = lines.open(path)

    def blocks(self) -> Iterator[RawBlock]:
        """Yield the rows, and with them the lines that did not parse."""
        return read_text_blocks(
            self._path, self._lines, source=self.name, block_bytes=self._config.block_bytes
        )

    def first_ts_us(self) -> int | None:
        """Return the smallest timestamp in the first block."""
        small = min(_PEEK_BYTES, self._config.block_bytes)
        blocks = read_text_blocks(self._path, self._lines, source=self.name, block_bytes=small)
        return next((ts for ts in map(_smallest_ts_us, blocks) if ts is not None), None)


class ParquetSource:
    """A Parquet file, read row group after row group."""

    def __init__(
        self, path: Path, schema: SampleSchema, config: ReadConfig, *, partial: bool = False
    ) -> None:
        self.name = str(path)
        self._path = path
        self._schema = schema
        self._config = config
        self.columns: tuple[str, ...] = ()
        with self._open() as file:
            arrow = file.schema_arrow
        self.columns = check_columns(
            arrow.names,
            schema,
            source=path.name,
            unknown=config.unknown_columns,
            partial=partial,
        )
        check_types(arrow, schema, source=path.name)

    def blocks(self) -> Iterator[RawBlock]:
        """Yield the rows in batches that never cross a row group."""
        return self._read(self._config.batch_rows, self.columns)

    def first_ts_us(self) -> int | None:
        """Return the smallest timestamp of the first batch that has one."""
        blocks = self._read(_PEEK_ROWS, ("ts",))
        return next((ts for ts in map(_smallest_ts_us, blocks) if ts is not None), None)

    def _read(self, batch_rows: int, columns: Sequence[str]) -> Iterator[RawBlock]:
        row = 1
        with self._open() as file:
            for group in range(file.num_row_groups):
                batches = file.iter_batches(
                    batch_size=batch_rows,
                    row_groups=[group],
                    columns=list(columns),
                    use_threads=False,
                )
                for batch in self._guard(batches):
                    yield _columnar_block(self.name, row, batch, self._schema, columns)
                    row += batch.num_rows

    def _open(self) -> pq.ParquetFile:
        texts = [name for name in self.columns if self._schema[name].kind == "string"]
        try:
            # Column chunks are read piece by piece, so that one huge row group costs no memory.
            return pq.ParquetFile(
                self._path, read_dictionary=texts, pre_buffer=False, buffer_size=_BUFFER_BYTES
            )
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(error) from error

    def _guard(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        try:
            yield from batches
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> UnreadableInputError:
        return UnreadableInputError(
            field=self._path.name,
            got=str(error),
            expected="a complete Parquet file",
            remedy="Copy or write the file again.",
        )


class ArrowSource:
    """A table in memory, for rows that come from elsewhere than a file.

    Args:
        name: What its rows are called in reports and in quarantine.
        table: Columns as in a Parquet file.
        schema: The table its rows belong to.
        config: Reading options; the defaults if None.
        partial: Accept a table without some required metrics.

    Raises:
        SchemaError: A column is unknown, missing or of a type that cannot be read.
    """

    def __init__(
        self,
        name: str,
        table: pa.Table | pa.RecordBatch,
        schema: SampleSchema,
        config: ReadConfig | None = None,
        *,
        partial: bool = False,
    ) -> None:
        config = config or ReadConfig()
        self.name = name
        self._table = pa.table(table)
        self._schema = schema
        self._batch_rows = config.batch_rows
        self.columns = check_columns(
            self._table.column_names,
            schema,
            source=name,
            unknown=config.unknown_columns,
            partial=partial,
        )
        check_types(self._table.schema, schema, source=name)

    def blocks(self) -> Iterator[RawBlock]:
        """Yield the rows in batches."""
        row = 1
        for batch in self._table.to_batches(max_chunksize=self._batch_rows):
            if batch.num_rows:
                yield _columnar_block(self.name, row, batch, self._schema, self.columns)
            row += batch.num_rows

    def first_ts_us(self) -> int | None:
        """Return the smallest timestamp of the first rows."""
        start = self._table.slice(0, _PEEK_ROWS).combine_chunks().to_batches()
        blocks = (_columnar_block(self.name, 1, b, self._schema, ("ts",)) for b in start)
        return next((ts for ts in map(_smallest_ts_us, blocks) if ts is not None), None)


def _columnar_block(
    source: str, row: int, batch: pa.RecordBatch, schema: SampleSchema, columns: Sequence[str]
) -> RawBlock:
    try:
        cast = to_reading_batch(batch, schema, columns)
    except pa.ArrowException as error:
        raise UnreadableInputError(
            field=source,
            got=str(error),
            expected="timestamps that fit microseconds, and UTF-8 text",
            remedy=f"Look at the rows from {row} on.",
        ) from error
    rows = np.arange(row, row + batch.num_rows, dtype=np.int64)
    return RawBlock(source=source, rows=rows, batch=cast)


def _smallest_ts_us(block: RawBlock) -> int | None:
    if block.batch.num_rows == 0:
        return None
    smallest = pc.min(block.batch.column("ts").cast(TS_TYPE)).cast(pa.int64())
    value: int | None = smallest.as_py()
    return value
