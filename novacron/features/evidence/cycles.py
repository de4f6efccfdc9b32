"""Evidence of a period: harmonic search, exact refinement, significance, coherence.

Legend: T samples, K bins of an oversampled spectrum, H harmonics, S segments, C columns.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from novacron.features.evidence.trend import lag1

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

LEAST_CYCLES: Final = 2.8
"""Fewer repetitions than this in a window are not searched: a trend could pass for them."""
MOST_HARMONICS: Final = 6
_OVERSAMPLING: Final = 8
_CANDIDATES: Final = 3
_STEPS: Final = 5
_NEARLY: Final = 0.9
_ROUGHLY: Final = 0.75
_CLOSE_ENOUGH: Final = 1e-5


@dataclass(frozen=True, kw_only=True, slots=True)
class Cycle:
    """The best period of a window, significant or not.

    `error_ratio` is its standard error over itself, from the curvature of the least-squares fit.
    `r2_ratio` is the share of variance that the harmonics explain, `gain` the drop of the Bayesian
    information criterion a sample against a straight line, `log10_p` Fisher's probability that
    white noise has a line as strong, `red_ratio` the largest power over that of an AR(1) noise of
    the same lag-1 correlation. `near_rho` and `far_rho` are the autocorrelations one period and as
    many whole periods as fit in 0.6 of the window away; `coherence_ratio` is 1 where segments of
    the window agree in phase and near 0 where the phase wanders.
    """

    period_steps: float
    error_ratio: float
    harmonics: int
    r2_ratio: float
    gain: float
    log10_p: float
    red_ratio: float
    near_rho: float
    far_rho: float
    coherence_ratio: float
    left_lag1: float


def find_cycle(residual_T: Floats, present_T: Bools, rho_L: Floats) -> Cycle:
    """Find the best period between 2 steps and `T / LEAST_CYCLES`.

    Args:
        residual_T: A series without its straight line, 0 where missing, not all 0.
        present_T: Where samples are present.
        rho_L: Its autocorrelation.
    """
    power_K = _spectrum(residual_T, present_T)
    fits = [
        _refine(residual_T, present_T, frequency, harmonics)
        for frequency, harmonics in _candidates(power_K, residual_T.size, int(present_T.sum()))
    ]
    best = min(fits, key=lambda fit: fit.criterion)
    best = _without_multiples(best, power_K, residual_T, present_T)
    period = 1 / best.frequency
    near, far = _recurrence(rho_L, period)
    return Cycle(
        period_steps=period,
        error_ratio=best.error / best.frequency,
        harmonics=best.harmonics,
        r2_ratio=best.r2_ratio,
        gain=-best.criterion / int(present_T.sum()),
        log10_p=_fisher_log10_p(power_K),
        red_ratio=_red_ratio(power_K, residual_T, present_T),
        near_rho=near,
        far_rho=far,
        coherence_ratio=_coherence(residual_T, present_T, best),
        left_lag1=lag1(best.left_T, present_T),
    )


def _spectrum(residual_T: Floats, present_T: Bools) -> Floats:
    """Share of variance that a sinusoid explains at each frequency k / (8 T) cycles a step.

    With missing samples set to 0 this is the classical periodogram of unevenly spaced data (Scargle
    1982, section II); exact fits follow, so its small bias only matters for ranking.
    """
    size = _OVERSAMPLING * residual_T.size
    line_K = fft.rfft(residual_T, size)
    total = float(residual_T @ residual_T) * int(present_T.sum())
    return np.asarray(2 * (line_K.real**2 + line_K.imag**2) / total)


def _candidates(power_K: Floats, samples: int, count: int) -> list[tuple[float, int]]:
    """Return the most promising fundamentals (cycles a step), each with its number of harmonics.

    Each frequency is scored by the sum of the power at its multiples (harmonic summation: Noll
    1969), less what the Bayesian information criterion asks for each harmonic.
    """
    first = int(np.ceil(LEAST_CYCLES * _OVERSAMPLING))
    last = power_K.size - 1
    k_K = np.arange(first, last + 1)
    score_HK = np.empty((MOST_HARMONICS, k_K.size))
    total_K = np.zeros(k_K.size)
    for number in range(1, MOST_HARMONICS + 1):
        place_K = number * k_K
        total_K = total_K + np.where(place_K <= last, power_K[np.minimum(place_K, last)], 0.0)
        left_K = np.maximum(1 - total_K, 0.02)
        score_HK[number - 1] = count * np.log(left_K) + 2 * number * np.log(count)
        # Beyond the highest frequency a further harmonic is no model at all.
        score_HK[number - 1, place_K > last] = np.inf
    best_K = score_HK.min(axis=0)
    found = []
    for _ in range(_CANDIDATES):
        at = int(np.argmin(best_K))
        if not np.isfinite(best_K[at]):
            break
        harmonics = int(np.argmin(score_HK[:, at])) + 1
        found.append((float(k_K[at]) / (_OVERSAMPLING * samples), harmonics))
        best_K[max(0, at - _OVERSAMPLING) : at + _OVERSAMPLING + 1] = np.inf
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class _Fit:
    frequency: float
    error: float
    harmonics: int
    r2_ratio: float
    criterion: float
    left_T: Floats


def _refine(residual_T: Floats, present_T: Bools, frequency: float, harmonics: int) -> _Fit:
    """Fit line and harmonics exactly, the frequency by Gauss-Newton steps.

    The floating line keeps the period unbiased when few cycles fit (generalised periodogram:
    Zechmeister and Kuerster 2009; with harmonics: Palmer 2009).
    """
    middle = (residual_T.size - 1) / 2
    t_T = np.flatnonzero(present_T).astype(np.float64) - middle
    y_T = residual_T[present_T]
    bound = 0.5 / residual_T.size
    start, step = frequency, 0.0
    for _ in range(_STEPS):
        frequency = float(np.clip(frequency + step, max(start - bound, bound), start + bound))
        model_CT = _model(t_T, frequency, harmonics)
        gram_CC, side_C = model_CT @ model_CT.T, model_CT @ y_T
        weight_C = _solve(gram_CC, side_C)
        slope_T = _slope(t_T, model_CT, weight_C, harmonics)
        left_t = y_T - weight_C @ model_CT
        # What of the slope the model cannot copy tells how far the frequency is off.
        cross_C = model_CT @ slope_T
        own = float(slope_T @ slope_T) - float(cross_C @ _solve(gram_CC, cross_C))
        step = float(slope_T @ left_t) / own if own > 0 else 0.0
        if abs(step) < _CLOSE_ENOUGH * frequency:
            break
    count, columns = t_T.size, len(side_C) + 1
    left, total = float(left_t @ left_t), float(y_T @ y_T)
    left_T = np.zeros(residual_T.size)
    left_T[present_T] = left_t
    rho = float(np.clip(lag1(left_T, present_T), 0.0, 0.95))
    noise = left / max(1, count - columns) * (1 + rho) / (1 - rho)
    return _Fit(
        frequency=frequency,
        error=float(np.sqrt(noise / own)) if own > 0 else frequency,
        harmonics=harmonics,
        r2_ratio=1 - left / total,
        criterion=count * np.log(max(left / total, 1e-9)) + (2 * harmonics + 1) * np.log(count),
        left_T=left_T,
    )


def _without_multiples(best: _Fit, power_K: Floats, residual_T: Floats, present_T: Bools) -> _Fit:
    """Return the fit at a half to a seventh of the period where that explains nearly as much.

    Cycles whose heights differ at random always fit a little better in pairs.
    """
    for divisor in (7, 6, 5, 4, 3, 2):
        frequency = divisor * best.frequency
        if frequency > 0.5:
            continue
        harmonics = max(1, min(-(-best.harmonics // divisor) + 1, int(0.5 / frequency)))
        if _rough_r2(power_K, frequency, harmonics, residual_T.size) < _ROUGHLY * best.r2_ratio:
            continue
        shorter = _refine(residual_T, present_T, frequency, harmonics)
        if shorter.r2_ratio >= _NEARLY * best.r2_ratio:
            return shorter
    return best


def _rough_r2(power_K: Floats, frequency: float, harmonics: int, samples: int) -> float:
    place_H = np.arange(1, harmonics + 1) * frequency * _OVERSAMPLING * samples
    return float(power_K[np.minimum(np.round(place_H).astype(np.intp), power_K.size - 1)].sum())


def _model(t_T: Floats, frequency: float, harmonics: int) -> Floats:
    """Return the rows of the model: 1, a line, then cosines and sines of the harmonics."""
    turn_T = np.exp(2j * np.pi * frequency * t_T)
    model_CT = np.empty((2 + 2 * harmonics, t_T.size))
    model_CT[0] = 1.0
    model_CT[1] = t_T / max(1.0, -float(t_T[0]))
    power_T = turn_T
    for number in range(harmonics):
        if number:
            power_T = power_T * turn_T
        model_CT[2 + number] = power_T.real
        model_CT[2 + harmonics + number] = power_T.imag
    return model_CT


def _slope(t_T: Floats, model_CT: Floats, weight_C: Floats, harmonics: int) -> Floats:
    """Return the derivative of the fitted harmonics by the frequency."""
    number_H = np.arange(1, harmonics + 1)
    cos_HT, sin_HT = model_CT[2 : 2 + harmonics], model_CT[2 + harmonics :]
    a_H, b_H = weight_C[2 : 2 + harmonics], weight_C[2 + harmonics :]
    change_T = (number_H * b_H) @ cos_HT - (number_H * a_H) @ sin_HT
    return np.asarray(2 * np.pi * t_T * change_T)


def _solve(gram_CC: Floats, side_C: Floats) -> Floats:
    # A hair of ridge: at two samples a cycle the sine has no support. All columns are of size 1.
    ridged_CC = gram_CC.copy()
    ridged_CC.flat[:: side_C.size + 1] *= 1 + 1e-10
    ridged_CC.flat[:: side_C.size + 1] += 1e-9
    return np.asarray(np.linalg.solve(ridged_CC, side_C))


def _fisher_log10_p(power_K: Floats) -> float:
    """Return log10 of Fisher's g test at the Fourier frequencies, at least -300.

    g is the largest share of the total power; under white noise P(g > x) is at most
    m (1 - x)^(m - 1), the first term of Fisher's sum (Fisher 1929; Percival and Walden 1993,
    section 10.9).
    """
    own_M = power_K[_OVERSAMPLING::_OVERSAMPLING]
    share = float(own_M.max() / own_M.sum())
    log10_p = np.log10(own_M.size) + (own_M.size - 1) * np.log10(max(1 - share, 1e-12))
    return float(np.clip(log10_p, -300.0, 0.0))


def _red_ratio(power_K: Floats, residual_T: Floats, present_T: Bools) -> float:
    """Return the largest power over the AR(1) spectrum at its place (Torrence and Compo 1998)."""
    rho = float(np.clip(lag1(residual_T, present_T), 0.0, 0.98))
    own_M = power_K[_OVERSAMPLING::_OVERSAMPLING]
    frequency_M = np.arange(1, own_M.size + 1) / residual_T.size
    shape_M = (1 - rho**2) / (1 + rho**2 - 2 * rho * np.cos(2 * np.pi * frequency_M))
    background_M = shape_M * (own_M.sum() / shape_M.sum())
    return float((own_M / background_M)[2:].max())


def _recurrence(rho_L: Floats, period: float) -> tuple[float, float]:
    """Return the autocorrelation one period away, and as many as fit in 0.6 of the window."""

    def near(lag: float) -> float:
        at = round(lag)
        reach = max(1, round(0.04 * period))
        return float(rho_L[max(1, at - reach) : at + reach + 1].max())

    far = max(1, int(0.6 * rho_L.size / period))
    return near(period), near(far * period)


def _coherence(residual_T: Floats, present_T: Bools, fit: _Fit) -> float:
    """Return |sum of the segments' amplitudes| over the sum of their sizes, strongest harmonic."""
    t_T = np.arange(residual_T.size)
    cycles = residual_T.size * fit.frequency
    segments = int(np.clip(cycles / 2, 2, 8))
    best = 0.0
    strength = 0.0
    for number in range(1, fit.harmonics + 1):
        turn_T = np.exp(-2j * np.pi * fit.frequency * number * t_T) * residual_T * present_T
        part_S = np.add.reduceat(turn_T, np.arange(segments) * residual_T.size // segments)
        size = float(np.abs(part_S).sum())
        if size > strength:
            strength, best = size, float(np.abs(part_S.sum())) / size
    return best
