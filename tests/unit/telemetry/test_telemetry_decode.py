import json
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from novacron.contracts.protobuf import encode_samples, message_class
from novacron.contracts.telemetry import LINK_SCHEMA, NODE_SCHEMA, LinkSample, NodeSample
from novacron.errors import (
    InvalidInputError,
    PayloadTooLargeError,
    SchemaError,
    UnreadableInputError,
)
from novacron.telemetry.arrow import arrow_schema, batch_from_samples
from novacron.telemetry.decode import decode_batch, decode_sample

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
LINK = LinkSample(ts=T0, link_id="a", bandwidth_mbps=0.0, rtt_ms=5.0, streams=4, mode="hybrid")

SAMPLES = st.builds(
    LinkSample,
    ts=st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)),  # noqa: DTZ001
    link_id=st.text(st.characters(codec="utf-8"), min_size=1),
    bandwidth_mbps=st.floats(allow_nan=False, allow_infinity=False),
    rtt_ms=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    retransmits=st.none() | st.integers(-(2**63), 2**63 - 1),
    mode=st.none() | st.text(st.characters(codec="utf-8")),
)


def as_json(sample):
    fields = {name: getattr(sample, name) for name in LINK_SCHEMA.names}
    return fields | {"ts": sample.ts.isoformat()}


@given(samples=st.lists(SAMPLES, max_size=5))
@settings(max_examples=50, deadline=None)
def test_a_batch_comes_back_from_protobuf_and_from_json(samples):
    packed = encode_samples(samples, LINK_SCHEMA)
    text = json.dumps({"samples": [as_json(sample) for sample in samples]}).encode()

    assert decode_batch(packed, LINK_SCHEMA, PROTOBUF) == tuple(samples)
    assert decode_batch(text, LINK_SCHEMA, JSON) == tuple(samples)


def test_one_sample_comes_back_from_either_content_type():
    message = message_class(LINK_SCHEMA)()
    message.ts.FromDatetime(T0)
    message.link_id, message.bandwidth_mbps, message.rtt_ms = "a", 0.0, 5.0
    message.streams, message.mode = 4, "hybrid"

    assert decode_sample(message.SerializeToString(), LINK_SCHEMA, PROTOBUF) == LINK
    assert decode_sample(json.dumps(as_json(LINK)).encode(), LINK_SCHEMA, JSON) == LINK


def test_a_json_array_is_a_batch():
    assert decode_batch(json.dumps([as_json(LINK)]).encode(), LINK_SCHEMA, JSON) == (LINK,)


@given(cut=st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_a_truncated_batch_is_unreadable(cut):
    packed = encode_samples([LINK], LINK_SCHEMA)
    text = json.dumps([as_json(LINK)]).encode()

    with pytest.raises(UnreadableInputError):
        decode_batch(packed[:-cut], LINK_SCHEMA, PROTOBUF)
    with pytest.raises(UnreadableInputError):
        decode_batch(text[:-cut], LINK_SCHEMA, JSON)


@given(data=st.binary(max_size=60), content_type=st.sampled_from([PROTOBUF, JSON]))
@settings(max_examples=100, deadline=None)
def test_arbitrary_bytes_raise_only_our_errors(data, content_type):
    for decode in (decode_sample, decode_batch):
        with suppress(InvalidInputError):
            decode(data, LINK_SCHEMA, content_type)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2),
)


@given(row=st.dictionaries(st.sampled_from(LINK_SCHEMA.names), JSON_VALUES))
@settings(max_examples=100, deadline=None)
def test_any_json_object_gives_a_sample_or_our_error(row):
    try:
        sample = decode_sample(json.dumps(row).encode(), LINK_SCHEMA, JSON)
    except InvalidInputError:
        return

    assert isinstance(sample.bandwidth_mbps, float)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"bandwidth_mbps": None}, "sample.bandwidth_mbps"),
        ({"bandwidth_mbps": "1"}, "sample.bandwidth_mbps"),
        ({"bandwidth_mbps": True}, "sample.bandwidth_mbps"),
        ({"ts": "2026-03-01T12:00:00"}, "sample.ts"),
        ({"ts": 1767225600}, "sample.ts"),
        ({"streams": 1.5}, "sample.streams"),
        ({"rtt": 1.0}, "rtt"),
    ],
)
def test_a_json_field_that_is_missing_mistyped_or_unknown_is_named(change, field):
    data = json.dumps(as_json(LINK) | change).encode()

    with pytest.raises(SchemaError) as caught:
        decode_sample(data, LINK_SCHEMA, JSON)

    assert caught.value.field == field


def test_a_bad_sample_of_a_batch_is_named_by_its_place():
    data = json.dumps([as_json(LINK), {}]).encode()

    with pytest.raises(SchemaError, match=r"samples\[1\]\.ts"):
        decode_batch(data, LINK_SCHEMA, JSON)


def test_bytes_of_another_message_are_not_taken_for_an_empty_batch():
    packed = encode_samples([], LINK_SCHEMA)

    assert decode_batch(packed, LINK_SCHEMA, PROTOBUF) == ()
    with pytest.raises(UnreadableInputError, match="unknown fields"):
        decode_batch(b"\x7a\x01x", LINK_SCHEMA, PROTOBUF)


def test_a_field_added_by_a_newer_sender_is_passed_over():
    packed = encode_samples([LINK], LINK_SCHEMA) + b"\x7a\x01x"

    assert decode_batch(packed, LINK_SCHEMA, PROTOBUF) == (LINK,)


def test_more_bytes_than_allowed_are_refused_before_parsing():
    with pytest.raises(PayloadTooLargeError, match="at most 10 bytes"):
        decode_batch(b"[" * 11, LINK_SCHEMA, JSON, max_bytes=10)


def test_samples_become_an_arrow_batch_in_stored_types():
    node = NodeSample(ts=T0, node_id="n", cpu_ratio=0.5)

    batch = batch_from_samples([node], NODE_SCHEMA)

    assert batch.schema == arrow_schema(NODE_SCHEMA)
    assert batch.to_pylist()[0]["cpu_ratio"] == 0.5
