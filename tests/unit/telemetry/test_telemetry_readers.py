import gc
import gzip
import json
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reader_files import HEADER, T0, link_table, parquet, read, written

from novacron.contracts.telemetry import LINK_SCHEMA
from novacron.errors import NotFoundError, NovacronError, SchemaError, UnreadableInputError
from novacron.telemetry import readers
from novacron.telemetry.lines import read_line_blocks
from novacron.telemetry.readers import ArrowSource, ParquetSource, ReadConfig, open_source


def test_csv_keeps_empty_cells_apart_from_zeros(tmp_path):
    path = written(tmp_path, "x.csv", HEADER + "2026-03-01T00:00:00Z,a,0,\n")

    rows, numbers, malformed = read(path)

    assert rows == [{"ts": T0, "link_id": "a", "bandwidth_mbps": 0.0, "rtt_ms": None}]
    assert numbers == [2]
    assert malformed == []


@pytest.mark.parametrize(
    ("cell", "moment"),
    [
        ("2026-03-01T01:00:00+01:00", T0),
        ("2026-03-01 00:00:00Z", T0),
        ("2026-03-01T00:00:00.000000999Z", T0),
    ],
)
def test_csv_timestamps_with_an_offset_become_utc_microseconds(tmp_path, cell, moment):
    path = written(tmp_path, "x.csv", HEADER + f"{cell},a,1,\n")

    assert read(path)[0][0]["ts"] == moment


@pytest.mark.parametrize(
    ("line", "reason", "column"),
    [
        ("2026-03-01T00:00:00,a,1,2", "wrong_type", "ts"),
        ("1767225600,a,1,2", "wrong_type", "ts"),
        ("2026-03-01T00:00:00Z,a,fast,2", "wrong_type", "bandwidth_mbps"),
        ("2026-03-01T00:00:00Z,a,1_0,2", "wrong_type", "bandwidth_mbps"),
        ("2026-03-01T00:00:00Z,a,1", "unreadable_line", ""),
        ('2026-03-01T00:00:00Z,"a,1,2', "unreadable_line", ""),
        ("2026-03-01T00:00:00Z,a,1,2\r2026-03-01T00:00:00Z,a,1,2", "unreadable_line", ""),
    ],
)
def test_a_bad_csv_line_is_named_with_its_number_and_the_rest_is_read(
    tmp_path, line, reason, column
):
    good = "2026-03-01T00:00:00Z,a,1,2\n"
    path = written(tmp_path, "x.csv", HEADER + good + line + "\n" + good)

    rows, numbers, malformed = read(path)

    assert numbers == [2, 4]
    assert len(rows) == 2
    assert [(bad.row, bad.reason, bad.column, bad.raw) for bad in malformed] == [
        (3, reason, column, line)
    ]


def test_a_naive_timestamp_is_refused_with_the_advice_to_state_the_offset(tmp_path):
    path = written(tmp_path, "x.csv", HEADER + "2026-03-01T00:00:00,a,1,2\n")

    assert "Z" in read(path)[2][0].hint


def test_bytes_that_are_not_utf8_spoil_only_their_line(tmp_path):
    good = b"2026-03-01T00:00:00Z,a,1,2\n"
    path = written(tmp_path, "x.csv", HEADER.encode() + good + b"\xff\xfe,a,1,2\n" + good)

    _, numbers, malformed = read(path)

    assert numbers == [2, 4]
    assert malformed[0].raw == "\\xff\\xfe,a,1,2"


def test_blank_lines_hold_no_row_but_count_as_lines(tmp_path):
    row = "2026-03-01T00:00:00Z,a,1,2\n"
    path = written(tmp_path, "x.csv", HEADER + row + "\n  \n" + row)

    _, numbers, malformed = read(path)

    assert numbers == [2, 5]
    assert malformed == []


