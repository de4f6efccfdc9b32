"""`novacron predictions`: what the log holds, and errors by version from it alone."""

import json
import time

import pandas as pd
import pytest
from logged_predictions import close_logs, entry
from typer.testing import CliRunner

from novacron.monitoring.predictions.actuals import ActualsLog, read_actual
from novacron.monitoring.predictions.config import PredictionLogConfig
from novacron.monitoring.predictions.writer import PredictionWriter
from ray_jobs.cli import app


@pytest.fixture
def folder(tmp_path):
    log = PredictionWriter(
        tmp_path / "log", PredictionLogConfig(block_interval_s=600, fsync=False)
    )
    now_us = time.time_ns() // 1000
    answers = [entry(log, [[10, 20]], version=version, made_at_us=now_us) for version in "12"]
    for one in answers:
        log.record(one)
    log.flush()
    actuals = ActualsLog(log.directory)
    told = {"prediction_id": answers[0].prediction_id, "value": [11, 18]}
    actuals.append([read_actual(told)])
    log.close()
    yield log.directory
    close_logs()


def run(*arguments):
    found = CliRunner().invoke(app, ["predictions", *map(str, arguments)])
    return found.exit_code, found.output


def test_show_counts_rows_outcomes_and_losses(folder):
    code, output = run("show", "--directory", folder, "--json")

    told = json.loads(output)
    assert code == 0
    assert [one["rows"] for one in told["rows"]] == [2]
    assert (told["actuals"], told["rows_lost"]) == (1, 0)
    assert run("show", "--directory", folder)[0] == 0


def test_join_tells_errors_by_version_and_writes_the_rows(folder, tmp_path):
    out = tmp_path / "joined.parquet"

    code, output = run(
        "join", "--model", "bandwidth", "--directory", folder, "--out", out, "--json"
    )

    told = json.loads(output)
    assert code == 0
    assert (told["predictions"], told["with_outcome"]) == (2, 1)
    assert [(one["version"], one["step"], one["mae"]) for one in told["errors"]] == [
        ("1", 1, 1.0), ("1", 2, 2.0),
    ]  # fmt: skip
    assert len(pd.read_parquet(out)) == 2
    assert "1 of 2 predictions" in run("join", "--model", "bandwidth", "--directory", folder)[1]


def test_a_log_that_is_not_there_is_told(tmp_path):
    code, output = run("show", "--directory", tmp_path / "none", "--json")
    assert (code, json.loads(output)["code"]) == (2, "DatasetNotFoundError")
    code, output = run("join", "--model", "x", "--directory", tmp_path, "--json")
    assert (code, json.loads(output)["code"]) == (2, "DatasetNotFoundError")
