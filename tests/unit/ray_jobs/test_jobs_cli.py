import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from doubling_model import card, metric, write_bundle
from typer.testing import CliRunner

from novacron.registry.store import ModelStore
from ray_jobs.cli import app
from ray_jobs.cluster_state import ClusterState, write_state
from ray_jobs.locations import registry_config

GATE = """
limits:
  - {name: wape_ratio_to_ewma, limit: 1.0, min_n: 30}
"""


@pytest.fixture
def gate(tmp_path):
    path = tmp_path / "gate.yaml"
    path.write_text(GATE)
    return path


@pytest.fixture
def register(runs, tmp_path):
    count = iter(range(100))

    def run(**card_fields):
        bundle_dir = write_bundle(tmp_path / f"bundle{next(count)}")
        store = ModelStore.connect(registry_config())
        return store.register("bandwidth", bundle_dir, card(**card_fields)).version

    return run


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def answer_of(result):
    assert len(result.stdout.splitlines()) == 1, result.stdout
    return json.loads(result.stdout)


def test_help_names_every_command():
    result = invoke("--help")

    assert result.exit_code == 0
    for command in (
        "data", "train", "evaluate", "promote", "rollback", "serve", "predict", "simulate"
    ):  # fmt: skip
        assert command in result.stdout


@pytest.mark.parametrize("library", ["ray", "torch", "mlflow", "lightgbm", "pandas", "fastapi"])
def test_help_does_not_import_heavy_libraries(library):
    code = (
        "import sys, ray_jobs.cli, typer.testing as t\n"
        "assert t.CliRunner().invoke(ray_jobs.cli.app, ['--help']).exit_code == 0\n"
        f"sys.exit({library!r} in sys.modules)"
    )

    finished = subprocess.run([sys.executable, "-c", code], check=False)

    assert finished.returncode == 0


def test_an_unknown_option_is_a_usage_error():
    result = invoke("train", "--modle", "bandwidth")

    assert result.exit_code == 2


def test_promotion_through_the_gate_exits_with_0_and_one_json_object(register, gate):
    version = register()

    result = invoke("promote", "bandwidth", "--gate", gate, "--json")

    assert result.exit_code == 0
    assert answer_of(result)["champion"] == version


def test_a_refused_promotion_exits_with_3_and_says_why(register, gate):
    register(metrics=(metric(value=1.2),))

    result = invoke("promote", "bandwidth", "--gate", gate, "--json")

    answer = answer_of(result)
    assert result.exit_code == answer["exit_code"] == 3
    assert answer["code"] == "GateRefusedError"
    assert "does not beat EWMA" in answer["error"]


def test_a_version_whose_card_lacks_the_metric_is_refused(register, gate):
    register(metrics=(metric(name="another"),))

    result = invoke("promote", "bandwidth", "--gate", gate, "--json")

    assert result.exit_code == 3


def test_the_rule_holds_on_every_set_of_the_card(register, gate):
    register(metrics=(metric(set_name="oboe"), metric(set_name="fcc", value=1.3)))

    result = invoke("promote", "bandwidth", "--gate", gate, "--json")

    assert result.exit_code == 3
    assert "fcc" in answer_of(result)["error"]


def test_rollback_returns_to_the_champion_before(register, gate):
    first = register()
    invoke("promote", "bandwidth", "--gate", gate)
    second = register(config={"hidden": 64})
    invoke("promote", "bandwidth", "--gate", gate)

    result = invoke("rollback", "bandwidth", "--why", "test", "--json")

    answer = answer_of(result)
    assert (answer["champion"], answer["previous"]) == (first, second)


def test_rollback_without_an_earlier_champion_exits_with_2_and_no_traceback(register, gate):
    register()
    invoke("promote", "bandwidth", "--gate", gate)

    result = invoke("rollback", "bandwidth")

    assert result.exit_code == 2
    assert "no champion before" in result.stderr
    assert "Traceback" not in result.output


def test_a_broken_gate_file_exits_with_2_and_names_the_key(register, tmp_path):
    register()
    path = tmp_path / "broken.yaml"
    path.write_text("limit: []\n")

    result = invoke("promote", "bandwidth", "--gate", path, "--json")

    assert result.exit_code == 2
    assert "Did you mean 'limits'?" in answer_of(result)["error"]


def test_status_shows_models_and_aliases_without_a_cluster(register, gate):
    register()
    invoke("promote", "bandwidth", "--gate", gate)

    answer = answer_of(invoke("status", "--json"))

    assert answer["cluster"] is None
    assert answer["registry"]["models"]["bandwidth"]["aliases"]["champion"] == "1"


