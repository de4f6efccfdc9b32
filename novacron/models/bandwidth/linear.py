"""The linear forecast: least absolute deviations on lags and averages, an input of both members.

Trees cannot add up lags and a small network learns it slowly; this does it in closed form.

Legend: N rows, H steps ahead, F features, K linear inputs (the last one is 1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from novacron.features.spec import FeatureSpec
from novacron.models.bandwidth.windows import Floats, ModelInputs, read_names

Floats32 = NDArray[np.float32]

HIGHEST_RATIO: Final = 8.0
"""Inputs, targets and forecasts are cut here: one burst must not bend a line."""

_PREFIX: Final = "bandwidth_mbps__"
_ROUNDS: Final = 4
_LEAST_ERROR: Final = 0.05
_PENALTY: Final = 3e-4


def level_column(spec: FeatureSpec) -> int:
    """Return the column of the logarithm of the EWMA level."""
    return read_names(spec).index(f"{_PREFIX}log_level")


def _ratio_columns(spec: FeatureSpec) -> NDArray[np.intp]:
    names = list(read_names(spec))
    wanted = [f"{_PREFIX}log_ratio_lag_{k}" for k in spec.relative_lags]
    wanted += [f"{_PREFIX}log_ratio_ewma_{h:g}" for h in spec.ewma_half_lives]
    return np.array([names.index(name) for name in wanted])


def linear_inputs(inputs: ModelInputs, spec: FeatureSpec) -> Floats:
    """Return the ratios of lags and averages to the reference, x_NK; missing ones are the level."""
    log_level_N = inputs.x_NF[:, level_column(spec)].astype(np.float64)
    relative_N = np.exp(log_level_N) / inputs.reference_N
    log_ratio_NK = np.nan_to_num(inputs.x_NF[:, _ratio_columns(spec)].astype(np.float64), nan=0.0)
    ratio_NK = np.minimum(np.exp(log_ratio_NK) * relative_N[:, None], HIGHEST_RATIO)
    return np.concatenate([ratio_NK, np.ones((len(ratio_NK), 1))], axis=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class LinearForecast:
    """Weights of the linear forecast of one class, weight_KH."""

    weight_KH: Floats

    @classmethod
    def fit(cls, parts: Sequence[tuple[Floats, Floats32, Floats32]]) -> Self:
        """Minimise the weighted absolute error of the ratios by reweighted least squares.

        Source: Schlossmacher 1973 (iteratively reweighted least squares for L1), with a small
        ridge penalty.

        Args:
            parts: Per part of the training set x_NK, ratio_NH and weight_N.
        """
        x_NK = np.concatenate([part[0] for part in parts])
        ratio_NH = np.concatenate([part[1] for part in parts]).astype(np.float64)
        weight_N = np.concatenate([part[2] for part in parts]).astype(np.float64)
        ratio_NH = np.minimum(ratio_NH, HIGHEST_RATIO)
        columns = []
        for ratio_N in ratio_NH.T:
            solved_K = _solve(x_NK, ratio_N, weight_N)
            for _ in range(_ROUNDS - 1):
                error_N = np.maximum(np.abs(ratio_N - x_NK @ solved_K), _LEAST_ERROR)
                solved_K = _solve(x_NK, ratio_N, weight_N / error_N)
            columns.append(solved_K)
        return cls(weight_KH=np.stack(columns, axis=1))

    def ratios(self, inputs: ModelInputs, spec: FeatureSpec) -> Floats32:
        """Return the forecast of future / reference, ratio_NH in [0, 8]."""
        value_NH = linear_inputs(inputs, spec) @ self.weight_KH
        return np.clip(value_NH, 0.0, HIGHEST_RATIO).astype(np.float32)


def _solve(x_NK: Floats, y_N: Floats, weight_N: Floats) -> Floats:
    weighted_NK = x_NK * weight_N[:, None]
    gram_KK = weighted_NK.T @ x_NK
    size = len(gram_KK)
    penalty_K = np.full(size, _PENALTY * np.trace(gram_KK) / size)
    # The constant is not shrunk, beyond what keeps the system solvable.
    penalty_K[-1] *= 1e-6
    return np.asarray(
        np.linalg.solve(gram_KK + np.diag(penalty_K), weighted_NK.T @ y_N), dtype=np.float64
    )
