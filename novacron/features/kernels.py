"""The arithmetic of every feature, on blocks of windows with time on the first axis.

Legend: W steps of the window (oldest first), M windows side by side, K features.
Each result depends on its own column alone, so any batching gives the same numbers.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.signal.windows import hann

from novacron.features.spec import FLAT_RATIO, SPIKE_SIGMAS, FeatureSpec

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Block:
    """Windows x_WM with NaN where a sample is missing, and what all kernels need of them."""

    x_WM: Floats
    present_WM: Bools
    filled_WM: Floats
    """x_WM with 0 in place of missing samples."""
    complete: bool
    """No sample is missing: masks may be skipped, with the same numbers as result."""

    @classmethod
    def of(cls, x_WM: Floats) -> "Block":
        """Look at windows; at least two columns, see `at_least_two`."""
        present_WM = ~np.isnan(x_WM)
        complete = bool(present_WM.all())
        filled_WM = x_WM if complete else np.where(present_WM, x_WM, 0.0)
        return cls(x_WM, present_WM, filled_WM, complete)

    def tail(self, steps: int) -> "Block":
        """Return the newest `steps` samples of each window."""
        if steps == len(self.x_WM):
            return self
        return Block(
            self.x_WM[-steps:], self.present_WM[-steps:], self.filled_WM[-steps:], self.complete
        )


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean, spread and range over the present samples of each window."""

    n_M: Floats
    mean_M: Floats
    centred_WM: Floats
    """Samples minus the mean, 0 where missing; NaN in windows without a sample."""
    square_WM: Floats
    variance_M: Floats
    low_M: Floats
    high_M: Floats
    flat_M: Bools
    std_M: Floats


def at_least_two(x_WM: Floats) -> Floats:
    """Double a single column: numpy sums one column pairwise, but several in order of time."""
    return np.repeat(x_WM, 2, axis=1) if x_WM.shape[1] == 1 else x_WM


def moments(block: Block) -> Moments:
    """Compute the moments of each window in two passes; flat windows have a spread of 0."""
    n_M = block.present_WM.sum(axis=0, dtype=np.float64)
    mean_M = block.filled_WM.sum(axis=0) / n_M
    centred_WM = block.filled_WM - mean_M
    if not block.complete:
        centred_WM *= block.present_WM
    square_WM = centred_WM * centred_WM
    variance_M = square_WM.sum(axis=0) / n_M
    low_M = np.fmin.reduce(block.x_WM, axis=0)
    high_M = np.fmax.reduce(block.x_WM, axis=0)
    flat_M = high_M - low_M <= FLAT_RATIO * np.maximum(np.abs(low_M), np.abs(high_M))
    std_M = np.where(flat_M, 0.0, np.sqrt(variance_M))
    return Moments(n_M, mean_M, centred_WM, square_WM, variance_M, low_M, high_M, flat_M, std_M)


def ewma(block: Block, half_life: float) -> Floats:
    """Weighted mean of the present samples; a sample's weight halves every `half_life` steps."""
    age_W = np.arange(len(block.x_WM) - 1, -1, -1)
    weight_W1 = np.exp2(-age_W / half_life)[:, None]
    total_M: Floats = (block.filled_WM * weight_W1).sum(axis=0)
    weight_M: Floats = (block.present_WM * weight_W1).sum(axis=0)
    return total_M / weight_M


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
        found = moments(tail)
        out_KM[row : row + 4] = found.mean_M, found.std_M, found.low_M, found.high_M
        row += 4
        if spec.shape:
            out_KM[row : row + 2] = _shape(found)
            row += 2
        if spec.quantiles:
            stop = row + len(spec.quantiles)
            _write_quantiles(spec.quantiles, tail, found.n_M, out_KM[row:stop])
            row = stop


