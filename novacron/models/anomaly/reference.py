"""What other series of the fleet say about a metric whose own history is still short.

A new series is judged by two laws at once: its own past, and how far samples of this metric strayed
from their series' past while those were as young, anywhere in the fleet. The fleet counts as much
as 64 samples of its own. Their weighted mean is brought to the scale of the warm scores by matching
quantiles on the fleet, so that one threshold serves both.

Legend: H samples of a history, N samples, G places of a law.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.models.anomaly.warmup import LEAST_SAMPLES, own_surprise

Floats = NDArray[np.float64]

REFERENCE: Final = "fleet_reference"
LEAST_PAST: Final = 3
"""Fewer earlier samples than this have no middle to stray from: the surprise is 0."""
LEAST_STARTS: Final = 8
"""A metric seen in fewer starts than this gets no law."""
_FLEET_SAMPLES: Final = 64
"""The fleet counts as much as so many samples of the metric's own past."""
_MOST_STARTS: Final = 200
_STEPS_PER_DECADE: Final = 20


@dataclass(frozen=True, slots=True)
class MetricReference:
    """The laws of one metric, each as what is exceeded with probability 10^(-g / 20).

    `change_G` are distances from the median of the past, in the metric's unit; `young_G` and
    `warm_G` equally rare values of the score of a young series and of a warm one.
    """

    change_G: Floats
    young_G: Floats
    warm_G: Floats

    def surprise(self, value_H: Floats, start: int) -> Floats:
        """Return the surprise of each sample from `start` on after those before it.

        What lies beyond all that the fleet has shown goes on with the ratio of the last places.
        """
        own_N = own_surprise(value_H, start)
        young_N = _young_score(self.change_G, own_N, changes(value_H, start), start)
        ratio = self.warm_G[-1] / max(self.young_G[-1], 1e-9)
        beyond_N = np.maximum(young_N - self.young_G[-1], 0) * ratio
        return np.asarray(_read(self.young_G, self.warm_G, young_N) + beyond_N)

    def content(self) -> dict[str, list[float]]:
        """Return what `from_content` reads."""
        return {name: getattr(self, name).tolist() for name in self.__slots__}

    @classmethod
    def from_content(cls, content: Mapping[str, Sequence[float]]) -> "MetricReference":
        """Read a reference.

        Raises:
            KeyError: A law is missing.
            ValueError: A law is empty, falls or holds what is not a number.
        """
        laws = {name: np.array(content[name], dtype=np.float64) for name in cls.__slots__}
        for name, law_G in laws.items():
            if law_G.ndim != 1 or not len(law_G) or not (np.diff(law_G) >= 0).all():
                raise ValueError(f"{name} of a reference does not rise")
        if len(laws["young_G"]) != len(laws["warm_G"]):
            raise ValueError("young_G and warm_G of a reference differ in length")
        return cls(**laws)


def changes(value_H: Floats, start: int) -> Floats:
    """Return how far each sample from `start` on lies from the median of those before it."""
    return np.array(
        [
            abs(value_H[at] - np.median(value_H[:at])) if at >= LEAST_PAST else 0.0
            for at in range(start, len(value_H))
        ]
    )


def fit_metric(series: Sequence[tuple[Floats, Floats]], young: int) -> MetricReference | None:
    """Fit the laws of one metric, or return None where the fleet shows too little of it.

    Args:
        series: For each entity its samples and their warm scores, NaN where a fallback answered.
        young: Samples for which a reference answers; every stretch of so many counts as a start.
    """
    starts = [
        value_T[first : first + young]
        for value_T, _ in series
        for first in range(0, len(value_T) - young + 1, young)
    ]
    warm_N = np.concatenate([score_T[~np.isnan(score_T)] for _, score_T in series])
    starts = starts[:: -(-len(starts) // _MOST_STARTS) or 1]
    if len(starts) < LEAST_STARTS or len(warm_N) < young:
        return None
    change = [changes(value_H, LEAST_PAST) for value_H in starts]
    change_G = _law(np.concatenate(change))
    young_N = [
        _young_score(change_G, own_surprise(value_H, LEAST_PAST), change_N, LEAST_PAST)
        for value_H, change_N in zip(starts, change, strict=True)
    ]
    young_G, warm_G = _law(np.concatenate(young_N)), _law(warm_N)
    common = min(len(young_G), len(warm_G))
    return MetricReference(change_G, young_G[:common], warm_G[:common])


def _young_score(change_G: Floats, own_N: Floats, change_N: Floats, start: int) -> Floats:
    """Return the weighted mean of both surprises; the fleet's alone while the past says nothing."""
    fleet_N = _read(change_G, np.arange(len(change_G)) / _STEPS_PER_DECADE, change_N)
    n_N = start + np.arange(len(own_N))
    own_share_N = np.where(n_N < LEAST_SAMPLES, 0.0, n_N / (n_N + _FLEET_SAMPLES))
    return np.asarray(own_share_N * own_N + (1 - own_share_N) * fleet_N)


def _read(law_G: Floats, told_G: Floats, size_N: Floats) -> Floats:
    """Return what a law tells of sizes; of equal places the first counts, the commonest."""
    rises_G = np.diff(law_G, prepend=-np.inf) > 0
    return np.asarray(np.interp(size_N, law_G[rises_G], told_G[rises_G]))


def _law(size_N: Floats) -> Floats:
    surprise_G = np.arange(0, np.log10(len(size_N)), 1 / _STEPS_PER_DECADE)
    return np.asarray(np.quantile(size_N, 1 - 10.0**-surprise_G))
