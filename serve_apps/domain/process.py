"""`/api/v1/process`: eight service and method pairs, as existing Go callers ask for them.

An adapter over the typed routes. Units are put right: what Go calls usage is a ratio 0..1 in and
out, never percent; times are RFC 3339 or seconds since 1970; `seasonality.period` is nanoseconds,
as a Go duration is. A refusal is `success: false` with the sentence, under the error's own status.
"""

import statistics
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final

import orjson

from novacron.errors import MethodNotAllowedError, NotReadyError, NovacronError, SchemaError
from serve_apps.dataplane import DataPlane
from serve_apps.domain.routes import BY_PATH, DomainRoutes
from serve_apps.messages import is_number, unexpected
from serve_apps.oip import parse_json

PATH: Final = "/api/v1/process"
PAIRS: Final = (
    ("resource_prediction", "predict_demand"),
    ("performance_optimization", "optimize_cluster"),
    ("anomaly_detection", "detect"),
    ("workload_pattern_recognition", "analyze_patterns"),
    ("predictive_scaling", "predict_scaling"),
    ("model_training", "train"),
    ("model_management", "get_info"),
    ("health", "check"),
)
RATIO_METRICS: Final = frozenset({"cpu", "memory", "disk", "network", "storage", "error_rate"})
"""Metrics whose values are ratios: a value above this limit is percent by mistake."""
_LARGEST_RATIO: Final = 1.5
_LATEST_S: Final = 1e11
_STEP_SLACK: Final = 0.1

Data = Mapping[str, Any]
_Handler = Callable[[Data], Awaitable[dict[str, Any]]]


