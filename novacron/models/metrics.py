"""Scores of forecasts, and their intervals by resampling whole groups (traces, days).

Legend: N rows (forecast origins), H steps ahead, Q quantile levels. Lower is better for every
loss. A ratio to a baseline is a ratio of sums over the same rows, so it is paired by design.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from novacron.errors import InvalidInputError, SchemaError

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A value with its interval [lo, hi] over `n` independent groups."""

    value: float
    lo: float
    hi: float
    n: int


def _same_shape(actual: Floats, other: Floats, name: str) -> None:
    if actual.shape != other.shape:
        raise SchemaError(field=name, got=other.shape, expected=f"the shape {actual.shape}")


def _total(actual: Floats) -> float:
    total = float(np.abs(actual).sum())
    if total <= 0:
        raise InvalidInputError(
            field="actual", got=total, expected="actual values that do not sum to 0"
        )
    return total


def wape(actual: Floats, forecast: Floats) -> float:
    """Weighted absolute percentage error: sum |y - f| / sum |y|, a ratio (0 is perfect).

    Called ND by Salinas et al. 2020 (DeepAR). Documents may show `accuracy := 100 - 100 WAPE`.

    Raises:
        SchemaError: The shapes differ.
        InvalidInputError: The actual values sum to 0.
    """
    _same_shape(actual, forecast, "forecast")
    return float(np.abs(actual - forecast).sum()) / _total(actual)


def pinball(actual: Floats, quantile: Floats, level: float) -> Floats:
    """Pinball loss of each element: max(a (y - q), (a - 1) (y - q)) at level a in (0, 1).

    Its expectation is least at the a-quantile. Source: Koenker and Bassett 1978.
    """
    _same_shape(actual, quantile, "quantile")
    error = actual - quantile
    return np.maximum(level * error, (level - 1) * error)


def wql_terms(actual_NH: Floats, quantiles_NHQ: Floats, levels: Sequence[float]) -> Floats:
    """Return twice the pinball loss averaged over the levels, loss_NH, in the unit of `actual`.

    Raises:
        SchemaError: The shapes do not fit together.
    """
    expected = (*actual_NH.shape, len(levels))
    if quantiles_NHQ.shape != expected:
        raise SchemaError(field="quantiles", got=quantiles_NHQ.shape, expected=f"shape {expected}")
    losses = [
        2 * pinball(actual_NH, quantiles_NHQ[..., place], level)
        for place, level in enumerate(levels)
    ]
    return np.asarray(np.mean(losses, axis=0))


def wql(actual_NH: Floats, quantiles_NHQ: Floats, levels: Sequence[float]) -> float:
    """Weighted quantile loss: mean over levels of 2 sum pinball / sum |y|, a ratio.

    With the same value at all of .1, .5, .9 it equals WAPE. Source: Salinas et al. 2020.
    """
    return float(wql_terms(actual_NH, quantiles_NHQ, levels).sum()) / _total(actual_NH)


def coverage(actual: Floats, lower: Floats, upper: Floats) -> float:
    """Share of actual values in [lower, upper], in 0..1."""
    _same_shape(actual, lower, "lower")
    _same_shape(actual, upper, "upper")
    return float(np.mean((actual >= lower) & (actual <= upper)))


def share_within(actual: Floats, forecast: Floats, tolerance_ratio: float = 0.2) -> float:
    """Share of forecasts with |y - f| <= tolerance * |y|, in 0..1.

    This is what older documents of this project call accuracy. It depends more on the series than
    on the model: a constant reaches .95 on a series whose standard deviation is a tenth of its
    mean. It is shown beside WAPE, never instead of it.
    """
    _same_shape(actual, forecast, "forecast")
    return float(np.mean(np.abs(actual - forecast) <= tolerance_ratio * np.abs(actual)))


def mase(actual: Floats, forecast: Floats, history: Floats, season: int = 1) -> float:
    """Mean absolute scaled error: mean |y - f| / mean |h_t - h_(t-season)| over the history.

    Source: Hyndman and Koehler 2006, "Another look at measures of forecast accuracy".

    Raises:
        InvalidInputError: The history is too short, or its naive forecast makes no error.
    """
    _same_shape(actual, forecast, "forecast")
    steps = np.abs(history[season:] - history[:-season])
    scale = float(steps.mean()) if steps.size else 0.0
    if scale <= 0:
        raise InvalidInputError(
            field="history", got=history.shape, expected=f"more than {season} samples that vary"
        )
    return float(np.abs(actual - forecast).mean()) / scale


def group_ratio(
    numerator_N: Floats,
    denominator_N: Floats,
    group_N: NDArray[np.int64],
    rng: np.random.Generator,
    *,
    resamples: int = 1000,
    level: float = 0.95,
) -> Interval:
    """Ratio of two sums with its percentile-bootstrap interval, resampling whole groups.

    Rows of one trace are dependent, so traces are drawn with replacement and rows never are. With
    a model's losses over a baseline's losses of the same rows this is a paired comparison; with
    hits over ones it is a share. Source: Efron and Tibshirani 1993, chapters 7 and 13.

    Args:
        numerator_N: Terms of the upper sum, one per row.
        denominator_N: Terms of the lower sum, one per row, not negative.
        group_N: Number of the group of each row.
        rng: Draws the groups.
        resamples: Number of bootstrap samples.
        level: Share of the resampled ratios inside the interval.

    Raises:
        SchemaError: The arrays are empty or differ in length.
        InvalidInputError: The denominator sums to 0.
    """
    if numerator_N.size == 0 or not numerator_N.shape == denominator_N.shape == group_N.shape:
        raise SchemaError(
            field="numerator, denominator, group",
            got=(numerator_N.shape, denominator_N.shape, group_N.shape),
            expected="three vectors of the same length, at least 1",
        )
    _total(denominator_N)
    names, place_N = np.unique(group_N, return_inverse=True)
    upper_G = np.bincount(place_N, weights=numerator_N)
    lower_G = np.bincount(place_N, weights=denominator_N)
    draws_BG = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    below_B = draws_BG @ lower_G
    ratios_B = (draws_BG @ upper_G)[below_B > 0] / below_B[below_B > 0]
    tail = (1 - level) / 2
    lo, hi = np.quantile(ratios_B, [tail, 1 - tail])
    value = float(upper_G.sum() / lower_G.sum())
    return Interval(value=value, lo=float(lo), hi=float(hi), n=len(names))
