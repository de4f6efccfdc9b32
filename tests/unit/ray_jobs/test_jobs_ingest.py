import json

import pytest

from novacron.telemetry.ingest import IngestProgress
from ray_jobs.ingest import count_growth, main

CSV = (
    "ts,link_id,bandwidth_mbps,loss_ratio\n"
    "2026-03-01T00:00:10Z,a,5,0.01\n"
    "2026-03-01T00:00:20Z,a,5,3\n"
    "2026-03-01T00:00:50Z,a,7,\n"
)


@pytest.fixture
def csv(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    path = tmp_path / "links.csv"
    path.write_text(CSV)
    return path


def call(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    return code, capsys.readouterr()


def test_json_is_one_line_with_the_whole_report(tmp_path, csv, capsys):
    code, said = call(capsys, "--schema", "link", "--out", tmp_path / "out", "--json", csv)

    report = json.loads(said.out)
    assert (code, said.out.count("\n")) == (0, 1)
    assert (report["rows_read"], report["reasons"]) == (3, {"percent_not_ratio": 1})
    assert (tmp_path / "out" / "grid.parquet").is_file()


def test_without_json_it_shows_a_table(tmp_path, csv, capsys):
    code, said = call(capsys, "--schema", "link", "--out", tmp_path / "out", csv)

    assert code == 0
    assert "1 percent_not_ratio" in said.out


def test_the_grid_step_is_an_option(tmp_path, csv, capsys):
    options = ("--step-s", 10, "--lateness-s", 0, "--json")

    _, said = call(capsys, "--schema", "link", "--out", tmp_path / "out", *options, csv)

    assert json.loads(said.out)["steps"] == 5


def test_a_config_file_is_read_and_its_typos_are_named(tmp_path, csv, capsys):
    config = tmp_path / "ingest.yaml"
    config.write_text("validation: {max_gap: 3}\n")

    code, said = call(
        capsys, "--schema", "link", "--out", tmp_path / "o", "--config", config, "--json", csv
    )

    assert code == 2
    assert "max_gap" in json.loads(said.out)["error"]


@pytest.mark.parametrize("options", [("--step-s", 0), ("--lateness-s", -1)])
def test_an_impossible_step_is_bad_input(tmp_path, csv, capsys, options):
    code, _ = call(capsys, "--schema", "link", "--out", tmp_path / "o", *options, "--json", csv)

    assert code == 2


def test_a_wrong_column_is_bad_input_unless_unknown_ones_are_ignored(tmp_path, csv, capsys):
    csv.write_text(CSV.replace("loss_ratio", "loss_pct"))
    command = ("--schema", "link", "--out", tmp_path / "out", "--json", csv)

    refused, said = call(capsys, *command)
    ignored, _ = call(capsys, *command, "--ignore-unknown-columns")

    assert (refused, ignored) == (2, 0)
    assert json.loads(said.out)["field"] == "loss_pct"


def test_wrong_usage_exits_with_two(tmp_path, csv):
    with pytest.raises(SystemExit) as caught:
        main(["--schema", "router", "--out", str(tmp_path), str(csv)])

    assert caught.value.code == 2


class Counter:
    def __init__(self):
        self.counted = {}

    def inc(self, value, tags):
        key = tuple(tags.values())
        self.counted[key] = self.counted.get(key, 0) + value


def test_counters_grow_by_what_is_new_and_end_at_the_totals():
    read, rejected = Counter(), Counter()
    listen = count_growth("link", read, rejected)

    for rows, reasons in ((10, {}), (10, {"late": 1}), (25, {"late": 3, "future": 2})):
        listen(
            IngestProgress(
                source="x",
                rows_read=rows,
                rows_rejected=sum(reasons.values()),
                reasons=reasons,
                sources_done=0,
                sources=1,
            )
        )

    assert read.counted == {("link",): 25}
    assert rejected.counted == {("link", "late"): 3, ("link", "future"): 2}
