from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from novacron.contracts.telemetry import LINK_SCHEMA
from novacron.telemetry import sorting
from novacron.telemetry.ingest import IngestConfig, ingest
from novacron.telemetry.join import JoinConfig
from novacron.telemetry.readers import ArrowSource, ReadConfig, open_source
from novacron.telemetry.sorting import TimeSorted

T0 = datetime(2026, 3, 1, tzinfo=UTC)
NOW = T0 + timedelta(days=2)


@pytest.fixture(autouse=True)
def small_runs(monkeypatch):
    monkeypatch.setattr(sorting, "_RUN_ROWS", 100)
    monkeypatch.setattr(sorting, "_MERGE_ROWS", 7)


def table_of(seconds, links):
    return pa.table(
        {
            "ts": pa.array([T0 + timedelta(seconds=float(s)) for s in seconds],
                           pa.timestamp("us", "UTC")),
            "link_id": pa.array(links),
            "bandwidth_mbps": np.arange(len(links), dtype=float),
        }
    )  # fmt: skip


def run(table, out_dir, order):
    source = ArrowSource("memory", table, LINK_SCHEMA, ReadConfig(batch_rows=40))
    config = IngestConfig(order=order, join=JoinConfig(step_s=10))
    return ingest([source], LINK_SCHEMA, out_dir, config, now=lambda: NOW)


def test_a_file_sorted_by_link_gives_the_grid_of_one_sorted_by_time(tmp_path):
    by_link = table_of([*range(300)] * 3, ["a"] * 300 + ["b"] * 300 + ["c"] * 300)
    by_time = by_link.sort_by("ts")

    sorted_first = run(by_link, tmp_path / "x", "any")
    as_it_comes = run(by_time, tmp_path / "y", "time")

    assert sorted_first.rows_rejected == 0
    assert pq.read_table(sorted_first.grid) == pq.read_table(as_it_comes.grid)


def test_unsorted_rows_taken_for_sorted_are_refused_with_the_advice(tmp_path):
    by_link = table_of([*range(300)] * 2, ["a"] * 300 + ["b"] * 300)

    report = run(by_link, tmp_path / "x", "time")

    assert set(report.reasons) == {"late"}
    assert "order 'any'" in report.quarantine.read_text()


def test_rows_come_out_in_order_of_time_then_row_with_their_own_numbers(tmp_path):
    seconds = np.random.default_rng(3).integers(0, 50, 777)
    source = ArrowSource(
        "m", table_of(seconds, ["a"] * 777), LINK_SCHEMA, ReadConfig(batch_rows=50)
    )

    blocks = list(TimeSorted(source, tmp_path).blocks())

    rows = np.concatenate([block.rows for block in blocks])
    found = [row for block in blocks for row in block.batch.to_pylist()]
    assert rows.tolist() == (np.argsort(seconds, kind="stable") + 1).tolist()
    assert [row["bandwidth_mbps"] for row in found] == (rows - 1).astype(float).tolist()
    assert max(len(block.rows) for block in blocks) <= 7 * 8
    assert list(tmp_path.iterdir()) == []


def test_lines_that_do_not_parse_and_rows_without_time_are_kept(tmp_path):
    path = tmp_path / "x.csv"
    rows = ["2026-03-01T00:00:09Z,a,1", "broken", ",a,2", "2026-03-01T00:00:01Z,b,3"]
    path.write_text("ts,link_id,bandwidth_mbps\n" + "\n".join(rows))
    config = IngestConfig(order="any")

    report = ingest([path], LINK_SCHEMA, tmp_path / "out", config, now=lambda: NOW)

    assert report.reasons == {"missing_required": 1, "unreadable_line": 1}
    assert (report.rows_read, report.rows_accepted) == (4, 2)


def test_the_first_time_of_an_unsorted_source_is_not_guessed(tmp_path):
    full = ArrowSource("m", table_of([5], ["a"]), LINK_SCHEMA)
    path = tmp_path / "x.csv"
    path.write_text("ts,link_id,bandwidth_mbps\n")

    assert TimeSorted(full, tmp_path).first_ts_us() == 0
    assert TimeSorted(open_source(path, LINK_SCHEMA), tmp_path).first_ts_us() is None
