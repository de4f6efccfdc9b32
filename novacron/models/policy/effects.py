"""What a setting is expected to do: gain with an interval, and each quantity for itself.

A network reads the observation and a setting, which may be anyone's. Legend: N rows, D knobs.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.models.policy.network import Float32
from novacron.params.spec import ParameterGroup

EFFECTS: Final = (
    "gain_lo_nats",
    "gain_nats",
    "gain_hi_nats",
    "throughput_log_ratio",
    "latency_log_ratio",
    "cost_log_ratio",
    "loss_difference",
    "cpu_busy_ratio",
)
"""Outputs of the network, each the mean over the next intervals if the setting is kept: 5 %, 50 %
and 95 % quantile of the gain over the defaults in nats; log of the ratios to the defaults;
difference of the loss ratio; busy share of the cores."""

QUANTILES: Final = (0.05, 0.5, 0.95)


def setting_features(group: ParameterGroup, cube_ND: Float32) -> Float32:
    """Return the numbers by which the network knows a setting: the cube, then choices one-hot."""
    columns = [np.asarray(cube_ND, dtype=np.float32)]
    for column, knob in enumerate(group):
        if knob.kind != "enum":
            continue
        count = len(knob.choices)
        place = np.floor((cube_ND[..., column] + 1.0) / 2.0 * count).astype(np.int64)
        columns.append(np.eye(count, dtype=np.float32)[np.clip(place, 0, count - 1)])
    return np.concatenate(columns, axis=-1)


def setting_size(group: ParameterGroup) -> int:
    """Return how many numbers `setting_features` gives."""
    return len(group) + sum(len(knob.choices) for knob in group if knob.kind == "enum")


@dataclass(frozen=True, kw_only=True, slots=True)
class Familiar:
    """The telemetry a policy was trained on: ranges of a frame's numbers, and their spread.

    `mean_F` and `whitener_FF` turn a frame into independent numbers of unit variance; `limit` is
    the squared length above which a frame is unfamiliar.
    """

    low_F: Float32
    high_F: Float32
    mean_F: Float32
    whitener_FF: Float32
    limit: float

    def is_unfamiliar(self, frame_NF: Float32) -> NDArray[np.bool_]:
        """Say for each frame whether the policy has seen nothing like it."""
        outside = ((frame_NF < self.low_F) | (frame_NF > self.high_F)).any(axis=1)
        far = ((frame_NF - self.mean_F) @ self.whitener_FF) ** 2
        return np.asarray(outside | (far.sum(axis=1) > self.limit))

    def arrays(self) -> dict[str, Float32]:
        """Return what `from_arrays` reads."""
        return {
            "low": self.low_F,
            "high": self.high_F,
            "mean": self.mean_F,
            "whitener": self.whitener_FF,
            "limit": np.array([self.limit], dtype=np.float32),
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, Float32]) -> "Familiar":
        """Read what `arrays` gave."""
        return cls(
            low_F=arrays["low"],
            high_F=arrays["high"],
            mean_F=arrays["mean"],
            whitener_FF=arrays["whitener"],
            limit=float(arrays["limit"][0]),
        )


def fit_familiar(
    train_NF: Float32, held_out_NF: Float32, *, margin: float, share: float
) -> Familiar:
    """Describe the frames of training.

    Args:
        train_NF: Frames the ranges and the spread are taken from.
        held_out_NF: Frames of other paths, which set the limit and widen ranges they leave often:
            data of another kind, as opposed to a path beyond what was trained on.
        margin: How far outside the ranges a number may lie, in the [-1, 1] of frames.
        share: Share of the held-out frames that the limit, and each end of a range, lets pass.
    """
    mean_F = train_NF.mean(axis=0)
    centred = (train_NF - mean_F).astype(np.float64)
    spread = centred.T @ centred / len(centred) + 1e-3 * np.eye(train_NF.shape[1])
    values, vectors = np.linalg.eigh(spread)
    whitener = (vectors / np.sqrt(values)).astype(np.float32)
    squared = (((held_out_NF - mean_F) @ whitener) ** 2).sum(axis=1)
    usual_low_F, usual_high_F = np.quantile(held_out_NF, (1.0 - share, share), axis=0)
    return Familiar(
        low_F=(np.minimum(train_NF.min(axis=0), usual_low_F) - margin).astype(np.float32),
        high_F=(np.maximum(train_NF.max(axis=0), usual_high_F) + margin).astype(np.float32),
        mean_F=mean_F.astype(np.float32),
        whitener_FF=whitener,
        limit=float(np.quantile(squared, share)),
    )
