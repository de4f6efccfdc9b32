"""The quality report of an ingestion: completeness, range and time order, counted as rows pass.

Memory does not grow with the number of rows. Arrays have one entry a row or one an entity.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import pyarrow as pa
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from novacron.contracts.fields import FieldSpec, SampleSchema
from novacron.telemetry.blocks import (
    NO_CODE,
    NO_TS_US,
    US,
    IntArray,
    RowBlock,
    Vocabularies,
    grown,
)
from novacron.telemetry.clocks import EntityClocks
from novacron.telemetry.join import Joiner
from novacron.telemetry.quarantine import Rejection
from novacron.telemetry.tallies import MagnitudeTally, TimeTally

MAX_ENTITIES_LISTED: Final = 1_000
_FAR_US: Final = int(np.iinfo(np.int64).max)


class Bin(BaseModel):
    """A bar of a histogram: how many values lie in [low, high)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: float
    high: float
    count: int


class ColumnQuality(BaseModel):
    """One column over all rows that passed validation, late ones included."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str
    unit: str
    low: float | None
    high: float | None
    """The range the table allows."""
    rows: int
    """Accepted rows of the sources that bring the column."""
    present: int
    completeness_ratio: float
    """`present / rows`; 0 if no source brings it."""
    grid_completeness_ratio: float
    """Share of the grid steps, gaps included, that have a value."""
    minimum: float | None
    maximum: float | None
    mean: float | None
    p01: float | None
    p50: float | None
    p99: float | None
    """Quantiles within 5 %, from a histogram with eight bins an octave."""
    rejected: dict[str, int]
    """Rows rejected because of this column, by reason."""
    histogram: tuple[Bin, ...]


class EntityQuality(BaseModel):
    """One link or node."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    entity: str
    rows: int
    first_ts: AwareDatetime
    last_ts: AwareDatetime
    staleness_s: float
    """Seconds from the last sample to the clock of the run."""
    steps: int
    gap_steps: int
    completeness_ratio: float
    """Share of its grid steps that have a sample."""
    gaps: int
    """Pauses longer than `max_gap_s`, counted for each source."""
    longest_gap_s: float
    monotone: bool
    """No row, accepted or rejected, lay before an earlier one of its source."""
    disordered_rows: int
    """Accepted rows older than an earlier one, within `max_disorder_s`."""
    clock_went_back_rows: int


class TimeSpan(BaseModel):
    """Accepted rows over time, in bins of equal width."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: AwareDatetime
    width_s: float
    counts: tuple[int, ...]


class QualityReport(BaseModel):
    """What is known about the data after one ingestion."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: str
    made_at: AwareDatetime
    rows_read: int
    rows_accepted: int
    rows_rejected: int
    reasons: dict[str, int]
    step_s: float
    steps: int
    gap_steps: int
    grid_breaks: int
    """Pauses longer than `max_gap_steps`, which are not filled in."""
    completeness_ratio: float
    """Share of the grid steps that have a sample."""
    monotone_ratio: float
    """Share of the entities whose time never went back."""
    columns: tuple[ColumnQuality, ...]
    entities_total: int
    entities: tuple[EntityQuality, ...] = Field(max_length=MAX_ENTITIES_LISTED)
    """The least complete ones first."""
    over_time: TimeSpan | None


