"""The plain pandas script that ingestion is measured against: same rules, same answers.

It is written as one would write it by hand: whole columns in memory, no loop over rows.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from novacron.contracts.fields import SampleSchema
from novacron.errors import NovacronError
from novacron.telemetry.ingest import IngestConfig

_HOW = {"mean": "mean", "max": "max", "sum": "sum", "last": "last"}


@dataclass(frozen=True, slots=True)
class PandasAnswer:
    """What the script found."""

    grid: pd.DataFrame
    reasons: dict[str, int]


def pandas_ingest(path: Path, schema: SampleSchema, config: IngestConfig) -> PandasAnswer:
    """Read a Parquet file, check its rows and join them on the grid."""
    frame = pd.read_parquet(path, use_threads=False)
    reason = _content_reasons(frame, schema)
    good = frame[reason == ""]
    order = _order_reasons(good, schema.entity, config)
    reason.loc[order.index] = order
    good = good[order == ""]
    step = pd.Timedelta(seconds=config.join.step_s)
    end = good["ts"].dt.ceil(step)
    lateness = pd.Timedelta(seconds=config.join.allowed_lateness_s)
    late = end + lateness < good["ts"].cummax().shift()
    reason.loc[late.index[late]] = "late"
    good, end = good[~late], end[~late]
    counts = reason[reason != ""].value_counts()
    return PandasAnswer(
        grid=_grid(good, end, schema, step),
        reasons={str(name): int(count) for name, count in counts.items()},
    )


def require_same(grid: pd.DataFrame, reasons: dict[str, int], other: PandasAnswer) -> None:
    """Compare both answers.

    Raises:
        NovacronError: They differ in a row, a value or a reason.
    """
    if reasons != other.reasons:
        raise NovacronError(f"The reasons differ: {reasons} and {other.reasons}.")
    keys = list(other.grid.columns[:2])
    ours = grid[other.grid.columns].sort_values(keys[::-1], ignore_index=True)
    theirs = other.grid.sort_values(keys[::-1], ignore_index=True)
    try:
        pd.testing.assert_frame_equal(ours, theirs, check_dtype=False, rtol=1e-9, atol=1e-12)
    except AssertionError as error:
        raise NovacronError(f"The grids differ: {error}") from error


def _content_reasons(frame: pd.DataFrame, schema: SampleSchema) -> pd.Series:
    reason = pd.Series("", index=frame.index)
    for field in schema:
        if field.name not in frame:
            continue
        column = frame[field.name]
        if field.required:
            reason = reason.mask(column.isna() & (reason == ""), "missing_required")
        if field.choices:
            strange = column.notna() & ~column.isin(field.choices)
            reason = reason.mask(strange & (reason == ""), "unknown_choice")
        if field.kind not in ("float", "int"):
            continue
        outside = (column < field.low) | (column > field.high)
        if field.unit == "0..1" and field.high is not None:
            percent = (column > field.high) & (column <= 100 * field.high)
            reason = reason.mask(percent & (reason == ""), "percent_not_ratio")
        reason = reason.mask(outside & (reason == ""), "out_of_range")
    return reason


def _order_reasons(frame: pd.DataFrame, entity: str, config: IngestConfig) -> pd.Series:
    newest = frame.groupby(entity)["ts"].cummax()
    before = newest.groupby(frame[entity]).shift()
    disorder = pd.Timedelta(seconds=config.validation.max_disorder_s)
    reason = pd.Series("", index=frame.index)
    reason = reason.mask(frame["ts"] < before - disorder, "clock_went_back")
    kept = frame[reason == ""]
    repeated = kept.duplicated([entity, "ts"])
    equal = kept.duplicated()
    reason.loc[repeated.index[repeated & equal]] = "duplicate"
    reason.loc[repeated.index[repeated & ~equal]] = "conflicting_duplicate"
    return reason


def _grid(
    frame: pd.DataFrame, end: pd.Series, schema: SampleSchema, step: pd.Timedelta
) -> pd.DataFrame:
    frame = frame.sort_values("ts", kind="stable")
    keys = [frame[schema.entity], end.loc[frame.index].rename("end")]
    how = {
        field.name: _HOW[field.aggregate]
        for field in schema
        if field.name in frame and field.aggregate != "key"
    }
    grouped = frame.groupby(keys)
    steps = grouped.agg(how)
    steps["n_samples"] = grouped.size()
    steps["newest"] = grouped["ts"].max()
    parts = []
    for name, part in steps.groupby(level=0):
        filled = part.droplevel(0).asfreq(pd.tseries.frequencies.to_offset(step))
        filled["newest"] = filled["newest"].ffill()
        filled.insert(0, schema.entity, name)
        parts.append(filled)
    grid = pd.concat(parts).rename_axis("ts").reset_index()
    grid["gap"] = grid["n_samples"].isna()
    grid["n_samples"] = grid["n_samples"].fillna(0)
    grid["age_s"] = (grid["ts"] - grid["newest"]).dt.total_seconds()
    return grid.drop(columns="newest")
