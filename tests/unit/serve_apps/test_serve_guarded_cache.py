"""Answers that are kept: which, for whom and for how long."""

import asyncio
import gc
import weakref

import pytest
from guarded_stage import KEEPS, URL, fail, stage
from serving_fakes import (
    POISON,
    GatedModel,
    MeanModel,
    StoodInModel,
    infer_document,
)

from serve_apps.settings.resilience import BreakerConfig, CacheConfig

pytestmark = pytest.mark.asyncio


def results(one):
    return {result: one.total("answer_cache_lookups", "mean", result)
            for result in ("hit", "miss", "joined")}  # fmt: skip


async def test_the_same_question_is_answered_once():
    model = MeanModel()
    one = await stage(model, cache=KEEPS)
    reached = len(model.calls)

    replies = [
        await one.client.post(URL, json=infer_document([[1, 3]], id=str(n))) for n in range(3)
    ]

    assert [reply.headers["x-novacron-cache"] for reply in replies] == ["miss", "hit", "hit"]
    assert len({reply.text.replace(f'"id":"{n}"', "") for n, reply in enumerate(replies)}) == 1
    assert [reply.json()["id"] for reply in replies] == ["0", "1", "2"]
    assert len(model.calls) == reached + 1
    assert results(one) == {"hit": 2, "miss": 1, "joined": 0}
    assert one.total("served_requests", "mean", "1", "200") == 3


async def test_same_questions_at_once_are_one_call():
    model = GatedModel()
    one = await stage(model, cache=KEEPS)
    asked = [
        asyncio.create_task(one.client.post(URL, json=infer_document([[1, 3]]))) for _ in range(5)
    ]
    while not model.entered.is_set():
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.02)
    reached = len(model.calls)
    model.gate.set()

    replies = await asyncio.gather(*asked)

    assert {reply.status_code for reply in replies} == {200}
    assert len(model.calls) == reached + 1
    assert results(one) == {"hit": 0, "miss": 1, "joined": 4}


async def test_those_who_wait_for_a_question_that_fails_ask_for_themselves():
    model = MeanModel()
    one = await stage(model, cache=KEEPS, breaker=BreakerConfig(failures=100))

    replies = await asyncio.gather(
        *(one.client.post(URL, json=infer_document([[POISON]])) for _ in range(4))
    )

    assert {reply.status_code for reply in replies} == {500}
    assert results(one)["hit"] == 0


async def test_no_answer_outlives_its_version():
    one = await stage(MeanModel(), cache=KEEPS)
    before = await one.client.post(URL, json=infer_document([[1, 3]]))
    one.store.versions["mean"]["2"] = MeanModel(factor=2.0)
    one.store.aliases["mean", "champion"] = "2"

    await one.host.refresh()
    after = await one.client.post(URL, json=infer_document([[1, 3]]))

    assert [r.json()["outputs"][0]["data"] for r in (before, after)] == [[2.0], [4.0]]
    assert after.headers["x-novacron-cache"] == "miss"


async def test_a_stand_ins_answer_is_not_kept():
    model = StoodInModel()
    one = await stage(model, cache=KEEPS)

    replies = await fail(one, 3)

    assert [reply.headers["x-novacron-fallback"] for reply in replies] == ["last_value"] * 3
    assert results(one)["hit"] == 0


@pytest.mark.parametrize(
    ("declared", "listed", "is_kept"),
    [("request", False, True), ("state", True, False), (None, False, False), (None, True, True)],
)
async def test_only_answers_that_depend_on_the_request_alone_are_kept(declared, listed, is_kept):
    model = MeanModel()
    if declared:
        model.depends_on = declared
    settings = CacheConfig(max_bytes=100_000, models=("mean",) if listed else ())
    one = await stage(model, cache=settings)

    replies = [await one.client.post(URL, json=infer_document([[1, 3]])) for _ in range(2)]

    found = [reply.headers.get("x-novacron-cache") for reply in replies]
    assert found == (["miss", "hit"] if is_kept else [None, None])


async def test_a_body_seen_before_is_not_read_again_and_says_the_same(infer_body):
    one = await stage(MeanModel(), cache=KEEPS)
    bodies = [
        infer_document([[1, 3]], outputs=[{"name": "mean_mbps"}]),
        infer_document([[1, 3]], outputs=[{"name": "fallback"}]),
        infer_document([[1, 3]], id="x"),
        infer_document([[1, 3], [5, 7]]),
    ]

    first = [(await one.client.post(URL, json=body)).json() for body in bodies]
    again = [(await one.client.post(URL, json=body)).json() for body in bodies]

    assert first == again
    assert results(one)["hit"] >= 4


async def test_a_model_that_writes_into_its_input_spoils_no_later_question():
    class Greedy(MeanModel):
        def prepare(self, tensors):
            found = super().prepare(tensors)
            tensors["x_mbps"][:] = 500.0
            return found

    one = await stage(
        Greedy(), cache=CacheConfig(max_bytes=100_000, ttl_s=0.001, models=("mean",))
    )

    replies = []
    for _ in range(3):
        replies.append((await one.client.post(URL, json=infer_document([[1, 3]]))).json())
        await asyncio.sleep(0.005)

    assert [reply["outputs"][0]["data"] for reply in replies] == [[2.0]] * 3
    assert results(one)["miss"] == 3


async def test_a_version_that_has_left_is_not_kept_in_memory():
    one = await stage(MeanModel(), cache=KEEPS)
    await one.client.post(URL, json=infer_document([[1, 3]]))
    left = weakref.ref(one.store.versions["mean"].pop("1"))
    one.store.versions["mean"]["2"] = MeanModel(factor=2.0)
    one.store.aliases["mean", "champion"] = "2"

    await one.host.refresh()
    await one.client.post(URL, json=infer_document([[1, 3]]))
    await asyncio.gather(*one.host._leaving)
    gc.collect()

    assert left() is None
