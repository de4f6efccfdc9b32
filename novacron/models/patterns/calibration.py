"""Confidence that means a share: temperature for the types, a conformal width for the period.

Legend: N windows, K classes.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from novacron.errors import InvalidInputError

Floats = NDArray[np.float64]

_LEAST_SHARE: Final = 1e-3
_LEAST_ERROR_RATIO: Final = 1e-4


def apply_temperature(p_NK: Floats, temperature: float) -> Floats:
    """Return p^(1/temperature), normalised: below 1 sharper, above 1 flatter; order kept.

    Guo et al. 2017, section 4.2, on log vote shares; a class without a vote counts as 0.001.
    """
    scaled_NK = np.log(np.maximum(p_NK, _LEAST_SHARE)) / temperature
    scaled_NK -= scaled_NK.max(axis=1, keepdims=True)
    power_NK = np.exp(scaled_NK)
    return np.asarray(power_NK / power_NK.sum(axis=1, keepdims=True))


def fit_temperature(p_NK: Floats, type_N: NDArray[np.int64]) -> float:
    """Return the temperature in [0.2, 5] with the least negative log-likelihood."""
    row_N = np.arange(len(type_N))

    def loss(log_temperature: float) -> float:
        scaled_NK = apply_temperature(p_NK, float(np.exp(log_temperature)))
        return float(-np.log(scaled_NK[row_N, type_N] + 1e-12).mean())

    found = minimize_scalar(loss, bounds=(np.log(0.2), np.log(5.0)), method="bounded")
    return float(np.exp(found.x))


def fit_period_width(
    found_N: Floats, true_N: Floats, error_ratio_N: Floats, *, coverage: float
) -> float:
    """Return by how much standard errors of periods are to be multiplied to cover that share.

    Split conformal prediction with the standard error as the scale (Lei et al. 2018, section 5.2).

    Raises:
        InvalidInputError: Too few windows for that coverage.
    """
    score_N = np.sort(np.abs(np.log(found_N / true_N)) / least_error(error_ratio_N))
    place = int(np.ceil(coverage * (score_N.size + 1)))
    if place > score_N.size:
        raise InvalidInputError(
            field="validation windows",
            got=score_N.size,
            expected=f"enough periodic ones for a coverage of {coverage}",
        )
    return float(score_N[place - 1])


def least_error(error_ratio_N: Floats) -> Floats:
    """Return the standard errors, none of them smaller than a ten-thousandth of the period."""
    return np.maximum(error_ratio_N, _LEAST_ERROR_RATIO)


def period_bounds(period_N: Floats, error_ratio_N: Floats, width: float) -> tuple[Floats, Floats]:
    """Return the lower and upper ends of the periods, in their unit."""
    reach_N = np.minimum(width * least_error(error_ratio_N), 2.0)
    return period_N * np.exp(-reach_N), period_N * np.exp(reach_N)
