"""Evidence of excursions: samples far from the middle of the window, how long, and how spaced.

Legend: T samples, E excursions.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SIGMAS: Final = 4.0
"""An excursion is a run of samples farther from the median than this many robust deviations."""

_MAD_TO_SIGMA: Final = 1.4826


@dataclass(frozen=True, kw_only=True, slots=True)
class Excursions:
    """Runs of present samples beyond the median by `SIGMAS` robust standard deviations, upwards.

    `peak` and `second_peak` are the highest samples of the two highest runs in robust deviations (0
    if none). `burstiness` is (s - m) / (s + m) of the gaps between onsets: -1 for a clockwork, 0
    for a Poisson process, towards 1 for clusters (Goh and Barabasi 2008); 0 below 3 onsets.
    """

    count: int
    share_ratio: float
    longest_ratio: float
    peak: float
    second_peak: float
    burstiness: float


def robust_sigma(z_T: Floats) -> tuple[float, float]:
    """Return the median and the robust standard deviation of present samples.

    It is 1.4826 times the median absolute deviation (Hampel 1974), or, where more than half of the
    samples are equal, the mean absolute deviation.
    """
    median = float(np.median(z_T))
    distance_T = np.abs(z_T - median)
    sigma = _MAD_TO_SIGMA * float(np.median(distance_T))
    return median, sigma if sigma > 1e-9 * float(distance_T.max()) else float(distance_T.mean())


def find_excursions(z_T: Floats, *, upwards: bool) -> Excursions:
    """Describe the excursions of present samples `z_T` that are not all equal."""
    median, sigma = robust_sigma(z_T)
    height_T = (z_T - median) / sigma * (1.0 if upwards else -1.0)
    far_T = height_T > SIGMAS
    edge = np.diff(np.concatenate([[0], far_T.astype(np.int8), [0]]))
    first_E, stop_E = np.flatnonzero(edge == 1), np.flatnonzero(edge == -1)
    if first_E.size == 0:
        return Excursions(
            count=0, share_ratio=0.0, longest_ratio=0.0, peak=0.0, second_peak=0.0, burstiness=0.0
        )
    peak_E = np.sort(np.maximum.reduceat(np.where(far_T, height_T, -np.inf), first_E))
    return Excursions(
        count=first_E.size,
        share_ratio=float(far_T.mean()),
        longest_ratio=float((stop_E - first_E).max()) / z_T.size,
        peak=float(peak_E[-1]),
        second_peak=float(peak_E[-2]) if peak_E.size > 1 else 0.0,
        burstiness=_burstiness(first_E),
    )


def _burstiness(first_E: NDArray[np.intp]) -> float:
    if first_E.size < 3:
        return 0.0
    gap_E = np.diff(first_E).astype(np.float64)
    spread, mean = float(gap_E.std()), float(gap_E.mean())
    return (spread - mean) / (spread + mean)
