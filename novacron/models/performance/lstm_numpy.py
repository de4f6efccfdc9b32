"""The recurrent member in plain numpy: serving needs no torch.

Legend: N rows, T steps, C channels, D hidden of one direction, A attention, E head, F static
inputs, Q quantile levels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from novacron.errors import ArtifactError

Floats32 = NDArray[np.float32]
AnyFloats = NDArray[np.floating[Any]]

STATIC_CLIP: Final = np.float32(5)
_LINEAR_ABOVE: Final = 20.0
_ROWS_AT_ONCE: Final = 256
_DECIMALS: Final = 6
_OTHERS: Final = (
    "attend_AD", "attend_bias_A", "score_A", "head_EJ", "head_bias_E", "out_QE", "out_bias_Q",
    "static_mean_F", "static_scale_F",
)  # fmt: skip
DIRECTIONS: Final = ("forward", "backward")


def layer_arrays(layer: int, direction: str) -> tuple[str, str, str]:
    """Return the names of the arrays of one direction of one layer; gates: in, forget, cell, out."""
    return tuple(f"{what}_{layer}_{direction}" for what in ("input", "recurrent", "bias"))  # type: ignore[return-value]


def softplus(x: AnyFloats) -> AnyFloats:
    """log(1 + exp(x)), equal to x above 20 as torch has it."""
    return np.asarray(
        np.where(x > _LINEAR_ABOVE, x, np.log1p(np.exp(np.minimum(x, _LINEAR_ABOVE))))
    )


def _sigmoid(x: AnyFloats) -> AnyFloats:
    # tanh does not overflow where exp would; python's numbers keep the precision of x.
    return np.asarray(0.5 * (np.tanh(0.5 * x) + 1.0))


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

    def quantiles(
        self, x_NTC: Floats32, static_NF: Floats32, *, exact: bool = False
    ) -> tuple[AnyFloats, AnyFloats]:
        """Return residual quantiles z_NQ, increasing in Q, and the attention w_NT (sums to 1).

        Sums of a matrix product depend on its number of rows in the last digit. `exact` computes in
        double precision and rounds that digit away, so that a row gets the same answer alone and
        among others; it takes twice as long.
        """
        kind = np.float64 if exact else np.float32
        arrays: dict[str, AnyFloats] = {
            name: np.asarray(value, dtype=kind) for name, value in self.arrays.items()
        }
        static_NF = self.scaled(static_NF)
        parts = [
            self._part(arrays, x_NTC[rows].astype(kind), static_NF[rows].astype(kind))
            for rows in (
                slice(first, first + _ROWS_AT_ONCE)
                for first in range(0, len(x_NTC), _ROWS_AT_ONCE)
            )
        ]
        z_NQ, attention_NT = (np.concatenate(column) for column in zip(*parts, strict=True))
        if exact:
            return np.round(z_NQ, _DECIMALS), np.round(attention_NT, _DECIMALS)
        return z_NQ, attention_NT

    def _part(
        self, w: Mapping[str, AnyFloats], x_NTC: AnyFloats, static_NF: AnyFloats
    ) -> tuple[AnyFloats, AnyFloats]:
        state_TNC = np.ascontiguousarray(x_NTC.transpose(1, 0, 2))
        for layer in range(self.layers):
            state_TNC = np.concatenate(
                [_run(w, state_TNC, layer, direction) for direction in DIRECTIONS], axis=2
            )
        scored_TNA = np.tanh(state_TNC @ w["attend_AD"].T + w["attend_bias_A"])
        score_TN = scored_TNA @ w["score_A"]
        score_TN = np.exp(score_TN - score_TN.max(axis=0))
        attention_TN = score_TN / score_TN.sum(axis=0)
        read_ND = (state_TNC * attention_TN[:, :, None]).sum(axis=0)
        joined_NJ = np.concatenate([read_ND, static_NF], axis=1)
        head_NE = np.maximum(joined_NJ @ w["head_EJ"].T + w["head_bias_E"], 0)
        out_NQ = head_NE @ w["out_QE"].T + w["out_bias_Q"]
        return increasing(out_NQ), np.ascontiguousarray(attention_TN.T)

    def scaled(self, static_NF: Floats32) -> Floats32:
        """Standardise with the moments of the training part; missing becomes 0."""
        w = self.arrays
        scaled = (static_NF - w["static_mean_F"]) / w["static_scale_F"]
        return np.asarray(np.nan_to_num(np.clip(scaled, -STATIC_CLIP, STATIC_CLIP), nan=0.0))


def _run(w: Mapping[str, AnyFloats], x_TNC: AnyFloats, layer: int, direction: str) -> AnyFloats:
    into, recurrent, bias = (w[name] for name in layer_arrays(layer, direction))
    steps, rows, _ = x_TNC.shape
    hidden = recurrent.shape[1]
    driven_TN4 = x_TNC @ into.T + bias
    recurrent_D4 = np.ascontiguousarray(recurrent.T)
    h_ND = np.zeros((rows, hidden), dtype=x_TNC.dtype)
    c_ND = np.zeros_like(h_ND)
    out_TND = np.empty((steps, rows, hidden), dtype=x_TNC.dtype)
    order = range(steps) if direction == "forward" else range(steps - 1, -1, -1)
    for step in order:
        gates = driven_TN4[step] + h_ND @ recurrent_D4
        opened = _sigmoid(gates[:, : 2 * hidden])
        cell = np.tanh(gates[:, 2 * hidden : 3 * hidden])
        c_ND = opened[:, hidden:] * c_ND + opened[:, :hidden] * cell
        h_ND = _sigmoid(gates[:, 3 * hidden :]) * np.tanh(c_ND)
        out_TND[step] = h_ND
    return out_TND


def increasing(out_NQ: AnyFloats) -> AnyFloats:
    """Turn outputs into quantiles: the middle one as it is, the others by positive steps from it."""
    middle = out_NQ.shape[1] // 2
    gap_NQ = softplus(out_NQ)
    lower = out_NQ[:, middle : middle + 1] - np.cumsum(gap_NQ[:, :middle][:, ::-1], axis=1)
    upper = out_NQ[:, middle : middle + 1] + np.cumsum(gap_NQ[:, middle + 1 :], axis=1)
    return np.concatenate([lower[:, ::-1], out_NQ[:, middle : middle + 1], upper], axis=1)


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
