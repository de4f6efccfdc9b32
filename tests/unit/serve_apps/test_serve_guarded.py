"""A version that fails: what callers get, what reaches the model, and what is counted."""

import asyncio

import numpy as np
import pytest
from guarded_stage import FOREVER, KEEPS, URL, Stage, fail, stage
from serving_fakes import (
    POISON,
    UNFINISHED,
    GatedModel,
    MeanModel,
    StoodInModel,
    infer_document,
)
from test_serve_grpc import RAW, Context

from novacron.errors import NovacronError, OutOfRangeError
from serve_apps.grpc_service import InferenceService
from serve_apps.messages import InferRequest
from serve_apps.oip_grpc import parse_message
from serve_apps.settings.resilience import BreakerConfig

pytestmark = pytest.mark.asyncio


async def test_after_five_failures_no_call_reaches_the_model():
    model = MeanModel()
    one = await stage(model)
    assert [reply.status_code for reply in await fail(one, 5)] == [500] * 5
    reached = len(model.calls)

    replies = [await one.client.post(URL, json=infer_document([[1, 3]])) for _ in range(20)]

    assert {reply.status_code for reply in replies} == {503}
    assert {reply.json()["code"] for reply in replies} == {"CircuitOpenError"}
    assert all(1 <= int(reply.headers["retry-after"]) <= 60 for reply in replies)
    assert len(model.calls) == reached
    assert one.total("circuit_trips", "mean", "1") == 1
    assert one.total("circuit_failures", "mean", "1", "RuntimeError") == 5
    assert one.total("circuit_refusals", "mean", "1") == 20
    assert one.metrics.values["novacron_circuit_state", "mean", "1"][-1] == 2


async def test_one_probe_closes_it_once_the_model_is_well():
    model = MeanModel()
    one = await stage(model)
    await fail(one, 5)
    one.clock.ahead_s = 60.0
    reached = len(model.calls)

    reply = await one.client.post(URL, json=infer_document([[1, 3]]))

    assert (reply.status_code, len(model.calls)) == (200, reached + 1)
    assert one.state() == "closed"


async def test_while_the_probe_is_out_all_others_are_refused():
    model = GatedModel()
    one = await stage(model, breaker=BreakerConfig(failures=1))
    model.gate.set()
    await fail(one, 1)
    one.clock.ahead_s = 60.0
    model.gate.clear()
    model.entered.clear()

    probe = asyncio.create_task(one.client.post(URL, json=infer_document([[1, 3]])))
    while not model.entered.is_set():
        await asyncio.sleep(0.001)
    others = [await one.client.post(URL, json=infer_document([[1, 3]])) for _ in range(4)]
    model.gate.set()

    assert [reply.status_code for reply in others] == [503] * 4
    assert (await probe).status_code == 200


async def test_callers_mistakes_never_open_it(infer_body):
    one = await stage(MeanModel(), breaker=BreakerConfig(failures=1))

    wrong = [infer_document([[-5]]), {"inputs": []}, infer_document([[999.0]]),
             infer_document([[1]]) | {"outputs": [{"name": "nothing"}]}]  # fmt: skip
    statuses = [(await one.client.post(URL, json=body)).status_code for body in wrong]

    assert statuses == [400] * 4
    assert one.state() == "closed"


async def test_a_caller_who_will_not_wait_says_nothing_of_the_model():
    model = GatedModel()
    one = await stage(model, breaker=BreakerConfig(failures=1))

    reply = await one.client.post(
        URL, json=infer_document([[1, 3]]), headers={"X-Timeout-Ms": "20"}
    )
    model.gate.set()

    assert reply.status_code == 504
    assert one.state() == "closed"


async def test_a_call_that_hangs_frees_those_that_wait_and_counts_as_failure():
    model = GatedModel()
    one = await stage(model, breaker=BreakerConfig(failures=3, timeout_s=0.05))

    replies = await asyncio.gather(
        *(one.client.post(URL, json=infer_document([[1, 3]])) for _ in range(6))
    )
    refused = await one.client.post(URL, json=infer_document([[1, 3]]))
    model.gate.set()

    assert {reply.status_code for reply in replies} == {504}
    assert refused.status_code == 503
    assert one.state() == "open"


async def test_an_answer_that_is_no_number_is_a_failure_of_the_model():
    one = await stage(MeanModel(), breaker=BreakerConfig(failures=2))

    await fail(one, 2, value=UNFINISHED)

    assert one.state() == "open"


async def test_the_baseline_answers_and_says_so():
    model = StoodInModel()
    one = await stage(model)

    replies = await fail(one, 5) + await fail(one, 3, value=4.0)

    assert {reply.status_code for reply in replies} == {200}
    assert model.stand_in.asked == 8
    for reply in replies:
        assert reply.headers["x-novacron-fallback"] == "last_value"
        assert reply.json()["parameters"]["fallback"] == "last_value"
    outputs = {output["name"]: output["data"] for output in replies[-1].json()["outputs"]}
    assert outputs == {"mean_mbps": [4.0], "fallback": ["last_value"]}
    assert one.total("stood_in_requests", "mean", "1", "last_value", "NovacronError") == 5
    assert one.total("stood_in_requests", "mean", "1", "last_value", "CircuitOpenError") == 3
    assert one.total("served_fallbacks", "mean", "1", "last_value") == 8


