"""What is predicted of one path, with its provenance."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from novacron.models.bandwidth.modes import Mode


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """A forecast of one quantity: median and interval by step ahead."""

    value: tuple[float, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    horizon_s: tuple[float, ...]
    method: str
    """What forecast it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PathPrediction:
    """What is predicted of one path. Scalars are of the next step; None where never measured."""

    prediction_id: str
    path_id: str
    mode: Mode
    predicted_bandwidth_mbps: float
    bandwidth: Expected
    predicted_latency_ms: float | None
    predicted_loss_ratio: float | None
    predicted_jitter_ms: float | None
    channels: Mapping[str, Expected]
    """Round trip, loss and jitter with their intervals, where measured."""
    quarter_hour: Expected | None
    """Bandwidth by minute up to 15 minutes, or None: see `quarter_hour_missing`."""
    quarter_hour_missing: str
    confidence: float
    """Chance that bandwidth comes within a fifth of the prediction, from its interval."""
    coverage: float
    is_cold: bool
    """Fewer than 8 samples were seen."""
    fallback: str
    """Baseline that answered instead of the model, or empty."""
    samples: int
    horizon_s: float
    made_at: datetime
    valid_until: datetime
    model_name: str
    model_version: str
    features_hash: str


def to_expected(q_H3: NDArray[np.float64], step_s: float, method: str) -> Expected:
    """Return quantiles by step as a forecast."""
    return Expected(
        value=tuple(q_H3[:, 1].tolist()),
        lower=tuple(q_H3[:, 0].tolist()),
        upper=tuple(q_H3[:, 2].tolist()),
        horizon_s=tuple(step_s * ahead for ahead in range(1, len(q_H3) + 1)),
        method=method,
    )
