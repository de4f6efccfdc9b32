"""Intervals from the errors that the ensemble really made, and paths that stay true to them.

An error on the link scale, divided by the series' own scale and by how errors grow with the horizon,
is a score; scores of all series together have one distribution. Its quantiles give the intervals:
split conformal prediction with a normalised score (Lei et al. 2018, section 5.2), weighted so that
every series counts the same. Legend: N trajectories, H steps ahead, R probabilities, P paths.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Self, cast

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.special import ndtri

Floats = NDArray[np.float64]

PROBABILITIES: Final = np.concatenate(
    [[0.005, 0.01, 0.0175, 0.025, 0.0375], np.linspace(0.05, 0.95, 37),
     [0.9625, 0.975, 0.9825, 0.99, 0.995]]
)  # fmt: skip
COVERAGES: Final = (0.80, 0.95)
_KNOT_SHARES: Final = (0.0, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """Growth g_H of errors with the horizon, quantiles q_R of scores, and their persistence.

    Normal scores of one trajectory correlate as `lasting + (1 - lasting) * fading ** lag`.
    """

    growth_H: Floats
    score_R: Floats
    lasting: float
    fading: float

    @classmethod
    def fit(cls, error_NH: Floats, group_N: NDArray[np.int64]) -> Self:
        """Measure scaled errors of held-out trajectories, NaN where the actual value is missing.

        Args:
            error_NH: (actual - value) / scale of the series, on the link scale.
            group_N: Number of the series of each trajectory; each series weighs the same.
        """
        size_N = np.bincount(group_N)[group_N]
        weight_NH = np.where(np.isnan(error_NH), 0.0, 1.0 / size_N[:, None])
        growth_H = _growth(error_NH, weight_NH)
        score_NH = error_NH / growth_H
        known_NH = weight_NH > 0
        score_R = _quantiles(score_NH[known_NH], weight_NH[known_NH], size=len(set(group_N)))
        made = cls(growth_H=growth_H, score_R=score_R, lasting=0.0, fading=0.0)
        lasting, fading = _persistence(made._normal(score_NH), weight_NH)
        return cls(growth_H=growth_H, score_R=score_R, lasting=lasting, fading=fading)

    def growth(self, horizon: int) -> Floats:
        """Return the growth of H steps; beyond the calibrated ones it goes on as a random walk."""
        known = self.growth_H.size
        if horizon <= known:
            return self.growth_H[:horizon]
        beyond = np.sqrt(np.arange(known + 1, horizon + 1) / known)
        return np.concatenate([self.growth_H, self.growth_H[-1] * beyond])

    def offsets(self, scale: float, horizon: int, probability: float) -> Floats:
        """Return how far the quantile of a probability lies from the value, on the link scale."""
        score = float(np.interp(probability, PROBABILITIES, self.score_R))
        return np.asarray(scale * self.growth(horizon) * score)

    def paths(self, scale: float, horizon: int, paths: int, rng: np.random.Generator) -> Floats:
        """Draw deviations from the value, d_PH, whose marginals are those of the intervals."""
        fresh_PH = rng.standard_normal((paths, horizon))
        start_P1 = rng.standard_normal((paths, 1))
        moved_PH, _ = lfilter(
            [np.sqrt(1 - self.fading**2)], [1.0, -self.fading], fresh_PH, zi=self.fading * start_P1
        )
        constant_P1 = rng.standard_normal((paths, 1))
        normal_PH = np.sqrt(self.lasting) * constant_P1 + np.sqrt(1 - self.lasting) * moved_PH
        score_PH = np.interp(normal_PH, ndtri(PROBABILITIES), self.score_R)
        return np.asarray(scale * self.growth(horizon) * score_PH)

    def _normal(self, score_NH: Floats) -> Floats:
        """Return the normal quantile at the probability of each score."""
        # Equal quantiles (a score that is often 0) would make the inverse ambiguous.
        rising_R = self.score_R + 1e-9 * np.arange(self.score_R.size)
        return np.asarray(ndtri(np.interp(score_NH, rising_R, PROBABILITIES)))

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "growth": self.growth_H.tolist(),
            "score": self.score_R.tolist(),
            "lasting": self.lasting,
            "fading": self.fading,
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Read what `to_dict` returned.

        Raises:
            ValueError: A length or a value is not possible.
        """
        growth_H = np.asarray(stored["growth"], dtype=np.float64)
        score_R = np.asarray(stored["score"], dtype=np.float64)
        lasting, fading = float(stored["lasting"]), float(stored["fading"])
        if score_R.shape != PROBABILITIES.shape or (np.diff(score_R) < 0).any():
            raise ValueError(
                "the quantiles of the scores do not rise, or are not as many as levels"
            )
        if growth_H.ndim != 1 or growth_H.size == 0 or not (growth_H > 0).all():
            raise ValueError("growth must be positive")
        if not (0 <= lasting < 1 and 0 <= fading < 1):
            raise ValueError("lasting and fading lie in [0, 1)")
        return cls(growth_H=growth_H, score_R=score_R, lasting=lasting, fading=fading)


def _growth(error_NH: Floats, weight_NH: Floats) -> Floats:
    """Mean absolute error by step over its mean, made smooth and never falling."""
    size_NH = np.minimum(np.abs(np.nan_to_num(error_NH)), 20.0)
    total_H = weight_NH.sum(axis=0)
    mean_H = (weight_NH * size_NH).sum(axis=0) / np.maximum(total_H, 1e-12)
    horizon = mean_H.size
    edges = np.unique(np.round(np.array(_KNOT_SHARES) * horizon).astype(int))
    centres = (edges[:-1] + edges[1:] - 1) / 2
    level = np.array([mean_H[a:b].mean() for a, b in pairwise(edges)])
    rising = _isotonic(np.maximum(level, 1e-6))
    return cast(Floats, np.interp(np.arange(horizon), centres, rising) / rising.mean())


def _isotonic(level: Floats) -> Floats:
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression().fit_transform(np.arange(level.size), level)
    return np.asarray(fitted, dtype=np.float64)


def _quantiles(score_K: Floats, weight_K: Floats, *, size: int) -> Floats:
    """Weighted quantiles; the tails move out by one part in `size` series, as conformal asks."""
    order_K = np.argsort(score_K)
    ranked_K, share_K = score_K[order_K], weight_K[order_K]
    place_K = (np.cumsum(share_K) - 0.5 * share_K) / share_K.sum()
    wanted_R = 0.5 + (PROBABILITIES - 0.5) * (1 + 1 / max(size * 10, 20))
    return np.interp(np.clip(wanted_R, 0.0, 1.0), place_K, ranked_K)


def _persistence(normal_NH: Floats, weight_NH: Floats) -> tuple[float, float]:
    """Fit the correlation of normal scores: what remains at half the horizon, what one step loses."""

    def correlation(lag: int) -> float:
        one, two = normal_NH[:, :-lag], normal_NH[:, lag:]
        weight = weight_NH[:, :-lag] * (weight_NH[:, lag:] > 0)
        both = np.where(weight > 0, one * two, 0.0)
        square = np.where(weight > 0, (one**2 + two**2) / 2, 0.0)
        return float((weight * both).sum() / max(float((weight * square).sum()), 1e-12))

    horizon = normal_NH.shape[1]
    if horizon < 4:
        return 0.0, 0.0
    far = range(horizon // 2, max(horizon * 3 // 4, horizon // 2 + 1))
    lasting = float(np.clip(np.mean([correlation(lag) for lag in far]), 0.0, 0.95))
    fading = float(np.clip((correlation(1) - lasting) / (1 - lasting), 0.0, 0.99))
    return lasting, fading
