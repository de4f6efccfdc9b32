from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from novacron.contracts.telemetry import LINK_SCHEMA
from novacron.telemetry.blocks import Vocabularies
from novacron.telemetry.join import JoinConfig, Joiner, joined_schema
from novacron.telemetry.readers import ArrowSource, ReadConfig
from novacron.telemetry.validate import ValidationConfig, Validator

T0 = datetime(2026, 3, 1, tzinfo=UTC)


def blocks_of(name, rows, vocabularies, *, batch_rows=1_000):
    """Accepted blocks of rows given as (seconds, link, metrics)."""
    flat = [{"ts": T0 + timedelta(seconds=s), "link_id": link} | rest for s, link, rest in rows]
    columns = dict.fromkeys(key for row in flat for key in row)
    types = {"ts": pa.timestamp("us", "UTC"), "link_id": pa.string(), "mode": pa.string()}
    schema = pa.schema([(key, types.get(key, pa.float64())) for key in columns])
    source = ArrowSource(
        name,
        pa.Table.from_pylist(flat, schema=schema),
        LINK_SCHEMA,
        ReadConfig(batch_rows=batch_rows),
        partial=True,
    )
    config = ValidationConfig(max_disorder_s=86_400)
    validator = Validator(
        LINK_SCHEMA, config, now=lambda: T0 + timedelta(days=99), vocabularies=vocabularies
    )
    return source, [validator.check(block).accepted for block in source.blocks()]


def join(*sources, batch_rows=1_000, **config):
    vocabularies = Vocabularies()
    joiner = Joiner(LINK_SCHEMA, JoinConfig(**config), vocabularies)
    queues = {}
    for index, rows in enumerate(sources):
        source, blocks = blocks_of(f"s{index}", rows, vocabularies, batch_rows=batch_rows)
        code = vocabularies.sources.code(source.name)
        joiner.open(code, source.columns, source.first_ts_us())
        queues[code] = blocks
    rows, rejected = [], []
    while (code := joiner.next_source()) is not None:
        if queues[code]:
            rejected += joiner.add(code, queues[code].pop(0))
        else:
            joiner.close(code)
        for joined in joiner.drain():
            rows += joined.batch.to_pylist()
            rejected += joined.rejected
    return rows, rejected, joiner


def at(seconds):
    return T0 + timedelta(seconds=seconds)


def bw(value, **more):
    return {"bandwidth_mbps": float(value)} | more


def test_a_step_holds_the_samples_up_to_and_including_its_end():
    rows, _, _ = join([(0, "a", bw(1)), (1, "a", bw(2)), (60, "a", bw(4)), (61, "a", bw(9))])

    assert [(row["ts"], row["bandwidth_mbps"], row["n_samples"]) for row in rows] == [
        (at(0), 1.0, 1), (at(60), 3.0, 2), (at(120), 9.0, 1)
    ]  # fmt: skip


def test_no_step_tells_of_a_sample_after_its_own_timestamp():
    past = [(s, "a", bw(s)) for s in range(0, 300, 7)]
    before, _, _ = join(past)

    after, _, _ = join([*past, (301, "a", bw(1e5)), (330, "a", bw(1e5))])

    assert [row for row in after if row["ts"] <= at(300)] == before


def test_each_column_is_combined_as_the_table_says():
    rows, _, _ = join(
        [
            (1, "a", bw(2, retransmits=3.0, streams=8.0, mode="hybrid")),
            (2, "a", bw(4, retransmits=4.0, streams=6.0, mode="internet")),
        ]
    )

    assert (rows[0]["bandwidth_mbps"], rows[0]["retransmits"], rows[0]["streams"]) == (3.0, 7, 6)
    assert rows[0]["mode"] == "internet"
    assert rows[0]["rtt_ms"] is None


def test_last_means_latest_by_event_time_not_by_arrival():
    rows, _, _ = join([(2, "a", bw(1, streams=2.0)), (1, "a", bw(1, streams=1.0))])

    assert rows[0]["streams"] == 2


def test_two_sources_with_other_columns_and_cadence_meet_on_one_grid():
    fast = [(s, "a", bw(s)) for s in range(1, 181)]
    slow = [(s, "a", {"rtt_ms": float(s)}) for s in (30, 150)]

    rows, rejected, _ = join(fast, slow, batch_rows=10)

    assert rejected == []
    assert [(row["bandwidth_mbps"], row["rtt_ms"], row["n_samples"]) for row in rows] == [
        (30.5, 30.0, 61), (90.5, None, 60), (150.5, 150.0, 61)
    ]  # fmt: skip


