"""Does usage follow the hour, the day or the week: what stays when slow drift is taken away.

In means of a fleet the level wanders more than the day moves it, and a free search then fits a
long period to the wandering. People and schedules keep to the calendar, so its three periods are
asked for by name.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CALENDAR_S: Final = (3_600.0, 86_400.0, 604_800.0)
LEAST_RHO: Final = 0.3
"""Correlation one period apart from which a period is told."""
_LEAST_CYCLES: Final = 2.8
_LEAST_SAMPLES: Final = 4
_NEARLY: Final = 0.8
_CUT: Final = (0.02, 0.98)


def find_calendar_period(usage_T: Floats, step_s: float) -> tuple[float, float]:
    """Return the calendar period that recurs, in seconds, and its correlation; 0 and 0 if none.

    From the window its mean over one period is taken away, centred, and its ends are cut at the
    2 % quantiles, so that neither drift nor a burst decides; what is left is correlated with itself
    one period later. Of periods that contain each other the shorter is told where its correlation
    is nearly as high.

    Args:
        usage_T: Samples at even steps; NaN where missing.
        step_s: Seconds between samples.
    """
    filled_T = _filled(usage_T)
    rho: dict[float, float] = {}
    for period_s in CALENDAR_S:
        lag = round(period_s / step_s)
        if lag >= _LEAST_SAMPLES and len(filled_T) >= _LEAST_CYCLES * lag:
            rho[period_s] = _recurrence(filled_T, lag)
    best = max(rho.values(), default=0.0)
    if best < LEAST_RHO:
        return 0.0, 0.0
    told = min(period_s for period_s, found in rho.items() if found >= _NEARLY * best)
    return told, rho[told]


def _recurrence(usage_T: Floats, lag: int) -> float:
    sum_T = np.concatenate([[0.0], np.cumsum(usage_T - usage_T[0])]) + usage_T[0] * np.arange(
        len(usage_T) + 1
    )
    drift_T = (sum_T[lag:] - sum_T[:-lag]) / lag
    left_T = usage_T[lag // 2 : lag // 2 + len(drift_T)] - drift_T
    left_T = np.clip(left_T, *np.quantile(left_T, _CUT))
    before_T, after_T = left_T[:-lag], left_T[lag:]
    before_T, after_T = before_T - before_T.mean(), after_T - after_T.mean()
    size = float(np.sqrt((before_T @ before_T) * (after_T @ after_T)))
    return float(before_T @ after_T) / size if size > 0 else 0.0


def _filled(usage_T: Floats) -> Floats:
    known_T = ~np.isnan(usage_T)
    at_T = np.arange(len(usage_T))
    return np.interp(at_T, at_T[known_T], usage_T[known_T])
