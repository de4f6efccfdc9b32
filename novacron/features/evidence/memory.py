"""Evidence of memory: how long a window stays alike, and on which time scales it varies.

Legend: T samples, L lags, K bins.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from novacron.features.evidence.levels import to_bins

Floats = NDArray[np.float64]


def autocorrelation(z_T: Floats, present_T: NDArray[np.bool_]) -> Floats:
    """Return the autocorrelation rho_L at lags 0..T-1 over pairs that are both present.

    `z_T` has mean 0 and is 0 where missing. Each lag is divided by its own number of pairs, so gaps
    do not pull it to 0; where no pair is left it is 0. Parzen 1963, "On spectral analysis with
    missing observations".
    """
    size = fft.next_fast_len(2 * z_T.size, real=True)
    both = np.stack([z_T, present_T.astype(np.float64)])
    spectrum = fft.rfft(both, size, axis=1)
    products = fft.irfft(spectrum.real**2 + spectrum.imag**2, size, axis=1)[:, : z_T.size]
    pairs_L = np.round(products[1])
    rho_L = products[0] / np.maximum(pairs_L, 1.0)
    return np.where(pairs_L > 0, rho_L / max(float(rho_L[0]), 1e-300), 0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """How a window forgets.

    `lag1` is the correlation of neighbours, `decay_ratio` and `zero_ratio` the lags at which the
    autocorrelation falls below 1/e and 0 as shares of the window (1 if never), `lowest` its least
    value up to a third of the window. `coarse_*_ratio` is the variance of the means of that many
    bins over what white noise would leave in them.
    """

    lag1: float
    decay_ratio: float
    zero_ratio: float
    lowest: float
    coarse_8_ratio: float
    coarse_16_ratio: float
    coarse_32_ratio: float


def describe_memory(z_T: Floats, present_T: NDArray[np.bool_], rho_L: Floats) -> Memory:
    """Describe a series of mean 0 whose autocorrelation is `rho_L`."""
    count = int(present_T.sum())
    variance = float(z_T @ z_T) / count

    def coarse(bins: int) -> float:
        mean_K = to_bins(z_T, present_T, bins).mean_B
        return float(mean_K.var()) / (variance * bins / count)

    return Memory(
        lag1=float(rho_L[1]),
        decay_ratio=_first_below(rho_L, np.exp(-1)),
        zero_ratio=_first_below(rho_L, 0.0),
        lowest=float(rho_L[: max(2, rho_L.size // 3)].min()),
        coarse_8_ratio=coarse(8),
        coarse_16_ratio=coarse(16),
        coarse_32_ratio=coarse(32),
    )


def _first_below(rho_L: Floats, level: float) -> float:
    below = np.flatnonzero(rho_L < level)
    return float(below[0]) / rho_L.size if below.size else 1.0
