import json

import pytest
from mlflow.tracking import MlflowClient
from typer.testing import CliRunner

from novacron.registry.store import ModelStore
from ray_jobs import tune as job
from ray_jobs.cli import app
from ray_jobs.cli_tune import arguments_of
from ray_jobs.locations import registry_config
from tuning.progress import Silent
from tuning.search import request_of
from tuning.study import run_search

QUICK = ("--engine=here", "--trials=8", "--seeds=1,2", "--finalists=1", "--data=generator")


def tune(objective, *options):
    result = CliRunner().invoke(
        app, ["tune", f"toy_objective:{objective}", *QUICK, *options, "--json"]
    )
    return result.exit_code, json.loads(result.stdout)


def runs_of(store):
    client = MlflowClient(tracking_uri=store.config.connection_uri)
    (experiment,) = client.search_experiments(filter_string="name = 'novacron'")
    return client.search_runs([experiment.experiment_id], max_results=500)


def test_one_command_leads_from_a_search_to_a_registered_challenger(runs):
    code, answer = tune("TRAINABLE", "--register")

    assert code == 0
    assert answer["decision"]["is_gain"]
    loaded = ModelStore.connect(registry_config()).load("doubling", "challenger")
    assert loaded.version == answer["registered"]["version"]
    assert loaded.card.config["fit"]["steps"] == 2


def test_nothing_is_registered_where_the_default_stays(runs):
    code, answer = tune("TRAINABLE_FLAT", "--register")

    assert code == 0
    assert answer["registered"] is None
    assert "doubling" not in ModelStore.connect(registry_config()).models()


def test_a_search_is_one_parent_run_with_a_child_for_each_trial(runs):
    _, answer = tune("TOY")

    found = runs_of(ModelStore.connect(registry_config()))
    (parent,) = [one for one in found if one.info.run_name == "tune toy"]
    children = [
        one for one in found if one.data.tags.get("mlflow.parentRunId") == parent.info.run_id
    ]
    document = json.loads(next((runs / "tune").glob("toy-*/results.json")).read_text())
    assert {one.info.run_name for one in children} == {one["id"] for one in document["trials"]}
    assert len(children) == len(document["trials"])
    assert parent.data.tags["status"] == "finished"
    assert parent.data.tags["reason"] == answer["decision"]["reason"]
    failed = [one for one in children if one.data.tags["state"] == "failed"]
    assert all(one.data.params["kind"] == "broken" for one in failed)


def test_a_resumed_search_goes_on_with_its_runs_and_logs_no_trial_twice(runs):
    class Dying(Silent):
        def ended(self, record, left_s):
            if record.spec.number == 3:
                raise RuntimeError("killed between a trial's end and its run")

    given = job.parser_of_job().parse_args(
        ["--model=toy_objective:TOY", *QUICK, f"--storage={runs / 'tune'}"]
    )
    store = ModelStore.connect(registry_config())
    with pytest.raises(RuntimeError):
        run_search(request_of(given), Dying(), store=store)

    outcome = run_search(request_of(given), Silent(), store=store)

    found = runs_of(store)
    names = [one.info.run_name for one in found if one.info.run_name != "tune toy"]
    assert sorted(names) == sorted(one["id"] for one in outcome.document["trials"])
    assert len(found) == len(names) + 1


def test_mlflow_that_fails_for_a_while_costs_no_trial_and_is_caught_up(runs, monkeypatch):
    from tuning.tracking import Tracker

    whole, failed = Tracker.trial, []

    def failing(self, record):
        if record.spec.number == 2 and record.spec.id not in failed:
            failed.append(record.spec.id)
            raise OSError("the server is away")
        whole(self, record)

    monkeypatch.setattr(Tracker, "trial", failing)
    code, _ = tune("TOY")

    names = [one.info.run_name for one in runs_of(ModelStore.connect(registry_config()))]
    assert code == 0
    assert failed
    assert set(failed) <= set(names)
    assert len(names) == len(set(names))


def test_bad_input_ends_with_code_2_before_any_trial(runs):
    code, answer = tune("TOY", "--only=speed")

    assert code == 2
    assert answer["code"] == "ConfigError"
    assert not list((runs / "tune").glob("*/trials/*"))


def test_the_command_without_json_tells_people_the_same(runs):
    result = CliRunner().invoke(app, ["tune", "toy_objective:TOY", *QUICK, "--no-track"])

    assert result.exit_code == 0
    assert "untouched block" in result.stdout
    assert "search 8/8" in result.stderr


def test_what_a_command_asks_is_what_its_job_is_asked():
    options = {
        "model": "bandwidth", "trials": 12, "time": None, "only": ["a.b", "c"],
        "range": ["a.b=1..2"], "small": True, "no-track": False, "register": True,
    }  # fmt: skip

    given = job.parser_of_job().parse_args(arguments_of(options))

    assert (given.model, given.trials, given.time) == ("bandwidth", 12, None)
    assert given.only == ["a.b", "c"]
    assert given.range == ["a.b=1..2"]
    assert (given.small, given.no_track, given.register) == (True, False, True)
