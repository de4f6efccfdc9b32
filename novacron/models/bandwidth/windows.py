"""Cuts traces into forecast windows, and brings windows to what the two members read.

Legend: N rows (forecast origins), W steps of history (newest last), H steps ahead, F features,
T newest steps read by the LSTM, C sequence channels.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Self

import numpy as np
from numpy.typing import NDArray

from novacron.errors import FeatureMismatchError
from novacron.features.matrix import trace_windows
from novacron.features.spec import FeatureSpec
from novacron.features.windows import sequence_tensor, window_features, window_level
from novacron.models.bandwidth.config import BandwidthConfig
from novacron.telemetry.traces import MEASURED, Trace

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# The reference is never below this share of the longer level: after an outage of a few samples the
# level itself is near 0, and ratios to it would explode.
_LONG_HALF_LIFE = 24.0
_LEAST_OF_LONG = 0.1
_LEAST_MBPS = 1e-3

# Log ratios beyond these (a factor of 20) are outages and bursts; the LSTM need not tell them apart.
_CLIP_LOG_RATIO = 3.0

_ROWS_AT_ONCE = 8192


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowSet:
    """Windows of several traces with what came after.

    `channels` maps a channel to x_NW in its unit, NaN where missing. `future_NH` is in Mbit/s.
    `trace_N` numbers the trace of each row and `origin_N` the newest sample of its window there,
    so `origin_N + 1` samples were known (up to `history` of them are in the window).
    """

    channels: Mapping[str, Floats]
    future_NH: Floats
    trace_N: Ints
    origin_N: Ints

    def __len__(self) -> int:
        return len(self.future_NH)

    def take(self, rows: NDArray[np.generic]) -> Self:
        """Return the rows at these positions (or where a mask is true), in that order."""
        return replace(
            self,
            channels={name: x_NW[rows] for name, x_NW in self.channels.items()},
            future_NH=self.future_NH[rows],
            trace_N=self.trace_N[rows],
            origin_N=self.origin_N[rows],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelInputs:
    """What the members read of windows: features, sequence, and the scale of the answer in Mbit/s.

    Members forecast ratios to `reference_N`. `linear_NH` is the linear forecast of these ratios;
    None until the class is known, see `linear.LinearForecast`.
    """

    x_NF: NDArray[np.float32]
    x_NTC: NDArray[np.float32]
    reference_N: Floats
    linear_NH: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.reference_N)

    def take(self, rows: NDArray[np.generic]) -> Self:
        """Return the rows at these positions, or where a mask is true."""
        return replace(
            self,
            x_NF=self.x_NF[rows],
            x_NTC=self.x_NTC[rows],
            reference_N=self.reference_N[rows],
            linear_NH=None if self.linear_NH is None else self.linear_NH[rows],
        )

    @property
    def linear(self) -> NDArray[np.float32]:
        """The linear forecast, which must have been attached."""
        if self.linear_NH is None:
            raise FeatureMismatchError("These inputs lack the linear forecast of their class.")
        return self.linear_NH

    @property
    def joined(self) -> NDArray[np.float32]:
        """Window features and the linear forecast of every step, side by side."""
        return np.concatenate([self.x_NF, self.linear], axis=1)


def join_inputs(parts: Sequence[ModelInputs]) -> ModelInputs:
    """Join inputs in order; either all of them have a linear forecast or none."""
    linear = [part.linear_NH for part in parts if part.linear_NH is not None]
    return ModelInputs(
        x_NF=np.concatenate([part.x_NF for part in parts]),
        x_NTC=np.concatenate([part.x_NTC for part in parts]),
        reference_N=np.concatenate([part.reference_N for part in parts]),
        linear_NH=np.concatenate(linear) if linear else None,
    )


def hold_last(values_T: Floats) -> Floats:
    """Fill gaps with the last value before them; what precedes the first value stays missing.

    A request cannot carry a missing sample, so callers hold the last one; training does the same.
    """
    present = np.flatnonzero(~np.isnan(values_T))
    if present.size == 0:
        return values_T
    last_T = np.searchsorted(present, np.arange(values_T.size), side="right") - 1
    return np.where(last_T >= 0, values_T[present[np.maximum(last_T, 0)]], np.nan)


def trace_channels(trace: Trace) -> dict[str, Floats]:
    """Return the channels of a trace as a request would carry them."""
    channels: dict[str, Floats] = {"bandwidth_mbps": np.asarray(trace.bandwidth_mbps)}
    for name in MEASURED:
        values = getattr(trace, name)
        if values is not None and not np.isnan(values).all():
            channels[name] = hold_last(np.asarray(values))
    return channels


def cut_windows(
    traces: Sequence[Trace], spec: FeatureSpec, horizon: int, *, most: int | None = None
) -> WindowSet:
    """Cut one window per sample that is followed by `horizon` more.

    Args:
        traces: Traces of any length; those of fewer than `horizon` + 1 samples give no rows.
        spec: Names the channels and the history.
        horizon: Steps ahead.
        most: Keep about this many rows, evenly spaced in each trace; all of them if None.
    """
    total = sum(max(0, len(trace) - horizon) for trace in traces)
    stride = 1 if most is None else max(1, total // max(1, most))
    return join_windows(
        [_cut_one(number, t, spec, horizon, stride) for number, t in enumerate(traces)]
    )


def join_windows(parts: Sequence[WindowSet]) -> WindowSet:
    """Join windows in order; a channel that a part lacks is missing there. Numbers stay."""
    names = sorted({name for part in parts for name in part.channels})
    return WindowSet(
        channels={
            name: np.concatenate([_channel(part, name) for part in parts]) for name in names
        },
        future_NH=np.concatenate([part.future_NH for part in parts]),
        trace_N=np.concatenate([part.trace_N for part in parts]),
        origin_N=np.concatenate([part.origin_N for part in parts]),
    )


def _channel(part: WindowSet, name: str) -> Floats:
    if name in part.channels:
        return part.channels[name]
    return np.full(part.channels["bandwidth_mbps"].shape, np.nan)


def _cut_one(number: int, trace: Trace, spec: FeatureSpec, horizon: int, stride: int) -> WindowSet:
    origin_N = np.arange(0, max(0, len(trace) - horizon), stride)
    found = {name: x for name, x in trace_channels(trace).items() if name in spec.channels}
    ahead_H = np.arange(1, horizon + 1)
    return WindowSet(
        channels={name: x_TW[origin_N] for name, x_TW in trace_windows(spec, found).items()},
        future_NH=np.asarray(trace.bandwidth_mbps)[origin_N[:, None] + ahead_H],
        trace_N=np.full(len(origin_N), number),
        origin_N=origin_N,
    )


@lru_cache(maxsize=16)
def read_names(spec: FeatureSpec) -> tuple[str, ...]:
    """Return the features that the members read, in order.

    Features in Mbit/s are left out: the level enters once, as a logarithm, so that what was learnt
    on one path holds on a faster one.
    """
    in_mbps = ("lag_", "diff_", "mean_", "std_", "min_", "max_", "q", "ewma_")
    prefixes = tuple(f"{channel}__{what}" for channel in spec.relative for what in in_mbps)
    return tuple(name for name in spec.names if not name.startswith(prefixes))


@lru_cache(maxsize=16)
def _read_columns(spec: FeatureSpec) -> NDArray[np.intp]:
    names = list(spec.names)
    return np.array([names.index(name) for name in read_names(spec)])


def reference_mbps(spec: FeatureSpec, windows: Mapping[str, NDArray[np.generic]]) -> Floats:
    """Return the positive scale of each window's answer, reference_N in Mbit/s."""
    own = {"bandwidth_mbps": windows["bandwidth_mbps"]}
    long = spec.model_copy(update={"level_half_life": _LONG_HALF_LIFE})
    level_N = window_level(spec, own, "bandwidth_mbps")
    long_N = window_level(long, own, "bandwidth_mbps")
    return np.maximum(np.maximum(level_N, _LEAST_OF_LONG * long_N), _LEAST_MBPS)


def encode(config: BandwidthConfig, channels: Mapping[str, NDArray[np.generic]]) -> ModelInputs:
    """Bring windows x_NW to the inputs of the members, all of them from `novacron.features`."""
    spec = config.features
    x_NF = window_features(spec, channels)[:, _read_columns(spec)]
    x_NTC = sequence_tensor(spec, channels, config.lstm.steps)
    x_NTC = np.clip(x_NTC, -_CLIP_LOG_RATIO, _CLIP_LOG_RATIO)
    return ModelInputs(
        x_NF=x_NF.astype(np.float32),
        x_NTC=x_NTC.astype(np.float32),
        reference_N=reference_mbps(spec, channels),
    )


def encode_in_parts(config: BandwidthConfig, windows: WindowSet) -> Iterator[ModelInputs]:
    """Encode a few thousand rows at a time, in order, so that memory stays bounded."""
    for start in range(0, len(windows), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        yield encode(config, {name: x[part] for name, x in windows.channels.items()})


def encode_all(config: BandwidthConfig, windows: WindowSet) -> ModelInputs:
    """Encode every row."""
    return join_inputs(list(encode_in_parts(config, windows)))
