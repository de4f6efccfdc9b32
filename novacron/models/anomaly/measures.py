"""What operators ask of alerts: recall of events, false episodes a day, precision, delay, FPR.

No point-adjust: an event counts as found when an alert is raised while it lasts, an alert counts
once, and time that labels say nothing about is masked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Span = tuple[float, float]
"""Start and end in seconds, both inside."""

HOUR_S: Final = 3600.0
DAY_S: Final = 86_400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class EventCounts:
    """Counts of one series."""

    events: int
    found: int
    false_alerts: int
    days: float
    """Judged time outside events and masks."""
    false_hours: int
    quiet_hours: int
    """Windows of one hour without event or mask; `false_hours` of them hold a false alert."""
    delays_s: tuple[float, ...]
    """From the start of each found event to the first alert in it."""


def count_events(
    alert_s: Sequence[float],
    span: Span,
    events: Sequence[Span],
    masked: Sequence[Span] = (),
    *,
    grace_s: float = 0.0,
) -> EventCounts:
    """Compare the alerts of one series with its events.

    Args:
        alert_s: Times of the alerts, increasing.
        span: Judged time; alerts and events outside are left out.
        events: Spans that should alert.
        masked: Spans in which an alert is neither right nor wrong.
        grace_s: Time after an event in which alerts are neither: things go back to normal.
    """
    judged = [event for event in events if span[0] <= event[0] <= span[1]]
    alerts = [at for at in alert_s if span[0] <= at <= span[1]]
    found, delays = 0, []
    for start, end in judged:
        inside = [at for at in alerts if start <= at <= end]
        found += bool(inside)
        delays += [inside[0] - start] if inside else []
    excused = [(start, end + grace_s) for start, end in events] + list(masked)
    false = [at for at in alerts if not any(start <= at <= end for start, end in excused)]
    quiet, wrong = _hours(span, excused, false)
    return EventCounts(
        events=len(judged),
        found=found,
        false_alerts=len(false),
        days=max(span[1] - span[0] - _covered_s(span, excused), 0.0) / DAY_S,
        false_hours=wrong,
        quiet_hours=quiet,
        delays_s=tuple(delays),
    )


def _covered_s(span: Span, parts: Sequence[Span]) -> float:
    total, reached = 0.0, span[0]
    for start, end in sorted(parts):
        low, high = max(start, reached), min(end, span[1])
        total += max(high - low, 0.0)
        reached = max(reached, high)
    return total


def _hours(span: Span, excused: Sequence[Span], false: Sequence[float]) -> tuple[int, int]:
    start_H = np.arange(span[0], span[1] - HOUR_S + 1e-6, HOUR_S)
    free_H = np.ones(len(start_H), dtype=bool)
    for start, end in excused:
        free_H &= (start_H > end) | (start_H + HOUR_S < start)
    wrong_H = np.zeros(len(start_H), dtype=bool)
    for at in false:
        wrong_H |= (start_H <= at) & (at < start_H + HOUR_S)
    return int(free_H.sum()), int((free_H & wrong_H).sum())


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """One figure with its 95 % interval over series."""

    value: float
    lo: float
    hi: float


def summarise(counts: Sequence[EventCounts], rng: np.random.Generator) -> dict[str, Measure]:
    """Return the measures of many series, resampling whole series for the intervals.

    Returns:
        `recall`, `false_episodes_per_series_day`, `episode_precision` (found events over found and
        false ones), `false_positive_hours_ratio` (FP / (FP + TN) of hours) and `mean_delay_s`.
    """
    table = np.array(
        [
            (
                *(one.events, one.found, one.false_alerts, one.days),
                *(one.false_hours, one.quiet_hours, sum(one.delays_s)),
            )
            for one in counts
        ]
    )
    pick_BS = rng.integers(len(table), size=(2000, len(table)))
    drawn = _ratios(table[pick_BS].sum(axis=1))
    whole = _ratios(table.sum(axis=0)[None, :])
    return {name: _measure(whole[name], drawn[name]) for name in whole}


def _ratios(sum_BK: Floats) -> dict[str, Floats]:
    events, found, false, days, wrong, quiet, delay_s = sum_BK.T
    return {
        "recall": found / np.maximum(events, 1),
        "false_episodes_per_series_day": false / np.maximum(days, 1e-9),
        "episode_precision": found / np.maximum(found + false, 1),
        "false_positive_hours_ratio": wrong / np.maximum(quiet, 1),
        "mean_delay_s": delay_s / np.maximum(found, 1),
    }


def _measure(value_1: Floats, drawn_B: Floats) -> Measure:
    low, high = np.quantile(drawn_B, [0.025, 0.975])
    return Measure(value=float(value_1[0]), lo=float(low), hi=float(high))
