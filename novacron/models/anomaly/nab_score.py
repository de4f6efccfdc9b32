"""The NAB score, from its paper: Lavin and Ahmad, ICMLA 2015, section III.

A detection inside a labelled window earns by how early it is, once a window; one outside costs, the
more the farther it is behind the last window; a window without detection costs. The sum is scaled
so that a detector that never alerts has 0 and a perfect one 100.

Legend: S series, G thresholds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Window = tuple[int, int]
"""First and last sample of a labelled window, both inside."""
ProfileName = Literal["standard", "low_fp", "low_fn"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """What a detected window earns, and what a false and a missed one cost."""

    hit: float
    false: float
    miss: float


PROFILES: Final[Mapping[ProfileName, Profile]] = {
    "standard": Profile(hit=1.0, false=0.11, miss=1.0),
    "low_fp": Profile(hit=1.0, false=0.22, miss=1.0),
    "low_fn": Profile(hit=1.0, false=0.11, miss=2.0),
}

_PROBATION_SHARE: Final = 0.15
_PROBATION_OF: Final = 5000
_FAR: Final = 3.0


def probation(samples: int) -> int:
    """Return the samples at the start that count for nothing: 15 %, of at most 5000."""
    return int(_PROBATION_SHARE * min(samples, _PROBATION_OF))


def position_value(position: float) -> float:
    """Return the scaled sigmoid of a position relative to a window (paper, eq. 1), in (-1, 1).

    -1 is the start of the window, 0 its end, and from 3 window lengths behind it on it is -1.
    """
    if position > _FAR:
        return -1.0
    return 2.0 / (1.0 + float(np.exp(5.0 * position))) - 1.0


def raw_score(
    rows: Sequence[int], windows: Sequence[Window], samples: int, profile: Profile
) -> float:
    """Return the sum of what alerts earn and cost on one series.

    Args:
        rows: Samples at which an alert is raised, increasing.
        windows: Labelled windows, increasing and apart.
        samples: Length of the series.
        profile: Weights.
    """
    total = 0.0
    hit: set[Window] = set()
    first = probation(samples)
    for row in rows:
        if row < first:
            continue
        inside = next((w for w in windows if w[0] <= row <= w[1]), None)
        if inside is None:
            total += profile.false * _false_value(row, windows)
        elif inside not in hit:
            hit.add(inside)
            start, end = inside
            early = position_value(-(end - row + 1) / (end - start + 1))
            total += profile.hit * early / position_value(-1.0)
    return total - profile.miss * (len(windows) - len(hit))


def _false_value(row: int, windows: Sequence[Window]) -> float:
    before = [window for window in windows if window[1] < row]
    if not before:
        return -1.0
    start, end = before[-1]
    return position_value((row - end) / max(end - start, 1))


def scaled(raw: float, windows: int, profile: Profile) -> float:
    """Return a sum of raw scores on the scale of 0 (never alerts) to 100 (perfect)."""
    return 100.0 * (raw + profile.miss * windows) / ((profile.hit + profile.miss) * windows)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """Raw scores of series at thresholds."""

    raw_SG: Floats
    windows_S: NDArray[np.int64]
    profile: Profile

    def best(self) -> tuple[int, float]:
        """Return the threshold that is best for all series together, and its scaled score.

        This is how NAB itself sets it: on the very labels it is scored by.
        """
        total_G = self.raw_SG.sum(axis=0)
        place = int(total_G.argmax())
        return place, scaled(float(total_G[place]), int(self.windows_S.sum()), self.profile)

    def held_out(self) -> Floats:
        """Return the raw score of each series at the threshold best for the other series."""
        total_G = self.raw_SG.sum(axis=0)
        place_S = (total_G[None, :] - self.raw_SG).argmax(axis=1)
        return np.take_along_axis(self.raw_SG, place_S[:, None], axis=1)[:, 0]

    def held_out_score(self) -> float:
        """Return the scaled score of `held_out`."""
        return scaled(float(self.held_out().sum()), int(self.windows_S.sum()), self.profile)

    def interval(self, raw_S: Floats, rng: np.random.Generator) -> tuple[float, float]:
        """Return the 95 % interval of the scaled score of raw scores, resampling whole series."""
        pick_BS = rng.integers(len(raw_S), size=(2000, len(raw_S)))
        windows_B = self.windows_S[pick_BS].sum(axis=1)
        gain = self.profile.miss * windows_B + raw_S[pick_BS].sum(axis=1)
        score_B = 100.0 * gain / ((self.profile.hit + self.profile.miss) * windows_B)
        low, high = np.quantile(score_B, [0.025, 0.975])
        return float(low), float(high)
