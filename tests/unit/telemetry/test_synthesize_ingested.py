"""What is generated goes through ingestion: clean rows all pass, spoilt rows are all named."""

from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from novacron.contracts.telemetry import LINK_SCHEMA, NODE_SCHEMA
from novacron.telemetry.ingest import IngestConfig, ingest
from novacron.telemetry.quarantine import read_quarantine
from novacron.telemetry.synthesize.config import DirtConfig, fleet_small
from novacron.telemetry.synthesize.dirt import KINDS, spoil
from novacron.telemetry.synthesize.fleet import generate_fleet
from novacron.telemetry.validate import ValidationConfig

STRICT = IngestConfig(validation=ValidationConfig(max_disorder_s=0.0))
REASONS = {
    "duplicate": {"duplicate"},
    "late": {"clock_went_back"},
    "percent": {"percent_not_ratio"},
    "sentinel": {"out_of_range", "percent_not_ratio"},
}


@pytest.fixture(scope="module")
def fleet():
    return generate_fleet(fleet_small(hours=8), seed=6)


def run(table: pa.Table, schema, tmp_path):
    pq.write_table(table, tmp_path / "samples.parquet")
    return ingest(
        [tmp_path / "samples.parquet"],
        schema,
        tmp_path / "out",
        STRICT,
        now=lambda: datetime(2024, 2, 1, tzinfo=UTC),
    )


@pytest.mark.parametrize(("name", "schema"), [("links", LINK_SCHEMA), ("nodes", NODE_SCHEMA)])
def test_every_generated_row_is_accepted(fleet, tmp_path, name, schema):
    table = getattr(fleet, name)

    report = run(table, schema, tmp_path)

    assert report.rows_accepted == table.num_rows
    assert report.rows_rejected == 0
    assert report.entities == 6


@pytest.mark.parametrize("kind", REASONS)
def test_every_spoilt_row_that_can_be_told_is_rejected_for_its_reason(fleet, tmp_path, kind):
    shares = {f"{other}_ratio": 0.02 if other == kind else 0.0 for other in KINDS}
    dirty = spoil(fleet.nodes, NODE_SCHEMA, DirtConfig(**shares), seed=4)
    told = dirty.truth.filter(dirty.truth["breaks_contract"])

    report = run(dirty.table, NODE_SCHEMA, tmp_path)
    rejections = list(read_quarantine(report.quarantine))

    assert report.rows_read == dirty.table.num_rows
    assert {rejection.reason for rejection in rejections} <= REASONS[kind]
    assert sorted(r.row - 1 for r in rejections) == sorted(told["row"].to_pylist())
    if kind in ("percent", "sentinel"):
        columns = dict(zip(told["row"].to_pylist(), told["column"].to_pylist(), strict=True))
        assert all(columns[r.row - 1] == r.column for r in rejections)


def test_dropped_rows_show_as_gaps_of_the_grid(fleet, tmp_path):
    config = DirtConfig(**{f"{k}_ratio": 0.1 if k == "dropped" else 0.0 for k in KINDS})
    dirty = spoil(fleet.nodes, NODE_SCHEMA, config, seed=4)

    (tmp_path / "clean").mkdir()
    before = run(fleet.nodes, NODE_SCHEMA, tmp_path / "clean")
    after = run(dirty.table, NODE_SCHEMA, tmp_path)

    assert after.rows_rejected == 0
    assert after.completeness_ratio < before.completeness_ratio
