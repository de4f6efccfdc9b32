"""Joins the members on the validation part: weights, how far they are trusted, calibration.

Legend: N rows, Q = 3 served levels, B groups by own samples, G cells (the last for any other).
"""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from novacron.models.performance.config import COUNT_EDGES, COVERAGE
from novacron.models.performance.context import Floats, Ints

_WEIGHTS: Final = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_TRUSTS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
_LEAST_ROWS: Final = 100
_LEAST_GAIN_RATIO: Final = 0.002
_LEAST_WIDTH: Final = 1e-3
_FACTORS: Final = (0.2, 6.0)

STAGE_OF_GROUP: Final = (0, 1, 1, 1, 2, 2, 2)
"""Groups by own samples put together for trust and calibration: none, 1-7, 8 and more."""
STAGES: Final = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Blend:
    """Weights chosen on validation.

    `twin_weight_B` stands against the LSTM. `trust_SG` is the share of the members' median that
    moves the level, by stage and cell; 0 serves the level itself.
    """

    twin_weight_B: Floats
    trust_SG: Floats

    @classmethod
    def even(cls, cells: int) -> Self:
        """Return equal weights and full trust."""
        return cls(
            twin_weight_B=np.full(len(COUNT_EDGES) + 1, 0.5), trust_SG=np.ones((STAGES, cells + 1))
        )

    def combine(self, twin_NQ: Floats, lstm_NQ: Floats, group_N: Ints, cell_N: Ints) -> Floats:
        """Average the members, draw the median to the level, keep the order of the quantiles."""
        weight_N = self.twin_weight_B[group_N][:, None]
        q_NQ = weight_N * twin_NQ + (1 - weight_N) * lstm_NQ
        trust_N = self.trust_SG[stage_of(group_N), cell_N]
        q_NQ[:, 1] *= trust_N
        return np.sort(q_NQ, axis=1)

    @classmethod
    def choose(
        cls,
        z_N: Floats,
        loss_weight_N: Floats,
        members: tuple[Floats, Floats],
        places: tuple[Ints, Ints],
        cells: int,
    ) -> Self:
        """Choose by the weighted absolute error of the median.

        Args:
            z_N: (actual - level) / spread.
            loss_weight_N: What one spread is worth: spread / level.
            members: z_NQ of the trees and of the LSTM.
            places: Group by own samples, and cell, of each row.
            cells: Number of known cells.
        """
        twin_N, lstm_N = members[0][:, 1], members[1][:, 1]
        group_N, cell_N = places
        weight_B = np.full(len(COUNT_EDGES) + 1, 0.5)
        for group in range(len(weight_B)):
            own = group_N == group
            if own.sum() >= _LEAST_ROWS:
                losses = [
                    float(
                        (
                            loss_weight_N[own]
                            * np.abs(z_N[own] - (w * twin_N[own] + (1 - w) * lstm_N[own]))
                        ).sum()
                    )
                    for w in _WEIGHTS
                ]
                # Half the way back to even: the members stopped at their best on this very part.
                weight_B[group] = (_WEIGHTS[int(np.argmin(losses))] + 0.5) / 2
        median_N = weight_B[group_N] * twin_N + (1 - weight_B[group_N]) * lstm_N
        trust_SG = np.ones((STAGES, cells + 1))
        stage_N = stage_of(group_N)
        for stage in range(STAGES):
            mine = stage_N == stage
            trust_SG[stage, :] = _best_trust(z_N, median_N, loss_weight_N, mine, 1.0)
            for cell in range(cells):
                rows = mine & (cell_N == cell)
                trust_SG[stage, cell] = _best_trust(
                    z_N, median_N, loss_weight_N, rows, float(trust_SG[stage, cells])
                )
        return cls(twin_weight_B=weight_B, trust_SG=trust_SG)


def stage_of(group_N: Ints) -> Ints:
    """Return the stage of each group by own samples."""
    return np.asarray(np.array(STAGE_OF_GROUP)[group_N], dtype=np.int64)


def _best_trust(
    z_N: Floats, median_N: Floats, weight_N: Floats, rows: NDArray[np.bool_], usual: float
) -> float:
    if rows.sum() < _LEAST_ROWS:
        return usual
    z, m, w = z_N[rows], median_N[rows], weight_N[rows]
    losses = {trust: float((w * np.abs(z - trust * m)).sum()) for trust in (*_TRUSTS, usual)}
    best = min(losses, key=losses.__getitem__)
    return best if losses[best] < losses[usual] * (1 - _LEAST_GAIN_RATIO) else usual


@dataclass(frozen=True, kw_only=True, slots=True)
class SideFactors:
    """How far each side of the interval is moved, as a multiple of its distance, f_SG2.

    Split conformal calibration of each side for itself: the score of a row is how far the actual
    lies from the median over the distance of that side's quantile. Residuals may be negative, so
    the bandwidth forecaster's table, which keeps values above 0, does not fit here.
    Source: Romano, Patterson and Candes 2019, with scaled in place of shifted sides.
    """

    factor_SG2: Floats

    @classmethod
    def neutral(cls, cells: int) -> Self:
        """Return factors that leave intervals as they are."""
        return cls(factor_SG2=np.ones((STAGES, cells + 1, 2)))

    @classmethod
    def fit(cls, z_N: Floats, q_NQ: Floats, places: tuple[Ints, Ints], cells: int) -> Self:
        """Measure the scores of a validation part by stage and cell; few rows take the stage's."""
        group_N, cell_N = places
        stage_N = stage_of(group_N)
        width_N2 = _widths(q_NQ)
        away_N = z_N - q_NQ[:, 1]
        score_N2 = np.maximum(np.stack([-away_N, away_N], axis=1) / width_N2, 0.0)
        factor_SG2 = np.ones((STAGES, cells + 1, 2))
        for stage in range(STAGES):
            mine = stage_N == stage
            usual = _side_quantile(score_N2[mine], np.ones(2))
            factor_SG2[stage] = usual
            for cell in range(cells):
                factor_SG2[stage, cell] = _side_quantile(score_N2[mine & (cell_N == cell)], usual)
        return cls(factor_SG2=factor_SG2)

    def apply(self, q_NQ: Floats, group_N: Ints, cell_N: Ints) -> Floats:
        """Return the quantiles with both sides moved."""
        reach_N2 = _widths(q_NQ) * self.factor_SG2[stage_of(group_N), cell_N]
        median_N = q_NQ[:, 1]
        return np.stack([median_N - reach_N2[:, 0], median_N, median_N + reach_N2[:, 1]], axis=1)


def _widths(q_NQ: Floats) -> Floats:
    width_N2 = np.stack([q_NQ[:, 1] - q_NQ[:, 0], q_NQ[:, 2] - q_NQ[:, 1]], axis=1)
    return np.maximum(width_N2, _LEAST_WIDTH)


def _side_quantile(score_N2: Floats, usual_2: Floats) -> Floats:
    rows = len(score_N2)
    if rows < _LEAST_ROWS:
        return usual_2
    level = 1 - (1 - COVERAGE) / 2
    at = min(1.0, level * (rows + 1) / rows)
    return np.clip(np.quantile(score_N2, at, axis=0), *_FACTORS)
