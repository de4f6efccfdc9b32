"""Brings what a caller holds to one series on an hourly or daily grid, or says why it cannot.

Legend: T grid steps. What was repaired is named in `History.notes`, never done silently.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from novacron.errors import OutOfRangeError, SchemaError

Floats = NDArray[np.float64]

HOUR_S: Final = 3_600
DAY_S: Final = 86_400
LEAST_DAYS: Final = 7
"""Shortest history: one week, so that every weekday was seen."""
MOST_MISSING_RATIO: Final = 0.5
MOST_OFF_GRID_RATIO: Final = 0.02
_FULL_BUCKET_RATIO: Final = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """Values every `step_s` seconds, NaN where missing; the first stands for [start, start + step).

    `notes` counts what was repaired: `duplicates_dropped`, `gaps`, `averaged_to_hours`,
    `averaged_to_days`, `part_of_a_step_dropped`.
    """

    value_T: Floats
    start: datetime
    step_s: int
    notes: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.value_T.size

    @property
    def days(self) -> float:
        """Length in days."""
        return len(self) * self.step_s / DAY_S

    @property
    def end(self) -> datetime:
        """End of the last step: when the forecast is made, in UTC."""
        return self.start + len(self) * pd.Timedelta(seconds=self.step_s).to_pytimedelta()

    def index(self, ahead: int = 0) -> pd.DatetimeIndex:
        """Return the naive UTC starts of the steps, `ahead` of them after the last."""
        return pd.DatetimeIndex(
            pd.date_range(
                pd.Timestamp(self.start).tz_localize(None),
                periods=len(self) + ahead,
                freq=pd.Timedelta(seconds=self.step_s),
            )
        )

    def until(self, steps: int) -> "History":
        """Return the first `steps` steps, for trying a forecast at an earlier time."""
        return History(value_T=self.value_T[:steps], start=self.start, step_s=self.step_s)

    def since(self, step: int) -> "History":
        """Return what follows a step, that step included."""
        start = self.start + step * pd.Timedelta(seconds=self.step_s).to_pytimedelta()
        return History(value_T=self.value_T[step:], start=start, step_s=self.step_s)


def to_history(
    data: Any, *, step_s: float | None = None, start: datetime | None = None
) -> History:
    """Check one series and bring it to hours or days.

    Samples finer than an hour become hourly means, samples between an hour and a day daily means.

    Args:
        data: A pandas series with a DatetimeIndex (naive times count as UTC), or numbers with
            `step_s` and `start`. Missing samples are NaN, or rows that are not there.
        step_s: Seconds between samples, without an index.
        start: When the first sample was taken, without an index.

    Raises:
        SchemaError: Not one series of numbers; no clock; times that run backwards or repeat with
            different values; all samples missing, or more than half.
        OutOfRangeError: An infinite value, an irregular clock, a step of more than a day.
    """
    if isinstance(data, pd.Series) and isinstance(data.index, pd.DatetimeIndex):
        value_N, t_N = _numbers(data), _seconds(data.index)
    else:
        value_N = _numbers(data)
        t_N = _clock_of(value_N.size, step_s, start)
    value_N, t_N, notes = _in_order(value_N, t_N)
    present_N = ~np.isnan(value_N)
    if not present_N.any():
        raise SchemaError(
            field="history", got="only missing values", expected="a series with values"
        )
    return _on_grid(value_N, t_N, notes)


def check_length(history: History, horizon: int) -> None:
    """Check that a history is long enough for a horizon in steps.

    Raises:
        SchemaError: It is shorter than a week or than the horizon, or more than half of it is
            missing.
    """
    least = max(LEAST_DAYS * DAY_S // history.step_s, horizon)
    if len(history) < least:
        raise SchemaError(
            field="history",
            got=f"{history.days:.1f} days",
            expected=f"at least {least * history.step_s / DAY_S:.0f} days: one week, and no less "
            "than the horizon",
            remedy="Give a longer history, or ask for a shorter horizon.",
        )
    missing = float(np.isnan(history.value_T).mean())
    if missing > MOST_MISSING_RATIO:
        raise SchemaError(
            field="history",
            got=f"{missing:.0%} of the steps missing",
            expected=f"at most {MOST_MISSING_RATIO:.0%}",
            remedy="Start the history after the long pause.",
        )


def _numbers(data: Any) -> Floats:
    if isinstance(data, pd.DataFrame) or not hasattr(data, "__len__"):
        raise SchemaError(
            field="history",
            got=type(data).__name__,
            expected="one series of numbers with its times",
            remedy="Pass one column of the frame.",
        )
    try:
        value_N = np.asarray(data, dtype=np.float64)
    except (TypeError, ValueError) as cause:
        raise SchemaError(field="history", got=str(cause), expected="numbers") from cause
    if value_N.ndim != 1 or value_N.size == 0:
        raise SchemaError(
            field="history", got=f"shape {list(value_N.shape)}", expected="one series of numbers"
        )
    if np.isinf(value_N).any():
        at = int(np.argmax(np.isinf(value_N)))
        raise OutOfRangeError(
            field=f"history[{at}]", got=float(value_N[at]), expected="a finite number, or NaN"
        )
    return value_N


def _seconds(index: pd.DatetimeIndex) -> Floats:
    if index.hasnans:
        raise SchemaError(field="history.index", got="a missing time", expected="a time per value")
    utc = index.tz_localize(UTC) if index.tz is None else index.tz_convert(UTC)
    return np.asarray(utc.as_unit("us").asi8 / 1e6)


def _clock_of(samples: int, step_s: float | None, start: datetime | None) -> Floats:
    if step_s is None or start is None:
        raise SchemaError(
            field="history",
            got="numbers without times",
            expected="step_s and start, or a pandas series with a DatetimeIndex",
            remedy="Weekdays and holidays need a clock.",
        )
    if not np.isfinite(step_s) or step_s <= 0:
        raise OutOfRangeError(field="step_s", got=step_s, expected="a positive number of seconds")
    moment = start if start.tzinfo is not None else start.replace(tzinfo=UTC)
    return np.asarray(moment.timestamp() + step_s * np.arange(samples), dtype=np.float64)


def _in_order(value_N: Floats, t_N: Floats) -> tuple[Floats, Floats, dict[str, int]]:
    step_N = np.diff(t_N)
    if (step_N < 0).any():
        at = int(np.argmax(step_N < 0)) + 1
        raise SchemaError(
            field=f"history.index[{at}]",
            got="a clock that runs backwards",
            expected="times in order",
            remedy="Sort by time if the rows were only shuffled; else find out which clock was set.",
        )
    again_N = np.concatenate([[False], step_N == 0])
    if not again_N.any():
        return value_N, t_N, {}
    before_N = np.concatenate([value_N[:1], value_N[:-1]])
    same_N = (value_N == before_N) | (np.isnan(value_N) & np.isnan(before_N))
    if (again_N & ~same_N).any():
        at = int(np.argmax(again_N & ~same_N))
        raise SchemaError(
            field=f"history.index[{at}]",
            got="one time with two different values",
            expected="one value per time",
            remedy="Keep the right one of each.",
        )
    return value_N[~again_N], t_N[~again_N], {"duplicates_dropped": int(again_N.sum())}


def _on_grid(value_N: Floats, t_N: Floats, notes: dict[str, int]) -> History:
    if t_N.size < 2:
        raise SchemaError(field="history", got="1 sample", expected="at least a week of samples")
    native_s = float(np.median(np.diff(t_N)))
    if native_s > 1.25 * DAY_S:
        raise OutOfRangeError(
            field="history.index",
            got=f"a step of {native_s / DAY_S:.1f} days",
            expected="samples at least once a day",
        )
    if native_s > 0.75 * DAY_S:
        return _placed(value_N, t_N, DAY_S, notes)
    if abs(native_s - HOUR_S) < 1:
        return _placed(value_N, t_N, HOUR_S, notes)
    if native_s < HOUR_S:
        return _averaged(value_N, t_N, HOUR_S, notes | {"averaged_to_hours": t_N.size}, native_s)
    return _averaged(value_N, t_N, DAY_S, notes | {"averaged_to_days": t_N.size}, native_s)


def _placed(value_N: Floats, t_N: Floats, step_s: int, notes: dict[str, int]) -> History:
    place_N = (t_N - t_N[0]) / step_s
    nearest_N = np.round(place_N)
    off_ratio = float((np.abs(place_N - nearest_N) > 0.1).mean())
    if off_ratio > MOST_OFF_GRID_RATIO or len(np.unique(nearest_N)) < nearest_N.size:
        raise OutOfRangeError(
            field="history.index",
            got=f"{off_ratio:.0%} of the samples off a grid of {step_s} s",
            expected=f"at most {MOST_OFF_GRID_RATIO:.0%}, one sample per step",
            remedy="Take means over even steps first, for example history.resample('1D').mean().",
        )
    value_T = np.full(int(nearest_N[-1]) + 1, np.nan)
    value_T[nearest_N.astype(np.int64)] = value_N
    return _finish(value_T, t_N[0], step_s, notes)


def _averaged(
    value_N: Floats, t_N: Floats, step_s: int, notes: dict[str, int], native_s: float
) -> History:
    bucket_N = np.floor(t_N / step_s).astype(np.int64)
    first = int(bucket_N[0])
    place_N = bucket_N - first
    present_N = ~np.isnan(value_N)
    count_T = np.bincount(place_N[present_N], minlength=int(place_N[-1]) + 1)
    total_T = np.bincount(
        place_N[present_N], weights=value_N[present_N], minlength=int(place_N[-1]) + 1
    )
    # A step of which most is missing would be judged by its few samples.
    enough_T = count_T >= max(1.0, _FULL_BUCKET_RATIO * step_s / max(native_s, 1.0))
    value_T = np.where(enough_T, total_T / np.maximum(count_T, 1), np.nan)
    ends = [place for place in (0, len(value_T) - 1) if not enough_T[place] and count_T[place]]
    if ends:
        notes = notes | {"part_of_a_step_dropped": len(ends)}
    kept = np.flatnonzero(~np.isnan(value_T))
    if kept.size == 0:
        raise SchemaError(
            field="history",
            got="no step with at least half of its samples",
            expected="a series with values",
        )
    lowest, highest = int(kept[0]), int(kept[-1])
    return _finish(value_T[lowest : highest + 1], (first + lowest) * step_s, step_s, notes)


def _finish(value_T: Floats, start_s: float, step_s: int, notes: dict[str, int]) -> History:
    kept = np.flatnonzero(~np.isnan(value_T))
    # A forecast starts where the data end, not where rows without values end.
    first, last = int(kept[0]), int(kept[-1])
    value_T = value_T[first : last + 1]
    gaps = int(np.isnan(value_T).sum())
    return History(
        value_T=value_T,
        start=datetime.fromtimestamp(start_s + first * step_s, UTC),
        step_s=step_s,
        notes=notes | ({"gaps": gaps} if gaps else {}),
    )


def busy_hours(history: History) -> History:
    """Return the busiest hour of each whole day of an hourly history.

    A day counts where at least half of its hours are present. What fills a machine is its busy
    hour, not its mean.

    Raises:
        SchemaError: No day has enough hours.
    """
    day_T = pd.Series(history.value_T, index=history.index()).resample("1D")
    count = day_T.count()
    peak = day_T.max().where(count >= DAY_S // HOUR_S * _FULL_BUCKET_RATIO)
    if peak.notna().sum() == 0:
        raise SchemaError(
            field="history", got="no whole day", expected="days of at least 12 hours"
        )
    kept = np.flatnonzero(peak.notna().to_numpy())
    peak = peak.iloc[kept[0] : kept[-1] + 1]
    start = peak.index[0].to_pydatetime().replace(tzinfo=UTC)
    notes = dict(history.notes) | {"busy_hours_of_days": len(peak)}
    value_T = peak.to_numpy(dtype=np.float64).astype(np.float64)
    return History(value_T=value_T, start=start, step_s=DAY_S, notes=notes)
