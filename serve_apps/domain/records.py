"""Answers as records: what the platform's documents say an answer holds, units in the names.

A kind of model without a shape of its own answers with its outputs as they are named.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from novacron.models.anomaly.config import EpisodeConfig
from novacron.models.anomaly.episodes import severity
from novacron.models.patterns.definitions import NAMES
from serve_apps.host import ServedModel
from serve_apps.knobs import read_telemetry, settings_of

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
    read: Callable[[Values], dict[str, Any]] = dict
    """Brings the fields of a row to the model's inputs."""


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
    valid_s = answer.pop("valid_s", options.get("step_s"))
    valid_until = None if valid_s is None else made_at + timedelta(seconds=valid_s)
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


def _scaling(values: Values, _options: Values) -> dict[str, Any]:
    marks = len(values["forecast_value"])
    return {
        "action": values["action"],
        "target_capacity": values["target_capacity"],
        "urgency_ratio": values["urgency"],
        "shortage_probability_before": values["under_risk_before"],
        "shortage_probability_after": values["under_risk_after"],
        "forecast": {
            "at_s": [_HOUR_S * (mark + 1) / marks for mark in range(marks)],
            "value": values["forecast_value"],
            "lower": values["forecast_lower"],
            "upper": values["forecast_upper"],
        },
        "coverage_ratio": values["coverage"],
        "reasons": [
            {"reason": name, "weight": weight}
            for name, weight in zip(values["reason"], values["reason_weight"], strict=True)
        ],
        "fallback": values["fallback"],
        "horizon_s": _HOUR_S,
        "valid_s": values["valid_s"],
    }


def _capacity(values: Values, _options: Values) -> dict[str, Any]:
    days = len(values["value"])
    first = datetime.fromtimestamp(values["first_day_s"], UTC)
    courses = ("value", "lower", "upper", "lower_95", "upper_95", "level", "seasonal", "holiday")
    return {
        "first_day": first.date().isoformat(),
        "forecast": {name: values[name] for name in courses},
        "coverage_ratio": 0.8,
        "warning": _crossing(values, "warning"),
        "critical": _crossing(values, "critical"),
        "member_weight": values["member_weight"],
        "fallback": values["fallback"],
        "horizon_s": days * _DAY_S,
        "valid_s": _DAY_S,
    }


def _crossing(values: Values, level: str) -> dict[str, Any]:
    """Say when a threshold is reached; None where that is later than the horizon, or never."""
    names = ("days_early", "days_median", "days_late")
    days = (None if day < 0 else day for day in values[f"{level}_days"])
    return {"probability": values[f"{level}_probability"], **dict(zip(names, days, strict=True))}


def _placement(values: Values, _options: Values) -> dict[str, Any]:
    told = ("model_name", "model_version", "features_hash", "made_at", "valid_until")
    answer = {k: v for k, v in orjson.loads(values["answer"]).items() if k not in told}
    return {**answer, "fallback": values["fallback"], "horizon_s": 0.0}


def _performance(values: Values, _options: Values) -> dict[str, Any]:
    return {**values, "coverage_ratio": 0.8}


def _policy(values: Values, options: Values) -> dict[str, Any]:
    target = options["target"]
    told = {key: values[key] for key in ("reason", "evidence", "fallback", "policy_version")}
    ends = ("improvement_ratio", "improvement_lower_ratio", "improvement_upper_ratio")
    return {
        "target": target,
        "parameters": settings_of(target, values["parameters"]),
        "default_parameters": settings_of(target, values["default_parameters"]),
        **{name: values[name] for name in ends},
        "coverage_ratio": 0.9,
        **told,
        "horizon_s": 0.0,
    }


_HOUR_S: Final = 3_600.0
_DAY_S: Final = 86_400.0
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
    "scaling": Shape(
        build=_scaling,
        options={},
        fields={
            "action": "scale_up, scale_down, scale_out, scale_in or no_action",
            "target_capacity": "capacity to order now, in the unit of usage",
            "shortage_probability_before": "chance of a shortage when the order arrives, as is",
            "shortage_probability_after": "the same with the target",
            "forecast": "demand of the hour ahead: `at_s` from now, value, lower, upper",
        },
    ),
    "capacity": Shape(
        build=_capacity,
        options={},
        fields={
            "first_day": "first day that is forecast, UTC",
            "forecast": "a value for each day: median, 80 % and 95 % intervals, and its parts",
            "warning": "chance that the threshold is reached, and days until then",
            "critical": "the same of the critical threshold",
        },
    ),
    "placement": Shape(
        build=_placement,
        options={},
        fields={
            "candidates": "nodes in the order to try them, with estimates and reasons",
            "none_feasible_because": "why there is no candidate, or empty",
        },
    ),
    "policy": Shape(
        build=_policy,
        options={},
        fields={
            "parameters": "advised knobs by name",
            "default_parameters": "those that ship",
            "coverage_ratio": "nominal coverage of the interval of the improvement",
        },
        read=read_telemetry,
    ),
    "performance": Shape(
        build=_performance,
        options={},
        fields={"coverage_ratio": "share of outcomes that lie between lower and upper"},
    ),
}
