"""The arithmetic of every feature, on blocks of windows with time on the first axis.

Legend: W steps of the window (oldest first), M windows side by side, K features.
Each result depends on its own column alone, so any batching gives the same numbers.
"""

from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.signal.windows import hann

from novacron.features.spec import FLAT_RATIO, SPIKE_SIGMAS, FeatureSpec

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Block:
    """Windows x_WM with NaN where a sample is missing, and what several kernels need of them.

    Where `complete` (no sample is missing) the masks may be skipped: the numbers are the same.
    """

    def __init__(self, x_WM: Floats, parent: "Block | None" = None) -> None:
        steps = len(x_WM)
        self.x_WM = x_WM
        if parent is None:
            present_WM = ~np.isnan(x_WM)
            self.complete = bool(present_WM.all())
            self.mask_WM = present_WM.astype(np.float64)
            self.filled_WM = x_WM if self.complete else np.where(present_WM, x_WM, 0.0)
        else:
            self.complete = parent.complete
            self.mask_WM = parent.mask_WM[-steps:]
            self.filled_WM = parent.filled_WM[-steps:]
            self.x_MW = parent.x_MW[:, -steps:]

    def tail(self, steps: int) -> "Block":
        """Return the newest `steps` samples of each window."""
        return self if steps == len(self.x_WM) else Block(self.x_WM[-steps:], self)

    @cached_property
    def x_MW(self) -> Floats:
        """The windows with time on the last axis, where sorting is fast."""
        return np.ascontiguousarray(self.x_WM.T)

    @cached_property
    def moments(self) -> "Moments":
        """Mean, spread and range of each window."""
        return Moments(self)


class Moments:
    """Mean, spread and range over the present samples of each window, in two passes.

    `centred_WM` holds samples minus the mean, 0 where missing, and NaN in a window without any.
    """

    def __init__(self, block: Block) -> None:
        steps, columns = block.x_WM.shape
        self.n_M = np.full(columns, float(steps)) if block.complete else block.mask_WM.sum(axis=0)
        self.mean_M: Floats = block.filled_WM.sum(axis=0) / self.n_M
        self.centred_WM: Floats = block.filled_WM - self.mean_M
        if not block.complete:
            self.centred_WM *= block.mask_WM
        self.square_WM: Floats = self.centred_WM * self.centred_WM
        self.variance_M: Floats = self.square_WM.sum(axis=0) / self.n_M
        self.low_M: Floats = np.fmin.reduce(block.x_WM, axis=0)
        self.high_M: Floats = np.fmax.reduce(block.x_WM, axis=0)
        self.magnitude_M: Floats = np.fmax(np.abs(self.low_M), np.abs(self.high_M))
        self.flat_M: Bools = self.high_M - self.low_M <= FLAT_RATIO * self.magnitude_M
        self.std_M: Floats = np.where(self.flat_M, 0.0, np.sqrt(self.variance_M))


def at_least_two(x_WM: Floats) -> Floats:
    """Double a single column: numpy sums one column pairwise, but several in order of time."""
    return np.repeat(x_WM, 2, axis=1) if x_WM.shape[1] == 1 else x_WM


def ewma(block: Block, half_lives: tuple[float, ...]) -> Floats:
    """Weighted means [K, M] of the present samples; weights halve every `half_lives[k]` steps."""
    steps = len(block.x_WM)
    age_W = np.arange(steps - 1, -1, -1)
    weight_KW = np.exp2(-age_W / np.array(half_lives)[:, None])
    total_KM: Floats = np.einsum("kw,wm->km", weight_KW, block.filled_WM)
    mask_WM = np.ones((steps, 2)) if block.complete else block.mask_WM
    weight_KM: Floats = np.einsum("kw,wm->km", weight_KW, mask_WM)
    return total_KM / (weight_KM[:, :1] if block.complete else weight_KM)


def write_lag(spec: FeatureSpec, block: Block, out_KM: Floats) -> None:
    """Write lags, differences and change ratios; missing where an end is missing."""
    x_WM = block.x_WM
    row = 0
    for k in spec.lags:
        out_KM[row] = x_WM[-1 - k]
        row += 1
    for k in spec.differences:
        np.subtract(x_WM[-1], x_WM[-1 - k], out=out_KM[row])
        row += 1
    for k in spec.change_ratios:
        before_M = np.where(x_WM[-1 - k] == 0, np.nan, x_WM[-1 - k])
        out_KM[row] = x_WM[-1] / before_M - 1
        row += 1


