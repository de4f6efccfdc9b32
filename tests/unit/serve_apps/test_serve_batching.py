import asyncio
import threading

import numpy as np
import pytest

from novacron.errors import NotReadyError, NovacronError, OverloadedError
from serve_apps.batching import Batcher
from serve_apps.config import BatchingConfig
from serve_apps.cost import CostModel

pytestmark = pytest.mark.asyncio
POISON = -1.0


class Doubler:
    """A model call whose moment of return the test decides."""

    def __init__(self, *, gated=False):
        self.calls = []
        self.entered = threading.Event()
        self.gate = threading.Event()
        if not gated:
            self.gate.set()

    def __call__(self, rows):
        self.entered.set()
        assert self.gate.wait(10)
        self.calls.append(rows["x"].tolist())
        if POISON in rows["x"]:
            raise ValueError("poison")
        return {"y": rows["x"] * 2}

    async def until_entered(self):
        assert await asyncio.to_thread(self.entered.wait, 10)


def make(predict, **settings):
    clock = settings.pop("clock", None)
    extra = {"clock": clock} if clock else {}
    return Batcher(predict, BatchingConfig(**settings), name="doubler", **extra)


def ask(batcher, *values):
    return asyncio.create_task(batcher.submit({"x": np.array(values)}, len(values)))


