import json

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from novacron.errors import InvalidInputError, OutOfRangeError, SchemaError, UnreadableInputError
from serve_apps.messages import InferAnswer
from serve_apps.oip import OipJson

CODEC = OipJson()


def body_of(**changes):
    tensor = {"name": "x", "shape": [2, 2], "datatype": "FP64", "data": [1, 2.5, 3, 4]}
    return orjson.dumps({"inputs": [tensor | changes]})


def test_flat_and_nested_data_give_the_same_tensor():
    flat = CODEC.decode(body_of()).tensors["x"]
    nested = CODEC.decode(body_of(data=[[1, 2.5], [3, 4]])).tensors["x"]

    np.testing.assert_array_equal(flat, [[1, 2.5], [3, 4]])
    np.testing.assert_array_equal(nested, flat)


@pytest.mark.parametrize(
    ("datatype", "data", "dtype"),
    [
        ("BOOL", [True, False], np.bool_),
        ("UINT8", [0, 255], np.uint8),
        ("INT8", [-128, 127], np.int8),
        ("INT64", [-(2**63), 2**63 - 1], np.int64),
        ("UINT64", [0, 2**64 - 1], np.uint64),
        ("FP32", [1, 0.5], np.float32),
        ("FP64", [1, 1e308], np.float64),
        ("BYTES", ["wan", "\u4e2d"], object),
    ],
)
def test_every_datatype_with_a_json_form_is_read_exactly(datatype, data, dtype):
    body = body_of(datatype=datatype, shape=[2], data=data)

    tensor = CODEC.decode(body).tensors["x"]

    assert tensor.dtype == np.dtype(dtype)
    assert tensor.tolist() == data


def test_id_outputs_and_parameters_are_read():
    document = orjson.loads(body_of()) | {
        "id": "abc",
        "outputs": [{"name": "b"}, {"name": "a"}],
        "parameters": {"k": 1},
    }

    request = CODEC.decode(orjson.dumps(document))

    assert request.request_id == "abc"
    assert request.outputs == ("b", "a")
    assert request.parameters == {"k": 1}


@pytest.mark.parametrize(
    ("changes", "error", "field"),
    [
        ({"name": ""}, SchemaError, "inputs[0].name"),
        ({"datatype": "FLOAT"}, SchemaError, "x.datatype"),
        ({"datatype": "FP16"}, SchemaError, "x.datatype"),
        ({"datatype": ["FP64"]}, SchemaError, "x.datatype"),
        ({"shape": [2, 3]}, SchemaError, "x.data"),
        ({"shape": [0, 2], "data": []}, SchemaError, "x.shape"),
        ({"shape": [-1, 2]}, SchemaError, "x.shape"),
        ({"shape": [True, 2]}, SchemaError, "x.shape"),
        ({"shape": [2.0, 2]}, SchemaError, "x.shape"),
        ({"shape": []}, SchemaError, "x.shape"),
        ({"shape": [1] * 9, "data": [1]}, SchemaError, "x.shape"),
        ({"shape": [2**62, 2**62]}, SchemaError, "x.data"),
        ({"data": None}, SchemaError, "x.data"),
        ({"data": [1, 2, None, 4]}, SchemaError, "x.data[2]"),
        ({"data": [1, 2, True, 4]}, SchemaError, "x.data[2]"),
        ({"data": [1, 2, "3", 4]}, SchemaError, "x.data[2]"),
        ({"data": [[1, 2], [3]]}, SchemaError, "x.data"),
        ({"data": [[1, 2], 3]}, SchemaError, "x.data"),
        ({"data": [[[1], [2]], [[3], [4]]]}, SchemaError, "x.data[0]"),
        ({"datatype": "INT8", "data": [1, 2, 3, 128]}, OutOfRangeError, "x.data[3]"),
        ({"datatype": "UINT8", "data": [1, 2, 3, -1]}, OutOfRangeError, "x.data[3]"),
        ({"datatype": "FP32", "data": [1, 2, 3, 1e39]}, OutOfRangeError, "x.data[3]"),
        ({"datatype": "INT64", "data": [1, 2, 3, 1.5]}, SchemaError, "x.data[3]"),
        ({"datatype": "BYTES"}, SchemaError, "x.data[0]"),
    ],
)
def test_a_wrong_tensor_is_refused_with_the_field_at_fault(changes, error, field):
    with pytest.raises(error) as caught:
        CODEC.decode(body_of(**changes))

    assert caught.value.field == field


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ([], "body"),
        ({}, "inputs"),
        ({"inputs": []}, "inputs"),
        ({"inputs": {}}, "inputs"),
        ({"inputs": ["x"]}, "inputs[0]"),
        ({"inputs": [{"name": 1}]}, "inputs[0].name"),
        (orjson.loads(body_of()) | {"id": 7}, "id"),
        (orjson.loads(body_of()) | {"id": "a" * 300}, "id"),
        (orjson.loads(body_of()) | {"parameters": [1]}, "parameters"),
        (orjson.loads(body_of()) | {"outputs": {}}, "outputs"),
        (orjson.loads(body_of()) | {"outputs": [{"name": "a"}, {"name": "a"}]}, "outputs[1].name"),
    ],
)
def test_a_wrong_document_is_refused_with_the_field_at_fault(document, field):
    with pytest.raises(SchemaError) as caught:
        CODEC.decode(orjson.dumps(document))

    assert caught.value.field == field