def test_steps_without_samples_are_filled_in_and_flagged():
    rows, _, joiner = join([(60, "a", bw(1)), (50, "b", bw(1)), (239, "a", bw(2))])

    found = [(r["ts"], r["gap"], r["n_samples"], r["age_s"]) for r in rows if r["link_id"] == "a"]

    assert found == [
        (at(60), False, 1, 0.0), (at(120), True, 0, 60.0), (at(180), True, 0, 120.0),
        (at(240), False, 1, 1.0),
    ]  # fmt: skip
    assert all(row["bandwidth_mbps"] is None for row in rows if row["gap"])
    assert joiner.gap_steps[:2].tolist() == [2, 0]


def test_a_pause_longer_than_allowed_breaks_the_grid_and_is_counted():
    rows, _, joiner = join([(60, "a", bw(1)), (360, "a", bw(2))], max_gap_steps=3)

    assert [row["ts"] for row in rows] == [at(60), at(360)]
    assert joiner.grid_breaks == 1


def test_a_row_is_late_only_after_the_allowed_lateness():
    early = [(0, "a", bw(1)), (180, "b", bw(1))]

    in_time = join([*early, (120, "a", bw(1))], allowed_lateness_s=60)[1]
    late = join([*early, (181, "b", bw(1)), (120, "a", bw(5))], allowed_lateness_s=60)[1]

    assert in_time == []
    assert [(bad.row, bad.reason, bad.source) for bad in late] == [(4, "late", "s0")]
    assert late[0].raw == {
        "ts": "2026-03-01T00:02:00.000000Z", "link_id": "a", "bandwidth_mbps": 5.0
    }  # fmt: skip


def test_a_slow_source_keeps_steps_open_for_itself():
    fast = [(s, "a", bw(1)) for s in range(0, 3_600, 10)]
    slow = [(s, "a", {"rtt_ms": 1.0}) for s in range(0, 3_600, 600)]

    _, rejected, _ = join(fast, slow, batch_rows=5, allowed_lateness_s=0)

    assert rejected == []


def test_overlapping_files_with_the_same_columns_do_not_count_a_sample_twice():
    first = [(s, "a", bw(s)) for s in range(0, 60, 10)]
    second = [(s, "a", bw(s)) for s in range(30, 90, 10)]
    second[0] = (30, "a", bw(999))

    rows, rejected, _ = join(first, second)

    assert sum(row["n_samples"] for row in rows) == 9
    assert [(bad.source, bad.row, bad.reason) for bad in rejected] == [
        ("s1", 2, "duplicate"), ("s1", 3, "duplicate"), ("s1", 1, "conflicting_duplicate")
    ]  # fmt: skip


def test_the_same_timestamp_from_sources_with_other_columns_is_no_duplicate():
    rows, rejected, _ = join([(1, "a", bw(1))], [(1, "a", {"rtt_ms": 5.0})])

    assert rejected == []
    assert (rows[0]["bandwidth_mbps"], rows[0]["rtt_ms"]) == (1.0, 5.0)


@pytest.mark.parametrize("batch_rows", [1, 7, 64])
def test_the_result_does_not_depend_on_the_length_of_batches(batch_rows):
    rows = [(s + 0.1 * k, f"l{k}", bw(1 / (s + k + 1))) for s in range(300) for k in range(3)]
    rows = [row for index, row in enumerate(rows) if index % 11]

    assert join(rows, batch_rows=batch_rows)[:2] == join(rows)[:2]


def test_rows_wait_only_until_their_step_closes():
    vocabularies = Vocabularies()
    joiner = Joiner(LINK_SCHEMA, JoinConfig(), vocabularies)
    rows = [(s, "a", bw(1)) for s in range(10_000)]
    source, blocks = blocks_of("s", rows, vocabularies, batch_rows=100)
    joiner.open(vocabularies.sources.code("s"), source.columns, source.first_ts_us())
    waiting = []

    for block in blocks:
        joiner.add(0, block)
        list(joiner.drain())
        waiting.append(sum(map(len, joiner._pending.blocks)))

    assert max(waiting) <= 60 + 60 + 100


def test_one_long_silence_of_many_links_is_filled_in_bounded_batches(monkeypatch):
    monkeypatch.setattr("novacron.telemetry.join._CHUNK_ROWS", 50)
    vocabularies = Vocabularies()
    joiner = Joiner(LINK_SCHEMA, JoinConfig(), vocabularies)
    rows = [(s, f"l{k:02d}", bw(1)) for s in (0, 6_000) for k in range(20)]
    source, blocks = blocks_of("s", rows, vocabularies)
    joiner.open(vocabularies.sources.code("s"), source.columns, source.first_ts_us())
    joiner.add(0, blocks[0])
    joiner.close(0)

    sizes = [joined.batch.num_rows for joined in joiner.drain()]

    assert sum(sizes) == 20 * 101
    assert max(sizes) <= 50 + 101


def test_the_grid_has_every_column_of_the_table_with_its_unit():
    schema = joined_schema(LINK_SCHEMA)

    assert schema.names == [*LINK_SCHEMA.names, "n_samples", "gap", "age_s"]
    assert schema.field("rtt_ms").metadata[b"unit"] == b"ms"