async def settle():
    """Let every task that can run reach its next wait."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_lone_request_runs_alone_at_once():
    model = Doubler()
    batcher = make(model)

    answer = await ask(batcher, 1.0, 2.0)

    assert answer.tensors["y"].tolist() == [2.0, 4.0]
    assert model.calls == [[1.0, 2.0]]


async def test_what_waits_while_the_model_is_busy_joins_the_next_call():
    model = Doubler(gated=True)
    batcher = make(model)
    first = ask(batcher, 0.0)
    await model.until_entered()

    others = [ask(batcher, float(i)) for i in range(1, 6)]
    await settle()
    model.gate.set()
    await asyncio.gather(first, *others)

    assert model.calls == [[0.0], [1.0, 2.0, 3.0, 4.0, 5.0]]


async def test_a_call_never_has_more_rows_than_the_limit():
    model = Doubler(gated=True)
    batcher = make(model, max_batch_rows=4)
    first = ask(batcher, 0.0)
    await model.until_entered()

    others = [ask(batcher, float(i), i + 0.5) for i in range(1, 6)]
    await settle()
    model.gate.set()
    await asyncio.gather(first, *others)

    assert [len(call) for call in model.calls] == [1, 4, 4, 2]


async def test_a_request_beyond_the_limit_is_split_and_put_together_in_order():
    model = Doubler()
    batcher = make(model, max_batch_rows=4)
    values = [float(i) for i in range(11)]

    answer = await ask(batcher, *values)

    assert answer.tensors["y"].tolist() == [2 * value for value in values]
    assert [len(call) for call in model.calls] == [4, 4, 3]


async def test_under_concurrency_every_caller_gets_its_own_rows():
    batcher = make(Doubler(), max_batch_rows=7)
    rng = np.random.default_rng(0)
    requests = [rng.uniform(0, 1e6, size=int(rng.integers(1, 20))) for _ in range(200)]

    answers = await asyncio.gather(*(ask(batcher, *values) for values in requests))

    for values, answer in zip(requests, answers, strict=True):
        np.testing.assert_array_equal(answer.tensors["y"], 2 * values)


async def test_one_bad_request_in_a_batch_fails_only_that_request():
    model = Doubler(gated=True)
    batcher = make(model)
    first = ask(batcher, 0.0)
    await model.until_entered()

    good, bad, other = ask(batcher, 1.0), ask(batcher, POISON), ask(batcher, 2.0)
    await settle()
    model.gate.set()
    outcomes = await asyncio.gather(first, good, bad, other, return_exceptions=True)

    assert isinstance(outcomes[2], ValueError)
    assert [outcomes[i].tensors["y"].tolist() for i in (0, 1, 3)] == [[0.0], [2.0], [4.0]]


async def test_rows_that_cannot_be_joined_are_answered_one_request_at_a_time():
    model = Doubler(gated=True)
    batcher = make(model)
    first = ask(batcher, 0.0)
    await model.until_entered()

    flat = ask(batcher, 1.0)
    wide = asyncio.create_task(batcher.submit({"x": np.ones((2, 3))}, 2))
    await settle()
    model.gate.set()
    answers = await asyncio.gather(first, flat, wide)

    assert answers[2].tensors["y"].shape == (2, 3)


async def test_a_failing_part_of_a_split_request_fails_it_once_and_frees_the_queue():
    batcher = make(Doubler(), max_batch_rows=2)

    with pytest.raises(ValueError, match="poison"):
        await ask(batcher, POISON, 1.0, 2.0, 3.0, 4.0)

    assert batcher.queued_rows == 0
    assert (await ask(batcher, 1.0)).tensors["y"].tolist() == [2.0]


async def test_a_caller_that_leaves_takes_its_rows_out_of_the_queue():
    model = Doubler(gated=True)
    batcher = make(model)
    first = ask(batcher, 0.0)
    await model.until_entered()
    leaving, staying = ask(batcher, 1.0, 1.5), ask(batcher, 2.0)
    await settle()

    leaving.cancel()
    await settle()
    waiting_rows = batcher.queued_rows
    model.gate.set()
    await asyncio.gather(first, staying)

    assert waiting_rows == 1
    assert model.calls == [[0.0], [2.0]]


async def test_a_caller_that_leaves_during_the_call_disturbs_nobody_in_it():
    model = Doubler(gated=True)
    batcher = make(model)
    first = ask(batcher, 0.0)
    await model.until_entered()
    model.entered.clear()
    leaving, staying = ask(batcher, 1.0), ask(batcher, 2.0)
    await settle()

    first.cancel()
    model.gate.set()
    leaving_done = await leaving
    answer = await staying

    assert first.cancelled()
    assert leaving_done.tensors["y"].tolist() == [2.0]
    assert answer.tensors["y"].tolist() == [4.0]


async def test_a_full_queue_refuses_and_says_when_to_retry():
    model = Doubler(gated=True)
    batcher = make(model, max_queued_rows=3)
    first = ask(batcher, 0.0)
    await model.until_entered()
    waiting = [ask(batcher, float(i)) for i in range(3)]
    await settle()

    with pytest.raises(OverloadedError) as caught:
        await ask(batcher, 9.0)

    model.gate.set()
    await asyncio.gather(first, *waiting)
    assert caught.value.retry_after_s > 0


async def test_a_request_is_refused_when_the_predicted_wait_is_too_long():
    now_s = [0.0]
    model = Doubler()

    def slow(rows):
        now_s[0] += 4.0
        return model(rows)

    batcher = make(slow, max_wait_s=3.0, clock=lambda: now_s[0])
    await ask(batcher, 0.0)
    model.gate.clear()
    model.entered.clear()
    running = ask(batcher, 1.0)
    await model.until_entered()

    with pytest.raises(OverloadedError) as caught:
        await ask(batcher, 2.0)

    model.gate.set()
    await running
    assert caught.value.retry_after_s == pytest.approx(1.0)


async def test_an_idle_model_takes_a_request_of_any_size():
    batcher = make(Doubler(), max_batch_rows=2, max_queued_rows=4)

    answer = await ask(batcher, *(float(i) for i in range(9)))

    assert len(answer.tensors["y"]) == 9


async def test_draining_answers_those_that_wait_and_refuses_those_that_come():
    model = Doubler(gated=True)
    batcher = make(model)
    first = ask(batcher, 0.0)
    await model.until_entered()
    waiting = ask(batcher, 1.0)
    await settle()

    draining = asyncio.create_task(batcher.drain())
    await settle()
    with pytest.raises(NotReadyError):
        await ask(batcher, 2.0)
    model.gate.set()
    await draining

    assert first.done()
    assert waiting.result().tensors["y"].tolist() == [2.0]


async def test_a_model_that_answers_another_number_of_rows_is_an_error_not_a_mix_up():
    batcher = make(lambda rows: {"y": rows["x"][:1]})

    with pytest.raises(NovacronError, match="'y': 1"):
        await ask(batcher, 1.0, 2.0)


@pytest.mark.parametrize("answer", [{}, None, {"y": 3.0}])
async def test_a_model_that_answers_nothing_usable_is_an_error_not_a_hang(answer):
    batcher = make(lambda rows: answer)

    with pytest.raises((NovacronError, TypeError)):
        await ask(batcher, 1.0, 2.0)


async def test_a_model_that_changes_its_outputs_between_calls_is_an_error_not_a_hang():
    names = iter("yz")
    batcher = make(lambda rows: {next(names): rows["x"]}, max_batch_rows=1)

    with pytest.raises(KeyError):
        await ask(batcher, 1.0, 2.0)


async def test_with_a_delay_a_batch_that_fills_up_does_not_wait_for_it():
    model = Doubler()
    batcher = make(model, max_delay_s=1.0, max_batch_rows=2)

    await asyncio.gather(ask(batcher, 1.0), ask(batcher, 2.0))

    assert model.calls == [[1.0, 2.0]]


async def test_with_a_delay_a_lone_request_is_answered_after_it():
    batcher = make(Doubler(), max_delay_s=0.01, max_batch_rows=8)

    answer = await ask(batcher, 1.0)

    assert answer.tensors["y"].tolist() == [2.0]


async def test_the_time_of_a_request_is_split_into_queue_and_prediction():
    now_s = [0.0]

    def predict(rows):
        now_s[0] += 3.0
        return {"y": rows["x"]}

    batcher = make(predict, clock=lambda: now_s[0], max_batch_rows=1)

    answer = await ask(batcher, 1.0, 2.0)

    assert answer.queue_s == 0.0
    assert answer.predict_s == 6.0


async def test_cost_is_a_line_through_recent_calls():
    cost = CostModel()
    for _ in range(20):
        for n_rows in (1, 10, 100):
            cost.observe(n_rows, 0.5 + 0.01 * n_rows)

    assert cost.predict_s(50) == pytest.approx(1.0)
    assert cost.predict_s(0) >= 0


async def test_cost_of_an_unseen_model_is_zero_and_never_negative():
    cost = CostModel()
    before = cost.predict_s(10)
    cost.observe(100, 0.001)
    cost.observe(1, 1.0)

    assert before == 0.0
    assert cost.predict_s(1000) >= 0


async def test_rows_whose_caller_has_just_left_are_not_taken():
    asked, calls = [], []

    def predict(rows):
        calls.append(len(rows["x"]))
        raise RuntimeError("dead")

    batcher = Batcher(predict, BatchingConfig(max_batch_rows=1), name="m")

    async def first():
        # Hearing of its failure, it makes all the others leave.
        with pytest.raises(RuntimeError):
            await batcher.submit({"x": np.ones(1)}, 1)
        for task in asked[1:]:
            task.cancel()

    asked.append(asyncio.create_task(first()))
    asked.extend(asyncio.create_task(batcher.submit({"x": np.ones(1)}, 1)) for _ in range(5))
    await asyncio.gather(*asked, return_exceptions=True)
    await batcher.drain()

    assert calls == [1]