def test_csv_with_byte_order_mark_windows_line_ends_and_semicolons_is_read(tmp_path):
    text = "\ufeffts;link_id;bandwidth_mbps\r\n2026-03-01T00:00:00Z;a;1\r\n"
    path = written(tmp_path, "x.csv", text)

    assert read(path, delimiter=";")[0] == [{"ts": T0, "link_id": "a", "bandwidth_mbps": 1.0}]


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl"])
def test_a_gzipped_file_reads_like_the_plain_one(tmp_path, name):
    plain = HEADER + "2026-03-01T00:00:00Z,a,1,2\n"
    if name == "x.jsonl":
        plain = json.dumps({"ts": "2026-03-01T00:00:00Z", "link_id": "a", "bandwidth_mbps": 1})
    path = written(tmp_path, name, plain)
    packed = written(tmp_path, name + ".gz", gzip.compress(plain.encode()))

    assert read(packed)[:2] == read(path)[:2]


def test_a_truncated_gzip_file_is_reported_as_damaged(tmp_path):
    lines = HEADER + "2026-03-01T00:00:00Z,a,1,2\n" * 20_000
    path = written(tmp_path, "x.csv.gz", gzip.compress(lines.encode())[:-20])

    with pytest.raises(UnreadableInputError, match="gzip"):
        read(path)


def test_json_lines_take_absent_keys_and_nulls_for_not_measured(tmp_path):
    lines = [
        {"ts": "2026-03-01T00:00:00Z", "link_id": "a", "bandwidth_mbps": 1, "rtt_ms": None},
        {"ts": "2026-03-01T00:00:00Z", "link_id": "a", "bandwidth_mbps": 2, "streams": 3},
    ]
    path = written(tmp_path, "x.jsonl", "\n".join(map(json.dumps, lines)))

    rows, numbers, _ = read(path)

    assert numbers == [1, 2]
    assert [(row["rtt_ms"], row["streams"]) for row in rows] == [(None, None), (None, 3.0)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"ts":"2026-03-01T00:00:00","link_id":"a","bandwidth_mbps":1}', "wrong_type"),
        ('{"ts":"2026-03-01T00:00:00Z","link_id":5,"bandwidth_mbps":1}', "wrong_type"),
        ('{"ts":"2026-03-01T00:00:00Z","link_id":"a","bandwidth_mbps":"1"}', "wrong_type"),
        ('{"ts":"2026-03-01T00:00:00Z","link_id":"a","bandwidth_mbps":true}', "wrong_type"),
        ('{"ts":"2026-03-01T00:00:00Z","link_id":"a","bandwidth":1}', "unknown_column"),
        ('{"ts":"2026-03-01T00:00:00Z","link_id":"a","bandwidth_mbps":1', "unreadable_line"),
        ('{"bandwidth_mbps":1}{"bandwidth_mbps":2}', "unreadable_line"),
        ('{"bandwidth_mbps":1,"bandwidth_mbps":2}', "unreadable_line"),
        ("[1, 2]", "unreadable_line"),
        ("[" * 100_000, "unreadable_line"),
    ],
)
def test_a_bad_json_line_is_named_with_its_number_and_the_rest_is_read(tmp_path, line, reason):
    good = '{"ts":"2026-03-01T00:00:00Z","link_id":"a","bandwidth_mbps":1}'
    path = written(tmp_path, "x.jsonl", "\n".join([good, line, good]))

    _, numbers, malformed = read(path)

    assert numbers == [1, 3]
    assert [(bad.row, bad.reason) for bad in malformed] == [(2, reason)]


def test_a_line_longer_than_a_block_is_refused_and_reading_goes_on(tmp_path):
    good = "2026-03-01T00:00:00Z,a,1,2\n"
    path = written(tmp_path, "x.csv", HEADER + good + "x" * 10_000 + "\n" + good)

    _, numbers, malformed = read(path, block_bytes=1_024)

    assert numbers == [2, 4]
    assert [(bad.row, bad.reason) for bad in malformed] == [(3, "line_too_long")]
    assert len(malformed[0].raw) < 1_024


