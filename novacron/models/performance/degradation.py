"""Probability that a value is worse than a share of its level, by trees and isotonic calibration.

Legend: N rows, F features, H samples ahead, Q = 3 served levels.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

from novacron.models.performance.config import DegradationConfig, TwinConfig
from novacron.models.performance.context import Floats
from novacron.models.performance.examples import CATEGORIES, Encoded, Floats32
from novacron.models.performance.twin import booster_params, grow, read_booster

_BOUNDS: Final = (1e-4, 1 - 1e-4)
_LEAST_KNOTS: Final = 2
FILE: Final = "degradation.txt"

Mask = NDArray[np.bool_]


def is_worse(future_NH: Floats, level_N: Floats, config: DegradationConfig) -> Mask:
    """Tell whether any value that came was worse; values that are missing are not."""
    sign = 1.0 if config.worse == "lower" else -1.0
    allowed_N = level_N - sign * config.drop_ratio * np.abs(level_N)
    with np.errstate(invalid="ignore"):
        return np.asarray((sign * (allowed_N[:, None] - future_NH) > 0).any(axis=1))


@dataclass(frozen=True, kw_only=True, slots=True)
class Degradation:
    """Trees of the log odds, and the knots that bring their probability to observed shares."""

    booster: lgb.Booster
    raw_K: Floats
    share_K: Floats

    def probability(self, table_NF: Floats32) -> Floats:
        """Return the calibrated probability of rows as `degradation_table` makes them."""
        raw_N = np.asarray(self.booster.predict(table_NF, num_threads=1), dtype=np.float64)
        return np.clip(np.interp(raw_N, self.raw_K, self.share_K), *_BOUNDS)

    def save(self, directory: Path) -> None:
        """Write the trees as LightGBM text; the knots belong to the caller's arrays."""
        (directory / FILE).write_text(self.booster.model_to_string())

    @classmethod
    def load(cls, directory: Path, raw_K: Floats, share_K: Floats) -> Self:
        """Read what `save` wrote."""
        return cls(booster=read_booster(directory / FILE), raw_K=raw_K, share_K=share_K)


def degradation_table(encoded: Encoded, q_NQ: Floats, config: DegradationConfig) -> Floats32:
    """Append how far the limit lies from the level, in spreads, and what the members expect."""
    limit_N = config.drop_ratio * np.abs(encoded.level_N) / encoded.spread_N
    sign = 1.0 if config.worse == "lower" else -1.0
    bad_side_N = q_NQ[:, 0] if config.worse == "lower" else q_NQ[:, 2]
    more = np.stack([np.log(limit_N), sign * q_NQ[:, 1], sign * bad_side_N], axis=1)
    return np.concatenate([encoded.x_NF, more.astype(np.float32)], axis=1)


def fit_degradation(
    train: tuple[Floats32, Mask], validation: tuple[Floats32, Mask], config: TwinConfig, seed: int
) -> Degradation:
    """Grow the trees on the training part and calibrate them on the validation part."""
    params = booster_params(config, seed) | {"objective": "binary", "metric": "binary_logloss"}
    categories = list(range(len(CATEGORIES)))
    table = lgb.Dataset(
        train[0], train[1].astype(float), params=params, categorical_feature=categories
    )
    check = table.create_valid(validation[0], validation[1].astype(float))
    booster, _ = grow(table, check, params, config)
    raw_N = np.asarray(booster.predict(validation[0], num_threads=1), dtype=np.float64)
    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(
        raw_N, validation[1].astype(float)
    )
    raw_K = np.asarray(fitted.X_thresholds_, dtype=np.float64)
    share_K = np.asarray(fitted.y_thresholds_, dtype=np.float64)
    if len(raw_K) < _LEAST_KNOTS:
        raw_K, share_K = np.array([0.0, 1.0]), np.repeat(share_K[:1], 2)
    return Degradation(booster=booster, raw_K=raw_K, share_K=share_K)


def brier_terms(probability_N: Floats, worse_N: Mask) -> Floats:
    """Return (probability - outcome) squared, row by row. Source: Brier 1950."""
    return np.asarray((probability_N - worse_N.astype(np.float64)) ** 2)
