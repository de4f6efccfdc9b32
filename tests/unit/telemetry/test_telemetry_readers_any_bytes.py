import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reader_files import HEADER, parquet, read, written

from novacron.contracts.telemetry import LINK_SCHEMA
from novacron.errors import NovacronError, UnreadableInputError
from novacron.telemetry.line_faults import LineFault
from novacron.telemetry.readers import open_source
from novacron.telemetry.text_formats import CsvLines, JsonLines

LINES = st.one_of(
    st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=40),
    st.sampled_from(
        [
            b"2026-03-01T00:00:00Z,a,1,2", b"2026-03-01T00:00:00Z,a,nan,2", b"2026-03-01,a,1,2",
            b'2026-03-01T00:00:00Z,"a""b",1,2', b"2026-03-01T00:00:00Z,a,0x1F,NA", b",,,",
            b'2026-03-01T00:00:00Z,"a', b"2026-03-01T00:00:00Z,a, 1 ,+2", b"9999999-01-01Z,a,1,2",
            b'{"ts":"2026-03-01T00:00:00Z","link_id":"a","bandwidth_mbps":1}', b'{"ts":null}',
            b'{"link_id":"\\ud800"}', b'{"bandwidth_mbps":NaN}', b'{"bandwidth_mbps":1e999}', b"{}",
            b'{"ts":"9999-12-31T23:59:59Z"}', b'{"rtt_ms":[1]}', b'{"src":{"a":1}}', b'{"src":""}',
        ]
    ),
)  # fmt: skip


@given(lines=st.lists(LINES, max_size=12), name=st.sampled_from(["x.csv", "x.jsonl"]))
@settings(max_examples=80, deadline=None)
def test_whatever_the_bytes_every_line_is_read_or_refused_and_none_is_lost(lines, name):
    body = b"\n".join(lines)
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), name, (HEADER.encode() if name == "x.csv" else b"") + body)
        try:
            _, numbers, malformed = read(path, block_bytes=1_024)
        except NovacronError:
            return

    start = 2 if name == "x.csv" else 1
    filled = [n for n, line in enumerate(body.split(b"\n"), start=start) if line.strip()]
    assert sorted(numbers + [bad.row for bad in malformed]) == filled


@given(lines=st.lists(LINES, min_size=1, max_size=8), name=st.sampled_from(["x.csv", "x.jsonl"]))
@settings(max_examples=80, deadline=None)
def test_the_fate_of_a_line_does_not_depend_on_its_neighbours(lines, name):
    lines = [line.replace(b"\n", b"") for line in lines]
    form = opened_format(name)

    alone = [refused_alone(form, line) for line in lines]

    for line, refused in zip(lines, alone, strict=True):
        if form.certain_fault(line) is not None and line.strip():
            assert refused


def opened_format(name):
    with tempfile.TemporaryDirectory() as folder:
        if name == "x.csv":
            form = CsvLines(LINK_SCHEMA)
            form.open(written(Path(folder), name, HEADER))
        else:
            form = JsonLines(LINK_SCHEMA)
            form.open(written(Path(folder), name, ""))
    return form


def refused_alone(form, line):
    batch = form.parse(line + b"\n")
    assert isinstance(form.tried_fault(line), LineFault)
    return batch is None or batch.num_rows != 1


@given(data=st.binary(max_size=300))
@settings(max_examples=50, deadline=None)
def test_arbitrary_bytes_called_parquet_raise_only_our_errors(data):
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), "x.parquet", data)

        with pytest.raises(UnreadableInputError):
            open_source(path, LINK_SCHEMA)


@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {
                "ts": st.datetimes(
                    datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)  # noqa: DTZ001
                ),
                "link_id": st.text(
                    st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=1
                ).filter(lambda text: text not in ("null", "NULL", "NA")),
                "bandwidth_mbps": st.floats(0, 1e6),
                "rtt_ms": st.none() | st.floats(0, 60_000),
            }
        ),
        min_size=1,
        max_size=10,
    )
)  # fmt: skip
@settings(max_examples=50, deadline=None)
def test_the_three_formats_give_back_the_same_rows(rows):
    table = pa.Table.from_pylist(rows)
    cells = [
        [row["ts"].isoformat(), row["link_id"], row["bandwidth_mbps"], row["rtt_ms"]]
        for row in rows
    ]
    quoted = [
        f'{ts},"{link.replace(chr(34), chr(34) * 2)}",{bw!r},{"" if rtt is None else repr(rtt)}'
        for ts, link, bw, rtt in cells
    ]
    texts = [json.dumps(row | {"ts": row["ts"].isoformat()}) for row in rows]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [
            parquet(folder, table),
            written(folder, "x.csv", HEADER + "\n".join(quoted)),
            written(folder, "x.jsonl", "\n".join(texts)),
        ]
        found = [read(path) for path in paths]

    for read_rows, _, malformed in found:
        assert malformed == []
        assert [{name: row[name] for name in rows[0]} for row in read_rows] == rows
