import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import telemetry
from benchmarks.telemetry_pandas import pandas_ingest, require_same
from novacron.contracts.telemetry import LINK_SCHEMA
from novacron.errors import NovacronError
from novacron.telemetry.ingest import IngestConfig


@pytest.fixture(autouse=True)
def keep_arrow_threads():
    before = pa.cpu_count()
    yield
    pa.set_cpu_count(before)


def test_the_quick_benchmark_writes_every_figure_with_its_baseline(tmp_path, capsys):
    telemetry.main(["--quick", "--out", str(tmp_path)])

    result = json.loads((tmp_path / "telemetry.json").read_text())
    names = {metric["name"] for metric in result["metrics"]}
    assert names >= {
        "ingest_rows_per_cpu_s", "ingest_rows_per_s", "pandas_rows_per_cpu_s",
        "ingest_speedup_over_pandas", "ingest_memory_growth_ratio", "features_batch_rows_per_s",
    }  # fmt: skip
    assert all(metric["value"] > 0 for metric in result["metrics"])
    assert "--quick" in result["command"]
    assert "| ingest_rows_per_s |" in capsys.readouterr().out


def test_generated_rows_depend_on_the_seed_alone_and_hold_bad_rows_of_each_kind(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        telemetry.generate(tmp_path / name, 20_000, seed)

    tables = [pq.read_table(tmp_path / name) for name in ("a", "b", "c")]
    reasons = pandas_ingest(tmp_path / "a", LINK_SCHEMA, IngestConfig()).reasons

    assert tables[0] == tables[1]
    assert tables[0] != tables[2]
    assert set(reasons) == {
        "out_of_range", "percent_not_ratio", "clock_went_back", "conflicting_duplicate"
    }  # fmt: skip


def test_answers_that_differ_stop_the_benchmark(tmp_path):
    path = tmp_path / "x.parquet"
    telemetry.generate(path, 5_000, 1)
    answer = pandas_ingest(path, LINK_SCHEMA, IngestConfig())
    other = answer.grid.copy()
    other.loc[3, "bandwidth_mbps"] += 1.0

    with pytest.raises(NovacronError, match="bandwidth_mbps"):
        require_same(other, answer.reasons, answer)
    with pytest.raises(NovacronError, match="reasons"):
        require_same(pd.DataFrame(answer.grid), {}, answer)
