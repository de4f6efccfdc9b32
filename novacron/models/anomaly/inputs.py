"""Brings what a caller has - a frame, or arrays by name - to checked series on one clock.

Legend: T samples, M metrics.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from novacron.contracts.telemetry import LINK_SCHEMA, NODE_SCHEMA
from novacron.errors import OutOfRangeError, PayloadTooLargeError, SchemaError
from novacron.models.anomaly.config import AnomalyConfig

Floats = NDArray[np.float64]

TIME: Final = "ts"
ENTITIES: Final = ("node_id", "link_id")
ANY_VALUE: Final = "value"
"""Name of a metric that is none of the telemetry tables'."""
GAP_STEPS: Final = 3.0
"""A pause of more steps than this is flagged."""

Data = pd.DataFrame | Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricSeries:
    """Samples of one entity: `value_TM` is finite, held from the sample before where missing."""

    ts_s: Floats
    """Seconds; of the epoch where the caller gave times, from 0 where it gave none."""
    step_s: float
    metrics: tuple[str, ...]
    value_TM: Floats
    missing_TM: NDArray[np.bool_]
    gap_T: NDArray[np.bool_]
    """True for the first sample after a pause."""

    def __len__(self) -> int:
        return len(self.ts_s)


def known_metrics(config: AnomalyConfig) -> tuple[str, ...]:
    """Return the names that a caller may use."""
    numbers = [
        field.name
        for schema in (NODE_SCHEMA, LINK_SCHEMA)
        for field in schema.fields
        if field.kind in {"float", "int"}
    ]
    return tuple(dict.fromkeys([ANY_VALUE, *numbers, *config.extra_metrics]))


def read_series(data: Data, config: AnomalyConfig, *, step_s: float | None = None) -> MetricSeries:
    """Check the samples of one entity.

    Args:
        data: Columns by name: metrics, and optionally `ts` (times, or seconds of the epoch; a
            frame may have them as its index). A metric that is missing everywhere is left out.
        config: For the names and the longest series.
        step_s: Seconds between samples; None measures it from `ts`.

    Raises:
        SchemaError: No sample, no metric, an unknown metric, a column of another length, text in
            place of numbers, or no way to know the step.
        OutOfRangeError: Times repeat or run backwards, or a sample is infinite.
        PayloadTooLargeError: More samples than the config allows.
    """
    columns = dict(data.items())
    for name in ENTITIES:
        _require_one_entity(name, columns.pop(name, None))
    ts = columns.pop(TIME, None)
    if ts is None and isinstance(data, pd.DataFrame) and isinstance(data.index, pd.DatetimeIndex):
        ts = data.index
    values = {str(name): _numbers(str(name), column) for name, column in columns.items()}
    _require_known(tuple(values), known_metrics(config))
    lengths = {name: len(column) for name, column in values.items()}
    rows = next(iter(lengths.values()), 0)
    if rows == 0 or set(lengths.values()) != {rows}:
        raise SchemaError(
            field="data",
            got=lengths or "no metric",
            expected="at least one metric with at least one sample, all of one length",
        )
    if rows > config.longest_series:
        raise PayloadTooLargeError(
            field="data", got=f"{rows} samples", expected=f"at most {config.longest_series}"
        )
    ts_s = _seconds(ts, rows, step_s)
    step_s = step_s or _step(ts_s)
    present = {name: column for name, column in values.items() if not np.isnan(column).all()}
    if not present:
        raise SchemaError(field="data", got="only missing samples", expected="at least one sample")
    value_TM = np.column_stack(list(present.values()))
    return MetricSeries(
        ts_s=ts_s,
        step_s=step_s,
        metrics=tuple(present),
        value_TM=_held(value_TM),
        missing_TM=np.isnan(value_TM),
        gap_T=np.concatenate([[False], np.diff(ts_s) > GAP_STEPS * step_s]),
    )


def _require_one_entity(name: str, column: Any) -> None:
    if column is not None and len(pd.unique(pd.Series(column))) > 1:
        raise SchemaError(
            field=name,
            got=f"{len(pd.unique(pd.Series(column)))} entities",
            expected="the samples of one entity",
            remedy="Call once for each, for example over frame.groupby.",
        )


def _require_known(names: tuple[str, ...], known: tuple[str, ...]) -> None:
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise SchemaError(
                field=name,
                got="a metric of this name",
                expected=f"one of {', '.join(known[:12])}, ... or one of `extra_metrics`",
                remedy=f"Did you mean {near[0]!r}?" if near else "Name it in `extra_metrics`.",
            )


def _numbers(name: str, column: Any) -> Floats:
    try:
        array = np.array(column, dtype=np.float64)
    except (TypeError, ValueError) as cause:
        raise SchemaError(
            field=name, got=str(cause), expected="numbers, NaN if missing"
        ) from cause
    if array.ndim != 1:
        raise SchemaError(field=name, got=list(array.shape), expected="one axis, time")
    if np.isinf(array).any():
        raise OutOfRangeError(
            field=f"{name}[{int(np.argmax(np.isinf(array)))}]",
            got=float(array[np.isinf(array)][0]),
            expected="a finite number, or NaN where missing",
        )
    return array


def _seconds(ts: Any, rows: int, step_s: float | None) -> Floats:
    if ts is None:
        if step_s is None:
            raise SchemaError(
                field=TIME, got="no times", expected="a `ts` column, a time index, or `step_s`"
            )
        return step_s * np.arange(rows, dtype=np.float64)
    if len(ts) != rows:
        raise SchemaError(field=TIME, got=f"{len(ts)} times", expected=f"{rows}, one a sample")
    try:
        array = np.asarray(ts)
        if array.dtype.kind in "iuf":
            seconds = array.astype(np.float64)
        else:
            stamps = pd.DatetimeIndex(pd.to_datetime(pd.Series(ts), utc=True, format="ISO8601"))
            seconds = stamps.as_unit("us").asi8 / 1e6
    except (TypeError, ValueError) as cause:
        raise SchemaError(field=TIME, got=str(cause), expected="times or seconds") from cause
    back = np.flatnonzero(~(np.diff(seconds) > 0))
    if len(back):
        at = int(back[0]) + 1
        raise OutOfRangeError(
            field=f"{TIME}[{at}]",
            got=float(seconds[at]),
            expected=f"a time after {seconds[at - 1]:.3f}, the one before it",
            remedy="Sort by time and drop repeated samples; a clock that ran backwards cannot be "
            "put right here.",
        )
    return seconds


def _step(ts_s: Floats) -> float:
    if len(ts_s) < 2:
        raise SchemaError(field=TIME, got="one time", expected="at least two times, or `step_s`")
    return float(np.median(np.diff(ts_s)))


def _held(value_TM: Floats) -> Floats:
    """Hold the last sample where one is missing; what is missing at the start takes the first."""
    rows = np.where(np.isnan(value_TM), 0, np.arange(len(value_TM))[:, None])
    held_TM = np.take_along_axis(value_TM, np.maximum.accumulate(rows, axis=0), axis=0)
    first_M = np.isnan(value_TM).argmin(axis=0)
    start_M = value_TM[first_M, np.arange(value_TM.shape[1])]
    return np.where(np.isnan(held_TM), start_M, held_TM)