def write_rolling(spec: FeatureSpec, block: Block, out_KM: Floats) -> None:
    """Write the statistics of the newest samples, window length by window length."""
    row = 0
    for steps in spec.rolling:
        tail = block.tail(steps)
        found = tail.moments
        out_KM[row : row + 4] = found.mean_M, found.std_M, found.low_M, found.high_M
        row += 4
        if spec.shape:
            out_KM[row : row + 2] = _shape(found)
            row += 2
        if spec.quantiles:
            stop = row + len(spec.quantiles)
            _write_quantiles(spec.quantiles, tail, out_KM[row:stop])
            row = stop


def _shape(found: Moments) -> tuple[Floats, Floats]:
    third_M = np.einsum("wm,wm->m", found.square_WM, found.centred_WM) / found.n_M
    fourth_M = np.einsum("wm,wm->m", found.square_WM, found.square_WM) / found.n_M
    variance_M = np.where(found.flat_M, 1.0, found.variance_M)
    skewness_M = np.where(found.flat_M, 0.0, third_M / (variance_M * np.sqrt(variance_M)))
    kurtosis_M = np.where(found.flat_M, 0.0, fourth_M / (variance_M * variance_M) - 3.0)
    return skewness_M, kurtosis_M


def _write_quantiles(quantiles: tuple[float, ...], block: Block, out_QM: Floats) -> None:
    # Sorting puts missing samples last, so the first n of each row are the order statistics.
    sorted_MW = np.sort(block.x_MW, axis=1)
    flat = sorted_MW.ravel()
    first_M = np.arange(len(sorted_MW)) * sorted_MW.shape[1]
    last_M = np.maximum(block.moments.n_M - 1, 0).astype(np.intp)
    position_QM = last_M * np.array(quantiles)[:, None]
    below_QM = position_QM.astype(np.intp)
    low_QM = flat[first_M + below_QM]
    high_QM = flat[first_M + np.minimum(below_QM + 1, last_M)]
    out_QM[:] = low_QM + (high_QM - low_QM) * (position_QM - below_QM)


def write_ewma(spec: FeatureSpec, block: Block, out_KM: Floats) -> None:
    """Write the exponentially weighted means."""
    out_KM[:] = ewma(block, spec.ewma_half_lives)


def write_spike(spec: FeatureSpec, block: Block, out_KM: Floats) -> None:
    """Write the age of the newest spike and the number of spikes in the window."""
    found = block.moments
    threshold_M = np.where(found.flat_M, np.inf, found.mean_M + SPIKE_SIGMAS * found.std_M)
    spike_WM = block.x_WM > threshold_M
    known_M = found.n_M > 0
    out_KM[0] = np.where(known_M, spec.history - _newest(spike_WM), np.nan)
    out_KM[1] = np.where(known_M, spike_WM.sum(axis=0, dtype=np.int16), np.nan)


def _newest(flags_WM: Bools) -> Floats:
    """Return the place of the newest flag of each window: 1 for the oldest step, 0 for none."""
    place_W1 = np.arange(1, len(flags_WM) + 1, dtype=np.int16)[:, None]
    newest_M: Floats = (flags_WM.view(np.int8) * place_W1).max(axis=0).astype(np.float64)
    return newest_M


def write_count(spec: FeatureSpec, block: Block, out_KM: Floats) -> None:
    """Write how many samples are present and how long ago the last one was."""
    out_KM[0] = block.moments.n_M
    out_KM[1] = spec.history - _newest(block.mask_WM > 0)


def write_frequency(spec: FeatureSpec, block: Block, out_KM: Floats) -> None:
    """Write dominant frequency, its power share and spectral entropy of the detrended window.

    The trend is the least-squares line through the present samples; missing samples lie on it. The
    window function is Hann's. Frequencies are in cycles a step, in (0, 0.5]. The share counts the
    dominant bin and its neighbours (Hann spreads a line over three bins); entropy is 1 for white
    noise and near 0 for a line. A window that is flat beside its trend has no oscillation: all
    three are 0. With fewer than half of the samples, or fewer than 8, all three are missing.
    """
    found = block.moments
    residual_WM = _detrended(block)
    highest_M = np.maximum(residual_WM.max(axis=0), -residual_WM.min(axis=0))
    still_M = highest_M <= FLAT_RATIO * found.magnitude_M
    unknown_M = found.n_M < max(8, spec.history / 2)
    residual_WM *= _hann(spec.history)
    spectrum_BM = fft.rfft(residual_WM, axis=0)
    power_BM = spectrum_BM.real**2 + spectrum_BM.imag**2
    power_BM[0] = 0.0
    dominant_M, share_M, entropy_M = _describe(power_BM)
    for row, value_M in enumerate((dominant_M / spec.history, share_M, entropy_M)):
        out_KM[row] = np.where(unknown_M, np.nan, np.where(still_M, 0.0, value_M))


