"""Brings what a caller holds to demand on an even grid, and says what was mended on the way.

Legend: T samples of the grid.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from novacron.errors import OutOfRangeError, SchemaError
from novacron.models.scaling.config import COARSEST_STEP_S, DAY_S, FINEST_STEP_S

Floats = NDArray[np.float64]

LEAST_SAMPLES: Final = 12
LONGEST_HOLD_S: Final = 1800
"""A gap is filled with the value before it for this long; the rest stays missing."""
HIGHEST_RATIO: Final = 4.0
"""A column `*_ratio` above this is in percent."""
_OFF_GRID_RATIO: Final = 0.25
_MOST_OFF_GRID_RATIO: Final = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Demand:
    """Demand every `step_s` seconds, in the caller's unit, not negative, NaN in long gaps.

    `start_s` is the time of the first sample after midnight UTC, in seconds; NaN without a clock.
    """

    value_T: Floats
    step_s: int
    start_s: float
    end: datetime | None
    filled: int
    """Samples that took the value before them."""
    joined: int
    """Samples of the source in one of the grid; above 1 the highest of them was taken."""

    def __len__(self) -> int:
        return len(self.value_T)

    @property
    def day_steps(self) -> int:
        """Steps of a day."""
        return DAY_S // self.step_s

    @property
    def is_constant(self) -> bool:
        """All samples that are there are equal."""
        known = self.value_T[np.isfinite(self.value_T)]
        return bool(known.size and np.ptp(known) <= 1e-9 * max(1.0, abs(known[0])))

    def part(self, begin: int, stop: int) -> "Demand":
        """Return samples begin .. stop - 1 on the same clock."""
        behind = len(self) - stop
        end = None if self.end is None else self.end - pd.Timedelta(seconds=behind * self.step_s)
        return Demand(
            value_T=self.value_T[begin:stop],
            step_s=self.step_s,
            start_s=(self.start_s + begin * self.step_s) % DAY_S,
            end=end,
            filled=self.filled,
            joined=self.joined,
        )


def to_demand(data: Any, step_s: float | None = None, *, name: str = "demand") -> Demand:
    """Return a series as demand on an even grid.

    Args:
        data: Numbers with `step_s`, or a pandas series on a DatetimeIndex (naive times count as
            UTC). Missing samples are NaN, or rows that are not there.
        step_s: Seconds between samples where the data have no times.
        name: Field named in errors. If it ends with `_ratio`, values above 4 are refused: percent.

    Raises:
        SchemaError: Not one series of numbers, no step, fewer than 12 samples, all or the newest
            missing, or times that repeat or run backwards.
        OutOfRangeError: A value is negative, infinite or a percentage; the clock is irregular; or
            the step is longer than half an hour.
    """
    if isinstance(data, pd.Series) and isinstance(data.index, pd.DatetimeIndex):
        value_T, step, end = _from_index(data, step_s, name)
    else:
        if step_s is None:
            raise SchemaError(
                field="step_s",
                got="nothing",
                expected="seconds between two samples",
                remedy="Give step_s, or times in a `timestamp` column or a DatetimeIndex.",
            )
        value_T, step, end = _numbers(data, name), float(step_s), None
    _check_values(value_T, name)
    grid_T, grid_s, joined = _joined(value_T, step)
    held_T, filled = _held(grid_T, grid_s)
    _check_enough(held_T, grid_s, name)
    start_s = float("nan")
    if end is not None:
        newest_s = end.hour * 3600 + end.minute * 60 + end.second
        start_s = float((newest_s - (len(held_T) - 1) * grid_s) % DAY_S)
    return Demand(
        value_T=held_T, step_s=grid_s, start_s=start_s, end=end, filled=filled, joined=joined
    )


def _numbers(data: Any, name: str) -> Floats:
    try:
        value_T = np.array(data, dtype=np.float64)
    except (TypeError, ValueError) as cause:
        raise SchemaError(field=name, got=str(cause), expected="numbers") from cause
    if value_T.ndim != 1:
        raise SchemaError(field=name, got=list(value_T.shape), expected="one series of numbers")
    return value_T


def _from_index(
    data: "pd.Series[Any]", step_s: float | None, name: str
) -> tuple[Floats, float, datetime]:
    index = pd.DatetimeIndex(data.index)
    utc = index.tz_localize(UTC) if index.tz is None else index.tz_convert(UTC)
    t_s = utc.as_unit("us").asi8 / 1e6
    if t_s.size < 2 or (np.diff(t_s) <= 0).any():
        raise SchemaError(
            field=f"{name}: times",
            got="times that repeat or run backwards" if t_s.size > 1 else f"{t_s.size} samples",
            expected="at least two increasing times",
            remedy="Sort by time and keep one sample each.",
        )
    step = float(np.median(np.diff(t_s))) if step_s is None else float(step_s)
    place = (t_s - t_s[-1]) / step
    nearest = np.round(place)
    off = float((np.abs(place - nearest) > _OFF_GRID_RATIO).mean())
    if off > _MOST_OFF_GRID_RATIO or np.unique(nearest).size < nearest.size:
        raise OutOfRangeError(
            field=f"{name}: times",
            got=f"{off:.0%} of the samples off a grid of {step:g} s",
            expected=f"an even clock, at most {_MOST_OFF_GRID_RATIO:.0%} off it",
            remedy="Take maxima over even steps first, for example data.resample('5min').max().",
        )
    value_T = np.full(int(-nearest.min()) + 1, np.nan)
    value_T[nearest.astype(np.int64) - 1] = _numbers(data, name)
    return value_T, step, utc[-1].to_pydatetime()


def _check_values(value_T: Floats, name: str) -> None:
    known = value_T[~np.isnan(value_T)]
    wrong = np.isinf(known) | (known < 0)
    if wrong.any():
        raise OutOfRangeError(
            field=name, got=float(known[wrong][0]), expected="a finite number >= 0"
        )
    if name.endswith("_ratio") and known.size and known.max() > HIGHEST_RATIO:
        raise OutOfRangeError(
            field=name,
            got=float(known.max()),
            expected=f"a ratio of what is provisioned, 0 .. {HIGHEST_RATIO:g}",
            remedy="This looks like percent: divide by 100.",
        )


def _joined(value_T: Floats, step_s: float) -> tuple[Floats, int, int]:
    if not 0 < step_s <= COARSEST_STEP_S:
        raise OutOfRangeError(
            field="step_s",
            got=step_s,
            expected=f"above 0, at most {COARSEST_STEP_S} s",
            remedy="An hour ahead needs at least two samples an hour.",
        )
    if step_s >= FINEST_STEP_S:
        if DAY_S % round(step_s) or abs(step_s - round(step_s)) > 1e-6:
            raise OutOfRangeError(
                field="step_s", got=step_s, expected="whole seconds that divide a day"
            )
        return value_T, round(step_s), 1
    joined = max(1, round(FINEST_STEP_S / step_s))
    if abs(joined * step_s - FINEST_STEP_S) > 1e-6:
        raise OutOfRangeError(
            field="step_s", got=step_s, expected=f"a step that divides {FINEST_STEP_S} s"
        )
    kept = value_T[len(value_T) % joined :].reshape(-1, joined)
    known = np.isfinite(kept).any(axis=1)
    highest_T = np.where(known, np.nanmax(np.where(np.isnan(kept), -1.0, kept), axis=1), np.nan)
    return highest_T, FINEST_STEP_S, joined


def _held(value_T: Floats, step_s: int) -> tuple[Floats, int]:
    filled = pd.Series(value_T).ffill(limit=max(1, LONGEST_HOLD_S // step_s))
    held = np.asarray(filled.to_numpy(), dtype=np.float64)
    return held, int((np.isfinite(held) & np.isnan(value_T)).sum())


def _check_enough(value_T: Floats, step_s: int, name: str) -> None:
    known = int(np.isfinite(value_T).sum())
    if known < LEAST_SAMPLES:
        raise SchemaError(
            field=name,
            got=f"{known} samples of {step_s} s",
            expected=f"at least {LEAST_SAMPLES}",
            remedy="Wait until an hour of samples is there; until then scale by hand.",
        )
    if np.isnan(value_T[-1]):
        raise SchemaError(
            field=name,
            got="the newest half hour missing",
            expected="a sample in the last half hour",
            remedy="Nothing is known about demand now: mend the collector first.",
        )
