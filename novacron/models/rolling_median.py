"""Median of the newest samples: the flat forecast of least absolute error where spikes are rare."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from novacron.errors import OutOfRangeError

Floats = NDArray[np.float64]

_LEVELS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class RollingMedian:
    """Median of up to `samples` newest samples, for every step; see `baselines.Forecaster`."""

    horizon: int
    samples: int
    name: str = "rolling median"

    def forecast(self, bandwidth_T: Floats) -> Floats:
        """Return the value for all levels and steps, q_THQ; row t reads samples 0..t only.

        Raises:
            OutOfRangeError: A sample is negative or not finite.
        """
        series_T = np.asarray(bandwidth_T, dtype=np.float64)
        if series_T.ndim != 1 or not np.isfinite(series_T).all() or (series_T < 0).any():
            raise OutOfRangeError(
                field="samples", got=series_T.shape, expected="a vector of finite numbers >= 0"
            )
        median_T = pd.Series(series_T).rolling(self.samples, min_periods=1).median().to_numpy()
        return np.broadcast_to(
            median_T[:, None, None], (len(series_T), self.horizon, _LEVELS)
        ).copy()
