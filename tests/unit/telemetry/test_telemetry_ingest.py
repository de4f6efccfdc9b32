import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from novacron.contracts.telemetry import LINK_SCHEMA
from novacron.errors import ConfigError, SchemaError, UnreadableInputError
from novacron.telemetry.ingest import IngestConfig, IngestReport, ingest
from novacron.telemetry.join import JoinConfig, joined_schema
from novacron.telemetry.outputs import GridWriter, sole_writer
from novacron.telemetry.quality import QualityReport
from novacron.telemetry.quarantine import read_quarantine
from novacron.telemetry.readers import ArrowSource, ReadConfig
from novacron.telemetry.tallies import MagnitudeTally, TimeTally
from novacron.telemetry.validate import ValidationConfig

T0 = datetime(2026, 3, 1, tzinfo=UTC)
NOW = T0 + timedelta(hours=2)
HEADER = "ts,link_id,bandwidth_mbps,loss_ratio\n"


def csv_line(seconds, link="a", bandwidth="1", loss=""):
    stamp = (T0 + timedelta(seconds=seconds)).isoformat()
    return f"{stamp},{link},{bandwidth},{loss}\n"


def csv_file(folder, name="links.csv", lines=()):
    path = folder / name
    path.write_text(HEADER + "".join(lines))
    return path


def run(paths, out_dir, **options):
    return ingest(paths, LINK_SCHEMA, out_dir, now=lambda: NOW, **options)


@pytest.fixture
def mixed(tmp_path):
    """Two minutes of two links with three bad lines."""
    lines = [csv_line(s, link, loss="0.01") for s in range(0, 121, 10) for link in ("a", "b")]
    lines[5:5] = ["not a row\n", csv_line(21, "a", loss="7"), csv_line(22, "b", bandwidth="-1")]
    return csv_file(tmp_path, lines=lines)


def test_every_row_is_either_on_the_grid_or_in_quarantine(tmp_path, mixed):
    report = run([mixed], tmp_path / "out")

    grid = pq.read_table(report.grid)
    rejected = list(read_quarantine(report.quarantine))
    assert grid.schema.equals(joined_schema(LINK_SCHEMA))
    assert sum(grid["n_samples"].to_pylist()) + len(rejected) == report.rows_read == 29
    assert [(bad.row, bad.reason) for bad in rejected] == [
        (7, "unreadable_line"), (8, "percent_not_ratio"), (9, "out_of_range")
    ]  # fmt: skip
    assert {bad.source for bad in rejected} == {str(mixed)}


def test_the_report_on_disk_is_the_report_returned(tmp_path, mixed):
    report = run([mixed], tmp_path / "out")

    stored = IngestReport.model_validate_json((tmp_path / "out" / "ingest.json").read_text())
    assert stored == report
    assert report.reasons == {"out_of_range": 1, "percent_not_ratio": 1, "unreadable_line": 1}


def test_the_same_input_gives_the_same_bytes_whatever_the_batch_length(tmp_path, mixed):
    results = []
    for block_bytes in (1_024, 2**20):
        config = IngestConfig(read=ReadConfig(block_bytes=block_bytes))
        report = run([mixed], tmp_path / str(block_bytes), config=config)
        results.append((report.grid.read_bytes(), report.quarantine.read_bytes()))

    assert results[0] == results[1]


def test_files_of_other_formats_and_columns_for_the_same_link_share_one_grid(tmp_path):
    csv = csv_file(tmp_path, lines=[csv_line(s) for s in range(0, 120, 10)])
    jsonl = tmp_path / "rtt.jsonl"
    stamps = [(T0 + timedelta(seconds=s)).isoformat() for s in (30, 90)]
    jsonl.write_text(
        "".join(json.dumps({"ts": ts, "link_id": "a", "rtt_ms": 40}) + "\n" for ts in stamps)
    )

    report = run([csv, jsonl], tmp_path / "out")

    rows = pq.read_table(report.grid).to_pylist()[1:]
    assert [(row["bandwidth_mbps"], row["rtt_ms"]) for row in rows] == [(1.0, 40.0), (1.0, 40.0)]
    assert [source.rows_read for source in report.sources] == [12, 2]


def test_a_required_metric_must_come_from_at_least_one_file(tmp_path):
    paths = []
    for name in ("x.csv", "y.csv"):
        paths.append(tmp_path / name)
        paths[-1].write_text("ts,link_id,rtt_ms\n")

    with pytest.raises(SchemaError, match="bandwidth_mbps"):
        run(paths, tmp_path / "out")