@pytest.mark.parametrize("name", ["x.csv", "x.parquet", "x.jsonl"])
def test_an_unknown_column_is_named_with_its_nearest_known_name(tmp_path, name):
    table = link_table(1, rtt=[3.0])
    if name == "x.parquet":
        pq.write_table(table, tmp_path / name)
    elif name == "x.csv":
        written(tmp_path, name, "ts,link_id,bandwidth_mbps,rtt\n2026-03-01T00:00:00Z,a,1,3\n")
    else:
        line = {"ts": "2026-03-01T00:00:00Z", "link_id": "a", "bandwidth_mbps": 1, "rtt": 3}
        written(tmp_path, name, json.dumps(line))

    with pytest.raises(SchemaError, match="Did you mean 'rtt_ms'") as caught:
        open_source(tmp_path / name, LINK_SCHEMA)

    assert caught.value.field == "rtt"
    assert "rename" in caught.value.remedy.lower()


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl"])
def test_unknown_columns_are_left_out_when_asked(tmp_path, name):
    text = "ts,link_id,bandwidth_mbps,cell\n2026-03-01T00:00:00Z,a,1,zz\n"
    if name == "x.jsonl":
        line = {"ts": "2026-03-01T00:00:00Z", "link_id": "a", "bandwidth_mbps": 1, "cell": {}}
        text = json.dumps(line)
    path = written(tmp_path, name, text)

    rows, _, malformed = read(path, unknown_columns="ignore")

    assert rows[0]["bandwidth_mbps"] == 1.0
    assert malformed == []
    assert "cell" not in rows[0]


@pytest.mark.parametrize(
    ("header", "field"),
    [
        ("ts,link_id\n", "bandwidth_mbps"),
        ("ts,bandwidth_mbps,link\n", "link"),
        ("ts,ts,link_id,bandwidth_mbps\n", "ts"),
    ],
)
def test_missing_and_doubled_columns_are_named(tmp_path, header, field):
    path = written(tmp_path, "x.csv", header)

    with pytest.raises(SchemaError) as caught:
        open_source(path, LINK_SCHEMA)

    assert caught.value.field == field


def test_a_companion_file_may_lack_a_required_metric_but_never_the_entity(tmp_path):
    rtt_only = written(tmp_path, "rtt.csv", "ts,link_id,rtt_ms\n")
    no_entity = written(tmp_path, "bad.csv", "ts,bandwidth_mbps\n")

    assert open_source(rtt_only, LINK_SCHEMA, partial=True).columns == ("ts", "link_id", "rtt_ms")
    with pytest.raises(SchemaError, match="link_id"):
        open_source(no_entity, LINK_SCHEMA, partial=True)


def test_parquet_narrow_and_foreign_number_types_are_widened(tmp_path):
    table = link_table(
        2,
        rtt_ms=pa.array([1.5, None], pa.float32()),
        streams=pa.array([3, 4], pa.int8()),
        src=pa.array(["x", "x"], pa.large_string()).dictionary_encode(),
    ).set_column(0, "ts", pa.array([T0, T0], pa.timestamp("ns", "Europe/Paris")))

    rows, numbers, _ = read(parquet(tmp_path, table))

    assert numbers == [1, 2]
    assert rows[0] == {
        "ts": T0, "link_id": "a", "src": "x", "bandwidth_mbps": 1.0, "rtt_ms": 1.5, "streams": 3.0
    }  # fmt: skip


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("ts", pa.array([datetime(2026, 3, 1)], pa.timestamp("us"))),  # noqa: DTZ001
        ("ts", pa.array([1767225600])),
        ("bandwidth_mbps", pa.array(["1.0"])),
        ("bandwidth_mbps", pa.array([True])),
        ("link_id", pa.array([7])),
    ],
)
def test_a_parquet_column_of_the_wrong_type_is_named_with_a_remedy(tmp_path, column, values):
    table = link_table(1)
    table = table.set_column(table.column_names.index(column), column, values)

    with pytest.raises(SchemaError) as caught:
        open_source(parquet(tmp_path, table), LINK_SCHEMA)

    assert caught.value.field == column
    assert caught.value.remedy


