"""Medians and averages over the present samples of padded rows.

Legend: N rows, M samples (newest last, NaN where absent), P peers.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST_PEERS: Final = 16
"""Peers told apart in one row, those with the newest samples first."""


def row_quantile(x_NM: Floats, level: float) -> Floats:
    """Return the quantile of the present samples of each row, interpolated; NaN if there is none."""
    ordered_NM = np.sort(x_NM, axis=1)  # NaN goes last
    count_N = np.isfinite(ordered_NM).sum(axis=1)
    place_N = level * np.maximum(count_N - 1, 0)
    low_N = np.floor(place_N).astype(np.intp)
    high_N = np.minimum(low_N + 1, np.maximum(count_N - 1, 0))
    rows_N = np.arange(len(x_NM))
    below_N, above_N = ordered_NM[rows_N, low_N], ordered_NM[rows_N, high_N]
    return np.asarray(below_N + (above_N - below_N) * (place_N - low_N))


def row_median(x_NM: Floats, newest: int | None = None) -> Floats:
    """Return the median of the present samples among the newest places of each row."""
    return row_quantile(x_NM if newest is None else x_NM[:, -newest:], 0.5)


def row_ewma(x_NM: Floats, half_life: float) -> Floats:
    """Return the exponentially weighted mean of the present samples, the newest weighing most."""
    present_NM = np.isfinite(x_NM)
    # Ages count present samples: a gap does not age what came before it.
    newer_NM = np.cumsum(present_NM[:, ::-1], axis=1)[:, ::-1] - 1
    weight_NM = np.where(present_NM, 0.5 ** (np.maximum(newer_NM, 0) / half_life), 0.0)
    total_N = weight_NM.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.asarray((np.where(present_NM, x_NM, 0.0) * weight_NM).sum(axis=1) / total_N)


def mean_distance(x_NM: Floats, centre_N: Floats) -> Floats:
    """Return the mean absolute distance of the present samples of each row from its centre."""
    distance_NM = np.abs(x_NM - centre_N[:, None])
    count_N = np.isfinite(distance_NM).sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.nansum(distance_NM, axis=1) / np.where(count_N > 0, count_N, np.nan))


def peer_medians(x_NM: Floats, vm_NM: Ints, newest: tuple[int, ...]) -> list[Floats]:
    """Return, for each entry of `newest`, the medians of the newest samples of each peer, m_NP.

    Peers stand in the order of their newest sample; absent ones are NaN.
    """
    left_NM = np.isfinite(x_NM)
    found: list[list[Floats]] = [[] for _ in newest]
    rows_N = np.arange(len(x_NM))
    last = x_NM.shape[1] - 1
    for _ in range(MOST_PEERS):
        has_N = left_NM.any(axis=1)
        if not has_N.any():
            break
        place_N = last - np.argmax(left_NM[:, ::-1], axis=1)
        own_NM = left_NM & (vm_NM == vm_NM[rows_N, place_N][:, None])
        rank_NM = np.cumsum(own_NM[:, ::-1], axis=1)[:, ::-1]
        for place, count in enumerate(newest):
            kept_NM = own_NM & (rank_NM <= count)
            found[place].append(row_median(np.where(kept_NM, x_NM, np.nan)))
        left_NM = left_NM & ~own_NM
    empty_N = np.full(len(x_NM), np.nan)
    return [np.stack(columns or [empty_N], axis=1) for columns in found]


def present_mean(x_NP: Floats) -> Floats:
    """Return the mean of the present entries of each row, NaN if there is none."""
    count_N = np.isfinite(x_NP).sum(axis=1)
    return np.asarray(np.nansum(x_NP, axis=1) / np.where(count_N > 0, count_N, np.nan))
