"""Brings what a caller holds - an array, a pandas series - to one evenly spaced window."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from novacron.errors import OutOfRangeError, SchemaError
from novacron.features.evidence.table import MOST_SAMPLES
from novacron.models.patterns.model import check_step

Floats = NDArray[np.float64]

OFF_GRID_RATIO: Final = 0.25
"""A sample farther than this share of a step from the grid is off the grid."""
MOST_OFF_GRID_RATIO: Final = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """Samples every `step_s` seconds, NaN where missing, and when the newest was taken (UTC)."""

    usage: Floats
    step_s: float
    end: datetime | None


def to_window(data: Any, step_s: float | None = None) -> Window:
    """Return the newest `MOST_SAMPLES` steps of a series as a window.

    Args:
        data: A sequence of numbers with `step_s`, or a pandas series with a DatetimeIndex (naive
            times count as UTC). Missing samples are NaN, or rows that are not there.
        step_s: Seconds between samples; with an index it is read from there when left out.

    Raises:
        SchemaError: Not one series of numbers, no step, or times that repeat or run backwards.
        OutOfRangeError: The step is not positive; or the clock is irregular: more than 5 % of the
            samples lie off the grid by more than a quarter of a step.
    """
    if isinstance(data, pd.DataFrame) or not hasattr(data, "__len__"):
        raise SchemaError(
            field="data",
            got=type(data).__name__,
            expected="one series of numbers",
            remedy="Pass one column, or use recognize_workload for several resources.",
        )
    if isinstance(data, pd.Series) and isinstance(data.index, pd.DatetimeIndex):
        return _from_index(data, step_s)
    if step_s is None:
        raise SchemaError(
            field="step_s",
            got="nothing",
            expected="seconds between two samples",
            remedy="Give step_s, or a pandas series with a DatetimeIndex.",
        )
    usage = _numbers(data)
    return Window(usage=usage[-MOST_SAMPLES:], step_s=check_step(step_s), end=None)


def _numbers(data: Any) -> Floats:
    try:
        usage = np.asarray(data, dtype=np.float64)
    except (TypeError, ValueError) as cause:
        raise SchemaError(field="data", got=str(cause), expected="numbers") from cause
    if usage.ndim != 1:
        raise SchemaError(
            field="data", got=f"shape {list(usage.shape)}", expected="one series of numbers"
        )
    return usage


def _from_index(data: "pd.Series[Any]", step_s: float | None) -> Window:
    index = pd.DatetimeIndex(data.index)
    utc = index.tz_localize(UTC) if index.tz is None else index.tz_convert(UTC)
    t_s = utc.as_unit("us").asi8 / 1e6
    if t_s.size < 2 or (np.diff(t_s) <= 0).any():
        raise SchemaError(
            field="data.index",
            got="times that repeat or run backwards" if t_s.size > 1 else f"{t_s.size} samples",
            expected="at least two increasing times",
            remedy="Sort by time and keep one sample each.",
        )
    step = check_step(float(np.median(np.diff(t_s))) if step_s is None else step_s)
    place = (t_s - t_s[-1]) / step
    nearest = np.round(place)
    off_ratio = float((np.abs(place - nearest) > OFF_GRID_RATIO).mean())
    if off_ratio > MOST_OFF_GRID_RATIO:
        raise OutOfRangeError(
            field="data.index",
            got=f"{off_ratio:.0%} of the samples off a grid of {step:g} s",
            expected=f"at most {MOST_OFF_GRID_RATIO:.0%}",
            remedy="Take means over even steps first, for example data.resample('5min').mean().",
        )
    kept = nearest > -MOST_SAMPLES
    usage = np.full(int(-nearest[kept].min()) + 1, np.nan)
    usage[nearest[kept].astype(np.int64) - 1] = _numbers(data)[kept]
    return Window(usage=usage, step_s=step, end=utc[-1].to_pydatetime())