class ProcessAdapter:
    """Answers the pairs.

    Args:
        plane: Models and their metadata.
        routes: The typed routes that answer.
    """

    def __init__(self, plane: DataPlane, routes: DomainRoutes) -> None:
        self._plane = plane
        self._routes = routes
        self._handlers: dict[tuple[str, str], _Handler] = {
            ("resource_prediction", "predict_demand"): self._predict_demand,
            ("performance_optimization", "optimize_cluster"): self._optimize_cluster,
            ("anomaly_detection", "detect"): self._detect,
            ("workload_pattern_recognition", "analyze_patterns"): self._patterns,
            ("predictive_scaling", "predict_scaling"): self._predict_scaling,
            ("model_training", "train"): self._train,
            ("model_management", "get_info"): self._get_info,
            ("health", "check"): self._health,
        }

    async def answer(self, body: bytes) -> tuple[int, bytes]:
        """Answer one request; returns the HTTP status and the adapter's own form of a body."""
        began_s = self._plane.now_s()
        request_id = ""
        status, data, problem = 200, None, None
        try:
            document = parse_json(body)
            if not isinstance(document, dict):
                raise unexpected("body", document, "a JSON object")
            request_id = _text(document, "id")
            data = await self._dispatch(document)
        except NovacronError as error:
            status, problem = error.http_status, error
        answer = {
            "id": request_id,
            "success": problem is None,
            "data": data or {},
            "error": "" if problem is None else str(problem),
            "confidence": (data or {}).get("confidence", 0.0),
            "process_time": self._plane.now_s() - began_s,
            "model_version": (data or {}).get("model_info", {}).get("version", ""),
        }
        if problem is not None:
            answer["details"] = problem.to_dict()
        return status, orjson.dumps(answer, default=str)

    async def _dispatch(self, document: Data) -> dict[str, Any]:
        pair = (_text(document, "service"), _text(document, "method"))
        handler = self._handlers.get(pair)
        if handler is None:
            known = ", ".join(f"{service}.{method}" for service, method in PAIRS)
            raise SchemaError(field="service, method", got=".".join(pair), expected=known)
        data = document.get("data") or {}
        if not isinstance(data, dict):
            raise unexpected("data", data, "a JSON object")
        return await handler(data)

    async def _ask(self, path: str, row: Data) -> dict[str, Any]:
        record, _ = await self._routes.answer_document(BY_PATH[path], row)
        return record

    # --- the pairs ------------------------------------------------------------------------

    async def _detect(self, data: Data) -> dict[str, Any]:
        points = _points(data, "data_points", _text(data, "metric_type"))
        row = {
            "entity_id": _text(data, "resource_id"),
            "value": [value for _, value in points],
            "step_s": _step_s(points),
        }
        record = await self._ask("/api/v1/anomalies/detect", row)
        anomaly = {
            "timestamp": datetime.fromtimestamp(points[-1][0], UTC).isoformat(),
            "anomaly_type": _text(data, "metric_type") or "unknown",
            "severity": record["severity"],
            "score": record["score"],
            "description": f"score {record['score']:.2f} (-log10 p) reaches {record['threshold']:.2f}",
            "affected_metrics": [_text(data, "metric_type") or "value"],
            "recommendations": [],
            "context": {"p_value": record["p_value"]},
        }
        values = [value for _, value in points[:-1]]
        return {
            "anomalies": [anomaly] if record["is_anomaly"] else [],
            "overall_score": record["score"],
            "baseline": {"median": statistics.median(values), "samples": len(values)},
            "model_info": self._model_info("anomaly"),
            "confidence": 1.0 - record["p_value"] if record["is_anomaly"] else record["p_value"],
            "fallback": record["fallback"],
        }

    async def _patterns(self, data: Data) -> dict[str, Any]:
        points = _points(data, "data_points", "")
        step_s = _step_s(points)
        row = {
            "workload_id": _text(data, "workload_id"),
            "usage": [value for _, value in points],
            "step_s": step_s,
        }
        record = await self._ask("/api/v1/patterns/recognize", row)
        period_s = record["period_s"]
        return {
            "patterns": [
                {"type": name, "confidence": share}
                for name, share in sorted(record["probabilities"].items(), key=lambda x: -x[1])[:3]
            ],
            "classification": record["pattern"],
            "seasonality": {
                "has_seasonality": period_s is not None,
                "period": 0 if period_s is None else round(period_s * 1e9),
                "strength": record["strongest_period_r2_ratio"],
                "components": [],
                "peak_times": [],
                "low_times": [],
            },
            "recommendations": [],
            "confidence": record["confidence_ratio"],
            "model_info": self._model_info("patterns"),
            "fallback": record["fallback"],
        }

    async def _predict_demand(self, data: Data) -> dict[str, Any]:
        """Forecast a node's demand of the hour ahead, every five minutes."""
        record, points = await self._scaling(data, _text(data, "node_id"))
        horizon_s = 60.0 * _number(data, "horizon_minutes", 60.0)
        newest_s, forecast = points[-1][0], record["forecast"]
        marks = zip(*(forecast[key] for key in ("at_s", "value", "lower", "upper")), strict=True)
        return {
            "predictions": [
                {
                    "timestamp": datetime.fromtimestamp(newest_s + at_s, UTC).isoformat(),
                    "value": value,
                    "lower": lower,
                    "upper": upper,
                }
                for at_s, value, lower, upper in marks
                if at_s <= horizon_s
            ],
            "confidence": record["coverage_ratio"],
            "model_info": self._model_info("scaling"),
            "fallback": record["fallback"],
        }

    async def _predict_scaling(self, data: Data) -> dict[str, Any]:
        """Recommend a capacity; `current_capacity` is 1 for usage as a ratio of it."""
        record, _ = await self._scaling(data, _text(data, "vm_id") or _text(data, "node_id"))
        return {
            "decisions": [
                {
                    "action": record["action"],
                    "target_capacity": record["target_capacity"],
                    "urgency": record["urgency_ratio"],
                    "shortage_probability_before": record["shortage_probability_before"],
                    "shortage_probability_after": record["shortage_probability_after"],
                    "reasons": [one["reason"] for one in record["reasons"]],
                }
            ],
            "confidence": record["coverage_ratio"],
            "model_info": self._model_info("scaling"),
            "fallback": record["fallback"],
        }

    async def _scaling(
        self, data: Data, entity: str
    ) -> tuple[dict[str, Any], list[tuple[float, float]]]:
        if "scaling" not in self._plane.host.names:
            # Said before the data is looked at: no data would help.
            await self._ask("/api/v1/scaling/recommend", {})
        points = _points(data, "historical_data", _text(data, "resource_type"))
        row = {
            "vm_id": entity,
            "usage": [value for _, value in points],
            "step_s": _step_s(points),
            "newest_time_of_day_s": points[-1][0] % 86_400,
            "capacity": _number(data, "current_capacity", 1.0),
        }
        return await self._ask("/api/v1/scaling/recommend", row), points

    async def _optimize_cluster(self, data: Data) -> dict[str, Any]:
        """Recommend knobs; `cluster_data` has `target` and `telemetry` as the typed route."""
        cluster = data.get("cluster_data") or {}
        if not isinstance(cluster, dict):
            raise unexpected("cluster_data", cluster, "an object with target and telemetry")
        row = {"entity_id": _text(data, "cluster_id"), **cluster}
        record = await self._ask("/api/v1/parameters/optimize", row)
        now = record["default_parameters"]
        return {
            "recommendations": [
                {
                    "type": "parameter",
                    "target": name,
                    "action": "set",
                    "parameters": {"value": value, "default": now[name]},
                    "priority": 1,
                    "impact": record["improvement_ratio"],
                    "confidence": record["coverage_ratio"],
                }
                for name, value in record["parameters"].items()
                if value != now[name]
            ],
            "expected_gains": {
                "improvement_ratio": record["improvement_ratio"],
                "lower_ratio": record["improvement_lower_ratio"],
                "upper_ratio": record["improvement_upper_ratio"],
                "evidence": record["evidence"],
            },
            "risk_assessment": {"overall_risk": None, "risk_factors": [record["reason"]]},
            "confidence": record["coverage_ratio"],
            "model_info": self._model_info("optimizer"),
            "fallback": record["fallback"],
        }

    async def _train(self, _data: Data) -> dict[str, Any]:
        raise MethodNotAllowedError(
            "The endpoint trains nothing: a training takes minutes and needs its own data.",
            allowed=("`novacron train --model NAME --submit`",),
        )

    async def _get_info(self, _data: Data) -> dict[str, Any]:
        host = self._plane.host
        return {
            "models": [self._model_info(name) for name in host.names if host.versions(name)],
            "confidence": 1.0,
        }

    async def _health(self, _data: Data) -> dict[str, Any]:
        if not self._plane.ready():
            raise NotReadyError("Not every model is loaded, or a shutdown has begun.")
        return {"status": "healthy", "models": list(self._plane.host.names), "confidence": 1.0}

    def _model_info(self, name: str) -> dict[str, Any]:
        served = self._plane.host.get(name)
        card = served.card
        metrics = getattr(card, "metrics", ())
        return {
            "name": name,
            "version": served.version,
            "training_data": getattr(card, "data_source", ""),
            # Accuracy is no one number: what was measured, on what, is beside it.
            "accuracy": None,
            "metrics": {f"{one.set}/{one.name}": one.value for one in metrics},
            "last_trained": getattr(card, "created_at", None),
        }


