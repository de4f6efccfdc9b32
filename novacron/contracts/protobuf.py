"""The telemetry tables as protobuf: messages built at run time, and a `.proto` for all languages.

The messages live in a private descriptor pool, so they never clash with another copy of the same
file in one process. `python -m novacron.contracts.protobuf` rewrites `wire/telemetry.proto`.
"""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2
from google.protobuf.message import Message

from novacron.contracts.fields import FieldSpec, Kind, SampleSchema
from novacron.contracts.telemetry import SCHEMAS

PACKAGE: Final = "novacron.telemetry.v1"
PROTO_PATH: Final = Path(__file__).parent / "wire" / "telemetry.proto"

_TIMESTAMP: Final = "google.protobuf.Timestamp"
_PROTO_TYPES: Final[dict[Kind, str]] = {
    "timestamp": _TIMESTAMP,
    "string": "string",
    "float": "double",
    "int": "int64",
}
_TYPE_NUMBERS: Final = {
    _TIMESTAMP: descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE,
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "double": descriptor_pb2.FieldDescriptorProto.TYPE_DOUBLE,
    "int64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
}


def message_class(schema: SampleSchema) -> type[Message]:
    """Return the message of one sample, e.g. `novacron.telemetry.v1.LinkSample`.

    Every field has presence, so that a missing required field differs from a zero.
    """
    return _classes()[f"{PACKAGE}.{schema.name}"]


def batch_class(schema: SampleSchema) -> type[Message]:
    """Return the message of many samples: `repeated <Sample> samples = 1`."""
    return _classes()[f"{PACKAGE}.{schema.name}Batch"]


def encode_samples(samples: Iterable[Any], schema: SampleSchema) -> bytes:
    """Serialize `LinkSample` or `NodeSample` objects as one batch message.

    Naive timestamps are taken as UTC by protobuf; samples carry aware ones.
    """
    batch: Any = batch_class(schema)()
    for sample in samples:
        message = batch.samples.add()
        for field in schema:
            value = getattr(sample, field.name)
            if value is None:
                continue
            if field.kind == "timestamp":
                getattr(message, field.name).FromDatetime(value)
            else:
                setattr(message, field.name, value)
    return bytes(batch.SerializeToString(deterministic=True))


def render_proto(schemas: Iterable[SampleSchema] = tuple(SCHEMAS.values())) -> str:
    """Render the tables as the text of `telemetry.proto`."""
    lines = [
        "// Generated from novacron/contracts/telemetry.py by `make proto`. Do not edit.",
        "// Units are in the names, ratios are 0..1, times are UTC.",
        'syntax = "proto3";',
        "",
        f"package {PACKAGE};",
        "",
        'import "google/protobuf/timestamp.proto";',
    ]
    for schema in schemas:
        lines += ["", f"message {schema.name} {{"]
        for field in schema:
            lines.append(f"  // {_comment(field)}")
            lines.append(f"  optional {_PROTO_TYPES[field.kind]} {field.name} = {field.tag};")
        lines += ["}", "", f"message {schema.name}Batch {{"]
        lines += [f"  repeated {schema.name} samples = 1;", "}"]
    return "\n".join(lines) + "\n"


def write_proto(path: Path = PROTO_PATH) -> Path:
    """Write `render_proto()` to `path` and return it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render_proto(), encoding="ascii")
    return path


def _comment(field: FieldSpec) -> str:
    need = "Required" if field.required else "Optional"
    return f"{need}: {field.doc}; {field.expected}."


def _file_descriptor() -> descriptor_pb2.FileDescriptorProto:
    proto = descriptor_pb2.FileDescriptorProto(
        name="novacron/contracts/wire/telemetry.proto",
        package=PACKAGE,
        syntax="proto3",
        dependency=["google/protobuf/timestamp.proto"],
    )
    for schema in SCHEMAS.values():
        message = proto.message_type.add(name=schema.name)
        for index, field in enumerate(schema):
            kind = _PROTO_TYPES[field.kind]
            message.field.add(
                name=field.name,
                number=field.tag,
                type=_TYPE_NUMBERS[kind],
                type_name=f".{kind}" if kind == _TIMESTAMP else None,
                label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL,
                proto3_optional=True,
                oneof_index=index,
            )
            # protoc writes a proto3 `optional` as a one-field oneof of this name.
            message.oneof_decl.add(name=f"_{field.name}")
        batch = proto.message_type.add(name=f"{schema.name}Batch")
        batch.field.add(
            name="samples",
            number=1,
            type=descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE,
            type_name=f".{PACKAGE}.{schema.name}",
            label=descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED,
        )
    return proto


@cache
def _classes() -> dict[str, type[Message]]:
    pool = descriptor_pool.DescriptorPool()
    timestamp = descriptor_pb2.FileDescriptorProto()
    timestamp_pb2.DESCRIPTOR.CopyToProto(timestamp)
    pool.Add(timestamp)
    proto = _file_descriptor()
    pool.Add(proto)
    names = [f"{PACKAGE}.{message.name}" for message in proto.message_type]
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in names
    }


if __name__ == "__main__":
    write_proto()
