import importlib
import sys
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import pytest

from novacron.contracts.protobuf import (
    PROTO_PATH,
    batch_class,
    encode_samples,
    message_class,
    render_proto,
    write_proto,
)
from novacron.contracts.telemetry import LINK_SCHEMA, NODE_SCHEMA, SCHEMAS, LinkSample, NodeSample

TS = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)


def test_regenerating_the_proto_file_changes_nothing(tmp_path):
    fresh = write_proto(tmp_path / "telemetry.proto").read_bytes()

    assert fresh == PROTO_PATH.read_bytes()


def test_every_column_of_the_tables_is_a_field_with_its_own_tag():
    for schema in SCHEMAS.values():
        fields = message_class(schema).DESCRIPTOR.fields

        assert {field.name: field.number for field in fields} == {f.name: f.tag for f in schema}


def test_a_zero_differs_from_a_missing_value():
    zero = LinkSample(ts=TS, link_id="a", bandwidth_mbps=0.0)

    sample = batch_class(LINK_SCHEMA).FromString(encode_samples([zero], LINK_SCHEMA)).samples[0]

    assert sample.HasField("bandwidth_mbps")
    assert not sample.HasField("rtt_ms")


def test_encoding_the_same_samples_twice_gives_the_same_bytes():
    node = NodeSample(ts=TS, node_id="n1", cpu_ratio=0.5, mem_ratio=0.25)

    assert encode_samples([node], NODE_SCHEMA) == encode_samples([node], NODE_SCHEMA)


@pytest.fixture
def compiled(tmp_path, monkeypatch):
    """The module that protoc makes of our file, in the process-wide pool."""
    from grpc_tools import protoc

    source = tmp_path / "compiled_telemetry.proto"
    source.write_text(render_proto())
    includes = str(Path(str(files("grpc_tools"))) / "_proto")
    code = protoc.main(
        ["", f"-I{tmp_path}", f"-I{includes}", f"--python_out={tmp_path}", str(source)]
    )
    assert code == 0
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("compiled_telemetry_pb2")
    sys.modules.pop("compiled_telemetry_pb2", None)


def test_bytes_go_both_ways_between_our_messages_and_the_compiled_file(compiled):
    samples = [
        LinkSample(ts=TS, link_id="a-b", bandwidth_mbps=12.5, retransmits=3, mode="internet"),
        LinkSample(ts=TS, link_id="b-a", bandwidth_mbps=0.0, loss_ratio=0.01),
    ]
    ours = encode_samples(samples, LINK_SCHEMA)

    theirs = compiled.LinkSampleBatch.FromString(ours)
    back = batch_class(LINK_SCHEMA).FromString(theirs.SerializeToString(deterministic=True))

    assert theirs.samples[0].ts.ToDatetime(tzinfo=UTC) == TS
    assert theirs.samples[1].loss_ratio == 0.01
    assert back.SerializeToString(deterministic=True) == ours


def test_the_compiled_file_and_our_messages_agree_on_names_tags_and_types(compiled):
    for schema in SCHEMAS.values():
        ours = message_class(schema).DESCRIPTOR.fields
        theirs = compiled.DESCRIPTOR.message_types_by_name[schema.name].fields

        assert [(f.name, f.number, f.type, f.has_presence) for f in ours] == [
            (f.name, f.number, f.type, f.has_presence) for f in theirs
        ]