def _text(document: Data, field: str) -> str:
    value = document.get(field, "")
    if not isinstance(value, str) or len(value) > 256:
        raise unexpected(field, value, "a string of at most 256 characters")
    return value


def _number(data: Data, field: str, default: float) -> float:
    value = data.get(field, default)
    if not is_number(value) or value <= 0:
        raise unexpected(field, value, "a number above 0")
    return float(value)


def _points(data: Data, field: str, metric: str) -> list[tuple[float, float]]:
    """Read `[{timestamp, value}, ...]`, oldest first, as (seconds, value).

    Raises:
        SchemaError: It is no such list, or two points have one time.
        OutOfRangeError: A ratio is percent.
    """
    given = data.get(field)
    if not isinstance(given, list) or len(given) < 2:
        raise unexpected(field, given, "a list of at least two points with timestamp and value")
    points = []
    for place, point in enumerate(given):
        name = f"{field}[{place}]"
        if not isinstance(point, dict):
            raise unexpected(name, point, "an object with timestamp and value")
        value = point.get("value")
        if not is_number(value):
            raise unexpected(f"{name}.value", value, "a number")
        if metric in RATIO_METRICS and not 0 <= value <= _LARGEST_RATIO:
            raise SchemaError(
                field=f"{name}.value",
                got=value,
                expected=f"{metric} as a ratio, 0..1",
                remedy="Divide percent by 100.",
            )
        points.append((_seconds(point.get("timestamp"), f"{name}.timestamp"), float(value)))
    points.sort()
    return points


def _seconds(value: Any, field: str) -> float:
    if is_number(value) and 0 <= value < _LATEST_S:
        return float(value)
    if isinstance(value, str):
        with suppress(ValueError, OverflowError):
            return datetime.fromisoformat(value).timestamp()
    raise unexpected(field, value, "RFC 3339, or seconds since 1970")


def _step_s(points: list[tuple[float, float]]) -> float:
    """Return the step of evenly spaced points.

    Raises:
        SchemaError: Two points have one time, or a gap differs from the others.
    """
    gaps = [later - earlier for (earlier, _), (later, _) in pairwise(points)]
    step_s = statistics.median(gaps)
    if step_s <= 0 or max(abs(gap - step_s) for gap in gaps) > _STEP_SLACK * step_s:
        raise SchemaError(
            field="data_points",
            got=f"steps of {min(gaps):g} to {max(gaps):g} s",
            expected="points at even steps",
            remedy="Resample them before they are sent.",
        )
    return step_s
