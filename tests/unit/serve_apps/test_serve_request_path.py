from types import SimpleNamespace

import httpx
import numpy as np
import pytest
import pytest_asyncio
from serving_fakes import MeanModel, build_service

from novacron.errors import NotReadyError
from serve_apps.config import LimitsConfig
from serve_apps.dataplane import DataPlane
from serve_apps.domain.site import Site
from serve_apps.gateway import Gateway
from serve_apps.grpc_messages import new_message
from serve_apps.grpc_service import InferenceService
from serve_apps.metrics import MemoryMetrics, ServingMetrics
from serve_apps.request_path import CANDIDATE, NAMED, STABLE, Chosen

pytestmark = pytest.mark.asyncio
URL = "/v2/models/mean/infer"


class ByKey:
    """Sends the key `new` to version 2, refuses the key `stopped`."""

    def __init__(self, host):
        self.host = host

    def choose(self, name, version, key):
        if key == "stopped":
            raise NotReadyError(f"{name} is stopped.")
        if version is not None:
            return Chosen(served=self.host.get(name, version), role=NAMED)
        if key == "new":
            return Chosen(served=self.host.get(name, "2"), role=CANDIDATE)
        return Chosen(served=self.host.get(name), role=STABLE)


@pytest_asyncio.fixture
async def shaped():
    service = build_service({"mean": MeanModel()}, ["mean", "mean@challenger"])
    service.store.versions["mean"]["2"] = MeanModel(factor=2)
    service.store.aliases["mean", "challenger"] = "2"
    await service.host.load()
    service.seen, service.chooser = [], ByKey(service.host)

    def broken(_finished):
        raise RuntimeError("an observer's own fault")

    service.plane = DataPlane(
        service.host,
        LimitsConfig(),
        ServingMetrics(MemoryMetrics()),
        chooser=service.chooser,
        observers=[broken, service.seen.append],
    )
    transport = httpx.ASGITransport(app=Gateway(service.plane))
    service.client = httpx.AsyncClient(transport=transport, base_url="http://novacron")
    return service


async def test_a_key_in_the_header_or_the_parameters_reaches_the_choice(shaped, infer_body):
    plain = await shaped.client.post(URL, json=infer_body([[1, 3]]))
    by_header = await shaped.client.post(
        URL, json=infer_body([[1, 3]]), headers={"X-NovaCron-Key": "new"}
    )
    by_parameter = await shaped.client.post(
        URL, json=infer_body([[1, 3]], parameters={"key": "new"})
    )

    answers = [one.json()["model_version"] for one in (plain, by_header, by_parameter)]
    assert answers == ["1", "2", "2"]


async def test_observers_hear_of_answers_and_refusals_and_cannot_harm_them(shaped, infer_body):
    good = await shaped.client.post(URL, json=infer_body([[0, 0], [1, 3]]))
    bad = await shaped.client.post(URL, json=infer_body([[-1, 3]]))
    poisoned = await shaped.client.post(URL, json=infer_body([[13, 13]]))
    stopped = await shaped.client.post(
        URL, json=infer_body([[1, 3]]), headers={"X-NovaCron-Key": "stopped"}
    )
    unknown = await shaped.client.post("/v2/models/other/infer", json=infer_body([[1]]))

    codes = [reply.status_code for reply in (good, bad, poisoned, stopped, unknown)]
    assert codes == [200, 400, 500, 503, 404]
    told = [
        (one.served.version, one.role, one.status, one.is_version_fault) for one in shaped.seen
    ]
    assert told == [
        ("1", STABLE, 200, False),
        ("1", STABLE, 400, False),
        ("1", STABLE, 500, True),
        ("1", "", 503, True),
    ]
    assert shaped.seen[0].asked.fallbacks == {"last_value": 1}
    assert shaped.seen[0].asked.tensors["mean_mbps"].ravel().tolist() == [0.0, 2.0]
    assert shaped.seen[1].error.to_dict()["field"] == "x_mbps[0, 0]"


async def test_a_version_that_left_after_it_was_chosen_is_followed_by_the_next(shaped, infer_body):
    new = shaped.host.get("mean", "2")
    await new.batcher.drain()
    choose = shaped.chooser.choose
    picks = iter(["new", ""])
    shaped.chooser.choose = lambda name, version, _key: choose(name, version, next(picks))

    reply = await shaped.client.post(URL, json=infer_body([[1, 3]]))

    assert (reply.status_code, reply.json()["model_version"]) == (200, "1")
    assert shaped.seen[-1].served.version == "1"


async def test_a_version_asked_for_by_its_number_is_no_part_of_any_split(shaped, infer_body):
    await shaped.client.post("/v2/models/mean/versions/2/infer", json=infer_body([[1, 3]]))

    assert (shaped.seen[0].served.version, shaped.seen[0].role) == ("2", NAMED)


async def test_rows_of_one_request_go_to_the_version_of_their_own_entity(shaped, tmp_path):
    app = Gateway(shaped.plane, site=Site(shaped.plane, tmp_path))
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://novacron")
    rows = [{"entity_id": name, "x_mbps": [1.0, 3.0]} for name in ("new", "old", "new", "other")]

    reply = await client.post("/api/v1/predict/batch", json={"model": "mean", "rows": rows})

    records = reply.json()["records"]
    assert [one["model_version"] for one in records] == ["2", "1", "2", "1"]
    assert [one["mean_mbps"] for one in records] == [[4.0], [2.0], [4.0], [2.0]]
    assert len(shaped.seen) == 2


async def test_the_key_of_a_grpc_call_is_in_its_metadata(shaped):
    service = InferenceService(shaped.plane, allow_remote=False)
    body = new_message(
        "ModelInferRequest",
        model_name="mean",
        inputs=[{"name": "x_mbps", "datatype": "FP64", "shape": (1, 2)}],
        raw_input_contents=[np.array([1.0, 3.0]).tobytes()],
    ).SerializeToString()
    answer = new_message("ModelInferResponse")

    context = SimpleNamespace(
        peer=lambda: "ipv4:127.0.0.1:5000",
        invocation_metadata=lambda: (("x-novacron-key", "new"),),
        trailing_metadata=tuple,
        set_trailing_metadata=lambda metadata: None,
    )
    answer.ParseFromString((await service.call("ModelInfer", body, context)).data)

    assert answer.model_version == "2"