def _shape(found: Moments) -> tuple[Floats, Floats]:
    third_M = (found.square_WM * found.centred_WM).sum(axis=0) / found.n_M
    fourth_M = (found.square_WM * found.square_WM).sum(axis=0) / found.n_M
    variance_M = np.where(found.flat_M, 1.0, found.variance_M)
    skewness_M = np.where(found.flat_M, 0.0, third_M / (variance_M * np.sqrt(variance_M)))
    kurtosis_M = np.where(found.flat_M, 0.0, fourth_M / (variance_M * variance_M) - 3.0)
    return skewness_M, kurtosis_M


def _write_quantiles(
    quantiles: tuple[float, ...], block: Block, n_M: Floats, out_QM: Floats
) -> None:
    # Sorting puts missing samples last, so the first n of each row are the order statistics.
    sorted_MW = np.sort(np.ascontiguousarray(block.x_WM.T), axis=1)
    flat = sorted_MW.ravel()
    first_M = np.arange(len(sorted_MW)) * sorted_MW.shape[1]
    last_M = np.maximum(n_M - 1, 0).astype(np.intp)
    for row, quantile in enumerate(quantiles):
        position_M = last_M * quantile
        below_M = position_M.astype(np.intp)
        low_M = flat[first_M + below_M]
        high_M = flat[first_M + np.minimum(below_M + 1, last_M)]
        out_QM[row] = low_M + (high_M - low_M) * (position_M - below_M)


def write_ewma(spec: FeatureSpec, block: Block, out_KM: Floats) -> None:
    """Write the exponentially weighted means."""
    for row, half_life in enumerate(spec.ewma_half_lives):
        out_KM[row] = ewma(block, half_life)


def write_spike(spec: FeatureSpec, block: Block, out_KM: Floats) -> None:
    """Write the age of the newest spike and the number of spikes in the window."""
    found = moments(block)
    steps = spec.history
    threshold_M = np.where(found.flat_M, np.inf, found.mean_M + SPIKE_SIGMAS * found.std_M)
    spike_WM = block.x_WM > threshold_M
    place_W1 = np.arange(1, steps + 1, dtype=np.int16)[:, None]
    newest_M = (spike_WM * place_W1).max(axis=0)
    known_M = found.n_M > 0
    out_KM[0] = np.where(known_M, np.float64(steps) - newest_M, np.nan)
    out_KM[1] = np.where(known_M, spike_WM.sum(axis=0, dtype=np.float64), np.nan)


def write_count(spec: FeatureSpec, block: Block, out_KM: Floats) -> None:
    """Write how many samples are present and how long ago the last one was."""
    place_W1 = np.arange(1, spec.history + 1, dtype=np.int16)[:, None]
    out_KM[0] = block.present_WM.sum(axis=0, dtype=np.float64)
    out_KM[1] = np.float64(spec.history) - (block.present_WM * place_W1).max(axis=0)


def write_frequency(spec: FeatureSpec, block: Block, out_KM: Floats) -> None:
    """Write dominant frequency, its power share and spectral entropy of the detrended window.

    The trend is the least-squares line through the present samples; missing samples lie on it. The
    window function is Hann's. Frequencies are in cycles a step, in (0, 0.5]. The share counts the
    dominant bin and its neighbours (Hann spreads a line over three bins); entropy is 1 for white
    noise and near 0 for a line. A window that is flat beside its trend has no oscillation: all
    three are 0. With fewer than half of the samples, or fewer than 8, all three are missing.
    """
    steps = spec.history
    found = moments(block)
    residual_WM = _detrended(block, found)
    magnitude_M = np.fmax(np.abs(found.low_M), np.abs(found.high_M))
    still_M = np.abs(residual_WM).max(axis=0) <= FLAT_RATIO * magnitude_M
    residual_WM *= hann(steps, sym=False)[:, None]
    spectrum_BM = fft.rfft(residual_WM, axis=0)
    power_BM = spectrum_BM.real**2 + spectrum_BM.imag**2
    unknown_M = found.n_M < max(8, steps / 2)
    dominant_M, share_M, entropy_M = _describe(power_BM)
    for row, value_M in enumerate((dominant_M / steps, share_M, entropy_M)):
        out_KM[row] = np.where(unknown_M, np.nan, np.where(still_M, 0.0, value_M))


