"""MSTL and exponential smoothing: seasons by local regression, the rest by the best of three ETS.

Sources: Bandara, Hyndman, Bergmeir 2021 (MSTL); Hyndman et al. 2008 (ETS and its choice by AICc).
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_YEAR_DAYS: Final = 365
_MOST_YEARS: Final = 4
_MOST_DAYS: Final = 400
# Local regressions are taken at every 15th step and joined by lines: a tenth of the time, and the
# slow parts they are taken of do not bend within 15 steps.
_SPEED: Final = {"trend_jump": 15, "low_pass_jump": 15}
_WEEKS_OF_HOURS: Final = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Decomposed:
    """A forecast on the link scale, and the two terms that add up to it."""

    z_H: Floats
    level_H: Floats
    seasonal_H: Floats


def forecast_decomposed(z_T: Floats, step_s: int, horizon: int) -> Decomposed:
    """Take the seasons out, smooth what is left, and add the last seasons again.

    Args:
        z_T: On the link scale, without gaps.
        step_s: 3600 or 86400.
        horizon: Steps ahead.
    """
    day = 86_400 // step_s
    kept_T = z_T[-_WEEKS_OF_HOURS * 7 * day :] if day > 1 else z_T[-_MOST_YEARS * _YEAR_DAYS :]
    periods = _periods(kept_T.size, day)
    seasonal_TS = _seasons(kept_T, periods)
    rest_T = kept_T - seasonal_TS.sum(axis=1)
    level_H = _level(rest_T, day, horizon)
    seasonal_H = np.sum(
        [np.resize(seasonal_TS[-period:, s], horizon) for s, period in enumerate(periods)],
        axis=0,
    )
    return Decomposed(z_H=level_H + seasonal_H, level_H=level_H, seasonal_H=seasonal_H)


def _periods(steps: int, day: int) -> tuple[int, ...]:
    """Return the seasons of which the series has at least two cycles, the shortest first."""
    known = (day, 7 * day) if day > 1 else (7, _YEAR_DAYS)
    return tuple(period for period in known if steps >= 2 * period)


def _seasons(z_T: Floats, periods: tuple[int, ...]) -> Floats:
    from statsmodels.tsa.seasonal import MSTL, STL

    if not periods:
        return np.zeros((z_T.size, 1))
    if len(periods) == 1:
        fitted = STL(z_T, period=periods[0], seasonal=13, robust=True).fit()
        return np.asarray(fitted.seasonal)[:, None]
    return np.asarray(MSTL(pd.Series(z_T), periods=periods, stl_kwargs=_SPEED).fit().seasonal)


def _level(rest_T: Floats, day: int, horizon: int) -> Floats:
    """Smooth days: on hours one odd evening would be carried on for a week."""
    days = rest_T.size // day
    daily_K = rest_T[rest_T.size - days * day :].reshape(days, day).mean(axis=1)
    ahead = -(-horizon // day)
    return np.repeat(_smoothed(daily_K[-_MOST_DAYS:], ahead), day)[:horizon]


def _smoothed(rest_T: Floats, horizon: int) -> Floats:
    """Return the forecast of the better of a level and a damped trend, by AICc."""
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    if float(np.ptp(rest_T)) < 1e-9:
        return np.full(horizon, rest_T[-1])
    fits: list[Any] = []
    for trend in (None, "add"):
        if trend is not None and rest_T.size < 20:
            continue
        model = ETSModel(rest_T, error="add", trend=trend, damped_trend=trend is not None)
        fits.append(model.fit(disp=False, maxiter=100))
    best = min(fits, key=lambda fit: fit.aicc if np.isfinite(fit.aicc) else np.inf)
    forecast_H = np.asarray(best.forecast(horizon), dtype=np.float64)
    return forecast_H if np.isfinite(forecast_H).all() else np.full(horizon, rest_T[-1])
