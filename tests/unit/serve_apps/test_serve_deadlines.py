"""Limits that depend on time and bytes: deadlines, byte caps, where a call is made."""

import asyncio
import threading
import time

import numpy as np
import pytest
from test_serve_batching import Doubler, ask, make, settle

from novacron.errors import DeadlineExceededError, OverloadedError
from serve_apps.batching import KNOWN_CALLS

pytestmark = pytest.mark.asyncio
URL = "/v2/models/mean/infer"


def ask_until(batcher, deadline_s, *values):
    return asyncio.create_task(
        batcher.submit({"x": np.array(values)}, len(values), deadline_s=deadline_s)
    )


async def test_a_request_whose_deadline_passes_in_the_queue_is_told_and_never_run():
    model = Doubler(gated=True)
    batcher = make(model)
    first = ask(batcher, 1.0)
    await model.until_entered()

    late = ask_until(batcher, time.monotonic() + 0.02, 2.0)
    with pytest.raises(DeadlineExceededError):
        await late
    last = ask(batcher, 3.0)
    await settle()
    assert batcher.queued_rows == 1
    model.gate.set()
    await asyncio.gather(first, last)

    assert model.calls == [[1.0], [3.0]]


async def test_a_deadline_that_has_passed_is_told_at_once():
    batcher = make(Doubler())

    with pytest.raises(DeadlineExceededError):
        await ask_until(batcher, time.monotonic() - 1.0, 1.0)


async def test_a_deadline_that_the_queue_cannot_meet_is_refused_at_once_with_the_excess():
    model = Doubler(gated=True)
    batcher = make(model, max_wait_s=100.0)
    for _ in range(20):
        batcher._cost.observe(1, 2.0)
    first = ask(batcher, 1.0)
    await model.until_entered()

    with pytest.raises(OverloadedError) as refused:
        await ask_until(batcher, time.monotonic() + 0.5, 2.0)
    model.gate.set()
    await first

    assert 1.0 < refused.value.retry_after_s < 1.6


async def test_an_answer_in_time_is_given():
    answer = await ask_until(make(Doubler()), time.monotonic() + 10.0, 2.0)

    assert answer.tensors["y"].tolist() == [4.0]


async def test_a_batch_is_cut_by_bytes_and_every_caller_gets_its_own_rows():
    model = Doubler(gated=True)
    batcher = make(model, max_batch_bytes=1024)
    first = ask(batcher, 0.0)
    await model.until_entered()
    rest = [ask(batcher, *np.arange(100.0) + i) for i in range(3)]
    await settle()
    model.gate.set()
    answers = await asyncio.gather(first, *rest)

    assert [len(call) for call in model.calls] == [1, 128, 128, 44]
    for i, answer in enumerate(answers[1:]):
        assert answer.tensors["y"].tolist() == (2 * (np.arange(100.0) + i)).tolist()


async def test_a_row_larger_than_the_cap_runs_alone():
    calls = []

    def predict(rows):
        calls.append(rows["x"].shape)
        return {"y": rows["x"].sum(axis=1)}

    batcher = make(predict, max_batch_bytes=1024)
    wide = np.ones((3, 1000))

    answer = await batcher.submit({"x": wide}, 3)

    assert calls == [(1, 1000)] * 3
    assert answer.tensors["y"].tolist() == [1000.0] * 3


async def test_the_queue_is_bounded_by_bytes_too():
    model = Doubler(gated=True)
    batcher = make(model, max_queued_bytes=1024)
    first = ask(batcher, 0.0)
    await model.until_entered()
    waiting = ask(batcher, *np.zeros(100))
    await settle()

    with pytest.raises(OverloadedError, match="bytes wait already"):
        await ask(batcher, *np.zeros(100))
    model.gate.set()
    await asyncio.gather(first, waiting)


@pytest.mark.parametrize(("inline_below_s", "inline"), [(0.01, True), (0.0, False)])
async def test_short_calls_are_made_on_the_loop_once_they_are_known(inline_below_s, inline):
    threads = []

    def predict(rows):
        threads.append(threading.current_thread())
        return {"y": rows["x"]}

    batcher = make(predict, inline_below_s=inline_below_s)

    for _ in range(KNOWN_CALLS + 1):
        await ask(batcher, 1.0)

    assert threads[0] is not threading.current_thread()
    assert (threads[-1] is threading.current_thread()) is inline


async def test_both_ways_to_give_a_timeout_reach_the_queue(make_service, gated_model, infer_body):
    service = make_service({"mean": gated_model}, ["mean"])
    gated_model.gate.set()
    await service.host.load()
    gated_model.gate.clear()
    gated_model.entered.clear()
    first = asyncio.create_task(service.client.post(URL, json=infer_body([[1, 3]])))
    assert await asyncio.to_thread(gated_model.entered.wait, 10)

    by_header, by_body = await asyncio.gather(
        service.client.post(URL, json=infer_body([[1, 3]]), headers={"X-Timeout-Ms": "20"}),
        service.client.post(URL, json=infer_body([[1, 3]], parameters={"timeout": 20_000})),
    )
    gated_model.gate.set()

    assert (await first).status_code == 200
    for reply in (by_header, by_body):
        assert reply.status_code == 504
        assert reply.json()["code"] == "DeadlineExceededError"
    assert service.metrics.total("novacron_served_requests", "mean", "1", "504") == 2


@pytest.mark.parametrize("given", ["soon", "-1", "0", "\u0661"])
async def test_a_timeout_that_is_none_gets_a_400(service, infer_body, given):
    headers = {"X-Timeout-Ms": given.encode()}

    reply = await service.client.post(URL, json=infer_body([[1, 3]]), headers=headers)

    assert reply.status_code == 400
    assert reply.json()["field"] == "X-Timeout-Ms"


@pytest.mark.parametrize("given", ["soon", -1, 1.5, True])
async def test_a_timeout_parameter_that_is_none_gets_a_400(service, infer_body, given):
    reply = await service.client.post(
        URL, json=infer_body([[1, 3]], parameters={"timeout": given})
    )

    assert reply.status_code == 400
    assert reply.json()["field"] == "parameters.timeout"
