"""The OpenAPI document, written from the table of routes and the served models' tensor specs."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final

from novacron.models.base import ServableModel, TensorSpec
from serve_apps.dataplane import DataPlane
from serve_apps.domain import feedback
from serve_apps.domain.extension import Operation
from serve_apps.domain.process import PAIRS
from serve_apps.domain.process import PATH as PROCESS_PATH
from serve_apps.domain.records import SHAPES
from serve_apps.domain.routes import ROUTES, Route
from serve_apps.domain.rows import JSON_UNIT
from serve_apps.messages import WIRE_DTYPES

Schema = dict[str, Any]

_ERROR: Final[Schema] = {
    "type": "object",
    "required": ["error", "code", "remedy", "request_id"],
    "properties": {
        "error": {"type": "string", "description": "what happened, a sentence for people"},
        "code": {"type": "string", "description": "kind of error, for programs"},
        "remedy": {"type": "string", "description": "what to do about it; may be empty"},
        "field": {"type": "string", "description": "the field at fault"},
        "got": {"type": "string", "description": "its value, shortened"},
        "expected": {"type": "string", "description": "what would be accepted, with its unit"},
        "retry_after_s": {"type": "number"},
        "request_id": {"type": "string", "description": "finds the line in the replica's log"},
    },
}
_MEANINGS: Final = {
    "400": "The request is wrong; the same body fails again.",
    "401": "No token, or an unknown one.",
    "404": "No such model or version is served here; `remedy` says how to get it served.",
    "405": "The route takes another method.",
    "413": "Larger than a limit.",
    "429": "The queue is full; `Retry-After` is the predicted wait.",
    "500": "The model or the server failed for this request alone.",
    "503": "A model is loading, or the replica is shutting down.",
    "504": "No answer within the caller's time.",
}
_ENVELOPE: Final[Schema] = {
    "prediction_id": {"type": "string"},
    "model_name": {"type": "string"},
    "model_version": {"type": "string"},
    "features_hash": {"type": "string", "description": "fingerprint of the model's features"},
    "made_at": {"type": "string", "format": "date-time"},
    "horizon_s": {"type": ["number", "null"], "description": "seconds ahead; 0: what is now"},
    "valid_until": {"type": ["string", "null"], "format": "date-time"},
}


def build_document(plane: DataPlane, more: Mapping[str, Operation] | None = None) -> Schema:
    """Return the OpenAPI 3.1 document of what this endpoint serves now.

    Args:
        plane: The models.
        more: Paths beside the typed routes.
    """
    paths: dict[str, Any] = {}
    for route in ROUTES:
        paths[route.path] = {"post": _typed(route, _model_of(plane, route))}
    paths[feedback.PATH] = {"post": _feedback()}
    paths[PROCESS_PATH] = {"post": _process()}
    for path, one in (more or {}).items():
        paths[path] = {one.method.lower(): _extension(one)}
    paths |= _protocol(plane)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "NovaCron ML",
            "version": version("novacron-ml"),
            "description": "Typed routes and the Open Inference Protocol over one data plane. "
            "Units are in the names; ratios are 0..1, never percent.",
        },
        "paths": paths,
        "components": {
            "schemas": {"Error": _ERROR},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _model_of(plane: DataPlane, route: Route) -> ServableModel | None:
    if route.model not in plane.host.names or not plane.host.versions(route.model):
        return None
    return plane.host.get(route.model).model


def _typed(route: Route, model: ServableModel | None) -> Schema:
    note = ""
    if model is None and route.model:
        note = (
            f"Model {route.model!r} is not served here: the route answers 404 and says what to do."
        )
    fields = {} if model is None else {spec.name: field_schema(spec) for spec in model.inputs}
    shape = None if model is None else SHAPES.get(model.kind)
    for name, doc in (shape.options if shape else {}).items():
        fields.setdefault(name, {"type": "number", "exclusiveMinimum": 0, "description": doc})
    fields[route.entity] = {"type": "string", "maxLength": 256, "description": "comes back"}
    row: Schema = {"type": "object", "properties": fields}
    if model is not None:
        row["required"] = [spec.name for spec in model.inputs if spec.required]
        row["additionalProperties"] = False
    many: Schema = {
        "type": "object",
        "required": ["rows"],
        "properties": {"rows": {"type": "array", "minItems": 1, "items": row}},
    }
    if not route.model:
        many["required"] = ["model", "rows"]
        many["properties"] |= {"model": {"type": "string"}, "version": {"type": "string"}}
    body = many if not route.model else {"anyOf": [row, many]}
    record = _record_schema(route, model)
    rows_answer: Schema = {
        "type": "object",
        "required": ["count", "failed", "records"],
        "properties": {
            "count": {"type": "integer"},
            "failed": {"type": "integer", "description": "records that are an error, with `row`"},
            "records": {"type": "array", "items": {"type": "object"}},
        },
    }
    answer = rows_answer if not route.model else {"anyOf": [record, rows_answer]}
    return _operation(route.summary, note, body, answer, tag="typed")


def field_schema(spec: TensorSpec) -> Schema:
    """Return the JSON schema of one row of an input."""
    one: Schema = {"type": "number"}
    if spec.unit == JSON_UNIT:
        return {"type": ["object", "array", "string"], "description": spec.doc}
    if spec.datatype == "BYTES":
        one = {"type": "string"}
    elif spec.datatype == "BOOL":
        one = {"type": "boolean"}
    elif spec.datatype.startswith("INT"):
        one = {"type": "integer"}
    for key, bound in (("minimum", spec.low), ("maximum", spec.high)):
        if bound is not None and spec.datatype != "BYTES":
            one[key] = bound
    for length in reversed(spec.shape[1:]):
        one = {"type": "array", "minItems": max(1, length), "items": one}
        if length > 0:
            one["maxItems"] = length
    return one | {"description": f"{spec.doc} [{spec.unit}]" if spec.unit else spec.doc}


def _record_schema(route: Route, model: ServableModel | None) -> Schema:
    fields: Schema = dict(_ENVELOPE)
    fields[route.entity] = {"type": "string"}
    if model is not None:
        shape = SHAPES.get(model.kind)
        if shape is None:
            fields |= {spec.name: field_schema(spec) for spec in model.outputs}
        else:
            fields |= {name: {"description": doc} for name, doc in shape.fields.items()}
    return {"type": "object", "required": list(_ENVELOPE), "properties": fields}


def _feedback() -> Schema:
    body: Schema = {
        "type": "object",
        "required": ["entity_id"],
        "properties": {
            "entity_id": {"type": "string", "minLength": 1, "maxLength": feedback.MAX_TEXT},
            "alert_id": {"type": "string", "maxLength": feedback.MAX_TEXT},
            "at": {"type": "string", "maxLength": feedback.MAX_TEXT},
            "comment": {"type": "string", "maxLength": feedback.MAX_TEXT},
            "verdict": {"enum": list(feedback.VERDICTS)},
            "false_positive": {"type": "boolean"},
        },
        "additionalProperties": False,
        "oneOf": [{"required": ["verdict"]}, {"required": ["false_positive"]}],
    }
    answer: Schema = {
        "type": "object",
        "required": ["feedback_id", "model_version", "verdict", "threshold"],
        "properties": {"threshold": {"type": ["number", "null"]}},
    }
    summary = "Tell whether an alert was right; the detector's threshold follows"
    return _operation(summary, "", body, answer, tag="typed")


def _process() -> Schema:
    body: Schema = {
        "type": "object",
        "required": ["id", "service", "method"],
        "properties": {
            "id": {"type": "string", "maxLength": 256},
            "service": {"enum": sorted({service for service, _ in PAIRS})},
            "method": {"enum": sorted({method for _, method in PAIRS})},
            "data": {"type": "object"},
            "metadata": {"type": "object"},
        },
    }
    answer: Schema = {
        "type": "object",
        "required": ["id", "success", "data", "error", "confidence", "process_time"],
        "properties": {"success": {"const": True}, "data": {"type": "object"}},
    }
    pairs = ", ".join(f"{service}.{method}" for service, method in PAIRS)
    operation = _operation("Adapter for Go callers", pairs, body, answer, tag="adapter")
    for status in _MEANINGS:
        # A refusal has the adapter's own form, with the error as a sentence.
        content = {"application/json": {"schema": {"type": "object", "required": ["error"]}}}
        operation["responses"][status]["content"] = content
    return operation


def _extension(one: Operation) -> Schema:
    if one.method == "GET":
        return _read(one.summary) | {"tags": ["memory"]}
    return _operation(one.summary, one.note, dict(one.body), dict(one.answer), tag="memory")


def _protocol(plane: DataPlane) -> Schema:
    tensor: Schema = {
        "type": "object",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": {"type": "string", "minLength": 1},
            "shape": {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 1}},
            "datatype": {"enum": list(WIRE_DTYPES)},
            "data": {"type": "array"},
        },
    }
    body: Schema = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string", "maxLength": 256},
            "inputs": {"type": "array", "minItems": 1, "items": tensor},
        },
    }
    name: Schema = {
        "name": "model",
        "in": "path",
        "required": True,
        "schema": {"enum": list(plane.host.names)},
    }
    obj: Schema = {"type": "object"}
    infer = _operation("Open Inference Protocol: inference", "", body, obj, tag="protocol")
    infer["parameters"] = [name]
    described = _read("Open Inference Protocol: metadata of a model") | {"parameters": [name]}
    return {
        "/v2": {"get": _read("Open Inference Protocol: server metadata")},
        "/v2/health/live": {"get": _read("Whether the process answers")},
        "/v2/health/ready": {"get": _read("Whether every model is loaded and proven")},
        "/v2/models/{model}": {"get": described},
        "/v2/models/{model}/infer": {"post": infer},
    }


def _operation(summary: str, note: str, body: Schema, answer: Schema, *, tag: str) -> Schema:
    return {
        "tags": [tag],
        "summary": summary,
        "description": note,
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {"200": _answer("Answered.", answer)} | _refusals(tuple(_MEANINGS)),
    }


def _read(summary: str) -> Schema:
    refusals = _refusals(("401", "404", "405", "500", "503"))
    return {
        "tags": ["protocol"],
        "summary": summary,
        "responses": {"200": _answer("Answered.", {"type": "object"})} | refusals,
    }


def _answer(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _refusals(statuses: Sequence[str]) -> Schema:
    error: Schema = {"$ref": "#/components/schemas/Error"}
    return {status: _answer(_MEANINGS[status], error) for status in statuses}
