"""Brings telemetry from outside into the observation of a policy.

Legend: K frames, C channels, D knobs, O numbers of an observation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np

from novacron.contracts.telemetry import DwcpMode
from novacron.errors import OutOfRangeError, SchemaError
from novacron.models.base import Tensors
from novacron.params.encode import (
    Channel,
    Float32,
    Float64,
    ObservationSpec,
    encode_frame,
    numbers_of,
    stack_frames,
)
from novacron.params.spec import ParameterGroup, ParameterValue

FAR_OUTSIDE: Final = 10.0
"""Times the upper bound of a channel above which a value is taken for an error of unit."""
MODES: Final = ("internet", "datacenter")
PATH_CHANNEL: Final = "path_"
"""Start of the names of channels that a path without traffic does not have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """Telemetry as a policy reads it."""

    observation_O: Float32
    is_incomplete: bool
    """A channel is missing that training always had."""
    missing: tuple[str, ...] = ()


def shipped_numbers(group: ParameterGroup, mode: str) -> Float64:
    """Return the shipped defaults of a mode as numbers [D].

    Raises:
        OutOfRangeError: No such mode.
    """
    if mode not in MODES:
        raise OutOfRangeError(field="mode", got=mode, expected=" or ".join(MODES))
    return numbers_of(group, group.defaults(cast(DwcpMode, mode)))


def frames_of(spec: ObservationSpec, tensors: Tensors, row: int, shipped_D: Float64) -> Given:
    """Read one row of a request.

    Raises:
        SchemaError: More frames than a policy reads, or fewer channels than the target has.
        OutOfRangeError: A value is not possible for its channel, or a knob out of its bounds.
    """
    telemetry = np.asarray(tensors["telemetry"][row], dtype=np.float64)
    if len(telemetry) > spec.frames or telemetry.shape[1] < len(spec.channels):
        raise SchemaError(
            field=f"telemetry[{row}]",
            got=list(telemetry.shape),
            expected=f"1 to {spec.frames} frames of {len(spec.channels)} channels",
        )
    telemetry = telemetry[:, : len(spec.channels)].copy()
    if "is_present" in tensors:
        present = np.asarray(tensors["is_present"][row], dtype=bool)
        if present.shape != tensors["telemetry"][row].shape:
            raise SchemaError(
                field=f"is_present[{row}]", got=list(present.shape), expected="that of telemetry"
            )
        telemetry[~present[:, : len(spec.channels)]] = np.nan
    values_D = shipped_D
    if "parameters" in tensors:
        given = np.asarray(tensors["parameters"][row], dtype=np.float64)
        if len(given) < len(spec.group):
            raise SchemaError(
                field=f"parameters[{row}]", got=len(given), expected=f"{len(spec.group)} knobs"
            )
        values_D = given[: len(spec.group)]
    return observe(spec, telemetry, np.repeat(values_D[None], len(telemetry), axis=0))


def frames_from_mappings(
    spec: ObservationSpec,
    telemetry: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    in_force: Float64,
) -> Given:
    """Read telemetry given by name: one interval, or several, oldest first.

    Knobs in force may stand among the channels; those not named are taken to be `in_force`.

    Raises:
        SchemaError: No interval, more than a policy reads, or an unknown name.
        OutOfRangeError: A value is not a number, or not possible for its channel or knob.
    """
    intervals = [telemetry] if isinstance(telemetry, Mapping) else list(telemetry)
    if not 1 <= len(intervals) <= spec.frames:
        raise SchemaError(
            field="telemetry", got=len(intervals), expected=f"1 to {spec.frames} intervals"
        )
    names = [channel.name for channel in spec.channels]
    rows, knobs = [], []
    for each in intervals:
        if not isinstance(each, Mapping):
            raise SchemaError(
                field="telemetry", got=type(each).__name__, expected="a mapping of channels"
            )
        for name in each:
            if name not in names and name not in spec.group.names:
                raise SchemaError(
                    field="telemetry", got=name,
                    expected="channels " + ", ".join(names) + " and knobs "
                    + ", ".join(spec.group.names),
                )  # fmt: skip
        rows.append([_number(name, each.get(name)) for name in names])
        knobs.append(_knobs(spec.group, each, in_force))
    return observe(spec, np.array(rows), np.array(knobs))


def _number(name: str, value: object) -> float:
    if value is None:
        return float("nan")
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating | np.integer):
        raise OutOfRangeError(field=f"telemetry.{name}", got=value, expected="a number")
    if not np.isfinite(value):
        raise OutOfRangeError(
            field=f"telemetry.{name}", got=value, expected="a finite number",
            remedy="Leave a channel out that was not measured.",
        )  # fmt: skip
    return float(value)


def _knobs(
    group: ParameterGroup, given: Mapping[str, ParameterValue], in_force: Float64
) -> Float64:
    row = in_force.copy()
    for column, knob in enumerate(group):
        if knob.name in given:
            row[column] = knob.to_number(given[knob.name])
    return row


def observe(spec: ObservationSpec, telemetry_KC: Float64, values_KD: Float64) -> Given:
    """Encode intervals of telemetry; NaN is a channel that was not measured.

    Raises:
        OutOfRangeError: A value is not possible for its channel, or a knob out of its bounds.
    """
    for column, channel in enumerate(spec.channels):
        for value in telemetry_KC[:, column]:
            check_channel(channel, float(value))
    for column, knob in enumerate(spec.group):
        for value in values_KD[:, column]:
            knob.from_number(float(value))
    frames = [
        encode_frame(
            spec,
            {channel.name: frame[i : i + 1] for i, channel in enumerate(spec.channels)},
            values[None, :],
        )
        for frame, values in zip(telemetry_KC, values_KD, strict=True)
    ]
    missing = tuple(
        channel.name
        for column, channel in enumerate(spec.channels)
        if np.isnan(telemetry_KC[:, column]).any() and not channel.name.startswith(PATH_CHANNEL)
    )
    return Given(
        observation_O=stack_frames(spec, frames)[0], is_incomplete=bool(missing), missing=missing
    )


def check_channel(channel: Channel, value: float) -> None:
    """Refuse what cannot be a value of the channel; missing and somewhat out of range may be.

    Raises:
        OutOfRangeError: Negative, or far above the channel's upper bound.
    """
    if np.isnan(value):
        return
    low = min(channel.low, 0.0)
    high = channel.high if channel.scale == "linear" else FAR_OUTSIDE * channel.high
    if not low <= value <= high:
        raise OutOfRangeError(
            field=f"telemetry.{channel.name}",
            got=value,
            expected=f"[{low:g}, {high:g}] {channel.unit}",
            remedy=f"It is in {channel.unit}: {channel.source}.",
        )
