"""JSON rows to tensors: a row is an object with the model's inputs as fields, named with units."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from novacron.errors import PayloadTooLargeError, SchemaError
from novacron.models.base import TensorSpec
from serve_apps.messages import InferRequest, unexpected
from serve_apps.oip import read_request

JSON_UNIT: Final = "json"
"""Unit of a text input that holds JSON: a row may give the object itself."""
Shapes = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One row as it was asked: its place, what it is about, and its fields."""

    place: int
    entity: str | None
    fields: Mapping[str, Any]


def split_rows(document: Mapping[str, Any], *, entity: str, limit: int) -> list[Row]:
    """Return the rows of a request: those under `rows`, or the document itself.

    Fields beside `rows` are defaults of every row.

    Raises:
        SchemaError: `rows` is no list of objects, or an entity is no short string.
        PayloadTooLargeError: There are more rows than the limit.
    """
    common = {key: value for key, value in document.items() if key != "rows"}
    given = document.get("rows", [{}])
    if not isinstance(given, list) or not given:
        raise unexpected("rows", given, "a list with at least one object")
    if len(given) > limit:
        raise PayloadTooLargeError(
            field="rows",
            got=f"{len(given)} rows",
            expected=f"at most {limit} rows",
            remedy="Send them in several requests.",
        )
    rows = []
    for place, item in enumerate(given):
        if not isinstance(item, dict):
            raise unexpected(f"rows[{place}]", item, "a JSON object")
        fields = common | item
        named = fields.pop(entity, None)
        if named is not None and not (isinstance(named, str) and len(named) <= 256):
            raise unexpected(entity, named, "a string of at most 256 characters")
        rows.append(Row(place=place, entity=named, fields=fields))
    return rows


def shapes_of(fields: Mapping[str, Any], specs: Sequence[TensorSpec]) -> Shapes:
    """Return the shape that each field has in a row, by the depth that its spec asks for.

    Raises:
        SchemaError: A field is not the model's, or is nested otherwise than its spec says.
    """
    known = {spec.name: spec for spec in specs}
    for name in fields:
        if name not in known:
            raise SchemaError(
                field=name[:100],
                got="a field of this name",
                expected="one of " + ", ".join(known),
                remedy="See /docs for the fields of this route.",
            )
    return tuple((name, _shape_of(fields[name], known[name])) for name in sorted(fields))


def join_rows(
    rows: Sequence[Mapping[str, Any]], shapes: Shapes, specs: Sequence[TensorSpec]
) -> InferRequest:
    """Make one request of rows that have the same shapes.

    Raises:
        SchemaError: A field's lists differ in length, or hold something else than its datatype.
        OutOfRangeError: A number does not fit its datatype.
    """
    datatypes = {spec.name: spec.datatype for spec in specs}
    as_json = {spec.name for spec in specs if spec.unit == JSON_UNIT}
    inputs = [
        {
            "name": name,
            "datatype": datatypes[name],
            "shape": [len(rows), *shape],
            "data": [_value(row[name], shape, is_json=name in as_json) for row in rows],
        }
        for name, shape in shapes
    ]
    if not inputs:
        required = [spec.name for spec in specs if spec.required]
        raise unexpected("body", None, "the fields " + ", ".join(required))
    return read_request({"inputs": inputs})


def _value(value: Any, shape: tuple[int, ...], *, is_json: bool) -> Any:
    if is_json:
        return value if isinstance(value, str) else orjson.dumps(value).decode()
    return [value] if shape and not isinstance(value, list) else value


def _shape_of(value: Any, spec: TensorSpec) -> tuple[int, ...]:
    if spec.unit == JSON_UNIT:
        return ()
    if spec.shape[1:] == (1,) and not isinstance(value, list):
        return (1,)
    shape: list[int] = []
    inner = value
    for _ in spec.shape[1:]:
        if not isinstance(inner, list) or not inner:
            raise unexpected(spec.name, value, f"{describe_depth(spec)} in {spec.unit}")
        shape.append(len(inner))
        inner = inner[0]
    if isinstance(inner, list | dict):
        raise unexpected(spec.name, value, f"{describe_depth(spec)} in {spec.unit}")
    return tuple(shape)


def describe_depth(spec: TensorSpec) -> str:
    """Say in words what a row holds for an input."""
    one = {"BYTES": "a text", "BOOL": "true or false"}.get(spec.datatype, "a number")
    for _ in spec.shape[1:]:
        one = "a list of " + one.removeprefix("a ").replace("list", "lists", 1)
    return one.replace("list of number", "list of numbers").replace(
        "list of text", "list of texts"
    )