class QualityTally:
    """Counts rows as they pass and makes the report at the end.

    Args:
        schema: The table.
        vocabularies: Those the blocks are encoded with.
    """

    def __init__(self, schema: SampleSchema, vocabularies: Vocabularies) -> None:
        self._schema = schema
        self._vocabularies = vocabularies
        self._magnitudes = {spec.name: MagnitudeTally() for spec in schema.metrics}
        self._label_rows: Counter[str] = Counter()
        self._label_present: Counter[str] = Counter()
        self._time = TimeTally()
        self._faults: Counter[tuple[str, str]] = Counter()
        self._went_back: Counter[str] = Counter()
        self._withdrawn = 0
        self._grid_present: Counter[str] = Counter()
        self._grid_rows = 0
        self._rows: IntArray = np.empty(0, np.int64)
        self._first_us: IntArray = np.empty(0, np.int64)
        self._newest_us: IntArray = np.empty(0, np.int64)

    def accept(self, block: RowBlock) -> None:
        """Count accepted rows."""
        if len(block) == 0:
            return
        for name, values in block.metrics.items():
            self._magnitudes[name].add(values)
        for name, codes in block.labels.items():
            self._label_rows[name] += len(codes)
            self._label_present[name] += int(np.count_nonzero(codes != NO_CODE))
        self._time.add(block.ts_us)
        size = int(block.entities.max()) + 1
        self._rows = grown(self._rows, size, 0)
        self._first_us = grown(self._first_us, size, _FAR_US)
        self._newest_us = grown(self._newest_us, size, NO_TS_US)
        self._rows += np.bincount(block.entities, minlength=len(self._rows))
        np.minimum.at(self._first_us, block.entities, block.ts_us)
        np.maximum.at(self._newest_us, block.entities, block.ts_us)

    def reject(self, rejections: Iterable[Rejection], *, withdrawn: bool = False) -> None:
        """Count rejected rows by column and reason.

        Args:
            rejections: The rows.
            withdrawn: They had passed validation, and `accept` has counted them already.
        """
        for rejection in rejections:
            self._withdrawn += withdrawn
            self._faults[rejection.column, rejection.reason] += 1
            if rejection.reason == "clock_went_back" and isinstance(rejection.raw, dict):
                self._went_back[str(rejection.raw.get(self._schema.entity))] += 1

    def join(self, batch: pa.RecordBatch) -> None:
        """Count steps of the grid."""
        self._grid_rows += batch.num_rows
        for name in self._schema.names:
            self._grid_present[name] += batch.num_rows - batch.column(name).null_count

    def report(
        self,
        *,
        joiner: Joiner,
        clocks: Sequence[EntityClocks],
        step_s: float,
        now: datetime,
    ) -> QualityReport:
        """Sum up.

        Args:
            joiner: The joiner all rows went through.
            clocks: Those of the validators of all sources.
            step_s: Length of a grid step.
            now: Moment of the report, for the staleness.
        """
        rejected = self._faults.total()
        reasons: Counter[str] = Counter()
        for (_, reason), count in self._faults.items():
            reasons[reason] += count
        entities = self._entities(joiner, clocks, now)
        steps, gaps = int(joiner.steps.sum()), int(joiner.gap_steps.sum())
        accepted = int(self._rows.sum()) - self._withdrawn
        return QualityReport(
            table=self._schema.name,
            made_at=now,
            rows_read=accepted + rejected,
            rows_accepted=accepted,
            rows_rejected=rejected,
            reasons=dict(sorted(reasons.items())),
            step_s=step_s,
            steps=steps,
            gap_steps=gaps,
            grid_breaks=joiner.grid_breaks,
            completeness_ratio=_ratio(steps - gaps, steps),
            monotone_ratio=_ratio(sum(e.monotone for e in entities), len(entities)),
            columns=tuple(self._column(spec) for spec in self._schema),
            entities_total=len(entities),
            entities=tuple(entities[:MAX_ENTITIES_LISTED]),
            over_time=self._over_time(),
        )

    def _column(self, spec: FieldSpec) -> ColumnQuality:
        tally = self._magnitudes.get(spec.name)
        rows, present = int(self._rows.sum()), int(self._rows.sum())
        if tally is not None:
            rows, present = tally.rows, tally.present
        elif spec.name not in ("ts", self._schema.entity):
            rows, present = self._label_rows[spec.name], self._label_present[spec.name]
        filled = tally if tally is not None and tally.present else None
        return ColumnQuality(
            column=spec.name,
            unit=spec.unit,
            low=spec.low,
            high=spec.high,
            rows=rows,
            present=present,
            completeness_ratio=_ratio(present, rows),
            grid_completeness_ratio=_ratio(self._grid_present[spec.name], self._grid_rows),
            minimum=filled.minimum if filled else None,
            maximum=filled.maximum if filled else None,
            mean=filled.total / filled.present if filled else None,
            p01=filled.quantile(0.01) if filled else None,
            p50=filled.quantile(0.5) if filled else None,
            p99=filled.quantile(0.99) if filled else None,
            rejected={
                reason: count
                for (column, reason), count in sorted(self._faults.items())
                if column == spec.name
            },
            histogram=tuple(
                Bin(low=low, high=high, count=count)
                for low, high, count in (filled.octaves() if filled else [])
            ),
        )

    def _entities(
        self, joiner: Joiner, clocks: Sequence[EntityClocks], now: datetime
    ) -> list[EntityQuality]:
        """Return all entities that have accepted rows, the least complete first."""
        size = len(self._rows)
        steps, gap_steps = grown(joiner.steps, size, 0), grown(joiner.gap_steps, size, 0)
        gaps, disordered, longest_us = (np.zeros(size, np.int64) for _ in range(3))
        for clock in clocks:
            gaps += grown(clock.gaps, size, 0)[:size]
            disordered += grown(clock.disordered, size, 0)[:size]
            np.maximum(longest_us, grown(clock.longest_gap_us, size, 0)[:size], out=longest_us)
        listed = []
        for code in np.flatnonzero(self._rows):
            name = self._vocabularies.entities.words[code]
            last = _moment(self._newest_us[code])
            listed.append(
                EntityQuality(
                    entity=name,
                    rows=int(self._rows[code]),
                    first_ts=_moment(self._first_us[code]),
                    last_ts=last,
                    staleness_s=(now - last).total_seconds(),
                    steps=int(steps[code]),
                    gap_steps=int(gap_steps[code]),
                    completeness_ratio=_ratio(steps[code] - gap_steps[code], steps[code]),
                    gaps=int(gaps[code]),
                    longest_gap_s=float(longest_us[code]) / US,
                    monotone=bool(disordered[code] == 0) and self._went_back[name] == 0,
                    disordered_rows=int(disordered[code]),
                    clock_went_back_rows=self._went_back[name],
                )
            )
        return sorted(listed, key=lambda item: (item.completeness_ratio, item.entity))

    def _over_time(self) -> TimeSpan | None:
        counts = self._time.counts
        if not counts:
            return None
        return TimeSpan(
            start=_moment(self._time.start_us),
            width_s=self._time.width_us / US,
            counts=tuple(counts),
        )


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0


def _moment(ts_us: int | np.int64) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(ts_us))
