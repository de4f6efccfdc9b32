"""The docs page: the OpenAPI document as one HTML page that needs nothing from elsewhere."""

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;"
    "color:#1c2430}code,pre{font:13px/1.45 ui-monospace,monospace;background:#f2f4f7}"
    "pre{padding:.7rem;overflow-x:auto}table{border-collapse:collapse;width:100%;margin:.5rem 0}"
    "td,th{border:1px solid #d5dae1;padding:.25rem .5rem;text-align:left;vertical-align:top}"
    "th{background:#f2f4f7}h2{margin-top:2rem;border-top:1px solid #d5dae1;padding-top:1rem}"
    ".note{color:#8a4b00}"
)


def render(document: Mapping[str, Any]) -> bytes:
    """Return the page."""
    info = document["info"]
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width'>",
        f"<title>{escape(info['title'])}</title><style>{_STYLE}</style>",
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>",
        f"<p>{escape(info['description'])} The same as a document: "
        "<a href='openapi.json'>openapi.json</a>.</p>",
    ]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parts.extend(_operation(path, method, operation))
    return "\n".join(parts).encode()


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h2><code>{method.upper()} {escape(path)}</code></h2>"
    yield f"<p>{escape(operation['summary'])}.</p>"
    if operation.get("description"):
        yield f"<p class='note'>{escape(operation['description'])}</p>"
    content = operation.get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema")
    if schema:
        row = schema["anyOf"][0] if "anyOf" in schema else schema
        yield "<h3>Request</h3>" + _fields(row)
        if "anyOf" in schema:
            yield '<p>Or <code>{"rows": [...]}</code> with such an object for each row.</p>'
        example = json.dumps(_example(row))
        yield f"<pre>curl -s $ENDPOINT{escape(path)} -d '{escape(example)}'</pre>"
    answer = operation["responses"]["200"]["content"]["application/json"]["schema"]
    answer = answer["anyOf"][0] if "anyOf" in answer else answer
    if answer.get("properties"):
        yield "<h3>Answer</h3>" + _fields(answer)
    codes = ", ".join(status for status in operation["responses"] if status != "200")
    yield f"<p>Refusals: {codes}; each is an object with <code>error</code> and what to do.</p>"


def _fields(schema: Mapping[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = [
        f"<tr><td><code>{escape(name)}</code>{' *' if name in required else ''}</td>"
        f"<td>{escape(_kind(one))}</td><td>{escape(one.get('description', ''))}</td></tr>"
        for name, one in schema.get("properties", {}).items()
    ]
    if not rows:
        return "<p>Any object.</p>"
    head = "<tr><th>field (* required)</th><th>form</th><th>meaning</th></tr>"
    return f"<table>{head}{''.join(rows)}</table>"


def _kind(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    ends = [f"{sign} {schema[key]:g}" for sign, key in ((">=", "minimum"), ("<=", "maximum"))
            if key in schema]  # fmt: skip
    named = " or ".join(kind) if isinstance(kind, list) else str(kind)
    return " ".join([named, *ends])


def _example(schema: Mapping[str, Any]) -> Any:
    kind = schema.get("type")
    if "enum" in schema:
        return schema["enum"][0] if schema["enum"] else ""
    if kind == "object":
        required = schema.get("required", ())
        return {name: _example(schema["properties"][name]) for name in required}
    if kind == "array":
        length = max(1, min(schema.get("minItems", 1), 4))
        return [_example(schema.get("items", {})) for _ in range(length)]
    if kind == "string":
        return "name"
    if kind == "boolean":
        return True
    return max(schema.get("minimum", 1), 1) if schema.get("maximum", 1) >= 1 else schema["maximum"]