@pytest.mark.parametrize("twice", [True, False])
def test_no_source_and_the_same_source_twice_are_refused(tmp_path, mixed, twice):
    with pytest.raises(ConfigError):
        run([mixed, mixed] if twice else [], tmp_path / "out")


def test_a_file_without_rows_gives_an_empty_grid(tmp_path):
    report = run([csv_file(tmp_path)], tmp_path / "out")

    assert pq.read_table(report.grid).num_rows == 0
    assert (report.rows_read, report.completeness_ratio) == (0, 0.0)
    assert "No row was accepted" in report.quality_page.read_text()


def test_rows_from_the_far_future_at_the_start_do_not_make_the_rest_late(tmp_path):
    far = [csv_line(10**8 + s) for s in range(5)]
    strange = csv_file(tmp_path, "strange.csv", [*far, *(csv_line(s, "b") for s in range(60))])
    plain = csv_file(tmp_path, lines=[csv_line(s) for s in range(3_600)])

    report = run([plain, strange], tmp_path / "out")

    assert report.reasons == {"future": 5}


def test_a_failed_run_leaves_the_earlier_result_as_it_was(tmp_path, mixed):
    out = tmp_path / "out"
    run([mixed], out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    pq.write_table(pa.table({"ts": pa.array([T0])}), tmp_path / "cut.parquet")
    damaged = tmp_path / "damaged.csv.gz"
    damaged.write_bytes(b"\x1f\x8b\x08\x00")

    with pytest.raises((UnreadableInputError, SchemaError)):
        run([mixed, damaged], out)

    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


KILLED_RUN = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from novacron.contracts.telemetry import LINK_SCHEMA
from novacron.telemetry.ingest import IngestConfig, ingest
from novacron.telemetry.readers import ReadConfig

ingest(
    [Path(sys.argv[1])], LINK_SCHEMA, Path(sys.argv[2]),
    IngestConfig(read=ReadConfig(block_bytes=1_024)),
    lambda progress: os.kill(os.getpid(), signal.SIGKILL),
    now=lambda: datetime(2026, 3, 1, 2, tzinfo=UTC),
)
"""


def test_a_killed_run_publishes_nothing_and_the_next_one_starts_over(tmp_path, mixed):
    out = tmp_path / "out"
    killed = subprocess.run([sys.executable, "-c", KILLED_RUN, str(mixed), str(out)], check=False)
    assert killed.returncode == -signal.SIGKILL
    published = [path.name for path in out.iterdir() if path.suffix in (".json", ".parquet")]

    report = run([mixed], out)

    assert published == []
    assert report.rows_read == 29
    assert not (out / ".ingest-part").exists()


def test_two_runs_never_write_to_one_directory_at_once(tmp_path, mixed):
    (tmp_path / "out").mkdir()

    with sole_writer(tmp_path / "out"), pytest.raises(ConfigError, match="other run"):
        run([mixed], tmp_path / "out")


def test_progress_counts_up_to_the_totals_of_the_report(tmp_path, mixed):
    seen = []
    config = IngestConfig(read=ReadConfig(block_bytes=1_024))

    report = run([mixed], tmp_path / "out", config=config, progress=seen.append)

    rows = [progress.rows_read for progress in seen]
    assert rows == sorted(rows)
    assert (seen[-1].rows_read, seen[-1].reasons) == (report.rows_read, report.reasons)
    assert (seen[0].sources_done, seen[-1].sources_done) == (0, 1)


def test_a_later_source_is_not_opened_before_its_time_has_come(tmp_path):
    opened = []

    class Watched(ArrowSource):
        def blocks(self):
            opened.append(self.name)
            return super().blocks()

    days = []
    for day in range(3):
        ts = [T0 - timedelta(days=9 - day) + timedelta(seconds=10 * i) for i in range(100)]
        table = pa.table(
            {
                "ts": pa.array(ts, pa.timestamp("us", "UTC")),
                "link_id": ["a"] * 100,
                "bandwidth_mbps": [1.0] * 100,
            }
        )
        days.append(Watched(f"day {day}", table, LINK_SCHEMA, ReadConfig(batch_rows=10)))
    when = {}

    run(
        days[::-1],
        tmp_path / "out",
        progress=lambda p: when.setdefault(len(opened), p.rows_read),
    )

    assert opened == ["day 0", "day 1", "day 2"]
    assert when[2] >= 100


def test_the_grid_file_has_row_groups_of_equal_length(tmp_path):
    schema = pa.schema([("x", pa.int64())])
    writer = GridWriter(tmp_path / "g.parquet", schema, 10)

    for size in (3, 24, 1, 0, 7):
        writer.write(pa.record_batch([pa.array(range(size), pa.int64())], schema=schema))
    writer.close()

    metadata = pq.ParquetFile(tmp_path / "g.parquet").metadata
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [
        10, 10, 10, 5
    ]  # fmt: skip


class Links(HTMLParser):
    """Collects everything a browser would load, and the tags seen."""

    def __init__(self):
        super().__init__()
        self.loads = []
        self.tags = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [value for name, value in attrs if name in ("src", "href", "srcset")]


def test_the_quality_page_loads_nothing_and_escapes_names(tmp_path):
    lines = [csv_line(s, "<script>alert(1)</script>") for s in range(0, 300, 60)]
    report = run([csv_file(tmp_path, lines=lines)], tmp_path / "out")

    page = report.quality_page.read_text()
    found = Links()
    found.feed(page)
    assert found.loads == []
    assert "script" not in found.tags
    assert found.tags.count("svg") >= 3
    assert "&lt;script&gt;" in page


def test_the_quality_report_gives_completeness_range_and_time_order(tmp_path):
    lines = [csv_line(s, "a", bandwidth=str(s + 1), loss="0.5") for s in (60, 120, 100, 240)]
    lines += [csv_line(s, "b", bandwidth="2") for s in (60, 120, 180)]
    lines += [csv_line(400, "a"), csv_line(100, "a"), csv_line(401, "a", loss="50")]
    config = IngestConfig(
        join=JoinConfig(allowed_lateness_s=900), validation=ValidationConfig(max_gap_s=150)
    )

    report = run([csv_file(tmp_path, lines=lines)], tmp_path / "out", config=config)

    quality = QualityReport.model_validate_json(report.quality.read_text())
    columns = {column.column: column for column in quality.columns}
    entities = {entity.entity: entity for entity in quality.entities}
    loss, bandwidth = columns["loss_ratio"], columns["bandwidth_mbps"]
    assert (loss.present, loss.rows, loss.rejected) == (4, 8, {"percent_not_ratio": 1})
    assert (bandwidth.minimum, bandwidth.maximum) == (1.0, 241.0)
    assert bandwidth.p50 == pytest.approx(2.0, rel=0.1)
    assert columns["rtt_ms"].rows == 0
    assert (entities["a"].monotone, entities["a"].disordered_rows) == (False, 1)
    assert entities["a"].clock_went_back_rows == 1
    assert (entities["b"].monotone, entities["b"].completeness_ratio) == (True, 1.0)
    assert (entities["a"].gaps, entities["a"].longest_gap_s) == (1, 160.0)
    assert (entities["a"].steps, entities["a"].gap_steps) == (7, 3)
    assert entities["b"].staleness_s == 7_200 - 180
    assert [entity.entity for entity in quality.entities] == ["a", "b"]
    assert quality.monotone_ratio == 0.5


def test_quantiles_are_within_five_percent_of_the_exact_ones():
    values = np.random.default_rng(1).gamma(2, 30, 20_000)
    tally = MagnitudeTally()

    for part in np.array_split(values, 7):
        tally.add(part)

    for share in (0.01, 0.5, 0.99):
        assert tally.quantile(share) == pytest.approx(np.quantile(values, share), rel=0.05)
    assert tally.total / tally.present == pytest.approx(values.mean())
    assert sum(count for _, _, count in tally.octaves()) == 20_000


def test_a_magnitude_tally_ignores_missing_values_and_keeps_zeros():
    tally = MagnitudeTally()

    tally.add(np.array([np.nan, 0.0, 1e300, np.nan]))

    assert (tally.rows, tally.present, tally.minimum, tally.maximum) == (4, 2, 0.0, 1e300)


def test_a_time_tally_keeps_every_row_while_its_bins_widen():
    tally = TimeTally(width_us=10)
    rng = np.random.default_rng(2)
    total = 0

    for reach in (100, 10_000, 10**9, 10**15):
        ts_us = rng.integers(-reach, reach, 50)
        tally.add(ts_us)
        total += 50
        assert sum(tally.counts) == total
        assert len(tally.counts) <= 96

    assert tally.start_us <= ts_us.min()


def test_a_wall_clock_is_asked_only_once(tmp_path, mixed):
    asked = []

    def clock():
        asked.append(time.monotonic())
        return NOW

    ingest([mixed], LINK_SCHEMA, tmp_path / "out", now=clock)

    assert len(asked) == 1
