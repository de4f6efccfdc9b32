"""How good crossing dates are: thresholds set before the future is looked at.

Thresholds are multiples of the largest value of the last four weeks, so they know nothing of what
follows. Legend: H steps ahead.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.capacity_forecasts import Record
from novacron.models.capacity.crossing import crossing_of, first_crossing
from novacron.models.capacity.seasons import steps_per_week

Floats = NDArray[np.float64]

MULTIPLES: Final = (0.95, 1.0, 1.05, 1.15, 1.3)
_PATHS: Final = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class CrossingCase:
    """One threshold on one forecast: what was said, and when it was reached (inf: not at all)."""

    group: str
    probability: float
    low_days: float
    """10 % quantile, inf where beyond the horizon."""
    median_days: float
    high_days: float
    actual_days: float
    plain_days: float
    """When the weekday mean reaches it."""
    prophet_days: float
    """When the point forecast of default Prophet reaches it."""
    horizon_days: float
    past_share: float
    """Share of earlier horizons of the same history in which it was reached."""


def crossing_cases(record: Record, seed: int) -> list[CrossingCase]:
    """Return the cases of one record; thresholds below the newest value are left out."""
    history, horizon = record.history, record.demand.horizon
    known_T = history.value_T[~np.isnan(history.value_T)]
    recent = float(np.nanmax(history.value_T[-4 * steps_per_week(history.step_s) :]))
    path_PH = record.outlook.paths(_PATHS, np.random.default_rng(seed))
    day = history.step_s / 86_400
    made = []
    for multiple in MULTIPLES:
        threshold = multiple * recent
        if known_T[-1] >= threshold:
            continue
        found = crossing_of(
            path_PH, level="warning", threshold=threshold, newest=float(known_T[-1]),
            made_at=history.end, step_s=history.step_s,
        )  # fmt: skip
        low, median, high = (np.inf if ahead is None else ahead for ahead in found.days.values())
        made.append(
            CrossingCase(
                group=record.demand.group,
                probability=found.probability,
                low_days=low,
                median_days=median,
                high_days=high,
                actual_days=_days(np.nan_to_num(record.actual_H, nan=-np.inf), threshold, day),
                plain_days=_days(record.said["weekday_mean"], threshold, day),
                prophet_days=_days(
                    record.said.get("prophet_default", record.said["weekday_mean"]), threshold, day
                ),
                horizon_days=horizon * day,
                past_share=_past_share(history.value_T, threshold, horizon),
            )
        )
    return made


def _days(line_H: Floats, threshold: float, day: float) -> float:
    return float(first_crossing(line_H[None, :], threshold)[0]) * day


def _past_share(value_T: Floats, threshold: float, horizon: int) -> float:
    """Share of the windows of one horizon in the history that reach the threshold, smoothed."""
    filled_T = np.nan_to_num(value_T, nan=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(filled_T, min(horizon, filled_T.size))
    reached = windows.max(axis=1) >= threshold
    return float((reached.sum() + 1) / (reached.size + 2))


def date_errors(cases: Sequence[CrossingCase], name: str) -> Floats:
    """Absolute error in days where the threshold was reached; a late or no date is the horizon."""
    return np.array(
        [
            abs(min(getattr(one, name), one.horizon_days) - one.actual_days)
            for one in cases
            if np.isfinite(one.actual_days)
        ]
    )
