"""The gRPC messages of the Open Inference Protocol, built at run time in a pool of their own.

Every client library registers the package `inference` in protobuf's default pool, and a second
copy there is an error; a private pool lets this process import any of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto
from google.protobuf.message import Message

PACKAGE: Final = "inference"

_NAME_AND_VERSION: Final = ("string name 1", "string version 2")
_TENSOR: Final = (
    "string name 1",
    "string datatype 2",
    "repeated int64 shape 3",
    "map InferParameter parameters 4",
    "InferTensorContents contents 5",
)
_MESSAGES: Final[dict[str, tuple[str, ...]]] = {
    "ServerLiveRequest": (),
    "ServerLiveResponse": ("bool live 1",),
    "ServerReadyRequest": (),
    "ServerReadyResponse": ("bool ready 1",),
    "ModelReadyRequest": _NAME_AND_VERSION,
    "ModelReadyResponse": ("bool ready 1",),
    "ServerMetadataRequest": (),
    "ServerMetadataResponse": (*_NAME_AND_VERSION, "repeated string extensions 3"),
    "ModelMetadataRequest": _NAME_AND_VERSION,
    "ModelMetadataResponse": (
        "string name 1",
        "repeated string versions 2",
        "string platform 3",
        "repeated ModelMetadataResponse.TensorMetadata inputs 4",
        "repeated ModelMetadataResponse.TensorMetadata outputs 5",
    ),
    "ModelMetadataResponse.TensorMetadata": _TENSOR[:3],
    "ModelInferRequest": (
        "string model_name 1",
        "string model_version 2",
        "string id 3",
        "map InferParameter parameters 4",
        "repeated ModelInferRequest.InferInputTensor inputs 5",
        "repeated ModelInferRequest.InferRequestedOutputTensor outputs 6",
        "repeated bytes raw_input_contents 7",
    ),
    "ModelInferRequest.InferInputTensor": _TENSOR,
    "ModelInferRequest.InferRequestedOutputTensor": (
        "string name 1",
        "map InferParameter parameters 2",
    ),
    "ModelInferResponse": (
        "string model_name 1",
        "string model_version 2",
        "string id 3",
        "map InferParameter parameters 4",
        "repeated ModelInferResponse.InferOutputTensor outputs 5",
        "repeated bytes raw_output_contents 6",
    ),
    "ModelInferResponse.InferOutputTensor": _TENSOR,
    "InferParameter": (
        "oneof bool bool_param 1",
        "oneof int64 int64_param 2",
        "oneof string string_param 3",
        "oneof double double_param 4",
        "oneof uint64 uint64_param 5",
    ),
    "InferTensorContents": (
        "repeated bool bool_contents 1",
        "repeated int32 int_contents 2",
        "repeated int64 int64_contents 3",
        "repeated uint32 uint_contents 4",
        "repeated uint64 uint64_contents 5",
        "repeated float fp32_contents 6",
        "repeated double fp64_contents 7",
        "repeated bytes bytes_contents 8",
    ),
}
"""Fields as `[repeated|map|oneof] type name number`; maps are from a string."""


def message_class(name: str) -> type[Message]:
    """Return a message of the protocol by its name in the package, e.g. `ModelInferRequest`."""
    return _classes()[name]


def new_message(name: str, /, **fields: Any) -> Any:
    """Make a message; typed loosely, because its fields are known only at run time."""
    return message_class(name)(**fields)


@cache
def _classes() -> dict[str, type[Message]]:
    return build_classes(PACKAGE, "serve_apps/open_inference.proto", _MESSAGES)


def build_classes(
    package: str, file: str, messages: Mapping[str, Sequence[str]]
) -> dict[str, type[Message]]:
    """Make the messages of a table like the one above, in a descriptor pool of their own.

    Args:
        package: Protobuf package.
        file: Name of the file that they would be in.
        messages: Message to its fields, as `[repeated|map|oneof] type name number`.
    """
    proto = descriptor_pb2.FileDescriptorProto(name=file, package=package, syntax="proto3")
    declared: dict[str, descriptor_pb2.DescriptorProto] = {}
    for name, fields in messages.items():
        outer, _, inner = name.rpartition(".")
        message = (declared[outer].nested_type if outer else proto.message_type).add(name=inner)
        declared[name] = message
        for field in fields:
            _Field(package, messages).add(message, f".{package}.{name}", field.split())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(proto)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
        for name in messages
    }


@dataclass(frozen=True, slots=True)
class _Field:
    """Adds fields whose types may be messages of the same table."""

    package: str
    messages: Mapping[str, Sequence[str]]

    def add(self, message: descriptor_pb2.DescriptorProto, path: str, words: list[str]) -> None:
        kind, name, number = words[-3:]
        label = words[0] if len(words) > 3 else ""
        field = message.field.add(name=name, number=int(number))
        field.label = FieldDescriptorProto.LABEL_OPTIONAL
        if label == "map":
            # A map is, in a descriptor, a repeated message of key and value.
            entry = message.nested_type.add(name=f"{name.title()}Entry")
            entry.options.map_entry = True
            self.add(entry, "", ["string", "key", "1"])
            self.add(entry, "", [kind, "value", "2"])
            field.label = FieldDescriptorProto.LABEL_REPEATED
            field.type = FieldDescriptorProto.TYPE_MESSAGE
            field.type_name = f"{path}.{entry.name}"
            return
        if label == "repeated":
            field.label = FieldDescriptorProto.LABEL_REPEATED
        if label == "oneof":
            if not message.oneof_decl:
                message.oneof_decl.add(name="parameter_choice")
            field.oneof_index = 0
        if kind in self.messages:
            field.type = FieldDescriptorProto.TYPE_MESSAGE
            field.type_name = f".{self.package}.{kind}"
        else:
            field.type = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")
