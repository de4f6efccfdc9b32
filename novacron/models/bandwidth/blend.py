"""How one class of paths is answered: members, their weights, calibration and fallback.

Legend: N rows, H steps ahead, Q = 3 served levels (.1, .5, .9).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.features.spec import FeatureSpec
from novacron.models.bandwidth.config import SERVED_LEVELS
from novacron.models.bandwidth.linear import LinearForecast
from novacron.models.bandwidth.lstm_numpy import LstmWeights
from novacron.models.bandwidth.twin import Twin
from novacron.models.bandwidth.windows import Floats, ModelInputs
from novacron.models.baselines import EwmaBand
from novacron.models.conformal import CalibrationTable
from novacron.models.metrics import wape, wql

WEIGHT_STEPS: Final = 10
"""Blend weights are multiples of one over this."""

# A share of the anchor in the median must pay: it is kept only if validation WAPE falls this much.
_LEAST_GAIN_RATIO: Final = 0.002
_ANCHOR_SHARES: Final = (0.1, 0.2, 0.3, 0.4, 0.5)


@dataclass(frozen=True, kw_only=True, slots=True)
class Mixture:
    """Weights chosen on validation.

    `twin_weight` stands against the LSTM, `anchor_weight` is the share of the anchor (the EWMA or
    the linear forecast) in the median, `cold_by_band` says whether cold histories are answered by
    the EWMA band.
    """

    twin_weight: float
    anchor: str
    anchor_weight: float
    cold_by_band: bool

    def combine(self, twin_NHQ: Floats, lstm_NHQ: Floats, anchors: Mapping[str, Floats]) -> Floats:
        """Average the members quantile by quantile, pull the median to the anchor, keep order."""
        q_NHQ = self.twin_weight * twin_NHQ + (1 - self.twin_weight) * lstm_NHQ
        if self.anchor_weight > 0:
            q_NHQ = q_NHQ.copy()
            q_NHQ[..., 1] += self.anchor_weight * (anchors[self.anchor] - q_NHQ[..., 1])
            q_NHQ = np.sort(q_NHQ, axis=-1)
        return q_NHQ


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassModel:
    """Everything that answers one class of paths."""

    spec: FeatureSpec
    linear: LinearForecast
    twin: Twin
    lstms: tuple[LstmWeights, ...]
    served_places: tuple[int, ...]
    """Where the served levels stand among the levels of the LSTM."""
    mixture: Mixture
    band: EwmaBand
    calibration: CalibrationTable

    def attached(self, inputs: ModelInputs) -> ModelInputs:
        """Return the inputs with the linear forecast of this class."""
        return replace(inputs, linear_NH=self.linear.ratios(inputs, self.spec))

    def twin_mbps(self, inputs: ModelInputs) -> Floats:
        """Return the quantiles of the twin alone, q_NHQ in Mbit/s."""
        return self.twin.quantile_ratios(inputs) * inputs.reference_N[:, None, None]

    def lstm_mbps(self, inputs: ModelInputs, seed_place: int | None = None) -> Floats:
        """Return the quantiles of the LSTM: the mean over seeds, or one of them."""
        chosen = self.lstms if seed_place is None else self.lstms[seed_place : seed_place + 1]
        joined = inputs.joined
        total_NHQ = sum(
            weights.quantile_ratios(inputs.x_NTC, joined)[..., list(self.served_places)]
            for weights in chosen
        )
        ratio_NHQ = np.asarray(total_NHQ, dtype=np.float64) / len(chosen)
        return ratio_NHQ * inputs.reference_N[:, None, None]

    def anchors_mbps(self, inputs: ModelInputs, level_N: Floats) -> dict[str, Floats]:
        """Return what the median may be pulled to, by name, value_NH in Mbit/s."""
        linear_NH = inputs.linear.astype(np.float64) * inputs.reference_N[:, None]
        return {
            "ewma": np.repeat(level_N[:, None], linear_NH.shape[1], axis=1),
            "linear": linear_NH,
        }

    def raw_mbps(self, inputs: ModelInputs, level_N: Floats) -> Floats:
        """Return the blend before calibration, q_NHQ in Mbit/s; the inputs are attached."""
        return self.mixture.combine(
            self.twin_mbps(inputs), self.lstm_mbps(inputs), self.anchors_mbps(inputs, level_N)
        )

    def band_mbps(self, bandwidth_NW: NDArray[np.float64]) -> Floats:
        """Return the EWMA band of left-padded windows, row by row; meant for the few cold ones."""
        return np.stack([self.band.forecast(row[np.isfinite(row)])[-1] for row in bandwidth_NW])


def ewma_of_windows(bandwidth_NW: Floats, half_life: float) -> Floats:
    """EWMA of the present samples of each left-padded window, level_N."""
    steps = bandwidth_NW.shape[1]
    weight_W = 0.5 ** (np.arange(steps - 1, -1, -1) / half_life)
    present_NW = np.isfinite(bandwidth_NW)
    return np.asarray(
        (np.where(present_NW, bandwidth_NW, 0.0) @ weight_W) / (present_NW @ weight_W)
    )


def choose_mixture(
    actual_NH: Floats, twin_NHQ: Floats, lstm_NHQ: Floats, anchors: Mapping[str, Floats]
) -> Mixture:
    """Choose the weights on the validation part: wQL for the members, WAPE for the anchor.

    Of weights that score the same the most even one wins. The members stopped at their best round
    on this very part, which flatters the one that fits it closer, so the weight goes half the way
    back to even. `cold_by_band` is left false.
    """
    weights = [step / WEIGHT_STEPS for step in range(WEIGHT_STEPS + 1)]

    def score(weight: float) -> tuple[float, float]:
        q_NHQ = weight * twin_NHQ + (1 - weight) * lstm_NHQ
        return wql(actual_NH, q_NHQ, SERVED_LEVELS), abs(weight - 0.5)

    weight = (min(weights, key=score) + 0.5) / 2
    median_NH = (weight * twin_NHQ + (1 - weight) * lstm_NHQ)[..., 1]
    plain = wape(actual_NH, median_NH)
    losses = {
        (name, share): wape(actual_NH, median_NH + share * (value_NH - median_NH))
        for name, value_NH in anchors.items()
        for share in _ANCHOR_SHARES
    }
    anchor, share = min(losses, key=losses.__getitem__)
    pays = losses[anchor, share] < plain * (1 - _LEAST_GAIN_RATIO)
    return Mixture(
        twin_weight=weight,
        anchor=anchor,
        anchor_weight=share if pays else 0.0,
        cold_by_band=False,
    )


def better_when_cold(
    actual_NH: Floats, model_NHQ: Floats, band_NHQ: Floats, levels: Sequence[float] = SERVED_LEVELS
) -> bool:
    """Tell whether the band scores a lower wQL than the model on cold origins."""
    if len(actual_NH) == 0 or actual_NH.sum() <= 0:
        return False
    return wql(actual_NH, band_NHQ, levels) < wql(actual_NH, model_NHQ, levels)
