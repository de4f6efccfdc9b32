"""Answers as records: what the platform's documents say an answer holds, units in the names.

A kind of model without a shape of its own answers with its outputs as they are named.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from novacron.models.anomaly.config import EpisodeConfig
from novacron.models.anomaly.episodes import severity
from novacron.models.patterns.definitions import NAMES
from serve_apps.host import ServedModel

Values = Mapping[str, Any]
"""Outputs of one row as JSON can hold them, by name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """How the outputs of a kind of model become a record.

    `options` are fields of a request that are no input of the model: name to description.
    `fields` are those of the record that are no output: name to description.
    """

    build: Callable[[Values, Values], dict[str, Any]]
    options: Mapping[str, str]
    fields: Mapping[str, str]


def values_of(tensors: Mapping[str, NDArray[np.generic]], row: int) -> dict[str, Any]:
    """Return the outputs of one row."""
    return {name: array[row].tolist() if array.dtype != object else _texts(array[row])
            for name, array in tensors.items()}  # fmt: skip


def _texts(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else str(value)


def build_record(
    served: ServedModel,
    version: str,
    values: Values,
    options: Values,
    *,
    prediction_id: str,
    made_at: datetime,
) -> dict[str, Any]:
    """Make the record of one row: who answered and when, then what.

    `valid_until` is when the answer should be asked for again: after one step of the history.
    """
    shape = SHAPES.get(served.model.kind)
    answer = dict(values) if shape is None else shape.build(values, options)
    horizon_s = answer.pop("horizon_s", None)
    step_s = options.get("step_s")
    valid_until = None if step_s is None else made_at + timedelta(seconds=step_s)
    return {
        "prediction_id": prediction_id,
        "model_name": served.name,
        "model_version": version,
        "features_hash": served.features_hash,
        "made_at": made_at.isoformat(),
        "horizon_s": horizon_s,
        "valid_until": None if valid_until is None else valid_until.isoformat(),
        **answer,
    }


def _bandwidth(values: Values, options: Values) -> dict[str, Any]:
    step_s = options.get("step_s")
    steps = len(values["value_mbps"])
    return {
        **values,
        "coverage_ratio": 0.8,
        "horizon_steps": steps,
        "horizon_s": None if step_s is None else steps * step_s,
    }


def _anomaly(values: Values, _options: Values) -> dict[str, Any]:
    rest = {name: value for name, value in values.items() if name != "alert"}
    level = severity(values["score"], values["threshold"], EpisodeConfig())
    return {
        "is_anomaly": values["alert"],
        "severity": level if values["alert"] else "none",
        **rest,
        "horizon_s": 0.0,
    }


def _patterns(values: Values, _options: Values) -> dict[str, Any]:
    periodic = values["period_s"] > 0
    return {
        "pattern": values["type"],
        "confidence_ratio": values["confidence"],
        "probabilities": dict(zip(NAMES, values["probability"], strict=True)),
        "period_s": values["period_s"] if periodic else None,
        "period_lower_s": values["period_lower_s"] if periodic else None,
        "period_upper_s": values["period_upper_s"] if periodic else None,
        "strongest_period_s": values["strongest_period_s"] or None,
        "strongest_period_r2_ratio": values["strongest_period_r2_ratio"],
        "reasons": [
            {"evidence": name, "value": value, "weight_ratio": weight}
            for name, value, weight in zip(
                values["reason"], values["reason_value"], values["reason_weight"], strict=True
            )
        ],
        "fallback": values["fallback"],
        "horizon_s": 0.0,
    }


STEP_S: Final = "seconds between two samples of the history; with it `horizon_s` is told"
SHAPES: Final[dict[str, Shape]] = {
    "bandwidth": Shape(
        build=_bandwidth,
        options={"step_s": STEP_S},
        fields={
            "coverage_ratio": "share of outcomes that lie between lower_mbps and upper_mbps",
            "horizon_steps": "steps that are forecast",
        },
    ),
    "anomaly": Shape(
        build=_anomaly,
        options={},
        fields={
            "is_anomaly": "whether the newest sample's score reaches the threshold",
            "severity": "low, medium, high or critical by the score above the threshold, or none",
        },
    ),
    "patterns": Shape(
        build=_patterns,
        options={},
        fields={
            "pattern": "most likely type of the usage",
            "confidence_ratio": "calibrated probability of that type, 0..1",
            "probabilities": "type to probability",
            "reasons": "evidence that moved the answer most, strongest first",
        },
    ),
}
