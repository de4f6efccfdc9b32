import hashlib

import grpc
import numpy as np
import orjson
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st
from serving_fakes import POISON, build_service

from novacron.errors import InvalidInputError, OutOfRangeError, SchemaError, UnreadableInputError
from serve_apps.access.desk import Desk
from serve_apps.access.guard import Guard
from serve_apps.config import LimitsConfig
from serve_apps.grpc_messages import new_message
from serve_apps.grpc_service import ERROR_KEY, InferenceService, is_local
from serve_apps.messages import WIRE_DTYPES, InferAnswer
from serve_apps.oip_grpc import OipGrpc
from serve_apps.settings.access import AccessConfig
from serve_apps.tensor_bytes import pack

ROWS = np.array([[1.0, 3.0], [5.0, 7.0]])


class Context:
    """What Serve hands to a method, as far as the service uses it."""

    def __init__(self, peer="ipv4:127.0.0.1:5000", metadata=()):
        self.address = peer
        self.metadata = metadata
        self.code = None
        self.details = ""
        self.trailing = [("request_id", "7")]

    def peer(self):
        return self.address

    def invocation_metadata(self):
        return self.metadata

    def trailing_metadata(self):
        return self.trailing

    def set_code(self, code):
        self.code = code

    def set_details(self, details):
        self.details = details

    def set_trailing_metadata(self, trailing):
        self.trailing = trailing


def input_of(name="x_mbps", datatype="FP64", shape=(2, 2), **fields):
    return {"name": name, "datatype": datatype, "shape": shape} | fields


def request_of(*inputs, model_name="mean", **fields):
    message = new_message("ModelInferRequest", model_name=model_name, inputs=inputs, **fields)
    return message.SerializeToString()


RAW = request_of(input_of(), raw_input_contents=[ROWS.tobytes()], id="abc")
TYPED = request_of(input_of(contents={"fp64_contents": ROWS.ravel()}))


@pytest_asyncio.fixture
async def call(service):
    inference = InferenceService(service.plane, allow_remote=False)

    async def ask(method, body, context=None):
        reply = await inference.call(method, body, context or Context())
        answer = new_message(f"{method}Response")
        answer.ParseFromString(reply.SerializeToString())
        return answer

    return ask


@pytest.mark.asyncio
async def test_raw_and_typed_requests_get_the_bits_that_json_gets(call, service, infer_body):
    rows = np.random.default_rng(5).uniform(0, 900, size=(9, 3))
    tensor = input_of(shape=rows.shape)
    raw = request_of(tensor, raw_input_contents=[rows.tobytes()])
    typed = request_of(tensor | {"contents": {"fp64_contents": rows.ravel()}})

    answers = [await call("ModelInfer", body) for body in (raw, typed)]
    reply = await service.client.post("/v2/models/mean/infer", json=infer_body(rows.tolist()))

    expected = np.array(reply.json()["outputs"][0]["data"])
    assert answers[0].raw_output_contents[0] == expected.tobytes()
    assert list(answers[1].outputs[0].contents.fp64_contents) == expected.tolist()
    assert list(answers[1].outputs[1].contents.bytes_contents) == [b""] * 9
    assert [(one.name, list(one.shape)) for one in answers[0].outputs] == [
        ("mean_mbps", [9, 1]),
        ("fallback", [9]),
    ]


@pytest.mark.asyncio
async def test_id_model_and_version_come_back_and_the_time_is_told(call):
    context = Context()

    answer = await call("ModelInfer", RAW, context)

    assert (answer.model_name, answer.model_version, answer.id) == ("mean", "1", "abc")
    assert dict(context.trailing)["request_id"] == "7"
    assert dict(context.trailing)["server-timing"].startswith("decode;dur=")
    assert context.code is None


@pytest.mark.asyncio
async def test_only_the_outputs_asked_for_come_back(call):
    body = request_of(
        input_of(), raw_input_contents=[ROWS.tobytes()], outputs=[{"name": "fallback"}]
    )

    answer = await call("ModelInfer", body)

    assert [one.name for one in answer.outputs] == ["fallback"]


@pytest.mark.asyncio
async def test_health_and_metadata_are_those_of_http(call):
    assert (await call("ServerLive", b"")).live
    assert (await call("ServerReady", b"")).ready
    name = new_message("ModelReadyRequest", name="mean").SerializeToString()
    assert (await call("ModelReady", name)).ready
    server = await call("ServerMetadata", b"")
    model = await call("ModelMetadata", name)
    assert (server.name, list(server.extensions)) == (
        "novacron",
        ["binary_tensor_data", "arrow_stream"],
    )
    assert (model.name, list(model.versions), model.platform) == ("mean", ["1"], "novacron_mean")
    assert [(one.name, one.datatype, list(one.shape)) for one in model.inputs] == [
        ("x_mbps", "FP64", [-1, -1]),
        ("path_class", "BYTES", [-1]),
    ]


