import asyncio
import json

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving_fakes import POISON, UNFINISHED, MeanModel, build_service

from serve_apps.config import BatchingConfig

pytestmark = pytest.mark.asyncio
URL = "/v2/models/mean/infer"


async def test_a_good_request_is_answered_with_its_own_rows(service, infer_body):
    response = await service.client.post(URL, json=infer_body([[1, 3], [5, 7]], id="abc"))

    assert response.status_code == 200
    assert response.json() == {
        "model_name": "mean",
        "model_version": "1",
        "id": "abc",
        "outputs": [
            {"name": "mean_mbps", "datatype": "FP64", "shape": [2, 1], "data": [2.0, 6.0]},
            {"name": "fallback", "datatype": "BYTES", "shape": [2], "data": ["", ""]},
        ],
    }


async def test_only_the_outputs_asked_for_come_back(service, infer_body):
    body = infer_body([[1, 3]], outputs=[{"name": "fallback"}])

    response = await service.client.post(URL, json=body)

    assert [output["name"] for output in response.json()["outputs"]] == ["fallback"]


async def test_a_version_in_the_path_is_the_one_that_answers(service, infer_body):
    url = "/v2/models/mean/versions/1/infer"

    response = await service.client.post(url, json=infer_body([[1, 3]]))

    assert response.json()["model_version"] == "1"


BAD_REQUESTS = {
    "wrong name": (400, {"tensor": {"name": "x_kbps"}}, "inputs"),
    "wrong shape": (400, {"tensor": {"shape": [2, 2]}}, "x_mbps.data"),
    "wrong rank": (400, {"tensor": {"shape": [2], "data": [1, 3]}}, "x_mbps"),
    "wrong datatype": (400, {"tensor": {"datatype": "FP32"}}, "x_mbps"),
    "text for numbers": (400, {"tensor": {"data": ["a", "b"]}}, "x_mbps.data[0]"),
    "unit out of range": (400, {"tensor": {"data": [1, 5000]}}, "x_mbps[0, 1]"),
    "negative": (400, {"tensor": {"data": [-1, 1]}}, "x_mbps[0, 0]"),
    "null for a sample": (400, {"tensor": {"data": [1, None]}}, "x_mbps.data[1]"),
    "empty batch": (400, {"tensor": {"shape": [0, 2], "data": []}}, "x_mbps.shape"),
    "no inputs": (400, {"inputs": []}, "inputs"),
    "unknown output": (400, {"outputs": [{"name": "std"}]}, "outputs"),
    "refused by the model": (400, {"tensor": {"data": [999, 999]}}, "x_mbps"),
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
async def test_a_bad_request_gets_a_4xx_that_names_the_field(service, infer_body, case):
    status, changes, field = BAD_REQUESTS[case]

    response = await service.client.post(URL, json=infer_body([[1, 3]], **changes))

    problem = response.json()
    assert response.status_code == status
    assert problem["field"] == field
    assert problem["error"]
    assert problem["expected"]
    assert problem["request_id"] == "made-here"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b'{"inputs": [{"name": "x_mbps", "sha', "UnreadableInputError"),
        (b"", "UnreadableInputError"),
        (b"\x00\x01", "UnreadableInputError"),
        (
            b'{"inputs":[{"name":"x_mbps","shape":[1,2],"datatype":"FP64","data":[1,NaN]}]}',
            "OutOfRangeError",
        ),
    ],
)
async def test_a_body_that_is_cut_short_or_has_nan_gets_a_clear_400(service, content, code):
    response = await service.client.post(URL, content=content)

    assert response.status_code == 400
    assert response.json()["code"] == code