def test_the_same_input_twice_is_refused():
    tensor = orjson.loads(body_of())["inputs"][0]

    with pytest.raises(SchemaError) as caught:
        CODEC.decode(orjson.dumps({"inputs": [tensor, tensor]}))

    assert caught.value.field == "inputs[1].name"


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e400"])
def test_a_number_that_is_not_finite_is_refused_in_words(word):
    body = body_of().replace(b"2.5", word.encode())

    with pytest.raises(OutOfRangeError, match="finite"):
        CODEC.decode(body)


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", body_of()[:-5], b"x=1", b"[" * 5000])
def test_bytes_that_are_no_json_are_refused_as_unreadable(body):
    with pytest.raises(UnreadableInputError):
        CODEC.decode(body)


def test_a_deeply_nested_value_in_the_wrong_place_is_refused_not_recursed_into():
    deep = "[" * 900 + "]" * 900
    body = f'{{"inputs": [{{"name": "x", "shape": [1], "datatype": {deep}}}]}}'.encode()

    with pytest.raises(SchemaError):
        CODEC.decode(body)


def test_an_answer_is_written_with_shape_datatype_and_flat_data():
    answer = InferAnswer(
        model_name="m",
        model_version="3",
        request_id="abc",
        tensors={
            "y": np.array([[1.5, 2.0], [3.0, 4.0]]).T,
            "why": np.array(["", "last_value"], dtype=object),
        },
    )

    document = json.loads(CODEC.encode(answer))

    assert document == {
        "model_name": "m",
        "model_version": "3",
        "id": "abc",
        "outputs": [
            {"name": "y", "datatype": "FP64", "shape": [2, 2], "data": [1.5, 3.0, 2.0, 4.0]},
            {"name": "why", "datatype": "BYTES", "shape": [2], "data": ["", "last_value"]},
        ],
    }


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_doubles_survive_the_wire_bit_by_bit(values):
    body = body_of(shape=[len(values)], data=values)

    tensor = CODEC.decode(body).tensors["x"]
    answer = InferAnswer(model_name="m", model_version="1", tensors={"y": tensor})
    written = json.loads(CODEC.encode(answer))["outputs"][0]["data"]

    assert np.array(written).tobytes() == np.array(values).tobytes()


def status_of(body):
    try:
        CODEC.decode(body)
    except InvalidInputError as error:
        return error.http_status
    return 200


@given(st.binary(max_size=200))
def test_arbitrary_bytes_give_a_request_or_a_refusal(body):
    assert status_of(body) in (200, 400)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(
    key=st.sampled_from(["name", "shape", "datatype", "data", "parameters"]),
    value=JSON_VALUES | st.lists(st.integers(-3, 10**20), max_size=10),
    datatype=st.sampled_from(["FP64", "FP32", "INT8", "UINT64", "BOOL", "BYTES"]),
)
def test_a_valid_body_with_one_value_replaced_gives_a_request_or_a_refusal(key, value, datatype):
    tensor = {"name": "x", "shape": [2, 2], "datatype": datatype, "data": [1, 2, 3, 4]}
    body = json.dumps({"inputs": [tensor | {key: value}]}).encode()

    assert status_of(body) in (200, 400)


@given(cut=st.integers(0, 80), flip=st.integers(0, 80), to=st.integers(0, 255))
def test_a_valid_body_cut_or_flipped_gives_a_request_or_a_refusal(cut, flip, to):
    body = bytearray(body_of(data=[[1, 2.5], [3, 4]]))
    body[flip % len(body)] = to

    for damaged in (bytes(body), bytes(body[:cut])):
        assert status_of(damaged) in (200, 400)
