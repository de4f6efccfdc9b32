"""How one line of CSV or JSON becomes a row, and what is wrong with a line that does not."""

import csv
import io
import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final, Protocol

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json

from novacron.contracts.fields import FieldSpec, SampleSchema
from novacron.errors import SchemaError, UnreadableInputError
from novacron.telemetry.arrow import (
    TS_TYPE,
    UnknownColumns,
    check_columns,
    nearest_column,
    reading_type,
    unknown_column,
)
from novacron.telemetry.line_faults import (
    NULL_CELLS,
    LineFault,
    cell_fault,
    is_utf8,
    value_fault,
    wrong_type,
)
from novacron.telemetry.lines import read_line_blocks

BOM: Final = b"\xef\xbb\xbf"
_PEEK_BYTES: Final = 65_536
_PEEK_OBJECTS: Final = 100
# Nanoseconds, since files of many tools carry nine digits; they are cut to microseconds after.
_PARSED_TS: Final = pa.timestamp("ns", "UTC")
_CSV_CELL_ERROR: Final = re.compile(r"In CSV column #(\d+).*?: invalid value '(.*)'", re.DOTALL)


class TextFormat(Protocol):
    """How lines of one format become rows."""

    header_lines: int
    """Lines at the start of the file that hold no row."""

    def open(self, path: Path) -> tuple[str, ...]:
        """Look at the start of a file and return the columns it brings."""
        ...

    def parse(self, data: bytes) -> pa.RecordBatch | None:
        """Parse whole lines; None if any of them does not parse."""
        ...

    def empty(self) -> pa.RecordBatch:
        """Return a batch without rows."""
        ...

    def certain_fault(self, line: bytes) -> LineFault | None:
        """Name what makes a line unreadable; None if that takes a trial to find out."""
        ...

    def tried_fault(self, line: bytes) -> LineFault:
        """Name the fault of a line that was tried and refused."""
        ...


class CsvLines:
    """Comma-separated values with a header line.

    Timestamps are ISO 8601 with an offset or `Z`; empty cells mean that nothing was measured.
    """

    header_lines = 1

    def __init__(
        self,
        schema: SampleSchema,
        *,
        delimiter: str = ",",
        unknown: UnknownColumns = "error",
        partial: bool = False,
    ) -> None:
        self._schema = schema
        self._delimiter = delimiter
        self._unknown: UnknownColumns = unknown
        self._partial = partial
        self._header: list[str] = []
        self._fields: list[tuple[int, FieldSpec]] = []
        self._convert_options = pa_csv.ConvertOptions()

    def open(self, path: Path) -> tuple[str, ...]:
        """Read the header line.

        Raises:
            UnreadableInputError: The file is empty or its header is not text.
            SchemaError: A column is unknown, doubled or missing.
        """
        start = next(read_line_blocks(path, block_bytes=_PEEK_BYTES), None)
        line = b"" if start is None else start.data.split(b"\n", 1)[0].removeprefix(BOM)
        try:
            text = line.decode("utf-8").strip("\r")
            self._header = [
                name.strip() for name in next(csv.reader([text], delimiter=self._delimiter), [])
            ]
        except (UnicodeDecodeError, csv.Error):
            self._header = []
        if not self._header:
            raise UnreadableInputError(
                field=path.name,
                got=line[:80],
                expected="a header line with the column names",
                remedy="Put the column names into line 1.",
            )
        columns = check_columns(
            self._header,
            self._schema,
            source=path.name,
            unknown=self._unknown,
            partial=self._partial,
        )
        self._fields = [(self._header.index(name), self._schema[name]) for name in columns]
        self._convert_options = pa_csv.ConvertOptions(
            include_columns=list(columns),
            column_types={field.name: _parsed_type(field) for _, field in self._fields},
            null_values=list(NULL_CELLS),
            strings_can_be_null=True,
        )
        return columns

    def parse(self, data: bytes) -> pa.RecordBatch | None:
        """Parse whole lines; None if any of them does not parse."""
        if not is_utf8(data) or data.count(b"\r") != data.count(b"\r\n"):
            return None
        try:
            return self._convert(data)
        except pa.ArrowException:
            return None

    def empty(self) -> pa.RecordBatch:
        """Return a batch without rows."""
        return _empty_batch([field for _, field in self._fields])

    def certain_fault(self, line: bytes) -> LineFault | None:
        """Name a wrong number of cells or a cell of the wrong type; leave quoted lines open."""
        if not is_utf8(line):
            return LineFault(reason="unreadable_line", expected="UTF-8 text")
        if b'"' in line or b"\r" in line[:-1]:
            return None
        cells = line.decode("utf-8").removesuffix("\r").split(self._delimiter)
        if len(cells) != len(self._header):
            return LineFault(
                reason="unreadable_line",
                got=f"{len(cells)} cells",
                expected=f"{len(self._header)} cells",
            )
        for index, field in self._fields:
            fault = cell_fault(cells[index], field)
            if fault is not None:
                return fault
        return None

    def tried_fault(self, line: bytes) -> LineFault:
        """Name the fault of a line that was tried and refused."""
        try:
            self._convert(line + b"\n")
        except pa.ArrowException as error:
            cell = _CSV_CELL_ERROR.search(str(error))
            if cell is None:
                return LineFault(reason="unreadable_line", hint=str(error)[:200])
            name = self._header[int(cell[1])]
            return wrong_type(self._schema[name], cell[2])
        return LineFault(reason="unreadable_line", hint="a line break inside the line")

    def _convert(self, data: bytes) -> pa.RecordBatch:
        table = pa_csv.read_csv(
            io.BytesIO(data),
            read_options=pa_csv.ReadOptions(
                column_names=self._header, use_threads=False, block_size=len(data) + 1
            ),
            parse_options=pa_csv.ParseOptions(delimiter=self._delimiter),
            convert_options=self._convert_options,
        )
        return _as_reading_batch(table, [field for _, field in self._fields])