async def test_bad_requests_do_not_disturb_the_good_ones_of_the_same_batch(
    make_service, gated_model, infer_body
):
    service = make_service({"mean": gated_model}, ["mean"])
    gated_model.gate.set()
    await service.host.load()
    gated_model.gate.clear()
    gated_model.entered.clear()
    gated_model.calls.clear()
    first = asyncio.create_task(service.client.post(URL, json=infer_body([[0, 0]])))
    assert await asyncio.to_thread(gated_model.entered.wait, 10)

    bodies = {
        "good": infer_body([[1, 3]]),
        "poison": infer_body([[POISON, POISON]]),
        "nan answer": infer_body([[UNFINISHED, UNFINISHED]]),
        **{
            name: infer_body([[1, 3]], **changes) for name, (_, changes, _) in BAD_REQUESTS.items()
        },
        "good too": infer_body([[5, 7], [7, 9]]),
    }
    tasks = [asyncio.create_task(service.client.post(URL, json=body)) for body in bodies.values()]
    while service.host.get("mean").batcher.queued_rows < 5:
        await asyncio.sleep(0)
    gated_model.gate.set()
    replies = dict(zip(bodies, await asyncio.gather(*tasks), strict=True))
    await first

    assert gated_model.calls[1] == 5
    assert replies["good"].json()["outputs"][0]["data"] == [2.0]
    assert replies["good too"].json()["outputs"][0]["data"] == [6.0, 8.0]
    assert replies["poison"].status_code == 500
    assert replies["nan answer"].status_code == 500
    assert {replies[name].status_code for name in BAD_REQUESTS} == {400}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v3", 404),
        ("GET", "/v2/models", 404),
        ("GET", "/v2/models/mean/unknown", 404),
        ("GET", "/v2/models/other", 404),
        ("GET", "/v2/models/other/ready", 404),
        ("GET", "/v2/models/mean/versions/9", 404),
        ("POST", "/v2/models/other/infer", 404),
        ("POST", "/v2/models/mean/versions/9/infer", 404),
        ("GET", "/v2/models/mean/infer", 405),
        ("DELETE", "/v2/models/mean", 405),
        ("POST", "/v2/health/live", 405),
    ],
)
async def test_a_wrong_route_or_method_gets_a_json_error(service, method, path, status):
    response = await service.client.request(method, path)

    assert response.status_code == status
    assert response.json()["error"]
    assert ("allow" in response.headers) == (status == 405)


async def test_health_and_metadata_follow_the_protocol(service):
    get = service.client.get

    assert (await get("/v2/health/live")).json() == {"live": True}
    assert (await get("/v2/health/ready")).json() == {"ready": True}
    assert (await get("/v2/models/mean/ready")).json() == {"name": "mean", "ready": True}
    server = (await get("/v2")).json()
    assert server["name"] == "novacron"
    assert set(server) == {"name", "version", "extensions"}
    model = (await get("/v2/models/mean")).json()
    assert model["versions"] == ["1"]
    assert [(i["name"], i["datatype"], i["shape"]) for i in model["inputs"]] == [
        ("x_mbps", "FP64", [-1, -1]),
        ("path_class", "BYTES", [-1]),
    ]


async def test_a_head_request_gets_the_headers_without_a_body(service):
    response = await service.client.head("/v2/health/ready")

    assert response.status_code == 200
    assert response.content == b""


async def test_before_its_models_are_loaded_it_is_live_but_not_ready(
    make_service, mean_model, infer_body
):
    service = make_service({"mean": mean_model}, ["mean"])

    live = await service.client.get("/v2/health/live")
    ready = await service.client.get("/v2/health/ready")
    infer = await service.client.post(URL, json=infer_body([[1, 3]]))

    assert (live.status_code, ready.status_code, infer.status_code) == (200, 503, 503)
    assert infer.json()["code"] == "NotReadyError"


async def test_after_its_shutdown_begins_it_is_not_ready_and_refuses(service, infer_body):
    await service.host.drain()

    ready = await service.client.get("/v2/health/ready")
    infer = await service.client.post(URL, json=infer_body([[1, 3]]))

    assert (ready.status_code, infer.status_code) == (503, 503)


async def test_an_overloaded_model_answers_429_with_retry_after(
    make_service, gated_model, infer_body
):
    service = make_service(
        {"mean": gated_model}, ["mean"], batching=BatchingConfig(max_queued_rows=1)
    )
    gated_model.gate.set()
    await service.host.load()
    gated_model.gate.clear()
    gated_model.entered.clear()
    running = asyncio.create_task(service.client.post(URL, json=infer_body([[1]])))
    assert await asyncio.to_thread(gated_model.entered.wait, 10)
    waiting = asyncio.create_task(service.client.post(URL, json=infer_body([[2]])))
    while not service.host.get("mean").batcher.queued_rows:
        await asyncio.sleep(0)

    refused = await service.client.post(URL, json=infer_body([[3]]))

    gated_model.gate.set()
    assert (await running).status_code == (await waiting).status_code == 200
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["retry_after_s"] > 0


