"""What `PerformancePredictorModel` answers.

Legend: N windows, T steps that were attended to (newest last).
"""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """Who answered, when, and for how long the answer holds."""

    model_name: str
    model_version: str
    features_hash: str
    made_at: datetime
    horizon_s: float
    valid_until: datetime
    """When the forecast value is there: a newer window then gives a better answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PerformancePrediction:
    """Forecasts in the unit of the target: `value` with its interval, and the attention.

    `coverage` is the nominal share of actual values in [lower, upper]. `fallback` says of each
    window what the answer leans on in place of the model, or is empty.
    """

    value: Floats
    lower: Floats
    upper: Floats
    coverage: float
    level: Floats
    """What the window itself suggests, before the members speak."""
    attention: NDArray[np.float32]
    """attention_NT: how much each of the newest steps counted; each row sums to 1."""
    fallback: NDArray[np.object_]
    provenance: Provenance


@dataclass(frozen=True, kw_only=True, slots=True)
class DegradationForecast:
    """Calibrated probability that the value is worse than its level by more than `drop_ratio`."""

    probability: Floats
    worse: str
    """`lower` or `higher`."""
    drop_ratio: float
    limit: Floats
    """The value beyond which it counts as worse, in the unit of the target."""
    fallback: NDArray[np.object_]
    provenance: Provenance


@dataclass(frozen=True, kw_only=True, slots=True)
class PerformanceScores:
    """Errors of forecasts f of actual values y.

    mse = mean (y - f)^2; rmse = sqrt(mse); mae = mean |y - f|; r2 = 1 - sum (y - f)^2 / sum (y -
    mean y)^2; mape = mean |y - f| / |y| over y != 0; wape = sum |y - f| / sum |y|; within_5_percent
    = share of |y - f| <= 0.05 |y| (older documents call it accuracy); coverage = share of y in
    [lower, upper]. `*_of_level` are those of the level alone, for comparison. A figure that is not
    defined for the data (r2 of equal values, mape and wape of zeros) is NaN.
    """

    count: int
    mse: float
    rmse: float
    mae: float
    r2: float
    mape: float
    wape: float
    within_5_percent: float
    coverage: float
    mae_of_level: float
    within_5_percent_of_level: float
