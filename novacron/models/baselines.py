"""What every bandwidth model is measured against: causal forecasters fitted in closed form.

Legend: T samples of a trace (row t is made after sample t), H steps ahead, Q served quantile
levels (.1, .5, .9), G volatility groups, K lags, P paths. Rates are in Mbit/s.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from novacron.errors import OutOfRangeError
from novacron.models.metrics import wape
from novacron.telemetry.traces import Trace

Floats = NDArray[np.float64]

LEVELS: Final = (0.1, 0.5, 0.9)
HALF_LIVES: Final = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0)
"""Half-lives, in samples, among which the EWMA baseline chooses on the training part."""

VOLATILITY_SAMPLES: Final = 20
"""Newest samples whose spread decides the group of an origin."""

_RIDGE_LAGS: Final = 16
_LEAST_MBPS: Final = 1e-3


class Forecaster(Protocol):
    """A causal forecaster of one path: what baselines and models have in common."""

    @property
    def name(self) -> str:
        """What it is called in tables."""
        ...

    @property
    def horizon(self) -> int:
        """Steps ahead."""
        ...

    def forecast(self, bandwidth_T: Floats) -> Floats:
        """Return the quantiles q_THQ: row t reads samples 0..t only.

        A point forecaster gives the same value for all levels.

        Raises:
            OutOfRangeError: A sample is negative or not finite.
        """
        ...


def _checked(bandwidth_T: Floats) -> Floats:
    series_T = np.asarray(bandwidth_T, dtype=np.float64)
    wrong_T = ~np.isfinite(series_T) | (series_T < 0)
    if series_T.ndim != 1 or wrong_T.any():
        at = int(np.argmax(wrong_T)) if series_T.ndim == 1 else 0
        raise OutOfRangeError(
            field=f"bandwidth_mbps[{at}]",
            got=float(series_T[at]) if series_T.ndim == 1 else series_T.shape,
            expected="a vector of finite numbers >= 0 Mbit/s",
        )
    return series_T


def _flat(level_T: Floats, horizon: int) -> Floats:
    """Repeat one value per origin over all steps and levels."""
    return np.broadcast_to(level_T[:, None, None], (len(level_T), horizon, len(LEVELS))).copy()


def ewma_level(bandwidth_T: Floats, half_life: float) -> Floats:
    """Exponentially weighted mean up to and including each sample, weights summing to 1."""
    keep = 0.5 ** (1 / half_life)
    total_T = lfilter([1.0], [1.0, -keep], bandwidth_T)
    weight_T = lfilter([1.0], [1.0, -keep], np.ones_like(bandwidth_T))
    return np.asarray(total_T / weight_T, dtype=np.float64)


def trailing(bandwidth_T: Floats, samples: int) -> Floats:
    """Return the last `samples` values at each origin, x_TK, NaN before the first sample."""
    padded = np.concatenate([np.full(samples - 1, np.nan), bandwidth_T])
    windows: Any = np.lib.stride_tricks.sliding_window_view(padded, samples)
    return cast(Floats, windows)


def future(bandwidth_T: Floats, horizon: int) -> Floats:
    """Return what follows each origin that has `horizon` samples after it, y_NH."""
    origins = np.arange(max(0, len(bandwidth_T) - horizon))
    ahead_NH: Floats = np.asarray(bandwidth_T)[origins[:, None] + np.arange(1, horizon + 1)]
    return ahead_NH


@dataclass(frozen=True, kw_only=True, slots=True)
class LastValue:
    """The newest sample, for every step."""

    horizon: int
    name: str = "last value"

    def forecast(self, bandwidth_T: Floats) -> Floats:
        """See `Forecaster.forecast`."""
        return _flat(_checked(bandwidth_T), self.horizon)


@dataclass(frozen=True, kw_only=True, slots=True)
class HarmonicMean:
    """Harmonic mean of the last samples: the throughput rule of video players.

    Source: Jiang et al., CoNEXT 2012 (FESTIVE). Zeros count as 0.001 Mbit/s.
    """

    horizon: int
    samples: int = 5
    name: str = "harmonic mean of 5"

    def forecast(self, bandwidth_T: Floats) -> Floats:
        """See `Forecaster.forecast`."""
        recent_TK = trailing(_checked(bandwidth_T), self.samples)
        present_T = np.isfinite(recent_TK).sum(axis=1)
        return _flat(
            present_T / np.nansum(1 / np.maximum(recent_TK, _LEAST_MBPS), axis=1), self.horizon
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Ewma:
    """Exponentially weighted mean with the half-life that did best on the training part."""

    horizon: int
    half_life: float
    name: str = "EWMA"

    def forecast(self, bandwidth_T: Floats) -> Floats:
        """See `Forecaster.forecast`."""
        return _flat(ewma_level(_checked(bandwidth_T), self.half_life), self.horizon)


@dataclass(frozen=True, kw_only=True, slots=True)
class MeanSoFar:
    """Mean of all samples of the path up to the origin: the best forecast of white noise."""

    horizon: int
    name: str = "mean so far"

    def forecast(self, bandwidth_T: Floats) -> Floats:
        """See `Forecaster.forecast`."""
        series_T = _checked(bandwidth_T)
        return _flat(np.cumsum(series_T) / np.arange(1, len(series_T) + 1), self.horizon)


@dataclass(frozen=True, kw_only=True, slots=True)
class EwmaBand:
    """EWMA plus empirical quantiles of its residuals in 5 groups of equal size by volatility.

    The residual is actual - EWMA at each step, the volatility of an origin the standard deviation
    of its last 20 samples, both in Mbit/s. A `relative` band has both as ratios to the EWMA
    (its volatility is the mean absolute change from sample to sample). Edges and quantiles are
    those of the training part: `edges_G` has 4 entries, `residual_GHQ` the quantiles.
    """

    horizon: int
    half_life: float
    edges_G: Floats
    residual_GHQ: Floats
    relative: bool = False
    name: str = "EWMA band"

    def forecast(self, bandwidth_T: Floats) -> Floats:
        """See `Forecaster.forecast`."""
        series_T = _checked(bandwidth_T)
        level_T = ewma_level(series_T, self.half_life)
        group_T = np.searchsorted(self.edges_G, volatility(series_T, level_T, self.relative))
        scale_T = level_T if self.relative else np.ones_like(level_T)
        moved_THQ = self.residual_GHQ[group_T] * scale_T[:, None, None]
        return np.maximum(level_T[:, None, None] + moved_THQ, 0.0)


def volatility(bandwidth_T: Floats, level_T: Floats, relative: bool) -> Floats:
    """Spread of the last 20 samples (fewer at the start), see `EwmaBand`."""
    if not relative:
        return np.asarray(np.nanstd(trailing(bandwidth_T, VOLATILITY_SAMPLES), axis=1))
    steps_T = np.abs(np.diff(bandwidth_T, prepend=bandwidth_T[:1]))
    mean_T = np.nanmean(trailing(steps_T, VOLATILITY_SAMPLES - 1), axis=1)
    return np.asarray(mean_T / np.maximum(level_T, _LEAST_MBPS))


@dataclass(frozen=True, kw_only=True, slots=True)
class HoltWinters:
    """Level and damped additive trend, no season; the constants did best on the training part.

    level_t = a y_t + (1 - a) (level + d trend); trend_t = b (level_t - level) + (1 - b) d trend.
    Starts at the first sample with no trend. Source: Gardner and McKenzie 1985; equal to
    `statsmodels.tsa.holtwinters.Holt(damped_trend=True)` with these constants.
    """

    horizon: int
    alpha: float
    beta: float
    damping: float
    name: str = "Holt-Winters"

    def forecast(self, bandwidth_T: Floats) -> Floats:
        """See `Forecaster.forecast`."""
        series_T = _checked(bandwidth_T)
        level_T1, trend_T1 = self.states(series_T[:, None])
        reach_H = np.cumsum(self.damping ** np.arange(1, self.horizon + 1))
        value_TH = np.maximum(level_T1 + trend_T1 * reach_H, 0.0)
        return np.repeat(value_TH[:, :, None], len(LEVELS), axis=2)

    def states(self, bandwidth_TP: Floats) -> tuple[Floats, Floats]:
        """Return level_TP and trend_TP of several paths of the same length."""
        level_TP, trend_TP = np.empty_like(bandwidth_TP), np.empty_like(bandwidth_TP)
        level_P, trend_P = bandwidth_TP[0], np.zeros_like(bandwidth_TP[0])
        for t, sample_P in enumerate(bandwidth_TP):
            before_P = level_P + self.damping * trend_P
            after_P = self.alpha * sample_P + (1 - self.alpha) * before_P
            trend_P = self.beta * (after_P - level_P) + (1 - self.beta) * self.damping * trend_P
            level_P = after_P
            level_TP[t], trend_TP[t] = level_P, trend_P
        return level_TP, trend_TP


@dataclass(frozen=True, kw_only=True, slots=True)
class RidgeLags:
    """Ridge regression of the next steps on the last 16 samples, all over their EWMA level.

    `weight_HK` and `bias_H` act on ratios to the level (half-life 3); missing lags count as 1.
    """

    horizon: int
    weight_HK: Floats
    bias_H: Floats
    name: str = "ridge on 16 lags"

    def forecast(self, bandwidth_T: Floats) -> Floats:
        """See `Forecaster.forecast`."""
        ratio_TK, level_T = _ridge_inputs(_checked(bandwidth_T))
        value_TH = np.maximum(ratio_TK @ self.weight_HK.T + self.bias_H, 0.0) * level_T[:, None]
        return np.repeat(value_TH[:, :, None], len(LEVELS), axis=2)


def _ridge_inputs(bandwidth_T: Floats) -> tuple[Floats, Floats]:
    level_T = np.maximum(ewma_level(bandwidth_T, 3.0), _LEAST_MBPS)
    ratio_TK = trailing(bandwidth_T, _RIDGE_LAGS) / level_T[:, None]
    return np.minimum(np.nan_to_num(ratio_TK, nan=1.0), 20.0), level_T


@dataclass(frozen=True, kw_only=True, slots=True)
class FlatOracle:
    """Not a forecaster: the flat line at the true median of the next steps.

    No forecast that is the same for all steps has a lower WAPE, so it bounds flat ones.
    """

    horizon: int
    name: str = "flat oracle"

    def of_future(self, future_NH: Floats) -> Floats:
        """Return the line for each origin, q_NHQ."""
        return _flat(np.median(future_NH, axis=1), self.horizon)


def _long_enough(traces: Sequence[Trace], warm: int, horizon: int) -> list[Floats]:
    return [np.asarray(trace.bandwidth_mbps) for trace in traces if len(trace) >= warm + horizon]


def fit_ewma(traces: Sequence[Trace], *, horizon: int, warm: int) -> Ewma:
    """Choose the half-life of least WAPE over all origins with at least `warm` samples."""
    series = _long_enough(traces, warm, horizon)
    actual_NH = np.concatenate([future(x_T, horizon)[warm - 1 :] for x_T in series])

    def loss(half_life: float) -> float:
        level_N = np.concatenate(
            [ewma_level(x_T, half_life)[warm - 1 : len(x_T) - horizon] for x_T in series]
        )
        return wape(actual_NH, np.repeat(level_N[:, None], horizon, axis=1))

    return Ewma(horizon=horizon, half_life=min(HALF_LIVES, key=loss))


@dataclass(frozen=True, kw_only=True, slots=True)
class BandConfig:
    """How a band is fitted: the half-life of its EWMA, and whether it is relative to the level."""

    half_life: float
    relative: bool = False
    groups: int = 5
    """Volatility groups, of equal size."""


def fit_band(traces: Sequence[Trace], config: BandConfig, *, horizon: int, warm: int) -> EwmaBand:
    """Measure the residual quantiles by volatility group over all origins of the traces.

    Args:
        traces: The training part.
        config: Half-life, form and number of groups.
        horizon: Steps ahead.
        warm: Samples an origin must have to be counted.
    """
    spreads, residuals = [], []
    for x_T in _long_enough(traces, warm, horizon):
        rows = slice(warm - 1, len(x_T) - horizon)
        level_T = ewma_level(x_T, config.half_life)
        spreads.append(volatility(x_T, level_T, config.relative)[rows])
        away_NH = future(x_T, horizon)[warm - 1 :] - level_T[rows, None]
        scale_N = np.maximum(level_T[rows], _LEAST_MBPS) if config.relative else 1.0
        residuals.append((away_NH.T / scale_N).T)
    spread_N, residual_NH = np.concatenate(spreads), np.concatenate(residuals)
    edges_G = np.quantile(spread_N, np.arange(1, config.groups) / config.groups)
    group_N = np.searchsorted(edges_G, spread_N)
    residual_GHQ = np.stack(
        [_quantiles(residual_NH, group_N == group) for group in range(config.groups)]
    )
    return EwmaBand(
        horizon=horizon,
        half_life=config.half_life,
        edges_G=edges_G,
        residual_GHQ=residual_GHQ,
        relative=config.relative,
    )


def _quantiles(residual_NH: Floats, chosen_N: NDArray[np.bool_]) -> Floats:
    """Quantiles of the chosen rows, or of all where none is chosen (ties in the edges)."""
    kept_NH = residual_NH[chosen_N] if chosen_N.any() else residual_NH
    return np.asarray(np.quantile(kept_NH, LEVELS, axis=0).T)


def fit_holt_winters(traces: Sequence[Trace], *, horizon: int, warm: int) -> HoltWinters:
    """Choose the constants of least WAPE from a grid of 48."""
    series = _long_enough(traces, warm, horizon)
    length = max(len(x_T) for x_T in series)
    # Shorter paths are padded with their last sample; the padding is never scored.
    padded_TP = np.stack([np.pad(x_T, (0, length - len(x_T)), mode="edge") for x_T in series], 1)
    futures = [future(x_T, horizon)[warm - 1 :] for x_T in series]

    def loss(constants: HoltWinters) -> float:
        level_TP, trend_TP = constants.states(padded_TP)
        reach_H = np.cumsum(constants.damping ** np.arange(1, horizon + 1))
        error = sum(
            float(
                np.abs(
                    y_NH
                    - np.maximum(
                        level_TP[warm - 1 : warm - 1 + len(y_NH), p, None]
                        + trend_TP[warm - 1 : warm - 1 + len(y_NH), p, None] * reach_H,
                        0.0,
                    )
                ).sum()
            )
            for p, y_NH in enumerate(futures)
        )
        return error / sum(float(y_NH.sum()) for y_NH in futures)

    grid = [
        HoltWinters(horizon=horizon, alpha=alpha, beta=beta, damping=damping)
        for alpha in (0.1, 0.2, 0.3, 0.4, 0.6, 0.8)
        for beta in (0.0, 0.02, 0.1, 0.3)
        for damping in (0.8, 0.95)
    ]
    return min(grid, key=loss)


def fit_ridge(
    traces: Sequence[Trace], *, horizon: int, warm: int, penalty: float = 1e-3
) -> RidgeLags:
    """Solve the weighted normal equations; rows weigh as their past level, as WAPE does."""
    series = _long_enough(traces, warm, horizon)
    size = _RIDGE_LAGS + 1
    gram, moment = np.zeros((size, size)), np.zeros((size, horizon))
    for x_T in series:
        ratio_TK, level_T = _ridge_inputs(x_T)
        rows = slice(warm - 1, len(x_T) - horizon)
        weight_N = level_T[rows]
        x_NK = np.column_stack([ratio_TK[rows], np.ones(len(weight_N))])
        y_NH = np.minimum(future(x_T, horizon)[warm - 1 :] / weight_N[:, None], 20.0)
        gram += (x_NK * weight_N[:, None]).T @ x_NK
        moment += (x_NK * weight_N[:, None]).T @ y_NH
    gram += penalty * np.trace(gram) / size * np.diag([1.0] * _RIDGE_LAGS + [0.0])
    solved_KH = np.asarray(np.linalg.solve(gram + 1e-12 * np.eye(size), moment), dtype=np.float64)
    return RidgeLags(
        horizon=horizon, weight_HK=solved_KH[:_RIDGE_LAGS].T, bias_H=solved_KH[_RIDGE_LAGS]
    )
