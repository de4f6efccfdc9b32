"""`novacron.ai.AIService`: three gRPC calls for the platform's own callers, over the typed routes.

Units: bandwidth in Mbit/s; cpu, memory and error_rate are ratios 0..1, never percent; latency in
ms; disk_io and network_io in bytes per second. Messages are built at run time in a private pool;
`python -m serve_apps.ai_service` rewrites the `.proto` beside it for other languages.
"""

import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from google.protobuf.message import DecodeError, Message

from novacron.errors import OutOfRangeError, SchemaError, UnreadableInputError
from serve_apps.domain.routes import BY_PATH, DomainRoutes
from serve_apps.grpc_ingress import AI_METHODS, AI_SERVICE
from serve_apps.grpc_messages import build_classes
from serve_apps.grpc_service import CallContext, Handler

PACKAGE: Final = AI_SERVICE.rpartition(".")[0]
PROTO_PATH: Final = Path(__file__).parent / "ai_service.proto"
METRICS: Final = ("cpu", "memory", "disk_io", "network_io", "latency", "error_rate")
RATIOS: Final = ("cpu", "memory", "error_rate")
_LARGEST_RATIO: Final = 1.5
MESSAGES: Final[dict[str, tuple[str, ...]]] = {
    "PredictBandwidthRequest": (
        "string vm_id 1",
        "repeated double historical_metrics 2",
        "int32 horizon_minutes 3",
        "double step_minutes 4",
    ),
    "PredictBandwidthResponse": (
        "repeated double predictions 1",
        "double confidence 2",
        "string model_version 3",
        "repeated double lower 4",
        "repeated double upper 5",
        "string fallback 6",
    ),
    "OptimizePlacementRequest": (
        "string workload_id 1",
        "map double requirements 2",
        "repeated string available_nodes 3",
        "string nodes_json 4",
    ),
    "Candidate": ("string node_id 1", "double score 2", "string reasoning 3"),
    "OptimizePlacementResponse": (
        "repeated Candidate candidates 1",
        "double overall_confidence 2",
        "string model_version 3",
        "string none_feasible_because 4",
    ),
    "VMMetrics": tuple(f"double {name} {number}" for number, name in enumerate(METRICS, 1)),
    "DetectAnomalyRequest": (
        "string vm_id 1",
        "VMMetrics metrics 2",
        "repeated VMMetrics history 3",
        "double step_seconds 4",
    ),
    "DetectAnomalyResponse": (
        "bool is_anomaly 1",
        "double score 2",
        "string anomaly_type 3",
        "string severity 4",
        "string model_version 5",
        "string fallback 6",
    ),
}


@cache
def classes() -> dict[str, type[Message]]:
    """Return the messages by name."""
    return build_classes(PACKAGE, "serve_apps/ai_service.proto", MESSAGES)


