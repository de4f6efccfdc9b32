"""Features of the time of a sample, in UTC. Legend: N rows, F features."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

_DAY_S: Final = 86_400.0
_WEEK_S: Final = 7 * _DAY_S
# 1970-01-01 was a Thursday; this moves the start of the week to Monday.
_MONDAY_OFFSET_S: Final = 3 * _DAY_S


def calendar_features(ts_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Describe each time by its place in the day and the week.

    Args:
        ts_s: t_N in s since 1970-01-01 UTC; NaN gives a row of NaN.

    Returns:
        x_NF in the order of `novacron.features.spec.CALENDAR_NAMES`: hour 0..23, sine and cosine
        of the time of day, weekday 0 (Monday)..6, sine and cosine of the time of week, and 1 on
        Saturday and Sunday.
    """
    day_s = np.mod(ts_s, _DAY_S)
    week_s = np.mod(ts_s + _MONDAY_OFFSET_S, _WEEK_S)
    day_angle = 2 * np.pi * day_s / _DAY_S
    week_angle = 2 * np.pi * week_s / _WEEK_S
    weekday = np.floor(week_s / _DAY_S)
    weekend = np.where(np.isnan(weekday), np.nan, weekday >= 5)
    return np.column_stack(
        [
            np.floor(day_s / 3600),
            np.sin(day_angle),
            np.cos(day_angle),
            weekday,
            np.sin(week_angle),
            np.cos(week_angle),
            weekend,
        ]
    )
