"""The rules a telemetry row must keep, all read from the one table, checked column by column.

Bad rows are handed back with their reason; nothing is mended, guessed or dropped. All arrays have
one axis, with one entry a row.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from novacron.contracts.fields import FieldSpec, SampleSchema
from novacron.telemetry.blocks import (
    NO_CODE,
    NO_TS_US,
    OVER_LIMIT,
    US,
    BoolArray,
    CodeArray,
    FloatArray,
    IntArray,
    RawBlock,
    RowBlock,
    Vocabularies,
    Vocabulary,
    iso_utc,
    row_digests,
)
from novacron.telemetry.clocks import EntityClocks
from novacron.telemetry.quarantine import Reason, Rejection

# What a value too large by a power of ten usually is.
_LIKELY_UNITS: Final[dict[str, tuple[tuple[float, str], ...]]] = {
    "ms": ((1e3, "microseconds"), (1e6, "nanoseconds")),
    "Mbit/s": ((1e3, "kbit/s"), (1e6, "bit/s")),
}


class ValidationConfig(BaseModel):
    """How strict validation is. Bounds and units are not set here: they stand in the table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    earliest: AwareDatetime = datetime(2000, 1, 1, tzinfo=UTC)
    """Timestamps before this are out of range: clocks that were never set say 1970."""
    max_future_s: float = Field(default=300.0, ge=0)
    """How far a timestamp may lie after the clock."""
    max_age_s: float | None = Field(default=None, gt=0)
    """How old a sample may be by the clock; None for files of any age."""
    max_disorder_s: float = Field(default=60.0, ge=0, le=86_400)
    """How far a row may lie before the newest row of the same entity and file."""
    max_gap_s: float = Field(default=300.0, gt=0)
    """Pauses of an entity longer than this are counted as gaps."""
    max_entities: int = Field(default=1_000_000, ge=1)
    """Entities that state is kept for; rows of further ones are rejected."""
    nan_means_missing: bool = False
    """Take NaN for "not measured" instead of rejecting the row as not finite."""


@dataclass(frozen=True, slots=True)
class Validated:
    """The two parts of a checked block; together they hold every row of it."""

    accepted: RowBlock
    rejected: list[Rejection]


