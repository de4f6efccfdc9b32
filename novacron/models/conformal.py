"""Calibrated intervals: split conformal from a validation part, adapted online path by path.

Legend: N rows, H steps ahead, P paths, S two sides (lower, upper), R grid of probabilities.
Quantiles are q_NH3 at levels .1, .5, .9. Each side is calibrated for itself: its score is how far
the actual value lies from the median, over the distance of that side's quantile from the median.
"""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from novacron.errors import ArtifactError, SchemaError

Floats = NDArray[np.float64]

SIDE_MISS: Final = 0.1
"""Nominal share of actual values beyond each side of the interval."""

_GRID: Final = 200
_LEAST_ROWS: Final = 50
# Distances below this share of the median count as this share, so that no score divides by 0.
_LEAST_RATIO: Final = 1e-3
# Rates stay where calibration scores still tell something, and near the nominal one: a path with
# many zeros never misses below, and would lift its lower bound without end.
_MISS_BOUNDS: Final = (0.005, 0.2)


def _distances(q_NH3: Floats) -> Floats:
    """Return the distance of each side from the median, d_NHS, positive."""
    median = q_NH3[..., 1:2]
    spread = np.stack([q_NH3[..., 1] - q_NH3[..., 0], q_NH3[..., 2] - q_NH3[..., 1]], axis=-1)
    return np.maximum(spread, _LEAST_RATIO * np.abs(median) + 1e-9)


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationTable:
    """Quantiles of the calibration scores, score_HSR, at R evenly spaced probabilities 0..1."""

    score_HSR: Floats

    @classmethod
    def neutral(cls, horizon: int) -> Self:
        """Return a table that leaves intervals as they are at the nominal miss rate."""
        spread_R = np.linspace(0, 1, _GRID + 1) / (1 - SIDE_MISS)
        return cls(score_HSR=np.broadcast_to(spread_R, (horizon, 2, _GRID + 1)).copy())

    @classmethod
    def fit(cls, actual_NH: Floats, q_NH3: Floats) -> Self:
        """Measure the scores of a validation part.

        The grid is that of the n scores and one infinitely bad one, as split conformal prediction
        asks (Vovk et al. 2005; Lei et al. 2018), capped at the worst score seen. With fewer than
        50 rows the table is neutral.

        Raises:
            SchemaError: The shapes do not fit together.
        """
        if q_NH3.shape != (*actual_NH.shape, 3):
            raise SchemaError(
                field="quantiles", got=q_NH3.shape, expected=f"shape {(*actual_NH.shape, 3)}"
            )
        rows, horizon = actual_NH.shape
        if rows < _LEAST_ROWS:
            return cls.neutral(horizon)
        away_NH = actual_NH - q_NH3[..., 1]
        score_NHS = np.stack([-away_NH, away_NH], axis=-1) / _distances(q_NH3)
        score_NHS = np.maximum(score_NHS, 0.0)
        at_R = np.minimum(np.linspace(0, 1, _GRID + 1) * (rows + 1) / rows, 1.0)
        return cls(score_HSR=np.moveaxis(np.quantile(score_NHS, at_R, axis=0), 0, -1))

    def factors(self, miss_PHS: Floats) -> Floats:
        """Return how far each side moves, as a multiple of its distance, f_PHS."""
        place = (1 - miss_PHS) * _GRID
        below = np.clip(place.astype(np.intp), 0, _GRID - 1)
        step_H, side_S = np.arange(self.score_HSR.shape[0])[:, None], np.arange(2)
        low = self.score_HSR[step_H, side_S, below]
        high = self.score_HSR[step_H, side_S, below + 1]
        return np.asarray(low + (high - low) * (place - below))

    def apply(self, q_NH3: Floats, miss_NHS: Floats | None = None) -> Floats:
        """Return the quantiles with both sides moved to miss as often as asked, never below 0.

        Args:
            q_NH3: Quantiles at .1, .5, .9.
            miss_NHS: Wanted miss rate of each side, broadcast to [N, H, 2]; nominal if None.
        """
        wanted = np.full((1, q_NH3.shape[1], 2), SIDE_MISS) if miss_NHS is None else miss_NHS
        reach_NHS = self.factors(wanted) * _distances(q_NH3)
        median = q_NH3[..., 1]
        return np.stack(
            [
                np.maximum(median - reach_NHS[..., 0], 0.0),
                median,
                median + reach_NHS[..., 1],
            ],
            axis=-1,
        )


