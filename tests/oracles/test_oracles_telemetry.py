import json
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_telemetry import slow_join, slow_validate

from novacron.contracts.telemetry import LINK_SCHEMA, NODE_SCHEMA
from novacron.telemetry.ingest import IngestConfig, ingest
from novacron.telemetry.join import JoinConfig
from novacron.telemetry.readers import ArrowSource, ReadConfig
from novacron.telemetry.validate import ValidationConfig

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LINK_COLUMNS = ("bandwidth_mbps", "rtt_ms", "loss_ratio", "retransmits", "streams", "mode")


def table_of(rows, columns, schema):
    types = {"timestamp": pa.timestamp("us", "UTC"), "string": pa.string()}
    fields = [(name, types.get(schema[name].kind, pa.float64())) for name in columns]
    return pa.Table.from_pylist(rows, schema=pa.schema(fields))


def often(good, *bad):
    """Mostly good values: a strategy that favours the first argument."""
    return st.one_of(good, good, good, good, st.sampled_from(bad))


def link_rows(columns):
    drawn = {
        "bandwidth_mbps": often(st.floats(0, 1e6), None, -1.0, float("nan"), 2e6),
        "rtt_ms": often(st.floats(0, 60_000), None, float("inf"), 1e5),
        "loss_ratio": often(st.floats(0, 1), None, 3.0, 100.0, 101.0),
        "retransmits": often(st.integers(0, 1000).map(float), None, 1.5, -1.0),
        "streams": often(st.integers(0, 4096).map(float), None, 5000.0),
        "mode": often(st.sampled_from(["hybrid", "internet"]), None, "turbo", ""),
    }
    seconds = often(st.integers(0, 240), -(10**9), 10**6)
    moment = seconds.map(lambda s: NOW - timedelta(minutes=10) + timedelta(seconds=s))
    return st.lists(
        st.fixed_dictionaries(
            {
                "ts": often(moment, None),
                "link_id": often(st.sampled_from(["a", "b", "c"]), "", None),
            }
            | {name: drawn[name] for name in columns}
        ),
        max_size=25,
    )


def nearly_sorted(rows):
    """Rows as a collector sends them: in order of time but for some."""
    keyed = enumerate(rows)
    far = datetime.max.replace(tzinfo=UTC)
    order = sorted(keyed, key=lambda item: ((item[1]["ts"] or far), item[0]))
    return [row for index, row in order[::2]] + [row for index, row in order[1::2]]


@st.composite
def cases(draw):
    n_sources = draw(st.integers(1, 3))
    sources = []
    for index in range(n_sources):
        chosen = draw(st.sets(st.sampled_from(LINK_COLUMNS), min_size=1))
        columns = [name for name in LINK_COLUMNS if name in chosen]
        if index == 0 and "bandwidth_mbps" not in columns:
            columns.insert(0, "bandwidth_mbps")
        rows = draw(link_rows(columns))
        arrange = draw(st.sampled_from([list, nearly_sorted, reversed]))
        sources.append((("ts", "link_id", *columns), list(arrange(rows))))
    join = JoinConfig(
        step_s=draw(st.sampled_from([1.0, 7.0, 60.0])),
        allowed_lateness_s=draw(st.sampled_from([0.0, 5.0, 60.0])),
        max_gap_steps=draw(st.sampled_from([0, 3, 1_000])),
    )
    validation = ValidationConfig(
        max_disorder_s=draw(st.sampled_from([0.0, 20.0, 300.0])),
        nan_means_missing=draw(st.booleans()),
        max_age_s=draw(st.sampled_from([None, 500.0])),
    )
    return sources, join, validation, draw(st.sampled_from([1, 3, 1_000]))


def run_fast(sources, schema, join, validation, batch_rows):
    read = ReadConfig(batch_rows=batch_rows)
    opened = [
        ArrowSource(str(i), table_of(rows, columns, schema), schema, read, partial=True)
        for i, (columns, rows) in enumerate(sources)
    ]
    config = IngestConfig(read=read, join=join, validation=validation)
    with tempfile.TemporaryDirectory() as folder:
        report = ingest(opened, schema, Path(folder), config, now=lambda: NOW)
        grid = pq.read_table(report.grid).to_pylist()
        lines = [json.loads(line) for line in report.quarantine.read_text().splitlines()]
    rejected = sorted((int(line["source"]), line["row"], line["reason"]) for line in lines)
    return grid, rejected, report


@given(cases())
@settings(max_examples=80, deadline=None)
def test_fast_ingestion_agrees_with_the_slow_one_for_any_sources_and_batch_length(case):
    sources, join, validation, batch_rows = case

    grid, rejected, report = run_fast(sources, LINK_SCHEMA, join, validation, batch_rows)

    expected, accepted = [], []
    for index, (columns, rows) in enumerate(sources):
        good, bad = slow_validate(rows, LINK_SCHEMA, columns, validation, NOW)
        if validation.nan_means_missing:
            good = [(number, without_nan(row)) for number, row in good]
        accepted.append((columns, good))
        expected += [(index, number, reason) for number, reason in bad]
    slow_grid, late = slow_join(accepted, LINK_SCHEMA, join)
    assert rejected == sorted(expected + late)
    assert grid == slow_grid
    assert report.rows_read == sum(len(rows) for _, rows in sources)
    assert report.rows_accepted == sum(row["n_samples"] for row in grid)
    assert report.rows_rejected == len(rejected)


def without_nan(row):
    return {name: None if value != value else value for name, value in row.items()}


@given(
    st.lists(
        st.tuples(
            st.integers(0, 300),
            st.sampled_from(["n1", "n2"]),
            st.floats(0, 4),
            st.one_of(st.none(), st.floats(0, 600_000)),
        ),
        min_size=1,
        max_size=30,
        unique_by=lambda item: item[:2],
    )
)
@settings(max_examples=40, deadline=None)
def test_node_percentiles_are_joined_by_their_maximum(samples):
    columns = ("ts", "node_id", "cpu_ratio", "latency_p99_ms")
    rows = [
        {"ts": NOW - timedelta(seconds=400 - s), "node_id": n, "cpu_ratio": c, "latency_p99_ms": p}
        for s, n, c, p in sorted(samples, key=lambda item: item[:2])
    ]
    join = JoinConfig(step_s=30)

    grid, rejected, _ = run_fast([(columns, rows)], NODE_SCHEMA, join, ValidationConfig(), 7)

    good, bad = slow_validate(rows, NODE_SCHEMA, columns, ValidationConfig(), NOW)
    assert (rejected, bad) == ([], [])
    assert grid == slow_join([(columns, good)], NODE_SCHEMA, join)[0]