class Validator:
    """Checks the blocks of one source, in order; state is carried from block to block.

    Args:
        schema: The table with bounds and units.
        config: Strictness.
        now: The clock for future and stale timestamps; asked once a block.
        vocabularies: Shared by all sources whose rows are to be joined.
    """

    def __init__(
        self,
        schema: SampleSchema,
        config: ValidationConfig,
        *,
        now: Callable[[], datetime],
        vocabularies: Vocabularies | None = None,
    ) -> None:
        self.clocks = EntityClocks(
            max_disorder_us=round(config.max_disorder_s * US),
            max_gap_us=round(config.max_gap_s * US),
        )
        self.vocabularies = vocabularies or Vocabularies(entities=Vocabulary(config.max_entities))
        self._schema = schema
        self._config = config
        self._now = now
        for field in schema:
            for choice in field.choices:
                # Allowed words come first, so that a code tells whether it is one.
                self.vocabularies.label(field.name).code(choice)

    def check(self, raw: RawBlock) -> Validated:
        """Split a block into accepted and rejected rows.

        Args:
            raw: A block as a reader hands it over, columns in reading types.

        Returns:
            The accepted rows, and the rejected ones including the lines that did not parse.
        """
        faults = _Faults(raw.batch.num_rows)
        block = self._decode(raw, faults)
        self._check_time(block.ts_us, faults)
        sound = np.flatnonzero(faults.ids == 0)
        rows = block if len(sound) == len(block) else block.take(sound)
        order = self.clocks.check(
            rows.entities, rows.ts_us, lambda index: row_digests(rows, index)
        )
        faults.mark_rows(sound[order.went_back], "clock_went_back", "ts")
        faults.mark_rows(sound[order.duplicate], "duplicate", "ts")
        faults.mark_rows(sound[order.conflict], "conflicting_duplicate", "ts")
        good = ~order.any
        accepted = rows if good.all() else rows.take(good)
        return Validated(accepted, [*raw.malformed, *self._rejections(raw, faults)])

    def _decode(self, raw: RawBlock, faults: "_Faults") -> RowBlock:
        """Turn the columns into numbers and codes, marking empties and bad values."""
        names = raw.batch.schema.names
        ts = raw.batch.column("ts").cast(pa.int64())
        ts_us = ts.fill_null(NO_TS_US).to_numpy()
        entity = self._schema.entity
        entities = self.vocabularies.entities.encode(raw.batch.column(entity))
        faults.mark(ts_us == NO_TS_US, "missing_required", "ts")
        faults.mark(entities == NO_CODE, "missing_required", entity)
        metrics, labels = {}, {}
        for field in self._schema:
            if field.name not in names or field.name in ("ts", entity):
                continue
            column = raw.batch.column(field.name)
            if field.kind == "string":
                labels[field.name] = self._check_label(field, column, faults)
            else:
                metrics[field.name] = self._check_metric(field, column, faults)
        faults.mark(entities == OVER_LIMIT, "entity_limit", entity)
        source = self.vocabularies.sources.code(raw.source)
        return RowBlock(
            sources=np.full(len(ts_us), source, np.int32),
            rows=raw.rows,
            ts_us=ts_us,
            entities=entities,
            metrics=metrics,
            labels=labels,
        )

    def _check_metric(self, field: FieldSpec, column: pa.Array, faults: "_Faults") -> FloatArray:
        values: FloatArray = column.to_numpy(zero_copy_only=False)
        low = -np.inf if field.low is None else field.low
        high = np.inf if field.high is None else field.high
        fits = (values >= low) & (values <= high)
        sound = fits & (np.floor(values) == values) if field.kind == "int" else fits
        n_empty = 0 if field.required else column.null_count
        if np.count_nonzero(sound) + n_empty == len(values):
            return values
        empty: BoolArray = column.is_null().to_numpy(zero_copy_only=False)
        if self._config.nan_means_missing:
            empty = empty | np.isnan(values)
        if field.required:
            faults.mark(empty, "missing_required", field.name)
        bad = ~sound & ~empty
        faults.mark(bad & ~np.isfinite(values), "non_finite", field.name)
        faults.mark(bad & fits, "not_integer", field.name)
        if field.unit == "0..1":
            faults.mark(
                bad & (values > high) & (values <= 100 * high), "percent_not_ratio", field.name
            )
        faults.mark(bad & ~fits, "out_of_range", field.name)
        return values

    def _check_label(self, field: FieldSpec, column: pa.Array, faults: "_Faults") -> CodeArray:
        codes = self.vocabularies.label(field.name).encode(column)
        if field.required:
            faults.mark(codes == NO_CODE, "missing_required", field.name)
        if field.choices:
            strange = (codes >= len(field.choices)) | (codes == OVER_LIMIT)
            faults.mark(strange, "unknown_choice", field.name)
        else:
            faults.mark(codes == OVER_LIMIT, "entity_limit", field.name)
        return codes

    def _check_time(self, ts_us: IntArray, faults: "_Faults") -> None:
        config = self._config
        now_us = to_us(self._now())
        faults.mark(ts_us < to_us(config.earliest), "out_of_range", "ts")
        faults.mark(ts_us > now_us + round(config.max_future_s * US), "future", "ts")
        if config.max_age_s is not None:
            faults.mark(ts_us < now_us - round(config.max_age_s * US), "stale", "ts")

    def _rejections(self, raw: RawBlock, faults: "_Faults") -> list[Rejection]:
        index = np.flatnonzero(faults.ids)
        if len(index) == 0:
            return []
        batch = raw.batch.take(pa.array(index))
        rows = _plain_rows(batch)
        rejections = []
        for position, row in zip(index, rows, strict=True):
            reason, column = faults.kinds[faults.ids[position]]
            field = self._schema[column]
            rejections.append(
                Rejection(
                    source=raw.source,
                    row=int(raw.rows[position]),
                    reason=reason,
                    column=column,
                    got=str(row.get(column, "")),
                    expected=self._expected(field, reason),
                    hint=_hint(field, reason, row.get(column)),
                    raw=row,
                )
            )
        return rejections

    def _expected(self, field: FieldSpec, reason: Reason) -> str:
        config = self._config
        if field.name != "ts" or reason == "missing_required":
            return field.expected
        return {
            "out_of_range": f"not before {config.earliest.isoformat()}",
            "future": f"at most {config.max_future_s:g} s after the clock",
            "stale": f"at most {config.max_age_s or 0:g} s before the clock",
            "clock_went_back": f"at most {config.max_disorder_s:g} s before the newest row",
        }.get(reason, "one row for each entity and timestamp")


class _Faults:
    """The first fault of each row, as a number into `kinds`; 0 means none."""

    def __init__(self, n_rows: int) -> None:
        self.ids = np.zeros(n_rows, np.int16)
        self.kinds: list[tuple[Reason, str]] = [("unreadable_line", "")]

    def mark(self, mask: BoolArray, reason: Reason, column: str) -> None:
        """Mark the rows of a mask that have no fault yet."""
        if mask.any():
            self.mark_rows(np.flatnonzero(mask & (self.ids == 0)), reason, column)

    def mark_rows(self, index: IntArray, reason: Reason, column: str) -> None:
        """Mark rows that are known to have no fault yet."""
        if len(index) == 0:
            return
        self.ids[index] = len(self.kinds)
        self.kinds.append((reason, column))


def to_us(moment: datetime) -> int:
    """Return an aware moment as microseconds since 1970, exactly."""
    past = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (past.days * 86_400 + past.seconds) * US + past.microseconds


def _plain_rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Return rows as JSON objects without empties; timestamps of any year, NaN as text."""
    index = batch.schema.get_field_index("ts")
    ts_us = batch.column(index).cast(pa.int64())
    stamps = [None if ts is None else iso_utc(ts) for ts in ts_us.to_pylist()]
    batch = batch.set_column(index, "ts", pa.array(stamps, pa.string()))
    return [
        {name: _plain(value) for name, value in row.items() if value is not None}
        for row in batch.to_pylist()
    ]


def _plain(value: object) -> object:
    return str(value) if isinstance(value, float) and not np.isfinite(value) else value


def _hint(field: FieldSpec, reason: Reason, value: object) -> str:
    if reason == "percent_not_ratio":
        return "this looks like percent; divide by 100"
    if reason == "conflicting_duplicate":
        return "the first row with this timestamp was kept"
    if reason == "out_of_range" and isinstance(value, float) and field.high is not None:
        for factor, unit in _LIKELY_UNITS.get(field.unit, ()):
            if field.high < value <= field.high * factor:
                return f"the value may be in {unit}"
    return ""
