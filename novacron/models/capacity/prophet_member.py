"""Prophet with the growth, the seasons and the holidays that a history can carry.

It works on the link scale, so seasons multiply. A trend is extrapolated flat below one year of
history and damped above, a yearly season needs two years, a weekly one two weeks, a daily one two
days. Only the most likely parameters are fitted; intervals come from calibration, not from here.

Source: Taylor and Letham 2018, "Forecasting at scale"; damping: Gardner and McKenzie 1985.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from novacron.errors import ConfigError

Floats = NDArray[np.float64]

YEAR_DAYS: Final = 365.25
DAMPING_PER_DAY: Final = 0.98
"""Slope kept from one day to the next above one year: half is gone after 34 days."""
_YEARLY_ORDER: Final = 6
_CHANGE_RANGE: Final = 0.95
_CHANGES: Final = 25
_MOST_STEPS: Final = 1_500


@dataclass(frozen=True, kw_only=True, slots=True)
class Holidays:
    """Whose public holidays count; None: nobody's."""

    country: str | None = None
    subdivision: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Components:
    """A forecast on the link scale and the terms that add up to it, each of H steps."""

    z_H: Floats
    trend_H: Floats
    seasonal_H: Floats
    holiday_H: Floats


def forecast_prophet(
    z_T: Floats, index: pd.DatetimeIndex, horizon: int, holidays: Holidays
) -> Components:
    """Fit the end of a series and go on from it.

    Args:
        z_T: On the link scale, NaN where missing.
        index: Naive UTC times of the T steps and of the `horizon` steps that follow.
        horizon: Steps ahead.
        holidays: Whose.

    Raises:
        ConfigError: The country or subdivision is unknown.
    """
    step = index[1] - index[0]
    hourly = step < pd.Timedelta(days=1)
    days = min(len(z_T), _MOST_STEPS) * step / pd.Timedelta(days=1)
    yearly = days >= 2 * YEAR_DAYS - 1
    # What lies further back costs much and says little: four years of days, two months of hours.
    kept = min(len(z_T), _MOST_STEPS)
    past = index[len(z_T) - kept : len(z_T)]
    future = index[len(z_T) :]
    # Prophet's trend starts at a straight line between the ends; a gap there is no place to start.
    frame = pd.DataFrame({"ds": past, "y": z_T[len(z_T) - kept :]})
    model = _model(days=days, hourly=hourly, yearly=yearly, frame=_named(past, future, holidays))
    model.fit(frame)
    told = model.predict(pd.DataFrame({"ds": future}))
    trend_H = _damped(
        np.asarray(told["trend"], dtype=np.float64), horizon, step / pd.Timedelta(days=1), days
    )
    holiday_H = np.asarray(told.get("holidays", np.zeros(horizon)), dtype=np.float64)
    seasonal_H = np.asarray(told["additive_terms"], dtype=np.float64) - holiday_H
    return Components(
        z_H=trend_H + seasonal_H + holiday_H,
        trend_H=trend_H,
        seasonal_H=seasonal_H,
        holiday_H=holiday_H,
    )


def _model(*, days: float, hourly: bool, yearly: bool, frame: pd.DataFrame | None) -> Any:
    _quiet()
    from prophet import Prophet

    return Prophet(
        growth="linear",
        n_changepoints=_changes(days, hourly),
        changepoint_range=_CHANGE_RANGE,
        yearly_seasonality=_YEARLY_ORDER if yearly else False,
        weekly_seasonality=days >= 14,
        daily_seasonality=hourly and days >= 2,
        holidays=frame,
        uncertainty_samples=0,
    )


def _changes(days: float, hourly: bool) -> int:
    """Return how often the trend may change: on hours once in two weeks.

    More often it would take working days and weekends for trends.
    """
    return int(np.clip(days // 14, 1, _CHANGES)) if hourly else _CHANGES


def _damped(trend_H: Floats, horizon: int, step_days: float, days: float) -> Floats:
    """Take the slope out of an extrapolated trend: all of it at once, or little by little."""
    slope = (trend_H[-1] - trend_H[0]) / max(horizon - 1, 1)
    start = trend_H[0] - slope
    if days < YEAR_DAYS:
        return np.full(horizon, start)
    keep = DAMPING_PER_DAY**step_days
    reach_H = np.cumsum(keep ** np.arange(1, horizon + 1))
    return cast(Floats, start + slope * reach_H)


def _named(
    past: pd.DatetimeIndex, future: pd.DatetimeIndex, holidays: Holidays
) -> pd.DataFrame | None:
    """Return the holidays of the span as Prophet wants them, None where there are none."""
    if holidays.country is None:
        return None
    years = range(past[0].year, future[-1].year + 1)
    days = _days_of(holidays.country, holidays.subdivision, tuple(years))
    rows = [(pd.Timestamp(day), name) for day, name in days.items()]
    kept = [row for row in rows if past[0].normalize() <= row[0] <= future[-1]]
    return pd.DataFrame(kept, columns=["ds", "holiday"]) if kept else None


@cache
def _days_of(country: str, subdivision: str | None, years: tuple[int, ...]) -> Mapping[Any, str]:
    import holidays as calendar

    try:
        return dict(calendar.country_holidays(country, subdiv=subdivision, years=years))
    except NotImplementedError as cause:
        raise ConfigError(
            field="country",
            got=country if subdivision is None else f"{country}-{subdivision}",
            expected="an ISO 3166 code known to the package `holidays`",
        ) from cause


@cache
def _quiet() -> None:
    # One line per fit and series: thousands of lines that say nothing. A logger that has a handler
    # is left alone by cmdstanpy.
    for name in ("cmdstanpy", "prophet"):
        logger = logging.getLogger(name)
        logger.addHandler(logging.NullHandler())
        logger.setLevel(logging.ERROR)
