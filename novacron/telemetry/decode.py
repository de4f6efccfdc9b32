"""Bytes of one request to typed samples: protobuf or JSON, one sample or a batch.

Decoding settles structure and types; whether the values make sense is for validation to say.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from novacron.contracts.fields import FieldSpec, SampleSchema
from novacron.contracts.protobuf import batch_class, message_class
from novacron.contracts.telemetry import LinkSample, NodeSample
from novacron.errors import PayloadTooLargeError, SchemaError, UnreadableInputError
from novacron.telemetry.arrow import unknown_column

Sample = LinkSample | NodeSample
ContentType = Literal["application/x-protobuf", "application/json"]

MAX_PAYLOAD_BYTES: Final = 16 * 2**20
_SAMPLES: Final[dict[str, type[Sample]]] = {"LinkSample": LinkSample, "NodeSample": NodeSample}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def decode_sample(
    data: bytes,
    schema: SampleSchema,
    content_type: ContentType,
    *,
    max_bytes: int = MAX_PAYLOAD_BYTES,
) -> Sample:
    """Decode one sample.

    Args:
        data: A protobuf message of the table, or a JSON object.
        schema: The table.
        content_type: What the bytes are.
        max_bytes: The largest payload taken.

    Raises:
        PayloadTooLargeError: There are more bytes than allowed.
        UnreadableInputError: The bytes are truncated or not of the content type.
        SchemaError: A field is unknown, missing or of the wrong type.
    """
    _check_size(data, max_bytes)
    if content_type == "application/x-protobuf":
        return _from_message(_parse(message_class(schema), data), schema)
    return _from_object(_load(data), schema, where="sample")


def decode_batch(
    data: bytes,
    schema: SampleSchema,
    content_type: ContentType,
    *,
    max_bytes: int = MAX_PAYLOAD_BYTES,
) -> tuple[Sample, ...]:
    """Decode a batch: a `<Sample>Batch` message, a JSON array, or `{"samples": [...]}`.

    Raises:
        PayloadTooLargeError: There are more bytes than allowed.
        UnreadableInputError: The bytes are truncated or not of the content type.
        SchemaError: A field of any sample is unknown, missing or of the wrong type; the message
            names the sample.
    """
    _check_size(data, max_bytes)
    if content_type == "application/x-protobuf":
        batch: Any = _parse(batch_class(schema), data)
        return tuple(
            _from_message(message, schema, where=f"samples[{index}]")
            for index, message in enumerate(batch.samples)
        )
    loaded = _load(data)
    rows = loaded.get("samples") if isinstance(loaded, dict) else loaded
    if not isinstance(rows, list):
        raise SchemaError(
            field="samples",
            got=rows,
            expected="an array of samples",
            remedy='Send [{...}, ...] or {"samples": [{...}, ...]}.',
        )
    return tuple(
        _from_object(row, schema, where=f"samples[{index}]") for index, row in enumerate(rows)
    )


def _check_size(data: bytes, max_bytes: int) -> None:
    if len(data) > max_bytes:
        raise PayloadTooLargeError(
            field="payload",
            got=f"{len(data)} bytes",
            expected=f"at most {max_bytes} bytes",
            remedy="Send fewer samples at once.",
        )


def _parse(cls: type[Message], data: bytes) -> Message:
    try:
        message = cls.FromString(data)
    except DecodeError as error:
        raise UnreadableInputError(
            field="payload",
            got=f"{len(data)} bytes",
            expected=f"a whole {cls.DESCRIPTOR.full_name} message",
            remedy="The bytes are truncated or of another message.",
        ) from error
    # A newer sender may add fields; bytes that hold nothing but strangers are something else.
    if len(UnknownFieldSet(message)) and not message.ListFields():
        raise UnreadableInputError(
            field="payload",
            got="only unknown fields",
            expected=f"a {cls.DESCRIPTOR.full_name} message",
            remedy="Check that sender and receiver mean the same message.",
        )
    return message


def _load(data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UnreadableInputError(
            field="payload",
            got=str(error),
            expected="whole JSON in UTF-8",
            remedy="The bytes are truncated or not JSON.",
        ) from error


def _from_message(message: Any, schema: SampleSchema, where: str = "sample") -> Sample:
    values = {}
    for field in schema:
        if not message.HasField(field.name):
            continue
        value = getattr(message, field.name)
        if field.kind == "timestamp":
            value = _moment(value.seconds, value.nanos, field)
        values[field.name] = value
    return _build(values, schema, where)


def _from_object(row: Any, schema: SampleSchema, *, where: str) -> Sample:
    if not isinstance(row, dict):
        raise SchemaError(field=where, got=row, expected=f"an object of a {schema.name}")
    for name in row:
        if name not in schema.names:
            raise unknown_column(name, schema, source=where)
    values = {
        name: _typed(value, schema[name], where)
        for name, value in row.items()
        if value is not None
    }
    return _build(values, schema, where)


def _build(values: Mapping[str, Any], schema: SampleSchema, where: str) -> Sample:
    for name in schema.required:
        if name not in values:
            raise SchemaError(
                field=f"{where}.{name}",
                got="nothing",
                expected=schema[name].expected,
                remedy=f"{schema.name} needs {', '.join(schema.required)}.",
            )
    return _SAMPLES[schema.name](**values)


def _typed(value: object, field: FieldSpec, where: str) -> object:
    if field.kind == "string" and isinstance(value, str):
        return value
    if field.kind == "timestamp" and isinstance(value, str):
        moment = _iso(value)
        if moment is not None:
            return moment
    if isinstance(value, int | float) and not isinstance(value, bool):
        if field.kind == "float":
            return _number(value, field, where)
        if field.kind == "int" and (isinstance(value, int) or value.is_integer()):
            return int(value)
    raise SchemaError(
        field=f"{where}.{field.name}",
        got=value,
        expected=field.expected,
        remedy=(
            "Write ISO 8601 with an offset, e.g. 2026-03-01T12:00:00Z."
            if field.kind == "timestamp"
            else ""
        ),
    )


def _number(value: float, field: FieldSpec, where: str) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise SchemaError(
            field=f"{where}.{field.name}", got=value, expected=field.expected
        ) from error


def _iso(text: str) -> datetime | None:
    """Return an aware moment in UTC; None if the text is no timestamp or has no offset."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.utcoffset() is not None else None
    except (ValueError, OverflowError):
        return None


def _moment(seconds: int, nanos: int, field: FieldSpec) -> datetime:
    try:
        return _EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1_000)
    except OverflowError as error:
        raise SchemaError(
            field=field.name, got=seconds, expected="seconds between the years 1 and 9999"
        ) from error
