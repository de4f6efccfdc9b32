"""The telemetry tables as Arrow: the schema they are stored in, and how batches come to it."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.compute as pc

from novacron.contracts.fields import FieldSpec, Kind, SampleSchema
from novacron.errors import SchemaError

TS_TYPE: Final = pa.timestamp("us", "UTC")
_STORED: Final[dict[Kind, pa.DataType]] = {
    "timestamp": TS_TYPE,
    "string": pa.string(),
    "float": pa.float64(),
    "int": pa.int64(),
}
# Nanoseconds are cut to microseconds; a time that does not fit at all is an error.
_CUT_TIME: Final = pc.CastOptions(target_type=TS_TYPE, allow_time_truncate=True)
UnknownColumns = Literal["error", "ignore"]


def arrow_schema(schema: SampleSchema) -> pa.Schema:
    """Return the Arrow schema in which samples of a table are stored.

    Unit and doc of each column travel as field metadata; required columns are not nullable.
    """
    return pa.schema([stored_field(field) for field in schema], metadata={"table": schema.name})


def stored_field(field: FieldSpec, *, nullable: bool | None = None) -> pa.Field:
    """Return one column as an Arrow field with its unit and doc as metadata."""
    return pa.field(
        field.name,
        _STORED[field.kind],
        nullable=not field.required if nullable is None else nullable,
        metadata={"unit": field.unit, "doc": field.doc},
    )


def reading_type(field: FieldSpec) -> pa.DataType:
    """Return the type in which readers hand a column over.

    Counts are read as float64, so that `3.0` is taken and `3.5` is rejected with its reason.
    """
    if field.kind == "string":
        return pa.dictionary(pa.int32(), pa.string())
    return pa.float64() if field.kind == "int" else _STORED[field.kind]


def check_columns(
    columns: Sequence[str],
    schema: SampleSchema,
    *,
    source: str,
    unknown: UnknownColumns = "error",
    partial: bool = False,
) -> tuple[str, ...]:
    """Check the columns of a file against a table.

    Args:
        columns: Column names as found.
        schema: The table.
        source: File name for the message.
        unknown: What to do with a column the table does not have.
        partial: Accept a file without some required metrics, because others bring them; the
            timestamp and the entity are needed always.

    Returns:
        The columns of the table that the file has, in table order.

    Raises:
        SchemaError: A column is unknown, doubled or missing; names the nearest one.
    """
    doubled = sorted({name for name in columns if list(columns).count(name) > 1})
    if doubled:
        raise SchemaError(
            field=doubled[0],
            got=f"twice in {source}",
            expected="each column once",
            remedy="Rename or drop one of the two.",
        )
    strangers = [name for name in columns if name not in schema.names]
    if strangers and unknown == "error":
        raise unknown_column(strangers[0], schema, source=source)
    needed = [name for name in schema.required if name not in columns]
    if partial:
        needed = [name for name in needed if name in ("ts", schema.entity)]
    if needed:
        nearest = difflib.get_close_matches(needed[0], columns, n=1, cutoff=0.4)
        rename = f"Rename column {nearest[0]!r}" if nearest else f"Add column {needed[0]!r}"
        raise SchemaError(
            field=needed[0],
            got=f"columns {', '.join(columns)} in {source}",
            expected=f"a column {needed[0]} ({schema[needed[0]].expected})",
            remedy=f"{rename}; {schema.name} needs {', '.join(schema.required)}.",
        )
    return tuple(name for name in schema.names if name in columns)


def unknown_column(name: str, schema: SampleSchema, *, source: str) -> SchemaError:
    """Return the error for a column that a table does not have, with the nearest name it has."""
    nearest = nearest_column(name, schema)
    meant = f"Did you mean {nearest!r}? " if nearest else ""
    return SchemaError(
        field=name,
        got=f"column {name} in {source}",
        expected="one of " + ", ".join(schema.names),
        remedy=f"{meant}Rename the column, drop it, or read with unknown_columns='ignore'.",
    )


def nearest_column(name: str, schema: SampleSchema) -> str:
    """Return the column of the table spelled most like `name`, or an empty string."""
    matches = difflib.get_close_matches(name.lower(), schema.names, n=1, cutoff=0.5)
    return matches[0] if matches else ""


def check_types(arrow: pa.Schema, schema: SampleSchema, *, source: str) -> None:
    """Check that each column of a columnar file can be read as the table wants it.

    Raises:
        SchemaError: Text where numbers are expected, a timestamp without time zone, and so on.
    """
    for field in schema:
        index = arrow.get_field_index(field.name)
        if index < 0:
            continue
        found = arrow.field(index).type
        remedy = _type_fault(found, field.kind)
        if remedy is not None:
            raise SchemaError(
                field=field.name,
                got=f"type {found} in {source}",
                expected=f"{field.expected}, stored as {_STORED[field.kind]}",
                remedy=remedy,
            )


def _type_fault(found: pa.DataType, kind: Kind) -> str | None:
    if pa.types.is_null(found):
        return None
    value = found.value_type if pa.types.is_dictionary(found) else found
    if kind == "timestamp":
        if not pa.types.is_timestamp(value):
            return "Write the column as a timestamp with time zone UTC."
        return (
            None if value.tz else "State the time zone, e.g. in pandas ts.dt.tz_localize('UTC')."
        )
    if kind == "string":
        text = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
        return None if any(is_text(value) for is_text in text) else "Write the column as text."
    number = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    return None if any(is_number(value) for is_number in number) else "Write numbers, not text."


def to_reading_batch(
    batch: pa.RecordBatch, schema: SampleSchema, columns: Sequence[str]
) -> pa.RecordBatch:
    """Cast the columns of a checked batch to the types that validation works on."""
    arrays = []
    for name in columns:
        array = batch.column(name)
        wanted = reading_type(schema[name])
        if array.type != wanted:
            if pa.types.is_dictionary(wanted):
                array = array.cast(pa.string()).dictionary_encode()
            elif pa.types.is_timestamp(wanted):
                array = pc.cast(array, options=_CUT_TIME)
            else:
                array = array.cast(wanted, safe=False)
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, names=list(columns))


def batch_from_samples(samples: Iterable[Any], schema: SampleSchema) -> pa.RecordBatch:
    """Return `LinkSample` or `NodeSample` objects as a batch of all columns, in stored types."""
    rows: list[Mapping[str, Any]] = [
        {name: getattr(sample, name) for name in schema.names} for sample in samples
    ]
    return pa.RecordBatch.from_pylist(rows, schema=arrow_schema(schema))