NAN = np.array([[1.0, np.nan]])
REFUSALS = {
    "other model": (request_of(input_of(), model_name="other"), "NOT_FOUND"),
    "other version": (request_of(input_of(), model_version="9"), "NOT_FOUND"),
    "no message": (b"\xff\xff\xff", "INVALID_ARGUMENT"),
    "no inputs": (request_of(), "INVALID_ARGUMENT"),
    "truncated": (
        request_of(input_of(), raw_input_contents=[ROWS.tobytes()[:-1]]),
        "INVALID_ARGUMENT",
    ),
    "wrong name": (
        request_of(input_of("x_kbps"), raw_input_contents=[ROWS.tobytes()]),
        "INVALID_ARGUMENT",
    ),
    "NaN": (
        request_of(input_of(shape=(1, 2)), raw_input_contents=[NAN.tobytes()]),
        "INVALID_ARGUMENT",
    ),
    "NaN in contents": (
        request_of(input_of(shape=(1, 2), contents={"fp64_contents": NAN.ravel()})),
        "INVALID_ARGUMENT",
    ),
    "unknown output": (
        request_of(input_of(), raw_input_contents=[ROWS.tobytes()], outputs=[{"name": "std"}]),
        "INVALID_ARGUMENT",
    ),
    "model fails": (
        request_of(input_of(), raw_input_contents=[np.full((2, 2), POISON).tobytes()]),
        "INTERNAL",
    ),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("case", REFUSALS)
async def test_a_bad_call_gets_the_status_a_sentence_and_the_error_as_json(call, case):
    body, status = REFUSALS[case]
    context = Context()

    await call("ModelInfer", body, context)

    problem = orjson.loads(dict(context.trailing)[ERROR_KEY])
    assert context.code is grpc.StatusCode[status]
    assert context.details == problem["error"]
    assert dict(context.trailing)["request_id"] == "7"
    assert "poison" not in context.details


@pytest.mark.asyncio
async def test_calls_are_counted_like_requests_over_http(call, service):
    await call("ModelInfer", RAW)
    await call("ModelInfer", REFUSALS["NaN"][0])
    await call("ModelInfer", REFUSALS["no message"][0])

    total = service.metrics.total
    assert total("novacron_served_requests", "mean", "1", "200") == 1
    assert total("novacron_served_requests", "mean", "1", "400") == 1
    assert total("novacron_served_requests", "", "", "400") == 1
    assert total("novacron_served_rows", "mean", "1") == 2
    assert total("novacron_served_stage_seconds", "mean", "decode") > 0


@pytest.mark.asyncio
async def test_limits_are_those_of_http(mean_model):
    limits = LimitsConfig(max_body_bytes=1024, max_request_rows=1)
    service = build_service({"mean": mean_model}, ["mean"], limits=limits)
    await service.host.load()
    inference = InferenceService(service.plane, allow_remote=False)
    large, rows = Context(), Context()

    await inference.call("ModelInfer", request_of(input_of(), id="a" * 2000), large)
    await inference.call("ModelInfer", RAW, rows)

    assert large.code is rows.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "1024 bytes" in large.details
    assert "1 rows" in rows.details


@pytest.mark.asyncio
async def test_before_its_models_are_loaded_it_is_live_not_ready_and_unavailable(mean_model):
    service = build_service({"mean": mean_model}, ["mean"])
    inference = InferenceService(service.plane, allow_remote=False)
    context = Context()

    ready = await inference.call("ServerReady", b"", Context())
    await inference.call("ModelInfer", RAW, context)

    assert ready.data == b""
    assert context.code is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("peer", "local"),
    [
        ("ipv4:127.0.0.1:5000", True),
        ("ipv4:127.8.0.1:5000", True),
        ("ipv6:[::1]:5000", True),
        ("ipv6:%5B::1%5D:5000", True),
        ("ipv6:[::ffff:127.0.0.1]:5000", True),
        ("unix:/tmp/socket", True),
        ("unix:", True),
        ("ipv4:10.0.0.7:5000", False),
        ("ipv6:[fe80::1%25eth0]:5000", False),
        ("ipv6:[::ffff:10.0.0.7]:5000", False),
        ("", False),
        ("ipv4:localhost:5000", False),
    ],
)
def test_a_peer_is_local_only_by_a_loopback_address_or_a_unix_socket(peer, local):
    assert is_local(peer) is local


@pytest.mark.asyncio
async def test_a_caller_on_another_machine_is_answered_only_if_allowed_and_with_a_token(service):
    desk = Desk(Guard(AccessConfig(token_sha256=(hashlib.sha256(b"right").hexdigest(),))))
    shown = (("authorization", "Bearer right"),)
    found = {}
    for allow_remote, guards in ((False, desk), (True, desk), (True, Desk())):
        context = Context("ipv4:10.0.0.7:5000", shown)
        inference = InferenceService(service.plane, allow_remote=allow_remote, desk=guards)
        answered = await inference.call("ModelInfer", RAW, context)
        found[allow_remote, guards is desk] = (context.code, bool(answered.data))

    denied = (grpc.StatusCode.PERMISSION_DENIED, False)
    assert found == {(False, True): denied, (True, True): (None, True), (True, False): denied}


