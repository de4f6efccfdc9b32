"""The seam behind every answer: whoever keeps a log is told, and the caller gets the id."""

import numpy as np
import pyarrow as pa
import pytest
import pytest_asyncio
from serving_fakes import MeanModel, build_service

from serve_apps.oip_grpc import OipGrpc, parse_message

pytestmark = pytest.mark.asyncio


class Notes:
    """A recorder that keeps what it is told."""

    def __init__(self):
        self.told = []
        self._count = 0

    def new_id(self):
        self._count += 1
        return f"p{self._count}"

    def record(self, served, request, answer, timing, *, role="champion"):
        self.told.append((served.version, request, answer, timing, role))


@pytest.fixture
def notes():
    return Notes()


@pytest_asyncio.fixture
async def watched(notes, tmp_path):
    service = build_service({"mean": MeanModel()}, ["mean"], site_dir=tmp_path, recorder=notes)
    await service.host.load()
    return service


async def test_each_answer_is_told_once_with_what_was_asked(watched, notes, infer_body):
    reply = await watched.client.post("/v2/models/mean/infer", json=infer_body([[1.0, 3.0]]))

    ((version, request, answer, timing, role),) = notes.told
    assert (version, role) == ("1", "champion")
    assert request.tensors["x_mbps"].tolist() == [[1.0, 3.0]]
    assert answer.tensors["mean_mbps"].tolist() == [[2.0]]
    assert timing.predict_s >= 0
    assert (
        reply.json()["parameters"]
        == {"prediction_id": "p1"}
        == {"prediction_id": answer.prediction_id}
    )
    assert reply.headers["x-prediction-id"] == "p1"


async def test_a_refused_request_is_not_told(watched, notes, infer_body):
    reply = await watched.client.post("/v2/models/mean/infer", json=infer_body([[-1.0]]))

    assert reply.status_code == 400
    assert notes.told == []


async def test_rows_of_a_typed_route_are_told_with_entity_and_step(watched, notes):
    rows = [{"x_mbps": [1], "entity_id": "a"}, {"x_mbps": [3], "entity_id": "b"}]

    reply = await watched.client.post(
        "/api/v1/predict/batch", json={"model": "mean", "rows": rows}
    )

    ((_, request, _, _, _),) = notes.told
    assert request.entities == ("a", "b")
    assert [record["prediction_id"] for record in reply.json()["records"]] == ["p1.0", "p1.1"]


async def test_rows_of_several_shapes_have_ids_of_their_own(watched, notes):
    rows = [{"x_mbps": [1]}, {"x_mbps": [3, 5]}]

    reply = await watched.client.post(
        "/api/v1/predict/batch", json={"model": "mean", "rows": rows}
    )

    ids = {record["prediction_id"] for record in reply.json()["records"]}
    assert ids == {"p1", "p2"} == {answer.prediction_id for _, _, answer, _, _ in notes.told}


async def test_the_id_is_in_arrow_metadata_and_in_grpc_parameters(watched, notes):
    table = pa.table({"x_mbps": pa.FixedSizeListArray.from_arrays(pa.array([1.0, 3.0]), 2)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    reply = await watched.client.post(
        "/v2/models/mean/infer",
        content=sink.getvalue().to_pybytes(),
        headers={"content-type": "application/vnd.apache.arrow.stream"},
    )
    assert pa.ipc.open_stream(reply.content).schema.metadata[b"prediction_id"] == b"p1"

    answer = notes.told[0][2]
    response = parse_message("ModelInferResponse", OipGrpc().encode(answer))
    assert response.parameters["prediction_id"].string_param == "p1"


async def test_without_a_recorder_answers_carry_no_id(service, infer_body):
    reply = await service.client.post("/v2/models/mean/infer", json=infer_body([[1.0]]))

    assert np.isclose(reply.json()["outputs"][0]["data"][0], 1.0)
    assert "parameters" not in reply.json()
    assert "x-prediction-id" not in reply.headers
