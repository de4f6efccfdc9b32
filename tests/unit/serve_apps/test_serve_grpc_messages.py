"""The protocol's messages beside another library's of the same names."""

import subprocess
import sys

import pytest

CLASH = """
from google.protobuf import descriptor_pb2, descriptor_pool
def theirs():
    file = descriptor_pb2.FileDescriptorProto(
        name="grpc_service.proto", package="inference", syntax="proto3"
    )
    for name in ("ServerLiveRequest", "ModelInferRequest", "InferParameter"):
        file.message_type.add(name=name)
    descriptor_pool.Default().Add(file)
    descriptor_pool.Default().FindMessageTypeByName("inference.ModelInferRequest")
def ours():
    from serve_apps.grpc_messages import new_message
    message = new_message("ModelInferRequest", model_name="m", raw_input_contents=[b"x"])
    assert new_message("ModelInferRequest").FromString(message.SerializeToString()) == message
"""


@pytest.mark.parametrize("order", ["theirs(); ours()", "ours(); theirs(); ours()"])
def test_another_library_s_messages_of_the_same_names_do_no_harm(order):
    finished = subprocess.run(
        [sys.executable, "-c", CLASH + order], capture_output=True, text=True, check=False
    )

    assert finished.returncode == 0, finished.stderr
