"""Samples in, predictions by name out; answers logged, outcomes taken: all behind HTTP."""

import asyncio
import json

import jsonschema
import numpy as np
import pytest
from memory_services import ACTUALS, ANOMALY, BANDWIDTH, SAMPLES, STEP_S, batch, post, series

from novacron.errors import OverloadedError
from novacron.telemetry.live import store as store_module
from serve_apps.ai_service import AIService, classes
from serve_apps.domain.routes import DomainRoutes

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]


async def test_a_link_is_predicted_by_its_name_as_by_its_history(begin):
    service = await begin()
    samples = series(40)
    taken = (await post(service, SAMPLES, batch(samples))).json()
    assert (taken["received"], taken["accepted"], taken["rejected"]) == (40, 40, 0)

    by_name = (await post(service, BANDWIDTH, {"link_id": "w-1"})).json()
    history = {name: [one[name] for one in samples] for name in ("bandwidth_mbps", "rtt_ms")}
    by_history = (await post(service, BANDWIDTH, {"link_id": "w-1"} | history)).json()

    for name in ("value_mbps", "lower_mbps", "upper_mbps", "fallback"):
        assert by_name[name] == by_history[name]
    assert by_name["history"]["samples"] == 40
    assert by_name["history"]["step_s"] == pytest.approx(STEP_S)
    assert 1 < by_name["history"]["age_s"] < 60
    assert by_name["horizon_s"] == pytest.approx(STEP_S * by_name["horizon_steps"])
    assert "history" not in by_history


async def test_samples_sent_to_any_replica_are_seen_by_all_and_after_a_restart(begin):
    one, other = await begin(), await begin()
    samples = series(41)
    for number, sample in enumerate(samples):
        reply = await post((one, other)[number % 2], SAMPLES, batch([sample]))
        assert reply.json()["accepted"] == 1
    restarted = await begin()

    answers = [
        (await post(service, BANDWIDTH, {"link_id": "w-1"})).json()
        for service in (one, other, restarted)
    ]
    assert answers[0]["history"]["samples"] == 41
    assert answers[0]["value_mbps"] == answers[1]["value_mbps"] == answers[2]["value_mbps"]


async def test_bad_samples_come_back_with_their_reason_and_good_ones_are_kept(begin):
    service = await begin()
    samples = series(6)
    samples[1]["bandwidth_mbps"] = -3
    samples[2]["rtt_sec"] = 3
    samples[4]["loss_ratio"] = 7.5

    answer = (await post(service, SAMPLES, batch([*samples, samples[0], 5]))).json()

    assert (answer["received"], answer["accepted"], answer["rejected"]) == (8, 3, 5)
    told = [(one["row"], one["reason"], one["column"]) for one in answer["rejections"]]
    assert told == [
        (1, "out_of_range", "bandwidth_mbps"),
        (2, "unknown_column", "rtt_sec"),
        (4, "percent_not_ratio", "loss_ratio"),
        (6, "duplicate", "ts"),
        (7, "unreadable_line", ""),
    ]
    assert service.seen.total("novacron_stream_samples", "link", "accepted") == 3
    assert service.seen.total("novacron_stream_samples", "link", "out_of_range") == 1


async def test_only_a_batch_without_any_good_sample_is_refused_and_a_repeat_is_not(begin):
    service = await begin()
    (sample,) = series(1)

    refused = await post(service, SAMPLES, batch([sample | {"loss_ratio": 40}]))
    first = await post(service, SAMPLES, batch([sample]))
    again = await post(service, SAMPLES, batch([sample]))

    assert refused.status_code == 400
    error = refused.json()
    assert (error["code"], error["field"]) == ("OutOfRangeError", "samples[0].loss_ratio")
    assert "divide by 100" in error["remedy"]
    assert first.json()["accepted"] == 1
    assert (again.status_code, again.json()["reasons"]) == (200, {"duplicate": 1})


BAD = {
    "no object": ([1], 400, "body"),
    "unknown table": ({"table": "disk", "samples": [{}]}, 400, "table"),
    "no table": ({"samples": [{}]}, 400, "table"),
    "no samples": ({"table": "link", "samples": []}, 400, "samples"),
    "samples is no list": ({"table": "link", "samples": {}}, 400, "samples"),
    "unknown key": ({"table": "link", "samples": [{}], "unit": "kbit"}, 400, "unit"),
    "too many": ({"table": "link", "samples": [{}] * 51}, 413, "samples"),
    "empty sample": ({"table": "link", "samples": [{}]}, 400, "samples[0].ts"),
}


