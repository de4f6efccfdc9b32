"""Splits the traces of a class and brings both sides to training examples.

Legend: N rows, H steps ahead.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from novacron.errors import InvalidInputError
from novacron.features.spec import FeatureSpec
from novacron.models.bandwidth.config import BandwidthConfig
from novacron.models.bandwidth.linear import LinearForecast, level_column, linear_inputs
from novacron.models.bandwidth.windows import (
    ModelInputs,
    WindowSet,
    cut_windows,
    encode_all,
    join_inputs,
)
from novacron.telemetry.splits import Split, recording, split_by_group, split_by_time
from novacron.telemetry.traces import Trace

Floats32 = NDArray[np.float32]

# Ratios above this are single bursts after an outage; the median and the tails do not need them.
_HIGHEST_RATIO = 50.0
_VALIDATION_ROWS = 30_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Examples:
    """Inputs with the ratios to forecast, ratio_NH = future / reference, and weight_N (mean 1)."""

    inputs: ModelInputs
    ratio_NH: Floats32
    weight_N: Floats32

    def __len__(self) -> int:
        return len(self.weight_N)

    def take(self, rows: NDArray[np.generic]) -> "Examples":
        """Return the rows at these positions, or where a mask is true."""
        return Examples(
            inputs=self.inputs.take(rows),
            ratio_NH=self.ratio_NH[rows],
            weight_N=self.weight_N[rows],
        )

    def sample(self, most: int, rng: np.random.Generator) -> "Examples":
        """Return at most `most` rows, drawn without replacement, in order."""
        return self if len(self) <= most else self.take(draw(len(self), most, rng))

    def blurred(self, deviation: float, spec: FeatureSpec, rng: np.random.Generator) -> "Examples":
        """Return the examples with noise on the logarithm of the level, see `level_blur`."""
        x_NF = self.inputs.x_NF.copy()
        x_NF[:, level_column(spec)] += rng.normal(0.0, deviation, len(x_NF)).astype(np.float32)
        return replace(self, inputs=replace(self.inputs, x_NF=x_NF))

    def with_linear(self, linear: LinearForecast, spec: FeatureSpec) -> "Examples":
        """Attach the linear forecast of a class."""
        inputs = replace(self.inputs, linear_NH=linear.ratios(self.inputs, spec))
        return replace(self, inputs=inputs)


def draw(rows: int, most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw at most `most` of the positions 0..rows-1, in order."""
    if rows <= most:
        return np.arange(rows)
    return np.sort(rng.choice(rows, size=most, replace=False))


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassData:
    """One class: its traces on both sides, and its examples on both sides.

    `windows` are those of the validation examples, row by row. The examples of both sides carry
    the forecast of `linear`, which was fitted on the training side.
    """

    split: Split
    linear: LinearForecast
    train: Examples
    validation: Examples
    windows: WindowSet

    def whole(self, spec: FeatureSpec) -> tuple["Examples", LinearForecast]:
        """Return the examples of both sides together, with a linear forecast fitted on them."""
        sides = [self.train, self.validation]
        linear = fit_linear(sides, spec)
        joined = Examples(
            inputs=join_inputs([side.inputs for side in sides]),
            ratio_NH=np.concatenate([side.ratio_NH for side in sides]),
            weight_N=np.concatenate([side.weight_N for side in sides]),
        )
        return joined.with_linear(linear, spec), linear


def split_class(traces: Sequence[Trace], config: BandwidthConfig) -> Split:
    """Keep a validation part: whole recordings where there are enough, else the end of each trace.

    Recordings are drawn by the hash of their name, so that validation is spread over the
    collection. Traces too short to be cut in time are trained on whole.

    Raises:
        InvalidInputError: Nothing is left for one of the parts.
    """
    recordings = {recording(trace) for trace in traces}
    if len(recordings) >= config.fewest_groups:
        return split_by_group(
            traces, validation_share=config.validation_share, order="hashed", seed=0
        )
    split = split_by_time(
        traces,
        window=config.features.history,
        horizon=config.horizon,
        validation_share=config.validation_share,
    )
    split = replace(split, train=split.train + split.skipped, skipped=())
    if not split.validation:
        longest = max((len(trace) for trace in traces), default=0)
        raise InvalidInputError(
            field="traces",
            got=f"{len(recordings)} recordings, the longest of {longest} samples",
            expected=f"{config.fewest_groups} recordings, or traces long enough to be cut in time",
            remedy="Name more traces, or a shorter features.history.",
        )
    return split


def load_class(traces: Sequence[Trace], config: BandwidthConfig) -> ClassData:
    """Split a class and encode it."""
    split = split_class(traces, config)
    most = max(config.twin.examples // 2, config.lstm.rows_per_class, config.lstm.tuning_rows)
    train = cut_windows(split.train, config.features, config.horizon, most=most)
    windows = cut_windows(split.validation, config.features, config.horizon, most=_VALIDATION_ROWS)
    known, checked = to_examples(train, config), to_examples(windows, config)
    linear = fit_linear([known], config.features)
    return ClassData(
        split=split,
        linear=linear,
        train=known.with_linear(linear, config.features),
        validation=checked.with_linear(linear, config.features),
        windows=windows,
    )


def fit_linear(parts: Sequence[Examples], spec: FeatureSpec) -> LinearForecast:
    """Fit the linear forecast of one class, or of several together."""
    return LinearForecast.fit(
        [(linear_inputs(part.inputs, spec), part.ratio_NH, part.weight_N) for part in parts]
    )


def to_examples(
    windows: WindowSet, config: BandwidthConfig, inputs: ModelInputs | None = None
) -> Examples:
    """Encode windows, unless their inputs are given, and relate what followed to their past level."""
    inputs = encode_all(config, windows) if inputs is None else inputs
    ratio_NH = windows.future_NH / inputs.reference_N[:, None]
    weight_N = inputs.reference_N**config.scale_weight
    return Examples(
        inputs=inputs,
        ratio_NH=np.minimum(ratio_NH, _HIGHEST_RATIO).astype(np.float32),
        weight_N=(weight_N / weight_N.mean()).astype(np.float32),
    )


def pool(parts: Sequence[Examples]) -> Examples:
    """Join classes. Weights have mean 1 in each, so their levels do not compete."""
    return Examples(
        inputs=join_inputs([part.inputs for part in parts]),
        ratio_NH=np.concatenate([part.ratio_NH for part in parts]),
        weight_N=np.concatenate([part.weight_N / part.weight_N.mean() for part in parts]),
    )