@pytest.mark.parametrize("cut", [0, 3, 50, -1, -30])
def test_a_truncated_parquet_file_is_reported_as_damaged(tmp_path, cut):
    whole = parquet(tmp_path, link_table(100)).read_bytes()
    path = written(tmp_path, "cut.parquet", whole[:cut])

    with pytest.raises(UnreadableInputError, match="Parquet"):
        list(open_source(path, LINK_SCHEMA).blocks())


def test_parquet_is_read_in_batches_that_never_cross_a_row_group(tmp_path):
    path = parquet(tmp_path, link_table(100), row_group_size=30)

    blocks = list(open_source(path, LINK_SCHEMA, ReadConfig(batch_rows=20)).blocks())

    assert [len(block.rows) for block in blocks] == [20, 10, 20, 10, 20, 10, 10]
    assert [int(block.rows[0]) for block in blocks] == [1, 21, 31, 51, 61, 81, 91]


def test_parquet_asks_for_the_next_row_group_only_when_the_last_one_is_used_up(
    tmp_path, monkeypatch
):
    asked = []

    class Watched(pq.ParquetFile):
        def iter_batches(self, *args, **options):
            asked.append(options["row_groups"])
            return super().iter_batches(*args, **options)

    monkeypatch.setattr(readers.pq, "ParquetFile", Watched)
    path = parquet(tmp_path, link_table(300), row_group_size=100)
    blocks = ParquetSource(path, LINK_SCHEMA, ReadConfig()).blocks()

    next(blocks)

    assert asked == [[0]]


def test_one_huge_row_group_is_not_held_in_memory(tmp_path):
    noise = np.random.default_rng(4).random(400_000)
    path = parquet(tmp_path, link_table(400_000, rtt_ms=noise), row_group_size=10**6)
    blocks = open_source(path, LINK_SCHEMA, ReadConfig(batch_rows=1_000)).blocks()
    gc.collect()
    before = pa.total_allocated_bytes()

    next(blocks)

    # The column alone has 3.2 MB; a page of it has one.
    assert pa.total_allocated_bytes() - before < 2.5e6


def test_text_is_read_a_block_at_a_time_however_long_the_file(tmp_path):
    path = written(tmp_path, "x.csv", HEADER + "2026-03-01T00:00:00Z,a,1,2\n" * 5_000)

    longest = max(len(block.data) for block in read_line_blocks(path, block_bytes=4_096))

    assert longest <= 2 * 4_096


def test_no_file_and_unknown_suffix_are_different_errors(tmp_path):
    with pytest.raises(NotFoundError):
        open_source(tmp_path / "no.csv", LINK_SCHEMA)
    with pytest.raises(UnreadableInputError, match=r"\.parquet"):
        open_source(written(tmp_path, "x.xlsx", "x"), LINK_SCHEMA)


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe"])
def test_a_csv_file_without_header_is_unreadable(tmp_path, content):
    with pytest.raises(NovacronError):
        open_source(written(tmp_path, "x.csv", content), LINK_SCHEMA)


def test_the_first_timestamp_is_the_smallest_among_the_first_rows(tmp_path):
    text = HEADER + "2026-03-01T00:00:09Z,a,1,\n2026-03-01T00:00:05Z,b,1,\n"
    sources = [
        open_source(written(tmp_path, "x.csv", text), LINK_SCHEMA),
        open_source(parquet(tmp_path, link_table(3)), LINK_SCHEMA),
        ArrowSource("memory", link_table(3), LINK_SCHEMA),
        ArrowSource("empty", link_table(0), LINK_SCHEMA),
    ]

    start_us = int(T0.timestamp()) * 1_000_000
    assert [source.first_ts_us() for source in sources] == [
        start_us + 5_000_000, start_us, start_us, None
    ]  # fmt: skip