CONTENTS = {
    "BOOL": ("bool_contents", [True, False]),
    "INT8": ("int_contents", [-128, 127]),
    "INT32": ("int_contents", [-(2**31), 2**31 - 1]),
    "INT64": ("int64_contents", [-(2**63), 2**63 - 1]),
    "UINT16": ("uint_contents", [0, 2**16 - 1]),
    "UINT64": ("uint64_contents", [0, 2**64 - 1]),
    "FP32": ("fp32_contents", [0.5, 0.10000000149011612]),
    "FP64": ("fp64_contents", [0.1, 1e308]),
    "BYTES": ("bytes_contents", ["", "\u4e2d"]),
}


@pytest.mark.parametrize("datatype", CONTENTS)
def test_every_datatype_survives_both_forms(datatype):
    field, values = CONTENTS[datatype]
    array = np.array(values, dtype=WIRE_DTYPES[datatype])
    typed = [value.encode() for value in values] if datatype == "BYTES" else values
    tensor = input_of("x", datatype, [2])
    bodies = {
        "raw_output_contents": request_of(tensor, raw_input_contents=[pack(array)]),
        "outputs": request_of(tensor | {"contents": {field: typed}}),
    }

    for body in bodies.values():
        codec = OipGrpc()
        read = codec.decode(body).tensors["x"]
        written = new_message("ModelInferResponse")
        written.ParseFromString(
            codec.encode(InferAnswer(model_name="m", model_version="1", tensors={"x": read}))
        )

        assert read.dtype == array.dtype
        assert read.tolist() == values
        assert read.flags.writeable
        if written.raw_output_contents:
            assert written.raw_output_contents[0] == pack(array)
        else:
            assert list(getattr(written.outputs[0].contents, field)) == typed


@pytest.mark.parametrize(
    ("fields", "error", "field"),
    [
        ({"inputs": [input_of(contents={})]}, SchemaError, "x_mbps.contents.fp64_contents"),
        ({"inputs": [input_of("")]}, SchemaError, "inputs[0].name"),
        ({"inputs": [input_of(datatype="FP16")]}, SchemaError, "x_mbps.datatype"),
        ({"inputs": [input_of(shape=[])]}, SchemaError, "x_mbps.shape"),
        ({"inputs": [input_of(shape=[-1, 2])]}, SchemaError, "x_mbps.shape"),
        ({"inputs": [input_of(), input_of()], "raw_input_contents": [b""]}, SchemaError,
         "raw_input_contents"),
        ({"inputs": [input_of(contents={"fp64_contents": [1]})], "raw_input_contents": [b""]},
         SchemaError, "x_mbps.contents"),
        ({"inputs": [input_of(shape=[2**62, 2**62])], "raw_input_contents": [b""]}, SchemaError,
         "x_mbps.data"),
        ({"inputs": [input_of(datatype="INT8", shape=[2], contents={"int_contents": [1, 128]})]},
         OutOfRangeError, "x_mbps[1]"),
        ({"inputs": [input_of(datatype="BYTES", shape=[1],
                              contents={"bytes_contents": [b"\xff"]})]},
         UnreadableInputError, "x_mbps[0]"),
        ({"inputs": [input_of(shape=[1, 1], contents={"fp64_contents": [1]})], "id": "a" * 300},
         SchemaError, "id"),
        ({"inputs": [input_of(shape=[1, 1], contents={"fp64_contents": [1]})],
          "outputs": [{"name": "a"}, {"name": "a"}]}, SchemaError, "outputs[1].name"),
        ({"inputs": [input_of(shape=[1, 1], contents={"fp64_contents": [1]})],
          "outputs": [{"name": "a", "parameters": {"classification": {"int64_param": 3}}}]},
         SchemaError, "outputs[0].parameters.classification"),
    ],
)  # fmt: skip
def test_a_wrong_message_is_refused_with_the_field_at_fault(fields, error, field):
    inputs = fields.pop("inputs")

    with pytest.raises(error) as caught:
        OipGrpc().decode(request_of(*inputs, **fields))

    assert caught.value.field == field


def test_parameters_are_read_whatever_their_type():
    parameters = {"a": {"bool_param": False}, "b": {"int64_param": 3}, "c": {"string_param": "x"}}

    body = request_of(
        input_of(), raw_input_contents=[ROWS.tobytes()], parameters=parameters | {"d": {}}
    )

    assert OipGrpc().decode(body).parameters == {"a": False, "b": 3, "c": "x"}


def status_of(body):
    try:
        OipGrpc().decode(body)
    except InvalidInputError as error:
        return error.http_status
    return 200


@settings(max_examples=100, deadline=None)
@given(
    junk=st.binary(max_size=60),
    cut=st.integers(0, len(RAW)),
    place=st.integers(0, len(TYPED) - 1),
    to=st.integers(0, 255),
)
def test_damaged_messages_give_a_request_or_a_refusal(junk, cut, place, to):
    flipped = bytearray(TYPED)
    flipped[place] = to

    for body in (junk, RAW[:cut], RAW + junk, bytes(flipped)):
        assert status_of(body) in (200, 400)