class JsonLines:
    """One JSON object a line; keys that are absent or null mean that nothing was measured."""

    header_lines = 0

    def __init__(
        self, schema: SampleSchema, *, unknown: UnknownColumns = "error", partial: bool = False
    ) -> None:
        self._schema = schema
        self._unknown: UnknownColumns = unknown
        self._partial = partial
        self._fields: list[FieldSpec] = []
        self._parse_options = pa_json.ParseOptions()

    def expect_all(self) -> None:
        """Take every column of the table as brought, where there is no file to look at."""
        self._expect(list(self._schema))

    def open(self, path: Path) -> tuple[str, ...]:
        """Look at the first objects; every optional column counts as brought.

        Raises:
            UnreadableInputError: None of the first lines is a JSON object.
            SchemaError: The first object has an unknown key, or a required one is never there.
        """
        first = list(islice(self._first_objects(path), _PEEK_OBJECTS))
        seen = dict.fromkeys(name for row in first for name in row)
        if first:
            strangers = [name for name in first[0] if name not in self._schema.names]
            if strangers and self._unknown == "error":
                raise unknown_column(strangers[0], self._schema, source=path.name)
            check_columns(
                list(seen), self._schema, source=path.name, unknown="ignore", partial=self._partial
            )
        self._expect(
            [
                field
                for field in self._schema
                if not (first and field.required) or field.name in seen
            ]
        )
        return tuple(field.name for field in self._fields)

    def _expect(self, fields: list[FieldSpec]) -> None:
        self._fields = fields
        self._parse_options = pa_json.ParseOptions(
            explicit_schema=pa.schema([(field.name, _json_type(field)) for field in fields]),
            unexpected_field_behavior="infer",
        )

    def parse(self, data: bytes) -> pa.RecordBatch | None:
        """Parse whole lines; None if any of them does not parse."""
        n_lines = data.count(b"\n")
        ended = data.count(b"}\n") + data.count(b"}\r\n")
        begun = data.count(b"\n{") + data.startswith(b"{")
        if not n_lines == ended == begun or not is_utf8(data):
            return None
        try:
            return self._convert(data)
        except (pa.ArrowException, SchemaError):
            return None

    def empty(self) -> pa.RecordBatch:
        """Return a batch without rows."""
        return _empty_batch(self._fields)

    def certain_fault(self, line: bytes) -> LineFault | None:
        """Name broken JSON, an unknown key or a value of the wrong type."""
        try:
            row = json.loads(line.decode("utf-8"), strict=False)
        except (ValueError, RecursionError) as error:
            return LineFault(reason="unreadable_line", expected="a JSON object", hint=str(error))
        if not isinstance(row, dict):
            return LineFault(reason="unreadable_line", expected="a JSON object")
        for name in row:
            if self._is_stranger(name):
                return LineFault(
                    reason="unknown_column",
                    column=name,
                    expected="one of " + ", ".join(field.name for field in self._fields),
                    hint=nearest_column(name, self._schema),
                )
        for field in self._fields:
            fault = value_fault(row.get(field.name), field)
            if fault is not None:
                return fault
        return None

    def tried_fault(self, line: bytes) -> LineFault:
        """Name the fault of a line that was tried and refused."""
        try:
            self._convert(line.strip() + b"\n")
        except (pa.ArrowException, SchemaError) as error:
            return LineFault(reason="unreadable_line", hint=str(error)[:200])
        return LineFault(reason="unreadable_line", expected="one JSON object a line")

    def _first_objects(self, path: Path) -> Iterator[dict[str, Any]]:
        start = next(read_line_blocks(path, block_bytes=_PEEK_BYTES), None)
        if start is None:
            return
        found = False
        for line in start.data.removeprefix(BOM).split(b"\n"):
            try:
                row = json.loads(line.decode("utf-8"))
            except (ValueError, RecursionError):
                continue
            if isinstance(row, dict):
                found = True
                yield row
        if not found:
            raise UnreadableInputError(
                field=path.name,
                got=(start.data or start.overlong)[:80],
                expected="one JSON object a line",
                remedy="Write the samples as JSON lines, not as one array.",
            )

    def _is_stranger(self, name: str) -> bool:
        if any(field.name == name for field in self._fields):
            return False
        # A column of the table that appears only later would be lost without a word.
        return self._unknown == "error" or name in self._schema.names

    def _convert(self, data: bytes) -> pa.RecordBatch:
        table = pa_json.read_json(
            io.BytesIO(data),
            read_options=pa_json.ReadOptions(use_threads=False, block_size=len(data) + 1),
            parse_options=self._parse_options,
        )
        strangers = [name for name in table.column_names if self._is_stranger(name)]
        if strangers:
            raise unknown_column(strangers[0], self._schema, source="the line")
        return _as_reading_batch(table, self._fields)


def _parsed_type(field: FieldSpec) -> pa.DataType:
    return _PARSED_TS if field.kind == "timestamp" else reading_type(field)


def _json_type(field: FieldSpec) -> pa.DataType:
    # As text: Arrow's JSON reader would take a timestamp without offset for UTC.
    return pa.float64() if field.kind in ("float", "int") else pa.string()


def _as_reading_batch(table: pa.Table, fields: list[FieldSpec]) -> pa.RecordBatch:
    arrays = []
    for field in fields:
        column = table.column(field.name).combine_chunks()
        array = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
        if field.kind == "timestamp":
            array = array.cast(_PARSED_TS).cast(TS_TYPE, safe=False)
        elif field.kind == "string" and not pa.types.is_dictionary(array.type):
            array = array.dictionary_encode()
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, names=[field.name for field in fields])


def _empty_batch(fields: list[FieldSpec]) -> pa.RecordBatch:
    schema = pa.schema([(field.name, reading_type(field)) for field in fields])
    return pa.RecordBatch.from_pylist([], schema=schema)
