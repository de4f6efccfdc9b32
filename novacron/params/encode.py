"""Between parameters and numbers, telemetry and observations: what the simulator and serving share.

Shape legend: N batch, D tunable knobs of a group, F channels of one frame, K frames.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from novacron.errors import ConfigError, OutOfRangeError, SchemaError
from novacron.params.spec import ParameterGroup, ParameterSpec, ParameterValue

Float64 = NDArray[np.float64]
Float32 = NDArray[np.float32]

TOLERANCE: Final = 1e-6
"""How far a single-precision action may overstep the cube before it is refused."""

FLOAT_DECIMALS: Final = 4
"""Places a decoded float knob keeps: enough for any of them, and defaults come back exactly."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Channel:
    """One number of an observation: what it is, its unit, and the range that maps to [-1, 1].

    Values outside [low, high] are clipped. `log` channels are spread by octaves and need low > 0.
    """

    name: str
    unit: str
    low: float
    high: float
    scale: Literal["linear", "log"]
    source: str
    """Where a production system reads it."""

    def __post_init__(self) -> None:
        """Refuse bounds that cannot be scaled."""
        if not self.low < self.high or (self.scale == "log" and self.low <= 0):
            raise ConfigError(
                field=self.name,
                got=(self.low, self.high),
                expected="low < high, and low > 0 on a log scale",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class ObservationSpec:
    """What a policy sees: `channels`, then the knobs in force, then the share of missing channels.

    The observation is `frames` such frames, oldest first.
    """

    channels: tuple[Channel, ...]
    group: ParameterGroup
    frames: int = 4

    @property
    def frame_size(self) -> int:
        """Numbers in one frame."""
        return len(self.channels) + len(self.group) + 1

    @property
    def size(self) -> int:
        """Numbers in one observation."""
        return self.frames * self.frame_size

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the numbers of one frame, in order."""
        knobs = tuple(f"param_{name}" for name in self.group.names)
        return (*(channel.name for channel in self.channels), *knobs, "missing_ratio")


def decode_unit(group: ParameterGroup, unit_ND: Float64 | Float32) -> Float64:
    """Turn points of the cube [-1, 1]^D into knob values, quantised.

    Args:
        group: The knobs, in the order of the columns.
        unit_ND: One row per decision.

    Returns:
        values_ND in the knobs' own units; an enum is its index.

    Raises:
        SchemaError: The shape is not [N, D].
        OutOfRangeError: A number is NaN or outside [-1, 1].
    """
    unit = np.asarray(unit_ND, dtype=np.float64)
    if unit.ndim != 2 or unit.shape[1] != len(group):
        raise SchemaError(
            field="action", got=unit.shape, expected=f"[N, {len(group)}] for {group.name}"
        )
    bad = ~(np.abs(unit) <= 1.0 + TOLERANCE)
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        raise OutOfRangeError(
            field=f"action[{row}].{group.names[column]}",
            got=float(unit[row, column]),
            expected="a finite number in [-1, 1]",
        )
    share = (np.clip(unit, -1.0, 1.0) + 1.0) / 2.0
    values = np.empty_like(share)
    for column, knob in enumerate(group):
        values[:, column] = _spread(knob, np.ascontiguousarray(share[:, column]))
    return values


def _spread(knob: ParameterSpec, share_N: Float64) -> Float64:
    if knob.kind == "enum":
        count = len(knob.choices)
        return np.asarray(np.minimum(np.floor(share_N * count), count - 1.0))
    if knob.kind == "log2":
        octaves = np.log2(knob.low) + share_N * np.log2(knob.high / knob.low)
        return np.asarray(np.clip(np.rint(np.exp2(octaves)), knob.low, knob.high))
    value = knob.low + share_N * (knob.high - knob.low)
    decimals = 0 if knob.kind == "int" else FLOAT_DECIMALS
    return np.asarray(np.round(value, decimals))


def encode_values(group: ParameterGroup, values_ND: Float64) -> Float64:
    """Turn knob values into points of the cube; `decode_unit` gives the same values back.

    Raises:
        SchemaError: The shape is not [N, D].
        OutOfRangeError: A value is NaN or outside its knob's bounds.
    """
    values = np.asarray(values_ND, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != len(group):
        raise SchemaError(
            field="values", got=values.shape, expected=f"[N, {len(group)}] for {group.name}"
        )
    unit = np.empty_like(values)
    for column, knob in enumerate(group):
        value = np.ascontiguousarray(values[:, column])
        bad = ~((value >= knob.low) & (value <= knob.high))
        if bad.any():
            got = float(value[int(np.argmax(bad))])
            raise OutOfRangeError(field=knob.name, got=got, expected=knob.expected)
        unit[:, column] = 2.0 * _gather(knob, value) - 1.0
    return unit


def _gather(knob: ParameterSpec, value_N: Float64) -> Float64:
    if knob.kind == "enum":
        return (value_N + 0.5) / len(knob.choices)
    if knob.kind == "log2":
        return np.asarray(np.log2(value_N / knob.low) / np.log2(knob.high / knob.low))
    return (value_N - knob.low) / (knob.high - knob.low)


def numbers_of(group: ParameterGroup, values: Mapping[str, ParameterValue]) -> Float64:
    """Return a checked mapping of knob values as a row [D].

    Raises:
        UnknownNameError: A name is not in the table.
        OutOfRangeError: A knob is missing, outside its range, or not tunable.
    """
    checked = group.check(values)
    return np.array([group[name].to_number(checked[name]) for name in group.names])


def values_of(group: ParameterGroup, numbers_D: Float64) -> dict[str, ParameterValue]:
    """Return a row [D] as the mapping that people and config files use."""
    return {
        knob.name: knob.from_number(float(number))
        for knob, number in zip(group, numbers_D, strict=True)
    }


def encode_frame(
    spec: ObservationSpec, telemetry: Mapping[str, Float64], values_ND: Float64
) -> Float32:
    """Turn one interval of telemetry into one frame of the observation.

    Args:
        spec: The channels and the knobs.
        telemetry: One array [N] per channel, in the channel's unit; NaN where not measured.
        values_ND: The knob values that were in force.

    Returns:
        frame_NF, every number in [-1, 1]. A missing channel is 0 and raises `missing_ratio`.

    Raises:
        SchemaError: A channel is absent or unknown.
    """
    expected = [channel.name for channel in spec.channels]
    if set(telemetry) != set(expected):
        odd = sorted(set(telemetry) ^ set(expected))
        raise SchemaError(field="telemetry", got=odd, expected="exactly " + ", ".join(expected))
    frame = np.empty((values_ND.shape[0], spec.frame_size), dtype=np.float32)
    missing = np.zeros(values_ND.shape[0])
    for column, channel in enumerate(spec.channels):
        scaled = _scale(channel, np.ascontiguousarray(telemetry[channel.name], dtype=np.float64))
        absent = np.isnan(scaled)
        missing += absent
        frame[:, column] = np.where(absent, 0.0, scaled)
    knobs = slice(len(expected), len(expected) + len(spec.group))
    frame[:, knobs] = encode_values(spec.group, values_ND)
    frame[:, -1] = 2.0 * missing / len(expected) - 1.0
    return frame


def _scale(channel: Channel, value_N: Float64) -> Float64:
    value = np.clip(value_N, channel.low, channel.high)
    if channel.scale == "log":
        octaves = np.log(value / channel.low) / np.log(channel.high / channel.low)
        return np.asarray(2.0 * octaves - 1.0)
    return 2.0 * (value - channel.low) / (channel.high - channel.low) - 1.0


def stack_frames(spec: ObservationSpec, frames: Sequence[Float32]) -> Float32:
    """Join the latest frames, oldest first, into an observation [N, K * F].

    With fewer than K frames of history the oldest one is repeated, which is how an episode starts.

    Raises:
        SchemaError: There is no frame, or one has another width than the spec's.
    """
    for frame in frames:
        if frame.ndim != 2 or frame.shape[1] != spec.frame_size:
            raise SchemaError(field="frame", got=frame.shape, expected=f"[N, {spec.frame_size}]")
    if not frames:
        raise SchemaError(field="frames", got="none", expected="at least one frame")
    kept = list(frames[-spec.frames :])
    return np.concatenate([kept[0]] * (spec.frames - len(kept)) + kept, axis=1)


def frames_hidden(spec: ObservationSpec, frames: int) -> int:
    """Return how many leading numbers of an observation are 0 for a policy of few frames."""
    return (spec.frames - frames) * spec.frame_size