@lru_cache(maxsize=16)
def _hann(steps: int) -> Floats:
    return np.asarray(hann(steps, sym=False), dtype=np.float64)[:, None]


def _detrended(block: Block) -> Floats:
    """Subtract the line; a sum over time t, counted from the middle, is exact in floating point."""
    found = block.moments
    time_W = np.arange(len(block.x_WM)) - (len(block.x_WM) - 1) / 2
    mask_WM = np.ones((len(time_W), 2)) if block.complete else block.mask_WM
    n_M = found.n_M[: mask_WM.shape[1]]
    middle_M = np.einsum("w,wm->m", time_W, mask_WM) / n_M
    spread_M = np.einsum("w,wm->m", time_W * time_W, mask_WM) - middle_M * middle_M * n_M
    along_M = np.einsum("w,wm->m", time_W, found.centred_WM)
    slope_M = along_M / (spread_M[0] if block.complete else spread_M)
    residual_WM: Floats = slope_M * time_W[:, None]
    np.subtract(found.centred_WM, residual_WM, out=residual_WM)
    if not block.complete:
        residual_WM += slope_M * middle_M
        residual_WM *= block.mask_WM
    return residual_WM


def _describe(power_BM: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the interpolated dominant bin, its power share and the entropy; bin 0 is empty."""
    bins, columns = power_BM.shape
    total_M = power_BM.sum(axis=0)
    # Of bins equal but for rounding, the lowest wins on every platform.
    nearly_M = power_BM.max(axis=0) * (1 - FLAT_RATIO)
    found_M = _newest((power_BM >= nearly_M)[::-1]).astype(np.intp)
    # Nothing is found in a window without samples, whose power is NaN.
    peak_M = bins - np.maximum(found_M, 1)
    column_M = np.arange(columns)
    at_M = power_BM[peak_M, column_M]
    left_M = power_BM[np.maximum(peak_M - 1, 0), column_M]
    right_M = np.where(peak_M + 1 < bins, power_BM[(peak_M + 1) % bins, column_M], 0.0)
    # Between two bins of a Hann spectrum: Grandke 1983, "Interpolation algorithms for discrete
    # Fourier transforms of weighted signals".
    beside_M = np.sqrt(np.maximum(left_M, right_M) / at_M)
    shift_M = np.clip((2 * beside_M - 1) / (beside_M + 1), 0, 0.5)
    dominant_M = np.minimum(peak_M + np.where(right_M >= left_M, shift_M, -shift_M), bins - 1)
    # With shares p = power / total, -sum(p log p) = log(total) - sum(power log power) / total.
    log_BM = np.log(np.maximum(power_BM, np.finfo(np.float64).tiny))
    surprise_M = np.log(total_M) - np.einsum("bm,bm->m", power_BM, log_BM) / total_M
    entropy_M = np.maximum(surprise_M, 0.0) / np.log(bins - 1)
    return dominant_M, (left_M + at_M + right_M) / total_M, entropy_M


def log_ratio(spec: FeatureSpec, block: Block) -> tuple[Floats, Floats]:
    """Return the log of the EWMA level [M] and the log ratios of all samples to it [W, M]."""
    level_M = ewma(block, (spec.level_half_life,))[0]
    log_level_M = np.log(np.maximum(level_M, spec.log_floor))
    return log_level_M, np.log(np.maximum(block.x_WM, spec.log_floor)) - log_level_M


def write_relative(spec: FeatureSpec, block: Block, out_KM: Floats) -> None:
    """Write the log level, and lags, EWMAs and statistics of the log ratio to it."""
    out_KM[0], ratio_WM = log_ratio(spec, block)
    row = 1
    for k in spec.relative_lags:
        out_KM[row] = ratio_WM[-1 - k]
        row += 1
    if spec.ewma_half_lives:
        stop = row + len(spec.ewma_half_lives)
        floored_KM = np.maximum(ewma(block, spec.ewma_half_lives), spec.log_floor)
        out_KM[row:stop] = np.log(floored_KM) - out_KM[0]
        row = stop
    ratio = Block(ratio_WM)
    change = Block(np.diff(ratio_WM, axis=0))
    for steps in spec.relative_rolling:
        found = ratio.tail(steps).moments
        recent = change.tail(min(steps, spec.history - 1))
        square_M = np.einsum("wm,wm->m", recent.filled_WM, recent.filled_WM)
        out_KM[row : row + 4] = found.mean_M, found.std_M, found.low_M, found.high_M
        out_KM[row + 4] = np.sqrt(square_M / recent.mask_WM.sum(axis=0))
        row += 5
