"""When a threshold is reached: the distribution of the first crossing, not one date.

Legend: P simulated paths, H steps ahead.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

QUANTILES: Final = (0.1, 0.5, 0.9)
Level = Literal["warning", "critical"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Crossing:
    """The first time at which a value of at least `threshold` is seen.

    Times are the ends of the step in which it happens. A quantile beyond the horizon is None.
    """

    level: Level
    threshold: float
    probability: float
    """That it happens within the horizon, 0..1."""
    already: bool
    """The newest value is at or above the threshold."""
    days: Mapping[float, float | None]
    """Quantile -> days from now; 0 if already."""
    dates: Mapping[float, datetime | None]
    probability_by_step: tuple[float, ...]
    """That it has happened by the end of each step."""


def first_crossing(path_PH: Floats, threshold: float) -> Floats:
    """Return the step (1..H) in which each path first reaches the threshold, inf where never."""
    over_PH = path_PH >= threshold
    step_P = np.argmax(over_PH, axis=1) + 1.0
    return np.where(over_PH.any(axis=1), step_P, np.inf)


def crossing_of(
    path_PH: Floats,
    *,
    level: Level,
    threshold: float,
    newest: float,
    made_at: datetime,
    step_s: int,
) -> Crossing:
    """Summarise simulated paths.

    Args:
        path_PH: Possible courses after `made_at`, in the unit of the threshold.
        level: Which threshold it is.
        threshold: Its value.
        newest: Last known value.
        made_at: End of the history.
        step_s: Seconds of a step.
    """
    already = newest >= threshold
    step_P = np.zeros(len(path_PH)) if already else first_crossing(path_PH, threshold)
    by_step = np.mean(step_P[:, None] <= np.arange(1, path_PH.shape[1] + 1), axis=0)
    days: dict[float, float | None] = {}
    for level_q in QUANTILES:
        # Of the steps themselves, so that a quantile is a step that was seen, or beyond.
        step = float(np.quantile(step_P, level_q, method="inverted_cdf"))
        days[level_q] = step * step_s / 86_400 if np.isfinite(step) else None
    return Crossing(
        level=level,
        threshold=threshold,
        probability=float(by_step[-1]),
        already=already,
        days=days,
        dates={
            q: None if ahead is None else made_at + timedelta(days=ahead)
            for q, ahead in days.items()
        },
        probability_by_step=tuple(float(p) for p in by_step),
    )