@pytest.mark.parametrize("case", BAD)
async def test_a_bad_batch_is_refused_with_the_field_at_fault(begin, case):
    service = await begin(streaming={"max_batch_rows": 50})
    body, status, field = BAD[case]

    reply = await post(service, SAMPLES, body)

    assert (reply.status_code, reply.json()["field"]) == (status, field)


async def test_batches_that_wait_are_written_together_and_each_hears_of_its_own(begin):
    service = await begin()
    store = service.memory.intake.store
    calls = []
    ingest = store.ingest

    def counting(table, lines, **more):
        calls.append(lines.count(b"\n"))
        return ingest(table, lines, **more)

    store.ingest = counting
    samples = series(60)
    for number in range(0, 60, 7):
        samples[number]["bandwidth_mbps"] = -1

    replies = await asyncio.gather(
        *(post(service, SAMPLES, batch([one, samples[0]])) for one in samples[1:])
    )

    for number, reply in enumerate(replies, start=1):
        if number % 7 == 0:
            assert reply.status_code == 400
        else:
            assert reply.json()["accepted"] == 1
            assert [one["row"] for one in reply.json()["rejections"]] == [1]
    assert len(calls) < 10
    assert sum(calls) == 2 * 59


async def test_more_samples_than_may_wait_are_told_to_come_back(begin):
    service = await begin(streaming={"max_waiting_rows": 2})
    samples = series(9)

    replies = await asyncio.gather(
        *(post(service, SAMPLES, batch([one])) for one in samples), return_exceptions=True
    )

    refused = [reply for reply in replies if reply.status_code == OverloadedError.http_status]
    assert refused
    assert all(reply.headers["retry-after"] for reply in refused)
    assert all(reply.status_code in (200, 429) for reply in replies)


async def test_an_unknown_link_and_a_stale_one_are_refused_and_others_answered(begin):
    service = await begin(streaming={"max_history_age_s": 100})
    fresh = series(30)
    stale = [one | {"link_id": "w-old"} for one in series(30, until_s=500)]
    await post(service, SAMPLES, batch([*stale, *fresh]))
    rows = [{"link_id": "nobody"}, {"link_id": "w-old"}, {"link_id": "w-1"}, {}]

    answer = (await post(service, BANDWIDTH, {"rows": rows})).json()
    alone = await post(service, BANDWIDTH, {"link_id": "nobody"})

    codes = [record.get("code") for record in answer["records"]]
    assert codes == ["NotFoundError", "OutOfRangeError", None, "SchemaError"]
    assert alone.status_code == 404
    assert SAMPLES in alone.json()["remedy"]


async def test_a_short_history_is_answered_and_flagged_as_a_cold_start(begin):
    service = await begin()
    await post(service, SAMPLES, batch(series(1)))

    record = (await post(service, BANDWIDTH, {"link_id": "w-1"})).json()

    assert record["history"]["samples"] == 1
    assert len(record["value_mbps"]) == record["horizon_steps"]
    cold = service.plane.host.get("bandwidth").model
    part = next(iter(cold.classes.values()))
    assert record["fallback"] == ("ewma_band" if part.mixture.cold_by_band else "")


async def test_a_grpc_caller_without_a_history_is_answered_by_the_samples_of_its_name(begin):
    service = await begin()
    await post(service, SAMPLES, batch(series(30)))
    routes = DomainRoutes(service.plane, histories=service.memory.histories)
    request = classes()["PredictBandwidthRequest"](vm_id="w-1")

    handler = AIService(routes).handlers()["PredictBandwidth"]
    reply = classes()["PredictBandwidthResponse"]()
    reply.ParseFromString(await handler(request.SerializeToString(), None))

    record = (await post(service, BANDWIDTH, {"link_id": "w-1"})).json()
    assert list(reply.predictions) == record["value_mbps"]


