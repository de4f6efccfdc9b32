import struct

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from novacron.errors import InvalidInputError, SchemaError, UnreadableInputError
from serve_apps.messages import WIRE_DTYPES, InferAnswer
from serve_apps.oip_binary import OipHttp
from serve_apps.tensor_bytes import pack, unpack


def body_of(*tensors, tail=b"", **document):
    head = orjson.dumps({"inputs": list(tensors)} | document)
    return head + tail, len(head)


def tensor_of(content, name="x", **changes):
    tensor = {
        "name": name,
        "shape": [2],
        "datatype": "FP64",
        "parameters": {"binary_data_size": len(content)},
    }
    return tensor | changes


def decode(body, json_bytes):
    return OipHttp(json_bytes).decode(body)


DATA = np.array([1.5, -2.25]).tobytes()
VALUES = {
    "BOOL": [True, False],
    "UINT8": [0, 255],
    "INT8": [-128, 127],
    "INT64": [-(2**63), 2**63 - 1],
    "UINT64": [0, 2**64 - 1],
    "FP16": [0.5, -2.0],
    "FP32": [0.1, 3e38],
    "FP64": [0.1, 1e308],
    "BYTES": ["", "\u4e2d wan"],
}


@pytest.mark.parametrize("datatype", VALUES)
def test_every_datatype_survives_the_binary_form_bit_by_bit(datatype):
    array = np.array(VALUES[datatype], dtype=WIRE_DTYPES[datatype])
    data = pack(array)
    body, json_bytes = body_of(tensor_of(data, datatype=datatype), tail=data)

    read = decode(body, json_bytes).tensors["x"]

    assert read.dtype == array.dtype
    assert read.tolist() == array.tolist()


def test_numbers_are_little_endian_and_row_major():
    array = np.array([[1, 2], [3, 4]], dtype=np.int32).T

    assert pack(array) == struct.pack("<4i", 1, 3, 2, 4)


def test_texts_stand_behind_their_length_in_four_bytes():
    assert pack(np.array(["ab", ""], dtype=object)) == b"\x02\x00\x00\x00ab\x00\x00\x00\x00"


def test_a_tensor_that_was_read_is_writable_and_aligned_though_the_body_is_neither():
    body, json_bytes = body_of(tensor_of(DATA), tail=DATA)
    body, json_bytes = b" " + body, json_bytes + 1

    read = [decode(padded, n) for padded, n in ((body, json_bytes), (b" " + body, json_bytes + 1))]

    assert all(request.tensors["x"].flags.writeable for request in read)
    assert all(request.tensors["x"].flags.aligned for request in read)


def test_binary_and_json_inputs_mix_in_the_order_of_the_inputs():
    texts = pack(np.array(["a", "b"], dtype=object))
    plain = {"name": "y", "shape": [2], "datatype": "INT64", "data": [1, 2]}
    body, json_bytes = body_of(
        tensor_of(texts, name="c", datatype="BYTES"), plain, tensor_of(DATA), tail=texts + DATA
    )

    tensors = decode(body, json_bytes).tensors

    assert list(tensors) == ["c", "y", "x"]
    assert tensors["c"].tolist() == ["a", "b"]
    assert tensors["y"].tolist() == [1, 2]
    assert tensors["x"].tolist() == [1.5, -2.25]


def wrong(size):
    return {"parameters": {"binary_data_size": size}}


@pytest.mark.parametrize(
    ("changes", "tail", "error", "field"),
    [
        (wrong(17), DATA, UnreadableInputError, "x.parameters.binary_data_size"),
        (wrong(2**62), DATA, UnreadableInputError, "x.parameters.binary_data_size"),
        (wrong(-1), DATA, SchemaError, "x.parameters.binary_data_size"),
        ({"parameters": {"binary_data_size": True}}, DATA, SchemaError, "x.parameters.binary_data_size"),
        (wrong("16"), DATA, SchemaError, "x.parameters.binary_data_size"),
        (wrong(8), DATA, SchemaError, "x.data"),
        ({"parameters": [16]}, DATA, SchemaError, "x.parameters"),
        ({"data": [1, 2]}, DATA, SchemaError, "x.parameters.binary_data_size"),
        ({}, DATA + b"\0", UnreadableInputError, "body"),
        ({}, DATA[:-1], UnreadableInputError, "x.parameters.binary_data_size"),
        ({"shape": [3]}, DATA, SchemaError, "x.data"),
        ({"shape": [2**62, 2**62]}, DATA, SchemaError, "x.data"),
        ({"datatype": "FP32"}, DATA, SchemaError, "x.data"),
        ({"datatype": "BF16"}, DATA, SchemaError, "x.datatype"),
        ({"datatype": "BOOL", "shape": [16]}, DATA, UnreadableInputError, "x.data"),
        ({"datatype": "BYTES"}, b"\xff" * 16, UnreadableInputError, "x.data[0]"),
        ({"datatype": "BYTES"}, b"\x0c\0\0\0" + b"a" * 12, SchemaError, "x.data"),
        ({"datatype": "BYTES"}, b"\x01\0\0\0\xff" + b"\x07\0\0\0" + b"a" * 7,
         UnreadableInputError, "x.data[0]"),
        ({"datatype": "BYTES"}, b"\0\0\0\0" * 4, SchemaError, "x.data"),
        ({"datatype": "BYTES", "shape": [2**62]}, b"\0\0\0\0" * 4, SchemaError, "x.data"),
    ],
)  # fmt: skip
def test_binary_data_that_lies_is_refused_with_the_field_at_fault(changes, tail, error, field):
    body, json_bytes = body_of(tensor_of(DATA, **changes), tail=tail)

    with pytest.raises(error) as caught:
        decode(body, json_bytes)

    assert caught.value.field == field