class AIService:
    """Answers the three calls.

    Args:
        routes: The typed routes below.
    """

    def __init__(self, routes: DomainRoutes) -> None:
        self._routes = routes

    def handlers(self) -> dict[str, Handler]:
        """Return the calls by name, for `InferenceService`."""
        return {
            "PredictBandwidth": self._predict_bandwidth,
            "OptimizePlacement": self._optimize_placement,
            "DetectAnomaly": self._detect_anomaly,
        }

    async def _predict_bandwidth(self, body: bytes, _context: CallContext) -> bytes:
        """Forecast; `confidence` is the share of outcomes between `lower` and `upper`.

        Without a history, the samples that were sent of `vm_id` are its own.
        """
        request = _read("PredictBandwidthRequest", body)
        row: dict[str, Any] = {"link_id": request.vm_id}
        if request.historical_metrics:
            row["bandwidth_mbps"] = list(request.historical_metrics)
        if request.step_minutes or request.historical_metrics:
            row["step_s"] = 60.0 * (request.step_minutes or 1.0)
        record = await self._ask("/api/v1/predict/bandwidth", **row)
        step_minutes = row.get("step_s", record.get("history", {}).get("step_s", 60.0)) / 60.0
        known = len(record["value_mbps"])
        steps = math.ceil(request.horizon_minutes / step_minutes) or known
        if not 0 < steps <= known:
            raise OutOfRangeError(
                field="horizon_minutes",
                got=request.horizon_minutes,
                expected=f"1 to {known * step_minutes:g} minutes, {known} steps of the history",
            )
        return _write(
            "PredictBandwidthResponse",
            predictions=record["value_mbps"][:steps],
            lower=record["lower_mbps"][:steps],
            upper=record["upper_mbps"][:steps],
            confidence=record["coverage_ratio"],
            model_version=record["model_version"],
            fallback=record["fallback"],
        )

    async def _optimize_placement(self, body: bytes, _context: CallContext) -> bytes:
        """Rank nodes; `nodes_json` gives them with their totals and factors, else only their names.

        `requirements` are the workload's fields by name, such as cpu_cores and memory_gb.
        """
        request = _read("OptimizePlacementRequest", body)
        nodes = request.nodes_json or [{"node_id": name} for name in request.available_nodes]
        workload = {"workload_id": request.workload_id, **dict(request.requirements)}
        record = await self._ask("/api/v1/placement/optimize", workload=workload, nodes=nodes)
        candidates = record["candidates"]
        return _write(
            "OptimizePlacementResponse",
            candidates=[
                {
                    "node_id": one["node_id"],
                    "score": one["score"]["value"],
                    "reasoning": ", ".join(
                        f"{reason['factor']} {reason['contribution']:+.3f}"
                        for reason in one["reasons"][:3]
                    ),
                }
                for one in candidates
            ],
            overall_confidence=candidates[0]["score"]["coverage"] if candidates else 0.0,
            model_version=record["model_version"],
            none_feasible_because=record["none_feasible_because"],
        )

    async def _detect_anomaly(self, body: bytes, _context: CallContext) -> bytes:
        """Judge the newest sample of each metric by the history; the most surprising one answers."""
        request = _read("DetectAnomalyRequest", body)
        if not request.history:
            raise SchemaError(
                field="history",
                got="nothing",
                expected="the samples before this one, oldest first",
                remedy="One sample alone is neither usual nor odd: send what came before it.",
            )
        samples = [*request.history, request.metrics]
        rows = [
            {"entity_id": name, "value": [getattr(sample, name) for sample in samples]}
            for name in METRICS
        ]
        for row in rows:
            _check_ratio(row)
        document = {"rows": rows, "step_s": request.step_seconds or 60.0}
        answer, _ = await self._routes.answer_document(
            BY_PATH["/api/v1/anomalies/detect"], document
        )
        judged = [record for record in answer["records"] if "code" not in record]
        worst = max(judged, key=lambda record: record["score"])
        return _write(
            "DetectAnomalyResponse",
            is_anomaly=worst["is_anomaly"],
            score=worst["score"],
            anomaly_type=worst["entity_id"] if worst["is_anomaly"] else "",
            severity=worst["severity"],
            model_version=worst["model_version"],
            fallback=worst["fallback"],
        )

    async def _ask(self, path: str, **row: Any) -> dict[str, Any]:
        record, _ = await self._routes.answer_document(BY_PATH[path], row)
        return record


def _check_ratio(row: Mapping[str, Any]) -> None:
    name, values = row["entity_id"], row["value"]
    if name in RATIOS and not all(0 <= value <= _LARGEST_RATIO for value in values):
        raise OutOfRangeError(
            field=f"metrics.{name}",
            got=max(values, key=abs),
            expected="a ratio, 0..1",
            remedy="Divide percent by 100.",
        )


def _read(name: str, body: bytes) -> Any:
    message: Any = classes()[name]()
    try:
        message.ParseFromString(body)
    except DecodeError as cause:
        raise UnreadableInputError(
            field="message", got=f"{len(body)} bytes", expected=f"a {PACKAGE}.{name}"
        ) from cause
    return message


def _write(name: str, /, **fields: Any) -> bytes:
    made: Any = classes()[name](**fields)
    return bytes(made.SerializeToString())


def render_proto() -> str:
    """Render the messages and the service as a `.proto` file."""
    lines = [
        "// Generated by `python -m serve_apps.ai_service`. Do not edit.",
        "// Bandwidth in Mbit/s; cpu, memory, error_rate are ratios 0..1; latency in ms;",
        "// disk_io, network_io in bytes per second.",
        'syntax = "proto3";',
        "",
        f"package {PACKAGE};",
        "",
        f"service {AI_SERVICE.rpartition('.')[2]} {{",
        *(f"  rpc {name}({name}Request) returns ({name}Response);" for name in AI_METHODS),
        "}",
    ]
    for message, fields in MESSAGES.items():
        lines += ["", f"message {message} {{"]
        for field in fields:
            *label, kind, name, number = field.split()
            shown = f"map<string, {kind}>" if label == ["map"] else " ".join([*label, kind])
            lines.append(f"  {shown} {name} = {number};")
        lines.append("}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PROTO_PATH.write_text(render_proto(), encoding="ascii")
