"""Evidence of a trend: the best line and the best exponential through a window.

Legend: T samples, R rates.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RATES: Final = np.array([1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0])
"""Exponential rates that are tried, each also negative, in units of one over the window."""

_LARGEST_RHO: Final = 0.99


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """The least-squares line of a series z of mean 0 and variance 1 over its present samples.

    `slope` is the change over the whole window in standard deviations, `r2_ratio` the share of
    variance the line explains, `t_statistic` slope over standard error, which counts only as many
    independent samples as the lag-1 correlation of the residuals leaves: n (1 - rho) / (1 + rho)
    (Bayley and Hammersley 1946). `residual_T` has 0 where samples are missing.
    """

    slope: float
    r2_ratio: float
    t_statistic: float
    residual_T: Floats


def fit_line(z_T: Floats, present_T: NDArray[np.bool_]) -> Line:
    """Fit the line; see `Line`. `z_T` has mean 0 over its present samples and 0 elsewhere."""
    count = int(present_T.sum())
    t_T = np.linspace(-0.5, 0.5, z_T.size)
    middle = float(t_T[present_T].mean())
    along_T = np.where(present_T, t_T - middle, 0.0)
    spread = float(along_T @ along_T)
    slope = float(along_T @ z_T) / spread
    residual_T = z_T - slope * along_T
    left, total = float(residual_T @ residual_T), float(z_T @ z_T)
    rho = np.clip(lag1(residual_T, present_T), 0.0, _LARGEST_RHO)
    effective = max(3.0, count * (1 - rho) / (1 + rho))
    error = np.sqrt(max(left, 1e-12 * total) / (count * (effective - 2) / effective) / spread)
    error *= np.sqrt(count / effective)
    return Line(
        slope=slope,
        r2_ratio=1 - left / total,
        t_statistic=float(slope / error),
        residual_T=residual_T,
    )


def lag1(z_T: Floats, present_T: NDArray[np.bool_]) -> float:
    """Return the correlation of neighbours that are both present; `z_T` is 0 elsewhere."""
    both_T = present_T[1:] & present_T[:-1]
    variance = float(z_T @ z_T) / max(1, int(present_T.sum()))
    if not both_T.any() or variance <= 0:
        return 0.0
    return float((z_T[1:] * z_T[:-1])[both_T].mean()) / variance


@dataclass(frozen=True, kw_only=True, slots=True)
class Exponential:
    """The best a + b exp(rate t) over the window, t in 0..1.

    `gain_ratio` is the share of variance it explains beyond the line, with the sign of b: positive
    for curves that bend upwards (growth, decay to a floor), negative for those that bend down.
    """

    rate: float
    r2_ratio: float
    gain_ratio: float


def fit_exponential(z_T: Floats, present_T: NDArray[np.bool_], line: Line) -> Exponential:
    """Try each rate and keep the one that explains most."""
    t_T = np.linspace(0.0, 1.0, z_T.size)[present_T]
    rate_R = np.concatenate([-RATES, RATES])
    # Divided by their largest value: large rates do not overflow.
    curve_RT = np.exp(np.outer(rate_R, t_T) - np.maximum(rate_R, 0)[:, None])
    curve_RT -= curve_RT.mean(axis=1, keepdims=True)
    own_T = z_T[present_T]
    along_R = curve_RT @ own_T
    r2_R = along_R**2 / np.einsum("rt,rt->r", curve_RT, curve_RT) / float(own_T @ own_T)
    best = int(np.argmax(r2_R))
    gain = max(0.0, float(r2_R[best]) - line.r2_ratio)
    return Exponential(
        rate=float(rate_R[best]),
        r2_ratio=float(r2_R[best]),
        gain_ratio=gain if along_R[best] >= 0 else -gain,
    )
