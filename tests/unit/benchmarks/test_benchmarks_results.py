"""The results format and the tables that documents copy from it."""

import json

import pytest
from pydantic import ValidationError

from benchmarks.readme_table import documents, fill, select
from benchmarks.results_format import (
    BenchmarkResult,
    Metric,
    describe_machine,
    describe_versions,
    write_result,
)

METRICS = (
    Metric(name="wape", set="fcc", value=0.91, lo=0.88, hi=0.94, n=12, baseline="EWMA 1.0"),
    Metric(name="wape", set="lte", value=0.98, lo=0.95, hi=1.01, n=7, baseline="EWMA 1.0"),
    Metric(name="rows_per_s", set="ingest", value=612_345.0, n=3, baseline="pandas 80,000"),
)


def result(**changes) -> BenchmarkResult:
    fields = {
        "theme": "sample",
        "command": "make bench-sample",
        "seeds": (0, 1),
        "data_sha256": "generated:0",
        "machine": describe_machine(),
        "versions": describe_versions(["numpy"]),
        "metrics": METRICS,
        "notes": ("what got worse: nothing",),
    }
    return BenchmarkResult(**(fields | changes))


def test_a_result_survives_its_file(tmp_path):
    path = write_result(result(), tmp_path)

    assert BenchmarkResult.model_validate(json.loads(path.read_text())) == result(
        machine=json.loads(path.read_text())["machine"]
    )


def test_the_page_beside_it_shows_value_interval_baseline_and_command(tmp_path):
    page = write_result(result(), tmp_path).with_suffix(".md").read_text()

    assert "| wape | fcc | 0.91 | 0.88 .. 0.94 | 12 | EWMA 1.0 |" in page
    assert "`make bench-sample`" in page
    assert "what got worse: nothing" in page


def test_an_unknown_key_is_refused():
    with pytest.raises(ValidationError):
        Metric(name="wape", set="fcc", value=1.0, n=1, baseline="EWMA", unit="ratio")


def test_a_marked_table_is_filled_and_filling_again_changes_nothing(tmp_path):
    write_result(result(), tmp_path)
    text = "a\n<!-- results: sample wape lte -->\nold\n<!-- /results -->\nz"

    filled = fill(text, tmp_path)

    assert "| wape | lte | 0.98 | 0.95 .. 1.01 | 7 | EWMA 1.0 |" in filled
    assert "old" not in filled
    assert fill(filled, tmp_path) == filled


def test_claiming_what_was_not_measured_fails():
    with pytest.raises(KeyError, match="mase"):
        select(METRICS, ["wape", "mase"], None)
    with pytest.raises(KeyError, match="puffer"):
        select(METRICS, ["wape"], ["puffer"])


def test_every_table_in_the_documents_is_what_the_result_files_say():
    for path in documents():
        assert fill(path.read_text()) == path.read_text(), f"{path.name}: run `make results`"