class OnlineConformal:
    """Adapts the interval of several paths to the misses seen so far (ACI).

    After each outcome the miss rate asked of the calibration table moves:
    `a <- a + gamma (nominal - missed)`, per path, step ahead and side. Source: Gibbs and Candes
    2021, "Adaptive conformal inference under distribution shift", eq. 2. A new path starts at the
    nominal rate of the pooled table. A forecast h steps ahead is judged h samples later.

    Args:
        table: The pooled calibration.
        paths: Number of paths that move in step.
        gamma: Step size; 0 keeps the pooled calibration.
    """

    def __init__(self, table: CalibrationTable, *, paths: int = 1, gamma: float = 0.01) -> None:
        horizon = table.score_HSR.shape[0]
        self._table = table
        self._gamma = gamma
        self._miss_PHS = np.full((paths, horizon, 2), SIDE_MISS)
        # Bounds issued h steps ago for now: slot [:, h - 1] holds those made h samples ago.
        self._issued_PAHS = np.full((paths, horizon, horizon, 2), np.nan)

    def miss_rates(self) -> Floats:
        """Return the miss rates now asked of the table, per path, step ahead and side."""
        return self._miss_PHS.copy()

    def issue(self, q_PH3: Floats) -> Floats:
        """Return the adapted quantiles of the newest origin, and remember their bounds."""
        adapted = self._table.apply(q_PH3, self._miss_PHS)
        self._issued_PAHS = np.roll(self._issued_PAHS, 1, axis=1)
        self._issued_PAHS[:, 0] = adapted[..., [0, 2]]
        return adapted

    def observe(self, actual_P: Floats) -> None:
        """Judge every forecast that was made for this sample; NaN where a path has ended."""
        horizon = self._miss_PHS.shape[1]
        step_H = np.arange(horizon)
        bounds_PHS = self._issued_PAHS[:, step_H, step_H]
        actual = actual_P[:, None]
        missed_PHS = np.stack([actual < bounds_PHS[..., 0], actual > bounds_PHS[..., 1]], axis=-1)
        known = np.isfinite(bounds_PHS) & np.isfinite(actual)[..., None]
        step = self._gamma * (SIDE_MISS - missed_PHS)
        moved = np.clip(self._miss_PHS + np.where(known, step, 0.0), *_MISS_BOUNDS)
        self._miss_PHS = moved

    def to_dict(self) -> dict[str, Any]:
        """Return the state as JSON values; the calibration table is not part of it."""
        issued = np.where(np.isnan(self._issued_PAHS), -1.0, self._issued_PAHS)
        return {
            "gamma": self._gamma,
            "miss": self._miss_PHS.tolist(),
            "issued": issued.tolist(),
        }

    @classmethod
    def from_dict(cls, table: CalibrationTable, state: dict[str, Any]) -> Self:
        """Go on from a stored state.

        Raises:
            ArtifactError: The state does not fit the table.
        """
        miss = np.asarray(state["miss"], dtype=np.float64)
        issued = np.asarray(state["issued"], dtype=np.float64)
        horizon = table.score_HSR.shape[0]
        if miss.shape[1:] != (horizon, 2) or issued.shape[1:] != (horizon, horizon, 2):
            raise ArtifactError(
                f"The calibration state has shape {miss.shape}, the table {horizon} steps.",
                remedy="Start the path anew.",
            )
        made = cls(table, paths=len(miss), gamma=float(state["gamma"]))
        made._miss_PHS = miss
        made._issued_PAHS = np.where(issued < 0, np.nan, issued)
        return made


def replay(
    table: CalibrationTable, series: list[tuple[Floats, Floats]], *, gamma: float
) -> list[Floats]:
    """Run the online calibration over whole paths, all from their first origin on.

    Args:
        table: The pooled calibration.
        series: Per path the quantiles q_TH3 of every origin, and the sample actual_T that follows
            each origin.
        gamma: Step size.

    Returns:
        The adapted quantiles per path; row t used samples up to its origin only.
    """
    length = max(len(q_TH3) for q_TH3, _ in series)
    horizon = table.score_HSR.shape[0]
    q_PTH3 = np.full((len(series), length, horizon, 3), np.nan)
    actual_PT = np.full((len(series), length), np.nan)
    for place, (q_TH3, actual_T) in enumerate(series):
        q_PTH3[place, : len(q_TH3)] = q_TH3
        actual_PT[place, : len(actual_T)] = actual_T
    online = OnlineConformal(table, paths=len(series), gamma=gamma)
    for t in range(length):
        q_PTH3[:, t] = online.issue(q_PTH3[:, t])
        online.observe(actual_PT[:, t])
    return [q_PTH3[place, : len(q_TH3)] for place, (q_TH3, _) in enumerate(series)]
