"""Features of one metric: where it is, what a forecast left over, how it moves; all causal.

Blocks of 128 samples are normalised by the history before them, so that the features of a sample
never change afterwards, whatever comes next, and do not depend on unit or offset.

Legend: K blocks, T samples of a block, J samples of a block and its context, F features.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BLOCK: Final = 128
"""Samples that share a normalisation."""
SCALES: Final = (6, 24, 96)
"""Samples of the short, middle and long window."""
_CONTEXT: Final = 4 * SCALES[-1] + SCALES[-1]
_CLIP: Final = 60.0
FEATURES_VERSION: Final = 1

VALUE_NAMES: Final = (
    "level",
    *(f"zscore_{w}" for w in SCALES),
    *(f"volatility_{w}" for w in SCALES),
)
"""`level`: distance from the median of the history; `zscore_w`: from the mean of the last w, in
their deviations; `volatility_w`: log ratio of the deviation of the last w to that of the 4w before.
"""
RESIDUAL_NAMES: Final = (
    *(f"deviation_{w}" for w in SCALES),
    *(f"shift_{w}" for w in SCALES),
    "level_6",
    "change",
    "daily_residual",
    "weekly_residual",
    "daily_shift",
)
"""What forecasts leave: `deviation_w` of the mean of the last w, `shift_w` of the mean of the last
w against the 3w before, `daily_residual` of the median of the same time on three days before,
`weekly_residual` of a week before, `daily_shift` its mean over two hours."""
NAMES: Final = VALUE_NAMES + RESIDUAL_NAMES


def features_hash() -> str:
    """Return 64 hex digits that change with the features' names, scales and version."""
    content = {"names": NAMES, "scales": SCALES, "block": BLOCK, "version": FEATURES_VERSION}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def lookback(day_samples: int) -> int:
    """Return how many samples before a block its features may read."""
    return max(_CONTEXT, 7 * day_samples + max(6, day_samples // 12) + 4)


@dataclass(slots=True)
class _Sums:
    """Running sums of a normalised block and its context."""

    one_KJ: Floats
    square_KJ: Floats
    first_K1: NDArray[np.int64]

    def window(self, width: int, lag: int = 0) -> tuple[Floats, Floats]:
        """Return mean and deviation of the last `width` samples, `lag` ago, where there are any."""
        end = np.arange(_CONTEXT, _CONTEXT + BLOCK)[None, :] + 1 - lag
        high = np.maximum(end, self.first_K1 + 1)
        low = np.maximum(high - width, self.first_K1)
        count = high - low
        mean = _between(self.one_KJ, low, high) / count
        variance = _between(self.square_KJ, low, high) / count - mean * mean
        unbiased = count / np.maximum(count - 1, 1)
        return mean, np.sqrt(np.maximum(variance, 0) * unbiased)


def _between(sum_KJ: Floats, low: NDArray[np.int64], high: NDArray[np.int64]) -> Floats:
    taken = np.take_along_axis(sum_KJ, high, axis=1) - np.take_along_axis(sum_KJ, low, axis=1)
    return np.asarray(taken)


def block_features(
    value_T: Floats, start: int, end: int, *, history: int, day_samples: int
) -> Floats:
    """Compute the features of samples `start` to `end`, exclusive.

    Args:
        value_T: The finite series up to `end` at least; nothing after `end` is read.
        start: A multiple of `BLOCK`.
        end: Any sample after it.
        history: Samples before a block that normalise it; the first block normalises itself.
        day_samples: Samples of a day; below 4 the daily and weekly features stay 0.

    Returns:
        x_TF in the order of `NAMES`.
    """
    block_K = np.arange(start, end, BLOCK)
    centre_K1, spread_K1 = _normalisers(value_T, block_K, history)
    at_KJ = block_K[:, None] + np.arange(-_CONTEXT, BLOCK)[None, :]
    value_KJ = value_T[np.clip(at_KJ, 0, end - 1)]
    z_KJ = np.clip((value_KJ - centre_K1) / spread_K1, -_CLIP, _CLIP)
    z_KJ[at_KJ < 0] = 0
    sums = _Sums(
        one_KJ=_running(z_KJ),
        square_KJ=_running(z_KJ * z_KJ),
        first_K1=np.maximum(_CONTEXT - block_K, 0)[:, None],
    )
    z_KT = z_KJ[:, _CONTEXT:]
    columns: dict[str, Floats] = {
        "level": z_KT,
        "level_6": sums.window(6)[0],
        "change": z_KT - z_KJ[:, _CONTEXT - 1 : -1],
    }
    for w in SCALES:
        columns |= _window_features(z_KT, sums, w)
    columns |= _seasonal_features(value_T[:end], block_K, spread_K1, day_samples)
    stacked = np.stack([columns[name].reshape(-1)[: end - start] for name in NAMES], axis=1)
    return np.clip(stacked, -_CLIP, _CLIP)


def _normalisers(
    value_T: Floats, block_K: NDArray[np.int64], history: int
) -> tuple[Floats, Floats]:
    centre, spread = [], []
    for at in block_K:
        past = value_T[max(0, at - history) : at] if at else value_T[:BLOCK]
        centre.append(np.median(past))
        spread.append(np.std(past))
    centre_K1, spread_K1 = np.array(centre)[:, None], np.array(spread)[:, None]
    # After a constant history any change is at the clip, and no change is exactly 0.
    return centre_K1, np.maximum(spread_K1, 1e-12 * np.abs(centre_K1) + 1e-300)


def _running(x_KJ: Floats) -> Floats:
    out = np.zeros((len(x_KJ), x_KJ.shape[1] + 1))
    np.cumsum(x_KJ, axis=1, out=out[:, 1:])
    return out


def _window_features(z_KT: Floats, sums: _Sums, w: int) -> dict[str, Floats]:
    before, spread_before = sums.window(w, lag=1)
    now, spread_now = sums.window(w)
    past, spread_past = sums.window(3 * w, lag=w)
    spread_long = sums.window(4 * w, lag=w)[1]
    # The floors are shares of the history's spread: a quiet hour does not divide by nothing.
    return {
        f"zscore_{w}": (z_KT - before) / (spread_before + 0.05),
        f"deviation_{w}": z_KT - before,
        f"volatility_{w}": np.log((spread_now + 0.01) / (spread_long + 0.01)),
        f"shift_{w}": (now - past) / (spread_past + 0.05),
    }


def _seasonal_features(
    value_T: Floats, block_K: NDArray[np.int64], spread_K1: Floats, day: int
) -> dict[str, Floats]:
    smooth = max(6, day // 12)
    at_KS = block_K[:, None] + np.arange(-smooth, BLOCK)[None, :]
    here_KS = value_T[np.clip(at_KS, 0, len(value_T) - 1)]
    one, two, three = (_lagged(value_T, at_KS, k * day) for k in (1, 2, 3))
    middle = np.maximum(np.minimum(one, two), np.minimum(np.maximum(one, two), three))
    usual = np.where(np.isnan(two), one, np.where(np.isnan(three), (one + two) / 2, middle))
    daily_KS = np.clip(np.nan_to_num((here_KS - usual) / spread_K1), -_CLIP, _CLIP)
    weekly_KS = np.nan_to_num((here_KS - _lagged(value_T, at_KS, 7 * day)) / spread_K1)
    sum_KS = np.cumsum(daily_KS, axis=1)
    return {
        "daily_residual": daily_KS[:, smooth:],
        "weekly_residual": weekly_KS[:, smooth:],
        "daily_shift": (sum_KS[:, smooth:] - sum_KS[:, :-smooth]) / smooth,
    }


def _lagged(value_T: Floats, at_KS: NDArray[np.int64], lag: int) -> Floats:
    """Return the mean of the sample `lag` ago and its neighbours, NaN where there is none."""
    centre = at_KS - lag
    known = (centre >= 1) & (centre + 1 < len(value_T)) & (lag >= 4)
    inside = np.clip(centre, 1, max(len(value_T) - 2, 1))
    if len(value_T) < 3:
        return np.full(at_KS.shape, np.nan)
    mean = (value_T[inside - 1] + value_T[inside] + value_T[inside + 1]) / 3
    return np.where(known, mean, np.nan)