def test_status_of_an_empty_folder_is_an_answer_too(tmp_path, monkeypatch):
    monkeypatch.setenv("NOVACRON_RUNS_DIR", str(tmp_path / "none"))

    result = invoke("status", "--json")

    assert result.exit_code == 0
    assert answer_of(result)["registry"]["models"] == {}
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("command", [("env",), ("serve", "--stop")])
def test_commands_that_need_a_cluster_say_how_to_start_one(runs, command):
    result = invoke(*command)

    assert result.exit_code == 1
    assert "novacron up" in result.stderr


def test_stopping_what_does_not_run_is_no_error(runs):
    assert answer_of(invoke("down", "--json")) == {"stopped": False, "processes": 0}


def test_training_from_the_command_line_registers_a_version(runs, doubling_yaml):
    result = invoke(
        "train", "--model", "doubling", "--config", doubling_yaml, "--data", "generator", "--json"
    )

    assert result.exit_code == 0
    assert answer_of(result)["data_source"] == "generator seed 7"


def test_evaluation_shows_the_value_on_the_card_beside_its_own(runs, doubling_yaml):
    options = ("--config", doubling_yaml, "--data", "generator", "--json")
    invoke("train", "--model", "doubling", *options)

    answer = answer_of(invoke("evaluate", "doubling", *options))

    assert answer["same_data_as_card"]
    assert [one["value"] for one in answer["metrics"]] == [0.8]
    assert [one["on_card"] for one in answer["metrics"]] == [0.8]


def test_a_version_scored_on_other_data_is_not_compared_with_its_card(
    runs, doubling_yaml, tmp_path
):
    invoke("train", "--model", "doubling", "--config", doubling_yaml, "--data", "generator")
    other = tmp_path / "other.yaml"
    other.write_text(doubling_yaml.read_text().replace("links: 3", "links: 4"))

    answer = answer_of(
        invoke(
            *("evaluate", "doubling", "--config", other, "--data", "generator"),
            "--json",
        )
    )

    assert not answer["same_data_as_card"]
    assert [one["on_card"] for one in answer["metrics"]] == [None]


def test_generated_telemetry_passes_validation(tmp_path):
    made = invoke("data", "generate", "--out", tmp_path, "--hours", 1, "--json")
    checked = invoke("data", "validate", tmp_path / "links.parquet", "--json")

    assert answer_of(made)["rows"]["links"] == answer_of(checked)["rows_read"] == 360
    assert checked.exit_code == 0


def test_validation_of_a_bad_row_exits_with_2_and_counts_the_reason(tmp_path):
    path = tmp_path / "links.csv"
    path.write_text(
        "ts,link_id,bandwidth_mbps\n"
        "2026-01-01T00:00:00Z,a,10\n2026-01-01T00:01:00Z,a,-5\n2026-01-01T00:02:00Z,a,11\n"
    )

    result = invoke("data", "validate", path, "--json")

    assert result.exit_code == 2
    assert answer_of(result)["rows_rejected"] == 1


def test_a_missing_telemetry_file_exits_with_2(tmp_path):
    result = invoke("data", "validate", tmp_path / "none.parquet")

    assert result.exit_code == 2
    assert "none.parquet" in result.stderr


def test_data_sets_are_listed_with_and_without_their_files(tmp_path, monkeypatch):
    monkeypatch.setenv("NOVACRON_DATA_DIR", str(tmp_path))

    listed = answer_of(invoke("data", "list", "--json"))

    assert {one["name"] for one in listed["data_sets"]} >= {"net_tput_traces", "vm_bitbrains"}
    assert not any(one["present"] for one in listed["data_sets"])


def test_an_unknown_data_set_is_refused_with_the_nearest(tmp_path):
    result = invoke("data", "describe", "net_tput_trace", "--json")

    assert result.exit_code == 2
    assert "net_tput_traces" in answer_of(result)["error"]


def test_the_module_runs_as_a_program():
    finished = subprocess.run(
        [sys.executable, "-m", "ray_jobs.cli", "data", "list", "--json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
    )

    assert finished.returncode == 0
    assert json.loads(finished.stdout)["data_sets"]


def test_the_variables_for_a_shell_keep_long_paths_whole(runs, monkeypatch):
    state = ClusterState(
        cluster_id="c",
        session_id=1,
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        temp_dir=runs,
        gcs_address="127.0.0.1:1",
        dashboard_url="http://127.0.0.1:2",
        auth="token",
        token_path=runs / ("long" * 40),
        metrics_port=3,
        runs_dir=runs,
        pids=(),
    )
    write_state(state)
    monkeypatch.setattr(ClusterState, "is_healthy", lambda _self: True)

    lines = invoke("env").stdout.splitlines()

    assert f"export RAY_AUTH_TOKEN_PATH={state.token_path}" in lines
    assert len(lines) == len(state.client_env())
