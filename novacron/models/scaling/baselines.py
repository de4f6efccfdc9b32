"""What a scaling policy is measured against: rules that need no model. Capacity at each step.

All are causal: capacity at step t was ordered at t - delay. Legend: T steps.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from novacron.models.scaling.features import rolling, shifted

Floats = NDArray[np.float64]


def reactive(value_T: Floats, delay: int, factor: float) -> Floats:
    """Return a multiple of the newest demand at order time."""
    return factor * shifted(value_T, delay)


def hpa_like(
    value_T: Floats,
    delay: int,
    target_ratio: float,
    *,
    tolerance_ratio: float = 0.1,
    stabilise_steps: int = 1,
) -> Floats:
    """Return what a horizontal autoscaler does: demand / target utilisation, with its tolerance.

    Changes smaller than the tolerance are not made; scaling in waits for the highest wish of the
    stabilisation window. Source: Kubernetes horizontal pod autoscaler, algorithm details.
    """
    wish_T = value_T / target_ratio
    calm_T = rolling(wish_T, max(1, stabilise_steps), "max")
    ordered_T = np.full(len(value_T), np.nan)
    ordered = float("nan")
    for t, wish in enumerate(wish_T):
        if np.isfinite(wish):
            if not np.isfinite(ordered) or wish > ordered * (1 + tolerance_ratio):
                ordered = wish
            elif calm_T[t] < ordered * (1 - tolerance_ratio):
                ordered = calm_T[t]
        ordered_T[t] = ordered
    return shifted(ordered_T, delay)


def seasonal_reactive(value_T: Floats, delay: int, day_steps: int, factor: float) -> Floats:
    """Return a multiple of the larger of the newest demand and yesterday's at the time of arrival."""
    yesterday_T = shifted(value_T, day_steps)
    return factor * np.fmax(shifted(value_T, delay), yesterday_T)


def conformal_ratio(
    value_T: Floats, delay: int, level: float, week_steps: int, *, day_steps: int = 0
) -> Floats:
    """Return the newest demand times a quantile of d(t + delay) / d(t) over the last week.

    With `day_steps`, the quantile is over the same time of day within 2 hours instead of all times.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio_T = value_T / shifted(value_T, delay)
    ratio_T = np.where(np.isfinite(ratio_T), ratio_T, np.nan)
    if day_steps:
        return shifted(value_T, delay) * _same_time_quantile(ratio_T, level, day_steps)
    margin_T = pd.Series(ratio_T).rolling(week_steps, min_periods=48).quantile(level)
    return shifted(value_T * margin_T.to_numpy(), delay)


def _same_time_quantile(ratio_T: Floats, level: float, day_steps: int) -> Floats:
    half = day_steps // 12
    offsets = np.concatenate(
        [back * day_steps + np.arange(-half, half + 1) for back in range(1, 8)]
    )
    place_TN = np.arange(len(ratio_T))[:, None] - offsets
    seen_TN = np.where(place_TN >= 0, ratio_T[np.maximum(place_TN, 0)], np.nan)
    enough = np.isfinite(seen_TN).sum(axis=1) >= 2 * half
    quantile_T = np.full(len(ratio_T), np.nan)
    quantile_T[enough] = np.nanquantile(seen_TN[enough], level, axis=1)
    return quantile_T


def oracle(value_T: Floats, block_steps: int) -> Floats:
    """Return the highest demand of each block of steps: what perfect foresight would order."""
    blocks = pd.Series(value_T).groupby(np.arange(len(value_T)) // block_steps)
    return np.asarray(blocks.transform("max").to_numpy(), dtype=np.float64)
