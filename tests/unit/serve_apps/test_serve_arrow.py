"""Arrow IPC over the data plane: the model's bits, and a clear refusal of what is no such table."""

import contextlib
import io

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving_fakes import MeanModel, build_service
from test_serve_grpc import Context

from novacron.errors import InvalidInputError
from serve_apps.arrow_ipc import CONTENT_TYPE, ArrowStream
from serve_apps.config import LimitsConfig
from serve_apps.grpc_messages import new_message
from serve_apps.grpc_service import InferenceService
from serve_apps.messages import InferAnswer
from serve_apps.oip_binary import HEADER_LENGTH
from serve_apps.tensor_bytes import pack

URL = "/v2/models/mean/infer"
HEADERS = {"Content-Type": CONTENT_TYPE}
ROWS = np.random.default_rng(5).uniform(0, 900, size=(300, 7)) / 3


def stream(columns, metadata=None, options=None):
    table = pa.table(columns).replace_schema_metadata(metadata)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return sink.getvalue()


def lists(rows):
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])


def read(reply):
    return pa.ipc.open_stream(reply.content).read_all()


@pytest.mark.asyncio
async def test_json_binary_grpc_and_arrow_answer_with_the_same_bits(service):
    tensor = {"name": "x_mbps", "shape": list(ROWS.shape), "datatype": "FP64"}
    as_json = await service.client.post(URL, json={"inputs": [tensor | {"data": ROWS.tolist()}]})
    head = orjson.dumps(
        {
            "inputs": [tensor | {"parameters": {"binary_data_size": ROWS.nbytes}}],
            "parameters": {"binary_data_output": True},
        }
    )
    headers = {HEADER_LENGTH: str(len(head))}
    binary = await service.client.post(URL, content=head + pack(ROWS), headers=headers)
    arrow = await service.client.post(
        URL, content=stream({"x_mbps": lists(ROWS)}), headers=HEADERS
    )
    message = new_message(
        "ModelInferRequest",
        model_name="mean",
        inputs=[{"name": "x_mbps", "datatype": "FP64", "shape": ROWS.shape}],
        raw_input_contents=[ROWS.tobytes()],
    )
    over_grpc = new_message("ModelInferResponse")
    inference = InferenceService(service.plane, allow_remote=False)
    reply = await inference.call("ModelInfer", message.SerializeToString(), Context())
    over_grpc.ParseFromString(reply.SerializeToString())

    wanted = ROWS.mean(axis=1).tobytes()
    length = int(binary.headers[HEADER_LENGTH])
    assert np.array(as_json.json()["outputs"][0]["data"]).tobytes() == wanted
    assert binary.content[length : length + len(wanted)] == wanted
    assert over_grpc.raw_output_contents[0] == wanted
    assert read(arrow)["mean_mbps"].combine_chunks().flatten().to_numpy().tobytes() == wanted
    assert arrow.headers["content-type"] == CONTENT_TYPE
    assert "predict;dur=" in arrow.headers["server-timing"]


@pytest.mark.asyncio
async def test_id_outputs_and_version_travel_in_the_metadata(service):
    body = stream({"x_mbps": lists(ROWS)}, {"id": "7", "outputs": "fallback"})

    table = read(await service.client.post(URL, content=body, headers=HEADERS))

    assert table.column_names == ["fallback"]
    assert table.schema.metadata == {b"model_name": b"mean", b"model_version": b"1", b"id": b"7"}


def test_a_frame_of_mixed_types_becomes_a_tensor_for_each_column():
    frame = pd.DataFrame(
        {
            "cpu_ratio": np.array([0.5, 0.25]),
            "cores": np.array([2, 4], dtype=np.int32),
            "is_spot": [True, False],
            "zone": pd.Categorical(["b", "a"]),
            "name": ["x", "\u4e2d"],
            "history": [[1.0, 2.0], [3.0, 4.0]],
        }
    )
    table = pa.Table.from_pandas(frame, preserve_index=False)
    body = stream({name: table[name] for name in table.column_names})

    tensors = ArrowStream(10_000).decode(body).tensors

    assert {name: (x.dtype.kind, x.tolist()) for name, x in tensors.items()} == {
        "cpu_ratio": ("f", [0.5, 0.25]),
        "cores": ("i", [2, 4]),
        "is_spot": ("b", [True, False]),
        "zone": ("O", ["b", "a"]),
        "name": ("O", ["x", "\u4e2d"]),
        "history": ("f", [[1.0, 2.0], [3.0, 4.0]]),
    }
    assert all(x.flags.writeable for x in tensors.values())


@pytest.mark.parametrize("dtype", ["?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2",
                                   "f4", "f8"])  # fmt: skip
def test_every_datatype_comes_back_as_it_went(dtype):
    array = np.arange(24).reshape(4, 3, 2).astype(dtype)
    codec = ArrowStream(10_000)
    body = codec.encode(InferAnswer(model_name="m", model_version="1", tensors={"x": array}))

    back = codec.decode(body).tensors["x"]

    assert back.dtype == array.dtype
    assert back.tobytes() == array.tobytes()
    assert back.shape == array.shape


COMPRESSED = pa.ipc.IpcWriteOptions(compression="zstd")
BAD = {
    "no stream": (b"hello", "body"),
    "empty": (b"", "body"),
    "cut short": (stream({"x_mbps": lists(ROWS)})[:-900], "body"),
    "no rows": (stream({"x_mbps": pa.array([], pa.float64())}), "body"),
    "compressed": (stream({"x_mbps": lists(ROWS)}, options=COMPRESSED), "body"),
    "ragged": (stream({"x_mbps": [[1.0], [1.0, 2.0]]}), "x_mbps"),
    "null": (stream({"x_mbps": [1.0, None]}), "x_mbps"),
    "null in a list": (stream({"x_mbps": [[1.0, None]]}), "x_mbps"),
    "null list": (stream({"x_mbps": [[1.0], None]}), "x_mbps"),
    "time": (stream({"x_mbps": pa.array([1], pa.timestamp("s"))}), "x_mbps"),
    "unknown name": (stream({"x_kbps": lists(ROWS)}), "inputs"),
    "wrong datatype": (stream({"x_mbps": [[1]]}), "x_mbps"),
    "nan": (stream({"x_mbps": [[float("nan")]]}), "x_mbps[0, 0]"),
    "timeout": (stream({"x_mbps": [[1.0]]}, {"timeout": "soon"}), "timeout"),
    "outputs": (stream({"x_mbps": [[1.0]]}, {"outputs": "std"}), "outputs"),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("case", BAD)
async def test_what_is_no_such_table_gets_a_400_that_names_it(service, case):
    body, field = BAD[case]

    reply = await service.client.post(URL, content=body, headers=HEADERS)

    assert reply.status_code == 400
    assert reply.json()["field"] == field


@pytest.mark.asyncio
async def test_a_table_larger_than_the_limit_gets_a_413():
    service = build_service(
        {"mean": MeanModel()}, ["mean"], limits=LimitsConfig(max_body_bytes=2048)
    )
    await service.host.load()

    reply = await service.client.post(
        URL, content=stream({"x_mbps": lists(ROWS)}), headers=HEADERS
    )

    assert reply.status_code == 413


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_no_bytes_whatever_raise_anything_but_a_refusal(data):
    whole = stream({"x": [[1.0, 2.0], [3.0, 4.0]], "t": ["a", "b"]}, {"id": "1"})
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    body = bytes(damaged[: data.draw(st.integers(0, len(whole)))])

    with contextlib.suppress(InvalidInputError):
        ArrowStream(1_000_000).decode(body)
