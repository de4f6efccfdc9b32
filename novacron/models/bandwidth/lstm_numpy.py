"""The LSTM member in plain numpy: serving needs no torch.

Legend: N rows, T steps, C sequence channels, F features, D hidden, E head, H steps ahead,
Q quantile levels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.errors import ArtifactError

Floats32 = NDArray[np.float32]

_LINEAR_ABOVE: Final = 20.0


def softplus(x: Floats32) -> Floats32:
    """log(1 + exp(x)), equal to x above 20 as torch has it."""
    return np.asarray(
        np.where(x > _LINEAR_ABOVE, x, np.log1p(np.exp(np.minimum(x, _LINEAR_ABOVE))))
    )


def _sigmoid(x: Floats32) -> Floats32:
    # tanh does not overflow where exp would.
    opened: Floats32 = np.float32(0.5) * (np.tanh(np.float32(0.5) * x) + np.float32(1))
    return opened


WEIGHTS: Final = (
    "input_4DC", "recurrent_4DD", "bias_4D", "head_EJ", "head_bias_E", "out_KE", "out_bias_K",
    "feature_mean_F", "feature_scale_F",
)  # fmt: skip
"""Names of the arrays; J = D + F joined inputs, K = H x Q outputs. Gates: input, forget, cell,
output."""

FEATURE_CLIP: Final = np.float32(5)


@dataclass(frozen=True, kw_only=True, slots=True)
class LstmWeights:
    """The arrays of one trained network, float32, and how many steps it answers."""

    arrays: Mapping[str, Floats32]
    horizon: int

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit together."""
        if set(self.arrays) != set(WEIGHTS):
            raise ArtifactError(f"LSTM arrays are {sorted(self.arrays)}, not {sorted(WEIGHTS)}.")
        hidden = self.arrays["recurrent_4DD"].shape[1]
        joined = hidden + self.arrays["feature_mean_F"].shape[0]
        if self.arrays["head_EJ"].shape[1] != joined or len(self.arrays["bias_4D"]) != 4 * hidden:
            raise ArtifactError("LSTM arrays do not fit together.", remedy="Train it again.")

    def quantile_ratios(self, x_NTC: Floats32, x_NF: Floats32) -> Floats32:
        """Return the quantiles of future / reference, ratio_NHQ, not negative and increasing in Q.

        One matrix product a step; the products with the inputs are one for all steps.
        """
        w = self.arrays
        rows, steps, channels = x_NTC.shape
        hidden = w["recurrent_4DD"].shape[1]
        by_step = np.ascontiguousarray(x_NTC.transpose(1, 0, 2)).reshape(-1, channels)
        driven = (by_step @ w["input_4DC"].T + w["bias_4D"]).reshape(steps, rows, 4 * hidden)
        h_ND = np.zeros((rows, hidden), dtype=np.float32)
        c_ND = np.zeros_like(h_ND)
        recurrent_D4 = np.ascontiguousarray(w["recurrent_4DD"].T)
        for driven_N4 in driven:
            gates = driven_N4 + h_ND @ recurrent_D4
            opened = _sigmoid(gates)
            cell = np.tanh(gates[:, 2 * hidden : 3 * hidden])
            c_ND = opened[:, hidden : 2 * hidden] * c_ND + opened[:, :hidden] * cell
            h_ND = opened[:, 3 * hidden :] * np.tanh(c_ND)
        joined_NJ = np.concatenate([h_ND, self.scaled(x_NF)], axis=1)
        head_NE = np.maximum(joined_NJ @ w["head_EJ"].T + w["head_bias_E"], 0)
        out_NK = head_NE @ w["out_KE"].T + w["out_bias_K"]
        out_NHQ = softplus(out_NK).reshape(rows, self.horizon, -1)
        return np.cumsum(out_NHQ, axis=2, dtype=np.float32)

    def scaled(self, x_NF: Floats32) -> Floats32:
        """Standardise the features with the moments of the training part; missing becomes 0."""
        w = self.arrays
        scaled = (x_NF - w["feature_mean_F"]) / w["feature_scale_F"]
        return np.asarray(np.nan_to_num(np.clip(scaled, -FEATURE_CLIP, FEATURE_CLIP), nan=0.0))
