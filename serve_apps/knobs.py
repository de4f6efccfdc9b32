"""Parameters of the protocol by name: telemetry as objects in, settings as objects out.

The optimizer's tensors have a place for each channel and knob; people and programs know their names.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from novacron.errors import SchemaError
from novacron.models.policy.model import TARGETS
from novacron.params.observations import observation_spec
from novacron.params.spec import ParameterSpec
from serve_apps.messages import is_number, unexpected

PROBE_TARGET: Final = TARGETS[0]


def read_telemetry(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Bring `telemetry` given as objects, one for each interval, to lists in the model's order.

    A channel that is left out, or null, was not measured.

    Raises:
        SchemaError: A channel is unknown, or its value is no number.
    """
    telemetry = fields.get("telemetry")
    intervals = [telemetry] if isinstance(telemetry, dict) else telemetry
    target = fields.get("target")
    if (
        target not in TARGETS
        or not isinstance(intervals, list)
        or not all(isinstance(each, dict) for each in intervals)
    ):
        # Lists already, or for the model to refuse.
        return dict(fields)
    names = [channel.name for channel in observation_spec(target).channels]
    values = [_interval(each, names, place) for place, each in enumerate(intervals)]
    return {
        **fields,
        "telemetry": [[0.0 if value is None else value for value in row] for row in values],
        "is_present": [[value is not None for value in row] for row in values],
    }


def _interval(
    given: Mapping[str, Any], names: Sequence[str], place: int
) -> list[float | int | None]:
    for name in given:
        if name not in names:
            raise SchemaError(
                field=f"telemetry[{place}].{name[:60]}",
                got="a channel of this name",
                expected="channels " + ", ".join(names),
            )
    row: list[float | int | None] = []
    for name in names:
        value = given.get(name)
        if value is not None and not is_number(value):
            raise unexpected(f"telemetry[{place}].{name}", value, "a number, or null")
        row.append(value)
    return row


def settings_of(target: str, numbers: Sequence[float]) -> dict[str, Any]:
    """Return the knobs of a target by name, in their own types."""
    group = observation_spec(target).group
    return {knob.name: _value(knob, number) for knob, number in zip(group, numbers, strict=False)}


def _value(knob: ParameterSpec, number: float) -> Any:
    if knob.kind == "enum":
        return knob.choices[round(number)]
    return round(number) if float(number).is_integer() else number


def probe_tensors() -> dict[str, np.ndarray[Any, Any]]:
    """Return one interval in the middle of every channel's range."""
    middle = [
        float(np.sqrt(one.low * one.high)) if one.scale == "log" else (one.low + one.high) / 2
        for one in observation_spec(PROBE_TARGET).channels
    ]
    return {
        "target": np.array([PROBE_TARGET], dtype=object),
        "telemetry": np.array([[middle]]),
    }
