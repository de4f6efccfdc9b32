import asyncio

import pytest
from serving_fakes import GatedModel, build_service

from novacron.monitoring.metric_names import ALL_METRICS
from serve_apps.metrics import MemoryMetrics, ServingMetrics

pytestmark = pytest.mark.asyncio
URL = "/v2/models/mean/infer"


async def test_answers_are_counted_by_rows_and_time(service, infer_body):
    await service.client.post(URL, json=infer_body([[1, 3], [5, 7]]))

    total = service.metrics.total
    assert total("novacron_served_requests", "mean", "1", "200") == 1
    assert total("novacron_served_rows", "mean", "1") == 2
    assert total("novacron_batch_rows", "mean") == 2
    assert len(service.metrics.values["novacron_served_latency_seconds", "mean", "1"]) == 1
    assert total("novacron_served_stage_seconds", "mean", "predict") > 0


async def test_refusals_are_counted_by_status_and_count_no_rows(service, infer_body):
    await service.client.post(URL, content=b"")
    await service.client.post(URL, json=infer_body([[13, 13]]))

    total = service.metrics.total
    assert total("novacron_served_requests", "mean", "1", "400") == 1
    assert total("novacron_served_requests", "mean", "1", "500") == 1
    assert total("novacron_served_rows", "mean", "1") == 0


async def test_bodies_refused_while_they_are_read_are_counted_too(service):
    headers = {"Content-Encoding": "br"}

    await service.client.post(URL, content=b"x", headers=headers)
    await service.client.post("/v2/models/invented/infer", content=b"x", headers=headers)

    total = service.metrics.total
    assert total("novacron_served_requests", "mean", "1", "400") == 1
    assert total("novacron_served_requests", "", "", "400") == 1


async def test_a_name_that_is_not_served_never_becomes_a_label(service):
    await service.client.post("/v2/models/invented/infer", content=b"{}")

    labels = {label for key in service.metrics.values for label in key}
    assert "invented" not in labels
    assert service.metrics.total("novacron_served_requests", "", "", "404") == 1


async def test_rows_answered_by_a_fallback_are_counted_by_its_name(service, infer_body):
    await service.client.post(URL, json=infer_body([[0, 0], [0, 0], [1, 1]]))

    total = service.metrics.total
    assert total("novacron_served_fallbacks", "mean", "1", "last_value") == 2


async def test_a_caller_that_left_is_counted_apart(infer_body):
    model = GatedModel()
    model.gate.set()
    service = build_service({"mean": model}, ["mean"])
    await service.host.load()
    model.gate.clear()
    model.entered.clear()
    leaving = asyncio.create_task(service.client.post(URL, json=infer_body([[1]])))
    assert await asyncio.to_thread(model.entered.wait, 10)

    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    model.gate.set()
    await service.host.drain()

    assert service.metrics.total("novacron_served_requests", "mean", "1", "499") == 1


async def test_every_series_of_the_endpoint_is_in_the_one_list():
    created = []

    class Library(MemoryMetrics):
        def _create(self, name, **arguments):
            created.append(name)
            return super()._create(name, **arguments)

    ServingMetrics(Library())

    assert set(created) == {s.name for s in ALL_METRICS if "_served_" in s.name} | {
        "novacron_batch_rows"
    }


async def count_some(flush_s):
    metrics = MemoryMetrics()
    serving = ServingMetrics(metrics, flush_s)
    for _ in range(3):
        serving.count_request("mean", "1", 200)
    serving.count_request("mean", "1", 404)
    return metrics, serving


@pytest.mark.asyncio
async def test_counters_are_added_up_and_handed_over_once_in_a_while():
    metrics, _ = await count_some(0.01)

    before = dict(metrics.values)
    await asyncio.sleep(0.1)

    assert before == {}
    assert metrics.values["novacron_served_requests", "mean", "1", "200"] == [3.0]
    assert metrics.values["novacron_served_requests", "mean", "1", "404"] == [1.0]


@pytest.mark.asyncio
async def test_what_was_added_up_is_handed_over_at_the_end_and_not_twice():
    metrics, serving = await count_some(0.02)

    serving.flush()
    await asyncio.sleep(0.1)

    assert metrics.total("novacron_served_requests", "mean", "1", "200") == 3
