"""What the capacity ensemble is compared with: every forecaster as anyone would run it.

AutoETS and AutoTheta are chosen among the models of statsmodels: the packages that carry these names
do not install beside pandas 3. Legend: T history steps, H steps ahead.
"""

from collections.abc import Callable, Mapping
from itertools import product
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from novacron.models.capacity.history import DAY_S, History
from novacron.models.capacity.seasons import fill_gaps, phase_mean, steps_per_week

Floats = NDArray[np.float64]

_MOST_STEPS: Final = {DAY_S: 730, 3_600: 504}
"""Newest steps that ETS and Theta are fitted on: two years of days, three weeks of hours."""
_FIT_ERRORS: Final = (ValueError, ArithmeticError, RuntimeError, np.linalg.LinAlgError)


def weekday_mean(history: History, horizon: int) -> Floats:
    """Mean of the last four weeks at the same phase of the week."""
    return phase_mean(history.value_T, steps_per_week(history.step_s), horizon)


def seasonal_naive(history: History, horizon: int) -> Floats:
    """The last week again."""
    week = steps_per_week(history.step_s)
    return np.resize(fill_gaps(history.value_T, week)[-week:], horizon)


def default_prophet(history: History, horizon: int) -> tuple[Floats, Mapping[float, Any]]:
    """Prophet with all its defaults, and its own 80 and 95 % intervals."""
    from prophet import Prophet

    index = history.index(horizon)
    model = Prophet()
    model.fit(pd.DataFrame({"ds": index[: len(history)], "y": history.value_T}))
    future = pd.DataFrame({"ds": index[len(history) :]})
    samples = model.predictive_samples(future)["yhat"]
    bands = {
        level: tuple(np.quantile(samples, (1 + side * level) / 2, axis=1) for side in (-1, 1))
        for level in (0.80, 0.95)
    }
    model.uncertainty_samples = 0  # they were drawn above
    return np.asarray(model.predict(future).yhat), bands


def auto_ets(history: History, horizon: int) -> Floats:
    """The exponential smoothing model of least AICc, season of a week of days or a day of hours.

    Error, trend and season: ANN, AAdN, ANA, AAdA, and MNM, MAdM where all values are positive.
    """
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    value_T, season = _end(history)
    kinds = [("add", None), ("add", "add")] + ([("mul", "mul")] if value_T.min() > 0 else [])
    fits = []
    for (error, seasonal), damped in product(kinds, (False, True)):
        try:
            model = ETSModel(
                value_T, error=error, trend="add" if damped else None, damped_trend=damped,
                seasonal=seasonal, seasonal_periods=season if seasonal else None,
            )  # fmt: skip
            fits.append(model.fit(disp=False, maxiter=100))
        except _FIT_ERRORS:
            continue
    usable = [fit for fit in fits if np.isfinite(fit.aicc)]
    best = min(usable, key=lambda fit: fit.aicc)
    return np.asarray(best.forecast(horizon), dtype=np.float64)


def auto_theta(history: History, horizon: int) -> Floats:
    """The Theta model (theta, kind of season) that did best on the last horizon of the history."""
    value_T, season = _end(history)
    held = min(horizon, len(value_T) // 3)
    choices = [
        (theta, kind)
        for theta in (1.5, 2.0, 3.0)
        for kind in (("additive", "multiplicative") if value_T.min() > 0 else ("additive",))
    ]

    def loss(choice: tuple[float, str]) -> float:
        said = _theta(value_T[:-held], season, held, *choice)
        return float(np.mean(np.abs(said - value_T[-held:])))

    return _theta(value_T, season, horizon, *min(choices, key=loss))


def _theta(value_T: Floats, season: int, horizon: int, theta: float, kind: str) -> Floats:
    from statsmodels.tsa.forecasting.theta import ThetaModel

    model = ThetaModel(pd.Series(value_T), period=season, method=kind)
    return np.asarray(model.fit().forecast(horizon, theta=theta), dtype=np.float64)


def _end(history: History) -> tuple[Floats, int]:
    whole_T = fill_gaps(history.value_T, steps_per_week(history.step_s))
    return whole_T[-_MOST_STEPS[history.step_s] :], 7 if history.step_s == DAY_S else 24


POINT_BASELINES: Final[Mapping[str, Callable[[History, int], Floats]]] = {
    "weekday_mean": weekday_mean,
    "seasonal_naive": seasonal_naive,
    "auto_ets": auto_ets,
    "auto_theta": auto_theta,
}
