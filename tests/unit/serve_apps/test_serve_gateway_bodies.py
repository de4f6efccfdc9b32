"""Bodies that are packed, binary, chunked, cut short or too large."""

import gzip
import zlib

import numpy as np
import orjson
import pytest

from serve_apps.config import LimitsConfig

pytestmark = pytest.mark.asyncio
URL = "/v2/models/mean/infer"


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
async def test_packed_bodies_are_unpacked(service, infer_body, pack):
    encoding = "gzip" if pack is gzip.compress else "deflate"
    content = pack(orjson.dumps(infer_body([[1, 3]])))

    response = await service.client.post(
        URL, content=content, headers={"Content-Encoding": encoding}
    )

    assert response.json()["outputs"][0]["data"] == [2.0]


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (gzip.compress(b"{}")[:-4], "gzip"),
        (gzip.compress(b"{}") + b"more", "gzip"),
        (b"not packed", "gzip"),
        (b"{}", "br"),
    ],
    ids=["cut short", "more behind", "not packed", "unknown packing"],
)
async def test_a_damaged_or_unknown_packing_gets_a_400(service, content, encoding):
    response = await service.client.post(
        URL, content=content, headers={"Content-Encoding": encoding}
    )

    assert response.status_code == 400
    assert response.json()["code"] == "UnreadableInputError"


async def test_a_body_beyond_the_limit_gets_a_413_packed_or_not(make_service, mean_model):
    service = make_service(
        {"mean": mean_model}, ["mean"], limits=LimitsConfig(max_body_bytes=2048)
    )
    await service.host.load()
    bomb = gzip.compress(b" " * 10_000_000)

    plain = await service.client.post(URL, content=b" " * 3000)
    packed = await service.client.post(URL, content=bomb[:2048], headers={})
    unpacked = await service.client.post(
        URL, content=gzip.compress(b" " * 100_000), headers={"Content-Encoding": "gzip"}
    )

    assert (plain.status_code, packed.status_code, unpacked.status_code) == (413, 400, 413)


async def test_a_chunked_body_beyond_the_limit_gets_a_413_before_its_end(make_service, mean_model):
    service = make_service(
        {"mean": mean_model}, ["mean"], limits=LimitsConfig(max_body_bytes=2048)
    )
    await service.host.load()

    async def chunks():
        for _ in range(10):
            yield b" " * 500

    response = await service.client.post(URL, content=chunks())

    assert response.status_code == 413


async def test_a_body_shorter_than_its_content_length_gets_a_400(service, infer_body):
    content = orjson.dumps(infer_body([[1, 3]]))

    response = await service.client.post(
        URL, content=content, headers={"Content-Length": str(len(content) + 7)}
    )

    assert response.status_code == 400
    assert "cut short" in response.json()["error"]


async def test_too_many_rows_get_a_413(make_service, mean_model, infer_body):
    service = make_service({"mean": mean_model}, ["mean"], limits=LimitsConfig(max_request_rows=2))
    await service.host.load()

    response = await service.client.post(URL, json=infer_body([[1], [2], [3]]))

    assert response.status_code == 413
    assert response.json()["code"] == "PayloadTooLargeError"


def binary_body(rows, **document):
    data = np.asarray(rows, dtype="<f8")
    tensor = {
        "name": "x_mbps",
        "shape": list(data.shape),
        "datatype": "FP64",
        "parameters": {"binary_data_size": data.nbytes},
    }
    head = orjson.dumps({"inputs": [tensor]} | document)
    return head + data.tobytes(), {"Inference-Header-Content-Length": str(len(head))}


async def test_a_binary_request_gets_the_bits_that_json_gets(service, infer_body):
    rows = np.random.default_rng(5).uniform(0, 900, size=(9, 3))
    asked = {"parameters": {"binary_data_output": True}}
    content, headers = binary_body(rows, outputs=[{"name": "mean_mbps"}], **asked)

    binary = await service.client.post(URL, content=content, headers=headers)
    plain = await service.client.post(URL, json=infer_body(rows.tolist()))

    head_bytes = int(binary.headers["inference-header-content-length"])
    output = orjson.loads(binary.content[:head_bytes])["outputs"][0]
    assert binary.headers["content-type"] == "application/octet-stream"
    assert "server-timing" in binary.headers
    assert output["parameters"] == {"binary_data_size": 72}
    assert binary.content[head_bytes:] == np.array(plain.json()["outputs"][0]["data"]).tobytes()


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
async def test_a_packed_binary_request_is_unpacked_as_a_whole(service, pack):
    content, headers = binary_body([[1.0, 3.0]])
    encoding = {"Content-Encoding": "gzip" if pack is gzip.compress else "deflate"}

    response = await service.client.post(URL, content=pack(content), headers=headers | encoding)

    assert response.json()["outputs"][0]["data"] == [2.0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 1e6])
async def test_a_binary_number_out_of_range_is_refused_as_in_json(service, value):
    content, headers = binary_body([[1.0, value]])

    response = await service.client.post(URL, content=content, headers=headers)

    assert response.status_code == 400
    assert response.json()["code"] == "OutOfRangeError"
    assert response.json()["field"] == "x_mbps[0, 1]"


@pytest.mark.parametrize("length", ["", "-1", "1.5", "9999", "9" * 30, "abc", "\u00b2"])
async def test_a_wrong_length_of_the_json_gets_a_clear_400(service, length):
    content, _ = binary_body([[1.0]])
    headers = {b"Inference-Header-Content-Length": length.encode("latin-1")}

    response = await service.client.post(URL, content=content, headers=headers)

    assert response.status_code == 400
    assert response.json()["field"] == "Inference-Header-Content-Length"


async def test_a_refused_binary_request_is_counted_for_its_model(service):
    await service.client.post(
        URL, content=b"{}", headers={"Inference-Header-Content-Length": "many"}
    )

    assert service.metrics.total("novacron_served_requests", "mean", "1", "400") == 1