async def test_grpc_says_it_too():
    model = StoodInModel()
    one = await stage(model, breaker=BreakerConfig(failures=1))
    await fail(one, 1)
    context = Context()
    answered = await InferenceService(one.plane, allow_remote=False).call(
        "ModelInfer", RAW, context
    )

    assert dict(context.trailing)["x-novacron-fallback"] == "last_value"
    response = parse_message("ModelInferResponse", answered.data)
    assert response.parameters["fallback"].string_param == "last_value"


async def test_stand_ins_can_be_turned_off():
    model = StoodInModel()
    one = await stage(model, stand_ins=False)

    replies = await fail(one, 6)

    assert [reply.status_code for reply in replies] == [500] * 5 + [503]
    assert model.stand_in.asked == 0


async def test_a_stand_in_that_fails_leaves_the_callers_with_the_models_error():
    model = StoodInModel()
    model.stand_in.answer = None
    one = await stage(model)

    replies = await fail(one, 6)

    assert [reply.status_code for reply in replies] == [500] * 5 + [503]


async def test_a_model_is_ready_while_its_requests_would_be_answered():
    bare, stood_in = await stage(MeanModel()), await stage(StoodInModel())
    for one in (bare, stood_in):
        await fail(one, 5)

    replies = [await one.client.get("/v2/models/mean/ready") for one in (bare, stood_in)]
    servers = [await one.client.get("/v2/health/ready") for one in (bare, stood_in)]

    assert [reply.status_code for reply in replies] == [503, 200]
    # One model's failure takes no replica away from the others.
    assert [reply.status_code for reply in servers] == [200, 200]
    bare.clock.ahead_s = 60.0
    assert (await bare.client.get("/v2/models/mean/ready")).status_code == 200


async def test_metadata_show_circuit_and_stand_in():
    one = await stage(StoodInModel())
    await fail(one, 5)

    parameters = (await one.client.get("/v2/models/mean")).json()["parameters"]

    assert parameters["circuit"] == "open"
    assert parameters["stand_in"] == "last_value"
    assert parameters["answers_kept"] is False


async def test_versions_have_circuits_of_their_own():
    one = Stage({"mean": MeanModel()}, ["mean@1", "mean@2"])
    one.store.versions["mean"]["2"] = MeanModel(factor=2.0)
    await one.host.load()
    await fail(one, 5)

    reply = await one.client.post(
        "/v2/models/mean/versions/2/infer", json=infer_document([[1, 3]])
    )

    assert reply.status_code == 200


async def test_a_version_that_swaps_in_starts_with_a_closed_circuit():
    one = await stage(MeanModel())
    await fail(one, 5)
    one.store.versions["mean"]["2"] = MeanModel(factor=2.0)
    one.store.aliases["mean", "champion"] = "2"

    await one.host.refresh()
    reply = await one.client.post(URL, json=infer_document([[1, 3]]))

    assert reply.json()["outputs"][0]["data"] == [4.0]


async def test_a_shadow_gets_the_models_own_answer_and_no_baseline():
    model = StoodInModel()
    one = await stage(model, cache=KEEPS)
    served = one.host.get("mean")
    request = InferRequest(tensors={"x_mbps": np.array([[1.0, 3.0]])})
    reached = len(model.calls)
    for _ in range(2):
        asked = await one.asking.ask(served, request, FOREVER, cached=False, fallback=False)
        assert asked.cache == ""

    assert len(model.calls) == reached + 2
    poison = InferRequest(tensors={"x_mbps": np.array([[POISON]])})
    with pytest.raises(RuntimeError, match="poison"):
        await one.asking.ask(served, poison, FOREVER, cached=False, fallback=False)


async def test_a_cancelled_probe_leaves_its_place():
    model = GatedModel()
    one = await stage(model, breaker=BreakerConfig(failures=1))
    model.gate.set()
    await fail(one, 1)
    one.clock.ahead_s = 60.0
    model.gate.clear()
    served = one.host.get("mean")
    request = InferRequest(tensors={"x_mbps": np.array([[1.0, 3.0]])})

    probe = asyncio.create_task(one.asking.ask(served, request, FOREVER))
    await asyncio.sleep(0.01)
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    model.gate.set()

    assert (await one.asking.ask(served, request, FOREVER)).tensors["mean_mbps"].tolist() == [[2]]
    assert one.state() == "closed"


async def test_the_cause_of_a_stand_in_is_told_to_those_who_watch_versions():
    one = await stage(StoodInModel())
    request = InferRequest(tensors={"x_mbps": np.array([[POISON]])})

    asked = await one.asking.ask(one.host.get("mean"), request, FOREVER)

    assert asked.baseline == "last_value"
    assert isinstance(asked.failure, NovacronError)
    wrong = InferRequest(tensors={"x_mbps": np.array([[-1.0]])})
    with pytest.raises(OutOfRangeError):
        await one.asking.ask(one.host.get("mean"), wrong, FOREVER)


async def test_those_who_queued_before_the_trip_do_not_reach_the_model_after_it():
    model = GatedModel()
    one = await stage(model, breaker=BreakerConfig(failures=2))
    asked = [
        asyncio.create_task(one.client.post(URL, json=infer_document([[POISON]])))
        for _ in range(3)
    ]
    while not model.entered.is_set():
        await asyncio.sleep(0.001)
    behind = [
        asyncio.create_task(one.client.post(URL, json=infer_document([[POISON]])))
        for _ in range(10)
    ]
    await asyncio.sleep(0.02)
    model.gate.set()

    replies = [reply.status_code for reply in await asyncio.gather(*asked, *behind)]

    assert set(replies) == {500, 503}
    assert one.total("circuit_trips", "mean", "1") == 1
    assert replies.count(503) == one.total("circuit_refusals", "mean", "1") >= 8