def _detrended(block: Block, found: Moments) -> Floats:
    steps = len(block.x_WM)
    if block.complete:
        time_WM = (np.arange(steps) - (steps - 1) / 2)[:, None]
    else:
        step_W1 = np.arange(steps, dtype=np.float64)[:, None]
        time_WM = step_W1 - (block.present_WM * step_W1).sum(axis=0) / found.n_M
        time_WM *= block.present_WM
    slope_M = (time_WM * found.centred_WM).sum(axis=0) / (time_WM * time_WM).sum(axis=0)
    line_WM: Floats = slope_M * time_WM
    return found.centred_WM - line_WM


def _describe(power_BM: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the interpolated dominant bin, its power share and the entropy, without bin 0."""
    bins, columns = power_BM.shape
    padded_BM = np.zeros((bins + 1, columns))
    padded_BM[1:bins] = power_BM[1:]
    inner_BM = padded_BM[1:bins]
    total_M = inner_BM.sum(axis=0)
    # Of bins equal but for rounding, the lowest wins on every platform.
    nearly_M = inner_BM.max(axis=0) * (1 - FLAT_RATIO)
    peak_M = (inner_BM >= nearly_M).argmax(axis=0) + 1
    column_M = np.arange(columns)
    left_M, at_M, right_M = (padded_BM[peak_M + shift, column_M] for shift in (-1, 0, 1))
    # Between two bins of a Hann spectrum: Grandke 1983, "Interpolation algorithms for discrete
    # Fourier transforms of weighted signals".
    beside_M = np.sqrt(np.maximum(left_M, right_M) / at_M)
    shift_M = np.clip((2 * beside_M - 1) / (beside_M + 1), 0, 0.5)
    dominant_M = np.minimum(peak_M + np.where(right_M >= left_M, shift_M, -shift_M), bins - 1)
    share_BM = inner_BM / total_M
    surprise_BM = share_BM * np.log(np.maximum(share_BM, np.finfo(np.float64).tiny))
    entropy_M = -surprise_BM.sum(axis=0) / np.log(bins - 1)
    return dominant_M, (left_M + at_M + right_M) / total_M, entropy_M


def log_ratio(spec: FeatureSpec, block: Block) -> tuple[Floats, Floats]:
    """Return the log of the EWMA level [M] and the log ratios of all samples to it [W, M]."""
    level_M = ewma(block, spec.level_half_life)
    log_level_M = np.log(np.maximum(level_M, spec.log_floor))
    return log_level_M, np.log(np.maximum(block.x_WM, spec.log_floor)) - log_level_M


def write_relative(spec: FeatureSpec, block: Block, out_KM: Floats) -> None:
    """Write the log level, and lags, EWMAs and statistics of the log ratio to it."""
    out_KM[0], ratio_WM = log_ratio(spec, block)
    row = 1
    for k in spec.relative_lags:
        out_KM[row] = ratio_WM[-1 - k]
        row += 1
    for half_life in spec.ewma_half_lives:
        out_KM[row] = np.log(np.maximum(ewma(block, half_life), spec.log_floor)) - out_KM[0]
        row += 1
    ratio = Block.of(ratio_WM)
    change = Block.of(np.diff(ratio_WM, axis=0))
    for steps in spec.relative_rolling:
        found = moments(ratio.tail(steps))
        recent = change.tail(min(steps, spec.history - 1))
        square_M = (recent.filled_WM * recent.filled_WM).sum(axis=0)
        volatility_M = np.sqrt(square_M / recent.present_WM.sum(axis=0, dtype=np.float64))
        out_KM[row : row + 5] = (
            found.mean_M, found.std_M, found.low_M, found.high_M, volatility_M,
        )  # fmt: skip
        row += 5
