"""What every adapter returns: the clean table, and every row or cell that is not in it, by reason.

A rejected row is kept whole, as it was when it was rejected; a masked cell held a sentinel and is
now missing, its row stays.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from novacron.contracts.fields import SampleSchema
from novacron.errors import SchemaError
from novacron.telemetry.arrow import arrow_schema


@dataclass(frozen=True, kw_only=True, slots=True)
class Adapted:
    """A data set's table in canonical units.

    `table` is Arrow with units in its column names and UTC timestamps; where a source states no
    zone, the column is called `local_` something and has none. `rejected` maps a reason to the
    rows that were left out for it, `masked` to the number of cells that were set missing for it.
    """

    table: pa.Table
    rejected: Mapping[str, pd.DataFrame]
    masked: Mapping[str, int]

    @property
    def rejected_counts(self) -> dict[str, int]:
        """Rejected rows by reason."""
        return {reason: len(rows) for reason, rows in self.rejected.items()}

    @property
    def rows_read(self) -> int:
        """Native rows behind this table where each native row makes one row, else a lower bound."""
        return int(self.table.num_rows) + sum(self.rejected_counts.values())


class Sieve:
    """Sorts the rows of one native frame: each is kept, or rejected for the first reason met."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.kept = frame
        self.rejected: dict[str, pd.DataFrame] = {}
        self.masked: dict[str, int] = {}

    def reject(self, bad: "pd.Series[bool]", reason: str) -> None:
        """Move the kept rows where `bad` is true to the rejected ones."""
        mask = bad.reindex(self.kept.index).fillna(value=False).astype(bool)
        if mask.any():
            rows = self.kept[mask]
            known = self.rejected.get(reason)
            self.rejected[reason] = rows if known is None else pd.concat([known, rows])
            self.kept = self.kept[~mask]

    def mask(self, column: str, bad: "pd.Series[bool]", reason: str) -> None:
        """Set a column missing in the kept rows where `bad` is true."""
        if bad.any():
            self.kept = self.kept.assign(**{column: self.kept[column].mask(bad)})
            self.masked[reason] = self.masked.get(reason, 0) + int(bad.sum())

    def require_finite(self, *columns: str) -> None:
        """Reject rows where a column the table cannot do without is missing or infinite."""
        for column in columns:
            values = self.kept[column]
            if np.issubdtype(values.to_numpy().dtype, np.floating):
                self.reject(~np.isfinite(values), f"{column} is not a finite number")
            else:
                self.reject(values.isna(), f"{column} is missing")

    def require_unique(self, *columns: str) -> None:
        """Reject all but the first of rows that agree in `columns`."""
        repeated = self.kept.duplicated(subset=list(columns), keep="first")
        self.reject(repeated, "duplicate of an earlier row by " + " and ".join(columns))

    def require_between(self, column: str, low: float, high: float) -> None:
        """Reject rows whose value lies outside [low, high]; a missing value passes."""
        values = self.kept[column]
        self.reject((values < low) | (values > high), f"{column} outside [{low:g}, {high:g}]")

    def finish(self, table: pa.Table) -> Adapted:
        """Return the result around the table made of the kept rows."""
        return Adapted(table=table, rejected=self.rejected, masked=self.masked)


def sample_table(schema: SampleSchema, columns: Mapping[str, Any]) -> pa.Table:
    """Build a telemetry table with every column of `schema`, null where `columns` has none.

    Rows are ordered by time, then entity, as ingestion wants them.

    Args:
        schema: The link or node table.
        columns: Equal-length vectors by column name; NaN and NaT become null. Timestamps are
            UTC-aware.

    Raises:
        SchemaError: A column is not one of `schema`.
    """
    unknown = sorted(set(columns) - set(schema.names))
    if unknown:
        raise SchemaError(
            field=unknown[0], got=f"a column of {schema.name}", expected=", ".join(schema.names)
        )
    length = len(next(iter(columns.values())))
    stored = arrow_schema(schema)
    arrays = [
        pa.array(columns[field.name], from_pandas=True).cast(field.type)
        if field.name in columns
        else pa.nulls(length, field.type)
        for field in stored
    ]
    order = [("ts", "ascending"), (schema.entity, "ascending")]
    return pa.table(arrays, schema=stored).sort_by(order)


def own_table(columns: Mapping[str, Any]) -> pa.Table:
    """Build a small typed table of a data set that is neither link nor node telemetry.

    float32 becomes float64, dictionary columns become strings, NaN becomes null.
    """
    arrays = {}
    for name, values in columns.items():
        array = pa.array(values, from_pandas=True)
        if pa.types.is_floating(array.type):
            array = array.cast(pa.float64())
        elif pa.types.is_dictionary(array.type) or pa.types.is_large_string(array.type):
            array = array.cast(pa.string())
        elif pa.types.is_timestamp(array.type):
            array = array.cast(pa.timestamp("us", tz=array.type.tz))
        arrays[name] = array
    return pa.table(arrays)