async def test_a_request_id_comes_back_with_answers_and_errors(service, infer_body):
    headers = {"X-Request-ID": "mine"}

    good = await service.client.post(URL, json=infer_body([[1]]), headers=headers)
    bad = await service.client.post(URL, content=b"", headers=headers)

    assert good.headers["x-request-id"] == bad.headers["x-request-id"] == "mine"
    assert bad.json()["request_id"] == "mine"


async def test_an_unforeseen_failure_is_a_500_whose_id_is_in_the_log(service, infer_body, caplog):
    response = await service.client.post(URL, json=infer_body([[POISON, POISON]]))

    assert response.status_code == 500
    assert "poison" not in response.text
    assert response.json()["request_id"] in caplog.text
    assert "poison" in caplog.text


async def test_the_answer_says_where_its_time_went(service, infer_body):
    response = await service.client.post(URL, json=infer_body([[1, 3]]))

    stages = [part.split(";dur=") for part in response.headers["server-timing"].split(", ")]
    assert [name for name, _ in stages] == ["decode", "queue", "predict", "encode"]
    assert all(float(ms) >= 0 for _, ms in stages)


async def test_a_path_under_a_route_prefix_is_found(service):
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/ml/v2/health/live",
        "root_path": "/ml",
        "headers": [],
    }
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    await service.client._transport.app(scope, receive, send)

    assert sent[0]["status"] == 200


async def test_a_caller_that_hangs_up_in_mid_body_is_not_answered(service):
    sent = []
    messages = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]
    scope = {"type": "http", "method": "POST", "path": URL, "root_path": "", "headers": []}

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    await service.client._transport.app(scope, receive, send)

    assert sent == []


async def test_the_server_s_shutdown_drains_the_models(service):
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent = []

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message["type"])

    await service.client._transport.app({"type": "lifespan"}, receive, send)

    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert not service.host.ready


@settings(
    max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    content=st.binary(max_size=100),
    path=st.sampled_from([URL, "/v2/models/mean", "/v2/models/%00/infer", "/v2/../x", "//"]),
    encoding=st.sampled_from(["identity", "gzip", "deflate", ""]),
)
async def test_no_bytes_on_any_route_give_a_5xx(service, content, path, encoding):
    response = await service.client.post(
        path, content=content, headers={"Content-Encoding": encoding}
    )

    assert 200 <= response.status_code < 500
    assert isinstance(orjson.loads(response.content), dict)


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(-5, 5)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None)
@given(
    changes=st.dictionaries(
        st.sampled_from(["name", "shape", "datatype", "data"]), JSON_VALUES, min_size=1
    ),
    outputs=JSON_VALUES,
)
async def test_no_mutation_of_a_valid_body_gives_a_5xx(changes, outputs):
    model = MeanModel()
    model.predict = lambda rows: {
        "mean_mbps": rows["mean"][:, None],
        "fallback": np.full(len(rows["mean"]), "", dtype=object),
    }
    service = build_service({"mean": model}, ["mean"])
    await service.host.load()
    tensor = {"name": "x_mbps", "shape": [1, 2], "datatype": "FP64", "data": [1, 3]}

    reply = await service.client.post(
        URL, content=json.dumps({"inputs": [tensor | changes], "outputs": outputs})
    )

    assert reply.status_code in (200, 400)


async def test_many_concurrent_callers_each_get_their_own_answer(service, infer_body):
    rng = np.random.default_rng(7)
    rows = [rng.uniform(20, 900, size=(int(rng.integers(1, 5)), 3)) for _ in range(100)]

    replies = await asyncio.gather(
        *(service.client.post(URL, json=infer_body(x.tolist())) for x in rows)
    )

    for x, reply in zip(rows, replies, strict=True):
        np.testing.assert_allclose(reply.json()["outputs"][0]["data"], x.mean(axis=1))
