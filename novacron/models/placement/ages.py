"""Ages of a workload in log-spaced bins, and survival curves that are asked again at every age.

Legend: N curves, K age bins, G points of a grid of future times.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

AGE_EDGES_S: Final = np.array(
    [
        "0",
        "300",
        "600",
        "900",
        "1500",
        "2100",
        "3000",
        "3900",
        "7500",
        "14700",
        "21900",
        "32700",
        "43500",
        "61500",
        "86700",
        "173100",
        "345900",
    ],
    dtype=np.float64,
)
"""Edges of the bins: near to log-spaced, on the edges at which the public lifetimes are known."""
BINS: Final = len(AGE_EDGES_S) - 1
GRID_S: Final = np.array(
    [
        "300",
        "900",
        "1800",
        "3600",
        "7200",
        "14400",
        "28800",
        "43200",
        "64800",
        "86400",
        "129600",
        "172800",
        "259200",
        "345600",
    ],
    dtype=np.float64,
)
"""Future times at which the end of a node's last workload is considered."""
GRID_STEPS_S: Final = np.diff(GRID_S, prepend=0.0)
_LEAST_HAZARD: Final = 1e-5


def bin_of(age_s: Floats) -> Ints:
    """Return the bin of each age; ages beyond the last edge are in the last bin."""
    found = np.searchsorted(AGE_EDGES_S, age_s, side="right") - 1
    return np.asarray(np.clip(found, 0, BINS - 1), dtype=np.int64)


@dataclass(frozen=True, kw_only=True, slots=True)
class Curves:
    """Lifetimes as piecewise exponentials: the hazard is constant within a bin.

    `cumulative_NK1` is the cumulative hazard at each edge; beyond the last edge the last bin's
    rate goes on.
    """

    cumulative_NK1: Floats
    rate_NK: Floats

    @classmethod
    def from_hazards(cls, hazard_NK: Floats) -> "Curves":
        """Return the curves whose probability of ending in each bin, if it is reached, is given."""
        step_NK = -np.log1p(-np.clip(hazard_NK, _LEAST_HAZARD, 1 - _LEAST_HAZARD))
        cumulative_NK1 = np.pad(np.cumsum(step_NK, axis=1), ((0, 0), (1, 0)))
        return cls(cumulative_NK1=cumulative_NK1, rate_NK=step_NK / np.diff(AGE_EDGES_S))

    def hazard_to(self, row_N: Ints, age_N: Floats) -> Floats:
        """Return the cumulative hazard of the given curves up to an age in seconds each."""
        bin_N = bin_of(age_N)
        into_N = age_N - AGE_EDGES_S[bin_N]
        found = self.cumulative_NK1[row_N, bin_N] + self.rate_NK[row_N, bin_N] * into_N
        return np.asarray(found)

    def survival(self, row_N: Ints, age_N: Floats) -> Floats:
        """Return the probability that each lives on for each time of the grid, given its age."""
        now_N1 = self.hazard_to(row_N, age_N)[:, None]
        shape = (len(row_N), len(GRID_S))
        later_NG = age_N[:, None] + GRID_S[None, :]
        rows_NG = np.broadcast_to(row_N[:, None], shape)
        return np.asarray(np.exp(now_N1 - self.hazard_to(rows_NG, later_NG)))


def point_survival(end_N: Floats, now_s: float) -> Floats:
    """Return the same for lifetimes that are known: 1 before the end and 0 from it on."""
    return np.asarray((end_N[:, None] > now_s + GRID_S[None, :]).astype(np.float64))


def mean_seconds(survival_NG: Floats) -> Floats:
    """Return the mean remaining time up to the end of the grid, its integral by the left rule."""
    return np.asarray(survival_NG @ GRID_STEPS_S)
