"""The telemetry tables: one place, read by everything, documented by themselves."""

import dataclasses
from datetime import UTC, datetime
from pathlib import Path

import pytest

from novacron.contracts.fields import FieldSpec, schema_of
from novacron.contracts.reference import render_tables
from novacron.contracts.telemetry import LINK_SCHEMA, NODE_SCHEMA, SCHEMAS, LinkSample, NodeSample

TABLES = pytest.mark.parametrize("schema", SCHEMAS.values(), ids=lambda schema: schema.name)


@TABLES
def test_every_metric_has_finite_bounds_and_a_unit(schema):
    for field in schema.metrics:
        assert field.low is not None
        assert field.high is not None
        assert field.low < field.high
        assert field.unit


@TABLES
def test_no_column_is_a_percentage(schema):
    assert not [name for name in schema.names if "pct" in name or "percent" in name]


@TABLES
def test_a_ratio_of_parts_cannot_exceed_one_unless_the_table_says_why(schema):
    exceptions = {"cpu_ratio", "hde_ratio", "pba_abs_err_ratio"}
    ratios = [field for field in schema.metrics if field.name.endswith("_ratio")]

    assert all(field.high == 1 for field in ratios if field.name not in exceptions)


@TABLES
def test_wire_numbers_are_distinct(schema):
    tags = [field.tag for field in schema]

    assert len(set(tags)) == len(tags)


@TABLES
def test_the_entity_and_the_time_are_required(schema):
    assert {"ts", schema.entity} <= set(schema.required)


def test_a_sample_is_frozen_and_has_the_columns_of_its_table():
    link = LinkSample(ts=datetime(2026, 1, 1, tzinfo=UTC), link_id="a-b", bandwidth_mbps=10.0)

    with pytest.raises(dataclasses.FrozenInstanceError):
        link.rtt_ms = 3.0
    assert tuple(field.name for field in dataclasses.fields(LinkSample)) == LINK_SCHEMA.names
    assert tuple(field.name for field in dataclasses.fields(NodeSample)) == NODE_SCHEMA.names


def test_optional_columns_keep_the_kind_of_their_annotation():
    assert LINK_SCHEMA["retransmits"].kind == "int"
    assert LINK_SCHEMA["rtt_ms"].kind == "float"
    assert LINK_SCHEMA["mode"].kind == "string"
    assert LINK_SCHEMA["ts"].kind == "timestamp"


def test_a_column_without_a_spec_is_refused():
    @dataclasses.dataclass
    class Unspecified:
        ts: int

    with pytest.raises(TypeError, match=r"Unspecified\.ts"):
        schema_of(Unspecified, name="Unspecified", entity="ts")


def test_the_expectation_names_range_and_unit():
    spec = FieldSpec(tag=1, unit="ms", aggregate="mean", low=0, high=10, doc="")

    assert spec.expected == "a finite number in [0, 10] ms"


def test_the_documented_tables_are_the_ones_the_code_uses():
    page = Path(__file__).parents[3] / "docs" / "telemetry-tables.md"

    assert page.read_text() == render_tables(SCHEMAS.values())