def test_a_binary_size_without_a_binary_part_is_refused():
    body, _ = body_of(tensor_of(DATA))

    with pytest.raises(SchemaError, match="Inference-Header-Content-Length"):
        decode(body, None)


ANSWER = InferAnswer(
    model_name="m",
    model_version="1",
    request_id="7",
    tensors={
        "y": np.array([[0.1], [2.0]]),
        "why": np.array(["", "ewma"], dtype=object),
        "n": np.array([1, 2], dtype=np.int64),
    },
)
PLAIN = {"name": "x", "shape": [1], "datatype": "FP64", "data": [1]}


def answer_to(**document):
    codec = OipHttp()
    codec.decode(orjson.dumps({"inputs": [PLAIN]} | document))
    body = codec.encode(ANSWER)
    json_bytes = int(codec.answer_headers.get("inference-header-content-length", len(body)))
    return orjson.loads(body[:json_bytes]), body[json_bytes:], codec.answer_headers


def test_an_answer_is_json_alone_unless_asked_otherwise():
    document, tail, headers = answer_to()

    assert tail == b""
    assert headers == {}
    assert [output["data"] for output in document["outputs"]] == [[0.1, 2.0], ["", "ewma"], [1, 2]]


def test_an_output_s_own_wish_comes_before_that_of_the_request():
    wishes = [{"name": "y"}, {"name": "why", "parameters": {"binary_data": False}}]

    document, tail, _ = answer_to(outputs=wishes, parameters={"binary_data_output": True})

    y, why, n = document["outputs"]
    assert "data" not in y
    assert why["data"] == ["", "ewma"]
    assert (y["parameters"]["binary_data_size"], n["parameters"]["binary_data_size"]) == (16, 16)
    assert tail == ANSWER.tensors["y"].tobytes() + ANSWER.tensors["n"].tobytes()


def test_texts_come_back_binary_as_they_are_read():
    wishes = [{"name": "why", "parameters": {"binary_data": True}}]

    document, tail, headers = answer_to(outputs=wishes)

    size = document["outputs"][1]["parameters"]["binary_data_size"]
    assert headers["content-type"] == "application/octet-stream"
    assert len(tail) == size
    assert unpack(tail, WIRE_DTYPES["BYTES"], 2, "why").tolist() == ["", "ewma"]


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"parameters": {"binary_data_output": 1}}, "parameters.binary_data_output"),
        ({"outputs": [{"name": "y", "parameters": [1]}]}, "outputs[0].parameters"),
        (
            {"outputs": [{"name": "y", "parameters": {"binary_data": "yes"}}]},
            "outputs[0].parameters.binary_data",
        ),
        (
            {"outputs": [{"name": "y", "parameters": {"classification": 3}}]},
            "outputs[0].parameters.classification",
        ),
    ],
)
def test_a_wish_that_cannot_be_met_is_refused_not_ignored(document, field):
    with pytest.raises(SchemaError) as caught:
        answer_to(**document)

    assert caught.value.field == field


def status_of(body, json_bytes):
    try:
        decode(body, json_bytes)
    except InvalidInputError as error:
        return error.http_status
    return 200


@settings(max_examples=100, deadline=None)
@given(body=st.binary(max_size=80), json_bytes=st.none() | st.integers(0, 100))
def test_arbitrary_bytes_give_a_request_or_a_refusal(body, json_bytes):
    assert status_of(body, json_bytes) in (200, 400)


@settings(max_examples=200, deadline=None)
@given(
    datatype=st.sampled_from([*WIRE_DTYPES, "BF16"]),
    shape=st.lists(st.integers(-1, 4) | st.integers(0, 2**70), max_size=9),
    size=st.integers(-2, 40) | st.integers(0, 2**70) | st.none() | st.text(max_size=3),
    tail=st.binary(max_size=40),
    shift=st.integers(-3, 3) | st.just(0),
)
def test_lying_shapes_sizes_and_lengths_give_a_request_or_a_refusal(
    datatype, shape, size, tail, shift
):
    tensor = tensor_of(b"", datatype=datatype, shape=shape) | {
        "parameters": {"binary_data_size": size}
    }
    head = str(tensor).replace("'", '"').replace("None", "null").encode()
    head = b'{"inputs": [' + head + b"]}"

    assert status_of(head + tail, max(0, len(head) + shift)) in (200, 400)


@settings(max_examples=100, deadline=None)
@given(cut=st.integers(0, 200), place=st.integers(0, 200), to=st.integers(0, 255))
def test_a_valid_body_cut_or_flipped_gives_a_request_or_a_refusal(cut, place, to):
    texts = pack(np.array(["a", "\u00e9"], dtype=object))
    body, json_bytes = body_of(
        tensor_of(DATA), tensor_of(texts, name="c", datatype="BYTES"), tail=DATA + texts
    )
    damaged = bytearray(body)
    damaged[place % len(damaged)] = to

    assert status_of(bytes(damaged), json_bytes) in (200, 400)
    assert status_of(body[:cut], json_bytes) in (200, 400)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), min_size=1))
def test_any_texts_survive_the_binary_form(texts):
    data = pack(np.array(texts, dtype=object))

    assert unpack(data, WIRE_DTYPES["BYTES"], len(texts), "x").tolist() == texts
