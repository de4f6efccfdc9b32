"""Evidence of levels: the best single step and the best excursion that returns.

Legend: B bins of equal width, T samples.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MOST_BINS: Final = 96


@dataclass(frozen=True, kw_only=True, slots=True)
class Binned:
    """Sums and counts of the present samples in bins of equal width."""

    sum_B: Floats
    count_B: Floats

    @property
    def mean_B(self) -> Floats:
        """Mean of each bin that has samples, in order."""
        held_B = self.count_B > 0
        return np.asarray(self.sum_B[held_B] / self.count_B[held_B])


def to_bins(z_T: Floats, present_T: NDArray[np.bool_], bins: int) -> Binned:
    """Sum present samples into bins; `z_T` is 0 where missing."""
    bins = min(bins, z_T.size)
    bin_T = np.arange(z_T.size) * bins // z_T.size
    return Binned(
        sum_B=np.bincount(bin_T, weights=z_T, minlength=bins).astype(np.float64),
        count_B=np.bincount(bin_T[present_T], minlength=bins).astype(np.float64),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Levels:
    """The step and the excursion that explain most of the variance of a window.

    Heights are in standard deviations of the window, signed; a step's is after minus before, an
    excursion's inside minus outside. Places and lengths are shares of the window. `second_r2_ratio`
    is the share that a further excursion explains of what the first one left; `box_margin_ratio` is
    how far the excursion stays from the nearer end of the window (about 0 for a step).
    """

    step_r2_ratio: float
    step_height: float
    step_place_ratio: float
    box_r2_ratio: float
    box_height: float
    box_length_ratio: float
    box_margin_ratio: float
    second_r2_ratio: float
    left_lag1: float


def find_levels(z_T: Floats, present_T: NDArray[np.bool_]) -> Levels:
    """Search all bin edges: the between-group sum of squares of a two-level split, exhaustively.

    The split in two is the likelihood-ratio changepoint of Hawkins 1977; the excursion is its
    epidemic alternative (Levin and Kline 1985).
    """
    binned = to_bins(z_T, present_T, MOST_BINS)
    total = float(z_T @ z_T)
    r2_BB = _split_r2(binned, total)
    bins = binned.sum_B.size
    step = int(np.argmax(r2_BB[0, :bins]))
    inner_BB = r2_BB[1:, :bins]
    first, stop = np.unravel_index(int(np.argmax(inner_BB)), inner_BB.shape)
    box_slice = slice(int(first) + 1, int(stop))
    left = _without(binned, box_slice)
    left_total = max(float(left.sum_B @ _means(left)), 1e-12)
    return Levels(
        step_r2_ratio=float(r2_BB[0, step]),
        step_height=-_height(binned, slice(0, step)),
        step_place_ratio=step / bins,
        box_r2_ratio=float(inner_BB.max()),
        box_height=_height(binned, box_slice),
        box_length_ratio=(box_slice.stop - box_slice.start) / bins,
        box_margin_ratio=min(box_slice.start, bins - box_slice.stop) / bins,
        second_r2_ratio=float(_split_r2(left, left_total)[1:, :bins].max()),
        left_lag1=_bin_lag1(left),
    )


def _split_r2(binned: Binned, total: float) -> Floats:
    """Return the share explained by a level of its own in bins i..j-1, for all i < j; else 0."""
    sum_E = np.concatenate([[0.0], np.cumsum(binned.sum_B)])
    count_E = np.concatenate([[0.0], np.cumsum(binned.count_B)])
    inside_EE = count_E[None, :] - count_E[:, None]
    outside_EE = count_E[-1] - inside_EE
    # The whole has mean 0 only nearly, once a level was taken away.
    excess_EE = (sum_E[None, :] - sum_E[:, None]) - inside_EE * (sum_E[-1] / count_E[-1])
    valid_EE = (inside_EE > 0) & (outside_EE > 0)
    product_EE = np.where(valid_EE, inside_EE * outside_EE, 1.0)
    r2_EE = np.where(valid_EE, excess_EE**2 * count_E[-1] / product_EE / total, 0.0)
    return np.asarray(r2_EE)


def _means(binned: Binned) -> Floats:
    return np.asarray(binned.sum_B / np.maximum(binned.count_B, 1.0))


def _height(binned: Binned, inside: slice) -> float:
    own, count = float(binned.sum_B[inside].sum()), float(binned.count_B[inside].sum())
    rest, others = float(binned.sum_B.sum()) - own, float(binned.count_B.sum()) - count
    return own / max(count, 1.0) - rest / max(others, 1.0)


def _without(binned: Binned, inside: slice) -> Binned:
    """Take the level of an excursion away from its bins."""
    sum_B = binned.sum_B.copy()
    sum_B[inside] -= _height(binned, inside) * binned.count_B[inside]
    sum_B -= binned.count_B * (sum_B.sum() / binned.count_B.sum())
    return Binned(sum_B=sum_B, count_B=binned.count_B)


def _bin_lag1(binned: Binned) -> float:
    mean_B = binned.mean_B
    power = float(mean_B @ mean_B)
    return float(mean_B[1:] @ mean_B[:-1]) / power if power > 0 else 0.0
