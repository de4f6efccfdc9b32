import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from novacron.errors import ConfigError, DatasetNotFoundError, ModelNotFoundError, OutOfRangeError
from novacron.registry.store import ModelStore
from ray_jobs.locations import registry_config
from ray_jobs.run_folder import RunFolder, run_key
from ray_jobs.training import TrainRequest, train
from ray_jobs.units import read_progress

ROOT = Path(__file__).parents[3]


def request_for(path, **changes):
    return TrainRequest(
        **{"model": "doubling", "config_path": path, "data": "generator"} | changes
    )


def nothing(event, units):
    pass


def test_a_training_ends_as_a_registered_challenger(runs, doubling_yaml):
    outcome = train(request_for(doubling_yaml), nothing)

    loaded = ModelStore.connect(registry_config()).load("doubling", "challenger")
    assert loaded.version == outcome["version"]
    assert loaded.card.data_source == "generator seed 7"
    assert loaded.card.data_sha256 == outcome["data_sha256"]


def test_the_same_request_again_reuses_the_registered_version(runs, doubling_yaml):
    first = train(request_for(doubling_yaml), nothing)
    second = train(request_for(doubling_yaml), nothing)

    assert (first["reused"], second["reused"]) == (False, True)
    assert second["version"] == first["version"]


def test_another_config_trains_another_version(runs, doubling_yaml, tmp_path):
    first = train(request_for(doubling_yaml), nothing)
    other = tmp_path / "other.yaml"
    other.write_text(doubling_yaml.read_text().replace("steps: 3", "steps: 2"))
    second = train(request_for(other), nothing)

    assert second["version"] != first["version"]
    assert second["run_dir"] != first["run_dir"]


def test_a_registry_that_lost_the_version_is_given_it_again(runs, doubling_yaml):
    first = train(request_for(doubling_yaml), nothing)
    folder = RunFolder(path=Path(first["run_dir"]))
    folder.write("result", folder.read("result") | {"version": "77"})

    again = train(request_for(doubling_yaml), nothing)

    assert not again["reused"]
    assert again["units_resumed"] == 3


def test_a_folder_begun_under_another_registry_is_registered_in_this_one(
    doubling_yaml, turn_to_another_registry
):
    first = train(request_for(doubling_yaml), nothing)
    turn_to_another_registry()

    again = train(request_for(doubling_yaml), nothing)

    assert (again["version"], again["units_resumed"]) == ("1", 3)
    assert again["run_id"] != first["run_id"]


def test_every_step_of_every_unit_is_reported_with_the_number_of_units(runs, doubling_yaml):
    seen = []

    train(
        request_for(doubling_yaml),
        lambda event, units: seen.append((event.unit, event.step, units)),
    )

    assert seen == [(unit, step, 3) for unit in ("first", "seed1", "seed2") for step in (1, 2, 3)]


def test_a_failed_unit_ends_the_training_and_the_next_one_goes_on(runs, doubling_yaml, tmp_path):
    folder = tmp_path / "run"
    broken = tmp_path / "broken.yaml"
    broken.write_text(doubling_yaml.read_text().replace("steps: 3", "steps: 3, fail_in: seed2"))

    with pytest.raises(OutOfRangeError, match="seed2"):
        train(request_for(broken, run_dir=folder), nothing)
    finished = sorted(path.name for path in (folder / "checkpoints").glob("*.json"))

    assert finished == ["first.json", "seed1.json"]


def test_a_folder_of_other_inputs_is_begun_anew(runs, doubling_yaml, tmp_path):
    folder = tmp_path / "run"
    train(request_for(doubling_yaml, run_dir=folder), nothing)
    other = tmp_path / "other.yaml"
    other.write_text(doubling_yaml.read_text().replace("steps: 3", "steps: 2"))

    outcome = train(request_for(other, run_dir=folder), nothing)

    assert outcome["units_resumed"] == 0


def test_a_training_killed_outright_goes_on_where_it_was(runs, doubling_yaml, tmp_path):
    slow = tmp_path / "slow.yaml"
    slow.write_text(doubling_yaml.read_text().replace("steps: 3", "steps: 4, step_s: 0.4"))
    command = [
        *(sys.executable, str(ROOT / "tests" / "doubling_trainer.py")),
        *("--model", "doubling", "--config", str(slow), "--data", "generator"),
        *("--run-dir", str(tmp_path / "run")),
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT
    )
    seed1 = tmp_path / "run" / "checkpoints" / "seed1.at"
    while not seed1.exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    at_kill = int(seed1.read_text())

    finished = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)

    assert finished.returncode == 0, finished.stderr
    outcome = json.loads(finished.stdout.splitlines()[-1])
    assert outcome["units_resumed"] == 1
    steps = read_progress(tmp_path / "run" / "progress")["seed1"]
    assert [event.step for event in steps] == [1, 2, 3, 4]
    assert at_kill < 4


def test_the_outcome_of_the_job_is_one_json_line_and_the_progress_goes_elsewhere(
    runs, doubling_yaml
):
    finished = subprocess.run(
        [
            *(sys.executable, str(ROOT / "tests" / "doubling_trainer.py")),
            *("--model", "doubling", "--config", str(doubling_yaml), "--data", "generator"),
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )

    assert finished.returncode == 0, finished.stderr
    assert len(finished.stdout.splitlines()) == 1
    assert json.loads(finished.stdout)["data_source"] == "generator seed 7"
    assert "progress {" in finished.stderr


def test_the_report_shows_every_metric_and_its_pictures_without_network(runs, doubling_yaml):
    outcome = train(request_for(doubling_yaml), nothing)

    page = Path(outcome["report"]).read_text()
    assert "wape_ratio_to_ewma" in page
    assert "0.75 .. 0.85" in page
    assert "http" not in page
    assert (Path(outcome["report"]).parent / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_the_key_changes_with_config_data_and_model():
    keys = {
        run_key("a", "{}", "d"),
        run_key("b", "{}", "d"),
        run_key("a", '{"x": 1}', "d"),
        run_key("a", "{}", "e"),
    }

    assert len(keys) == 4
    assert run_key("a", "{}", "d") in keys


def test_an_unknown_model_is_refused_with_the_known_ones(runs, doubling_yaml):
    with pytest.raises(ModelNotFoundError, match="bandwidth"):
        train(request_for(doubling_yaml, model="bandwidth9"), nothing)


def test_a_misspelt_data_folder_is_refused(runs, doubling_yaml):
    with pytest.raises(ConfigError, match="folder of data"):
        train(request_for(doubling_yaml, data="/nowhere/at/all"), nothing)


def test_a_data_variable_that_names_no_folder_is_refused(runs, doubling_yaml, monkeypatch):
    monkeypatch.setenv("NOVACRON_DATA_DIR", "/nowhere/at/all")

    with pytest.raises(DatasetNotFoundError, match="NOVACRON_DATA_DIR"):
        train(request_for(doubling_yaml, data=None), nothing)


def test_without_a_data_folder_the_generator_is_used_and_named(runs, doubling_yaml):
    outcome = train(request_for(doubling_yaml, data=None), nothing)

    assert "NOVACRON_DATA_DIR" not in os.environ
    assert outcome["data_source"] == "generator seed 7"
