"""The recurrent member in plain numpy: serving needs no torch.

Legend: N rows, T steps, C channels, D hidden of one direction, A attention, E head, F static
inputs, Q quantile levels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.errors import ArtifactError

Floats32 = NDArray[np.float32]

STATIC_CLIP: Final = np.float32(5)
_LINEAR_ABOVE: Final = 20.0
_ROWS_AT_ONCE: Final = 256
_OTHERS: Final = (
    "attend_AD", "attend_bias_A", "score_A", "head_EJ", "head_bias_E", "out_QE", "out_bias_Q",
    "static_mean_F", "static_scale_F",
)  # fmt: skip
DIRECTIONS: Final = ("forward", "backward")


def layer_arrays(layer: int, direction: str) -> tuple[str, str, str]:
    """Return the names of the arrays of one direction of one layer; gates: in, forget, cell, out."""
    return tuple(f"{what}_{layer}_{direction}" for what in ("input", "recurrent", "bias"))  # type: ignore[return-value]


def softplus(x: Floats32) -> Floats32:
    """log(1 + exp(x)), equal to x above 20 as torch has it."""
    return np.asarray(
        np.where(x > _LINEAR_ABOVE, x, np.log1p(np.exp(np.minimum(x, _LINEAR_ABOVE))))
    )


def _sigmoid(x: Floats32) -> Floats32:
    opened: Floats32 = np.float32(0.5) * (np.tanh(np.float32(0.5) * x) + np.float32(1))
    return opened


@dataclass(frozen=True, kw_only=True, slots=True)
class LstmWeights:
    """The arrays of one trained network, float32, and its number of layers."""

    arrays: Mapping[str, Floats32]
    layers: int

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit together."""
        wanted = set(_OTHERS)
        for layer in range(self.layers):
            for direction in DIRECTIONS:
                wanted |= set(layer_arrays(layer, direction))
        if set(self.arrays) != wanted:
            raise ArtifactError(f"LSTM arrays are {sorted(self.arrays)}, not {sorted(wanted)}.")

    def quantiles(self, x_NTC: Floats32, static_NF: Floats32) -> tuple[Floats32, Floats32]:
        """Return residual quantiles z_NQ, increasing in Q, and the attention w_NT (sums to 1)."""
        parts = [
            self._part(
                x_NTC[first : first + _ROWS_AT_ONCE], static_NF[first : first + _ROWS_AT_ONCE]
            )
            for first in range(0, len(x_NTC), _ROWS_AT_ONCE)
        ]
        return np.concatenate([q for q, _ in parts]), np.concatenate([a for _, a in parts])

    def _part(self, x_NTC: Floats32, static_NF: Floats32) -> tuple[Floats32, Floats32]:
        w = self.arrays
        state_TNC = np.ascontiguousarray(x_NTC.transpose(1, 0, 2))
        for layer in range(self.layers):
            state_TNC = np.concatenate(
                [self._run(state_TNC, layer, direction) for direction in DIRECTIONS], axis=2
            )
        scored_TNA = np.tanh(state_TNC @ w["attend_AD"].T + w["attend_bias_A"])
        score_TN = scored_TNA @ w["score_A"]
        score_TN = np.exp(score_TN - score_TN.max(axis=0))
        attention_TN = score_TN / score_TN.sum(axis=0)
        read_ND = (state_TNC * attention_TN[:, :, None]).sum(axis=0)
        joined_NJ = np.concatenate([read_ND, self.scaled(static_NF)], axis=1)
        head_NE = np.maximum(joined_NJ @ w["head_EJ"].T + w["head_bias_E"], 0)
        out_NQ = head_NE @ w["out_QE"].T + w["out_bias_Q"]
        return increasing(out_NQ), np.ascontiguousarray(attention_TN.T)

    def _run(self, x_TNC: Floats32, layer: int, direction: str) -> Floats32:
        into, recurrent, bias = (self.arrays[name] for name in layer_arrays(layer, direction))
        steps, rows, _ = x_TNC.shape
        hidden = recurrent.shape[1]
        driven_TN4 = x_TNC @ into.T + bias
        recurrent_D4 = np.ascontiguousarray(recurrent.T)
        h_ND = np.zeros((rows, hidden), dtype=np.float32)
        c_ND = np.zeros_like(h_ND)
        out_TND = np.empty((steps, rows, hidden), dtype=np.float32)
        order = range(steps) if direction == "forward" else range(steps - 1, -1, -1)
        for step in order:
            gates = driven_TN4[step] + h_ND @ recurrent_D4
            opened = _sigmoid(gates[:, : 2 * hidden])
            cell = np.tanh(gates[:, 2 * hidden : 3 * hidden])
            c_ND = opened[:, hidden:] * c_ND + opened[:, :hidden] * cell
            h_ND = _sigmoid(gates[:, 3 * hidden :]) * np.tanh(c_ND)
            out_TND[step] = h_ND
        return out_TND

    def scaled(self, static_NF: Floats32) -> Floats32:
        """Standardise with the moments of the training part; missing becomes 0."""
        w = self.arrays
        scaled = (static_NF - w["static_mean_F"]) / w["static_scale_F"]
        return np.asarray(np.nan_to_num(np.clip(scaled, -STATIC_CLIP, STATIC_CLIP), nan=0.0))


def increasing(out_NQ: Floats32) -> Floats32:
    """Turn outputs into quantiles: the middle one as it is, the others by positive steps from it."""
    middle = out_NQ.shape[1] // 2
    gap_NQ = softplus(out_NQ)
    lower = out_NQ[:, middle : middle + 1] - np.cumsum(gap_NQ[:, :middle][:, ::-1], axis=1)
    upper = out_NQ[:, middle : middle + 1] + np.cumsum(gap_NQ[:, middle + 1 :], axis=1)
    return np.concatenate(
        [lower[:, ::-1], out_NQ[:, middle : middle + 1], upper], axis=1, dtype=np.float32
    )


def static_inputs(x_NF: Floats32, sizes: tuple[int, int, int]) -> Floats32:
    """Spell the categories out as one column each, and append the other features.

    Args:
        x_NF: Features whose first four columns are places of benchmark, size, region and previous
            benchmark.
        sizes: Numbers of known benchmarks, sizes and regions.
    """
    benchmarks, vm_sizes, regions = sizes
    columns = []
    for place, known in enumerate((benchmarks, vm_sizes, regions, benchmarks)):
        columns.append((x_NF[:, place : place + 1] == np.arange(known)).astype(np.float32))
    return np.concatenate([*columns, x_NF[:, 4:]], axis=1)