async def test_missing_metrics_hold_the_value_before(begin):
    service = await begin()
    samples = series(30)
    for number in (3, 4, 29):
        del samples[number]["rtt_ms"]
    await post(service, SAMPLES, batch(samples))
    held = [one.get("rtt_ms", 0.0) for one in samples]
    held[3] = held[4] = samples[2]["rtt_ms"]
    held[29] = samples[28]["rtt_ms"]

    by_name = (await post(service, BANDWIDTH, {"link_id": "w-1"})).json()
    mbps = [one["bandwidth_mbps"] for one in samples]
    by_history = await post(service, BANDWIDTH, {"bandwidth_mbps": mbps, "rtt_ms": held})

    assert by_name["value_mbps"] == by_history.json()["value_mbps"]


async def test_a_metric_of_a_node_is_judged_by_name(begin):
    service = await begin()
    quiet = np.random.default_rng(1).normal(0.4, 0.01, 120).clip(0.01, 0.99)
    quiet[-1] = 0.99
    samples = [
        {"ts": one["ts"], "node_id": "n-1", "cpu_ratio": float(x)}
        for one, x in zip(series(120), quiet, strict=True)
    ]
    await post(service, SAMPLES, batch(samples, "node"))

    by_name = await post(service, ANOMALY, {"entity_id": "n-1", "metric": "cpu_ratio"})
    by_value = await post(service, ANOMALY, {"value": quiet.tolist(), "step_s": STEP_S})
    unknown = await post(service, ANOMALY, {"entity_id": "n-1", "metric": "cpu_percent"})

    assert by_name.json()["score"] == by_value.json()["score"]
    assert by_name.json()["history"]["samples"] == 120
    assert (unknown.status_code, unknown.json()["field"]) == (400, "metric")


async def test_samples_that_cannot_be_kept_are_refused_and_health_says_so(begin, monkeypatch):
    service = await begin()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store_module.LogWriter, "append", full)
    reply = await post(service, SAMPLES, batch(series(3)))
    health = (await service.client.get("/v2/health/ready")).json()
    monkeypatch.undo()

    assert reply.status_code == 503
    assert "Nothing of this batch was kept" in reply.json()["remedy"]
    assert health == {"ready": True, "prediction_log": "ok", "samples": "failing"}
    assert (await post(service, SAMPLES, batch(series(3)))).json()["accepted"] == 3
    assert (await service.client.get("/v2/health/ready")).json()["samples"] == "ok"


async def test_without_a_folder_for_samples_the_rest_goes_on(begin, tmp_path):
    (tmp_path / "samples").write_text("a file in the way")
    service = await begin()

    refused = await post(service, SAMPLES, batch(series(3)))
    answered = await post(service, BANDWIDTH, {"bandwidth_mbps": [1, 2, 3]})

    assert refused.status_code == 503
    assert answered.status_code == 200


async def test_what_is_off_is_not_offered(begin):
    service = await begin(streaming={"is_enabled": False}, predictions={"is_enabled": False})

    assert (await post(service, SAMPLES, batch(series(1)))).status_code == 404
    assert (await post(service, ACTUALS, {})).status_code == 404
    assert (await post(service, BANDWIDTH, {"link_id": "w-1"})).status_code == 400
    record = (await post(service, BANDWIDTH, {"bandwidth_mbps": [1, 2, 3]})).json()
    assert len(record["prediction_id"]) == 32


async def test_status_and_metrics_tell_what_is_held(begin):
    service = await begin()
    await post(service, SAMPLES, batch(series(5)))
    await post(service, BANDWIDTH, {"link_id": "w-1"})
    await service.memory.intake.tick()

    held = (await service.client.get("/api/v1/samples/status")).json()
    assert held["tables"]["link"]["entities"] == 1
    assert held["lost"]["torn_rows"] == 0
    assert service.seen.values[("novacron_stream_entities", "link")] == [1]


async def test_the_openapi_document_describes_the_routes_and_their_answers_match(begin):
    service = await begin()
    document = (await service.client.get("/openapi.json")).json()
    page = (await service.client.get("/docs")).text

    for path in (SAMPLES, ACTUALS, "/api/v1/samples/status", "/api/v1/predictions/status"):
        assert path in document["paths"]
        assert path in page
    body = batch(series(3))
    described = document["paths"][SAMPLES]["post"]
    schema = described["requestBody"]["content"]["application/json"]["schema"]
    jsonschema.validate(body, schema)
    answer = (await post(service, SAMPLES, body)).json()
    jsonschema.validate(
        answer, described["responses"]["200"]["content"]["application/json"]["schema"]
    )
    assert json.dumps(document)
