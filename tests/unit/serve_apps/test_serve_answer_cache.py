"""Answers kept: what makes two questions one, who goes first, and that nothing grows."""

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from novacron.errors import UnreadableInputError
from serve_apps.messages import InferAnswer, InferRequest
from serve_apps.oip_binary import OipHttp
from serve_apps.resilience.answer_cache import ENTRY_BYTES, AnswerCache, digest_of, key_of
from serve_apps.resilience.decode_memo import ENTRY_BYTES as MEMO_BYTES
from serve_apps.resilience.decode_memo import DecodeMemo


def ask(outputs=(), **tensors):
    return InferRequest(tensors=tensors, outputs=outputs)


BASE = {"x": np.array([[1.0, 2.0]]), "name": np.array(["ab", "c"], dtype=object)}


@pytest.mark.parametrize(
    "other",
    [
        {**BASE, "x": np.array([[1.0, 2.5]])},
        {**BASE, "x": np.array([[1.0], [2.0]])},
        {**BASE, "x": np.array([[1.0, 2.0]], dtype=np.float32)},
        {**BASE, "x": np.array([[1.0, 2.0]]).view(np.int64)},
        {**BASE, "name": np.array(["a", "bc"], dtype=object)},
        {"y": BASE["x"], "name": BASE["name"]},
        {"x": BASE["x"]},
        {**BASE, "z": np.array([0.0])},
    ],
)
def test_a_question_that_differs_anywhere_is_another(other):
    assert key_of("m", "1", ask(**BASE)) != key_of("m", "1", ask(**other))


def test_model_version_and_outputs_are_part_of_the_question():
    keys = {
        key_of("m", "1", ask(**BASE)),
        key_of("m", "2", ask(**BASE)),
        key_of("n", "1", ask(**BASE)),
        key_of("m", "1", ask(outputs=("y",), **BASE)),
        key_of("m", "1", ask(outputs=("y", "z"), **BASE)),
    }

    assert len(keys) == 5


def test_order_of_inputs_layout_id_and_parameters_are_not():
    wide = np.asfortranarray(np.array([[1.0, 2.0], [3.0, 4.0]]))
    one = InferRequest(tensors={"x": wide, "y": np.array([1.0])})
    other = InferRequest(
        tensors={"y": np.array([1.0]), "x": np.ascontiguousarray(wide)},
        request_id="7",
        parameters={"timeout": 5},
    )

    assert key_of("m", "1", one) == key_of("m", "1", other)


@given(st.lists(st.text(max_size=4), min_size=1, max_size=4),
       st.lists(st.text(max_size=4), min_size=1, max_size=4))  # fmt: skip
def test_texts_are_told_apart_wherever_they_are_cut(left, right):
    keys = [
        key_of("m", "1", ask(t=np.array(texts, dtype=object).reshape(1, -1)))
        for texts in (left, right)
    ]

    assert (keys[0] == keys[1]) == (left == right)


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


def kept(cache, number, rows=1):
    key = ("m", "1", str(number).encode())
    cache.keep(key, {"y": np.full(rows, float(number))}, rows, {})
    return key


ONE = ENTRY_BYTES + 8


def test_the_least_recently_used_goes_first():
    evicted = []
    cache = AnswerCache(3 * ONE, 60, Clock(), evicted.append)
    first, second, third = (kept(cache, number) for number in range(3))
    cache.find(first)

    fourth = kept(cache, 3)

    assert cache.find(second) is None
    assert all(cache.find(key) for key in (first, third, fourth))
    assert sum(evicted) == 1


def test_an_old_answer_is_not_given_again():
    clock = Clock()
    cache = AnswerCache(10 * ONE, 60, clock)
    key = kept(cache, 1)
    clock.now_s = 59.9
    assert cache.find(key)

    clock.now_s = 60.0

    assert cache.find(key) is None
    assert (len(cache), cache.n_bytes) == (0, 0)


def test_an_answer_larger_than_the_table_is_not_kept_and_drops_nobody():
    cache = AnswerCache(2 * ONE, 60, Clock())
    key = kept(cache, 1)

    assert cache.find(kept(cache, 2, rows=1000)) is None
    assert cache.find(key)


def test_what_is_kept_is_its_own_and_cannot_be_written():
    cache = AnswerCache(10 * ONE, 60, Clock())
    batch = np.arange(1000.0)
    cache.keep(("m", "1", b"k"), {"y": batch[3:4]}, 1, {})
    batch[3] = -1

    found = cache.find(("m", "1", b"k")).tensors["y"]

    assert found.tolist() == [3.0]
    assert found.base is None
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 5


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(1, 40)), max_size=60))
def test_it_never_holds_more_than_it_may(steps):
    cache = AnswerCache(3000, 60, Clock())
    for number, rows in steps:
        kept(cache, number, rows)

        held = [cache._kept[key].n_bytes for key in cache._kept]
        assert cache.n_bytes == sum(held) <= 3000


def body_of(number):
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1.0, float(number)]}
    return orjson.dumps({"inputs": [tensor], "id": str(number)})


def test_bodies_remembered_are_bounded_and_read_only():
    memo = DecodeMemo(5 * (MEMO_BYTES + 2 * len(body_of(10))))

    for number in [*range(10, 30), 29]:
        request = memo.decode(OipHttp(), body_of(number))
        assert request.request_id == str(number)
        assert request.digest == digest_of(request)
        assert len(memo._read) <= 5

    with pytest.raises(ValueError, match="read-only"):
        request.tensors["x"][0, 0] = 5


def test_the_same_bytes_under_another_header_are_another_body():
    tensor = {"name": "x", "shape": [1], "datatype": "FP64", "data": [1.0]}
    body = orjson.dumps({"inputs": [tensor]})
    memo = DecodeMemo(10**6)
    memo.decode(OipHttp(), body)

    with pytest.raises(UnreadableInputError):
        memo.decode(OipHttp(len(body) - 1), body)


def test_how_outputs_are_wanted_is_remembered_with_the_body():
    memo = DecodeMemo(10**6)
    document = {
        "inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [1.0]}],
        "parameters": {"binary_data_output": True},
    }
    codecs = [OipHttp(), OipHttp()]
    for codec in codecs:
        memo.decode(codec, orjson.dumps(document))

    answer = InferAnswer(model_name="m", model_version="1", tensors={"y": np.ones(1)})
    assert codecs[0].encode(answer) == codecs[1].encode(answer)
    assert codecs[1].answer_headers["content-type"] == "application/octet-stream"
