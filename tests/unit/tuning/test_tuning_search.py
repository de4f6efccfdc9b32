"""Whole searches in this process, over a toy whose best setting is known."""

import io
import json
import os
import signal

import pytest
import toy_objective
import yaml
from toy_objective import SPACE, distance

from novacron.errors import ConfigError, NotReadyError, OutOfRangeError, UnknownNameError
from tuning import search
from tuning.progress import Lines, Silent
from tuning.request import SearchRequest
from tuning.study import run_search

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(autouse=True)
def plain_report(request, monkeypatch):
    """Searches of these tests draw no pictures, except where the report itself is asked about."""
    if "report" not in request.node.name:
        monkeypatch.setattr("tuning.study.report_files", lambda _: {"index.html": b""})


@pytest.fixture
def notes(tmp_path, monkeypatch):
    """Every start and end of a toy trial, as the toy itself wrote them."""
    path = tmp_path / "notes"
    path.touch()
    monkeypatch.setenv("TOY_NOTES", str(path))
    return path


def request_of(tmp_path, objective="TOY", **changes):
    given = {"trials": 12, "seeds": (1, 2), "finalists": 2, "engine": "here"}
    given |= {"with_report": False} | changes  # pictures take longer than the toy
    return SearchRequest(
        model=f"toy_objective:{objective}", storage=str(tmp_path / "tune"), **given
    )


def starts(notes):
    return [one.split(" ", 1)[1] for one in notes.read_text().splitlines() if " start " in one]


class Interrupting(Silent):
    """Presses Ctrl-C, or worse, after a number of trials."""

    def __init__(self, after, act=lambda: os.kill(os.getpid(), signal.SIGINT)):
        self.left, self.act, self.seen = after, act, []

    def ended(self, record, left_s):
        self.seen.append(record.spec.id)
        self.left -= 1
        if self.left == 0:
            self.act()


class KilledError(Exception):
    pass


def die():
    raise KilledError


# --- the whole ----------------------------------------------------------------------------


def test_a_search_finds_a_gain_confirms_it_and_writes_a_training_file(tmp_path):
    outcome = run_search(request_of(tmp_path, trials=25, with_report=True), Silent())

    decision = outcome.document["decision"]
    assert outcome.exit_code == 0
    assert list((tmp_path / "tune").glob("*/report/index.html"))
    assert decision["is_gain"]
    assert decision["difference"]["wape"]["hi"] < 0
    config = yaml.safe_load((tmp_path / "tune").glob("*/config.yaml").__next__().read_text())
    assert SPACE.check(config["fit"]) == config["fit"]
    assert distance(config["fit"]) < distance(SPACE.default())


def test_where_no_setting_is_better_the_default_stays_and_the_report_says_so(tmp_path):
    outcome = run_search(request_of(tmp_path, "FLAT"), Silent())

    decision = outcome.document["decision"]
    assert decision["number"] == 0
    assert not decision["is_gain"]
    assert "default" in decision["reason"]
    config = yaml.safe_load(next((tmp_path / "tune").glob("*/config.yaml")).read_text())
    assert config["fit"] == SPACE.default()


def test_the_search_never_sees_the_untouched_block(tmp_path, notes):
    run_search(request_of(tmp_path), Silent())

    lines = starts(notes)
    assert {one.split()[1] for one in lines if one.endswith(" 7 0")} == {"search"}
    untouched = [one for one in lines if one.split()[1] == "untouched"]
    assert len(untouched) == 4  # two settings, two seeds


def test_a_failing_trial_is_reported_with_its_values_and_ends_nothing(tmp_path):
    outcome = run_search(request_of(tmp_path, trials=25), Silent())

    failed = [one for one in outcome.document["trials"] if one["state"] == "failed"]
    assert failed
    assert all(one["values"]["kind"] == "broken" for one in failed)
    assert all("InvalidInputError" in one["error"] for one in failed)


def test_random_search_spends_the_same_on_the_same_space(tmp_path):
    outcome = run_search(request_of(tmp_path, search="random"), Silent())

    assert sum(outcome.document["counts"].values()) == 12
    assert {one["origin"] for one in outcome.document["trials"]} == {
        "default",
        "random",
        "finalist",
    }


def test_a_model_without_steps_is_searched_whole(tmp_path):
    outcome = run_search(request_of(tmp_path, "WHOLE"), Silent())

    assert outcome.document["fidelity"] is None
    assert outcome.document["decision"]["is_gain"]


def test_two_metrics_give_a_front_and_the_first_decides(tmp_path):
    outcome = run_search(request_of(tmp_path, "TWO", trials=20), Silent())

    trials = {
        one["number"]: one["metrics"]
        for one in outcome.document["trials"]
        if one["phase"] == "search"
    }
    front = outcome.document["pareto"]
    assert front
    for number in front:
        mine = trials[number]
        assert not any(
            other["wape"] < mine["wape"] and other["size"] < mine["size"]
            for other in trials.values()
            if other
        )
    assert set(outcome.document["decision"]["difference"]) == {"wape", "size"}


def test_parameters_can_be_left_out_and_ranges_narrowed(tmp_path):
    request = request_of(tmp_path, only=("rate",), ranges={"rate": {"low": 0.05, "high": 0.5}})

    outcome = run_search(request, Silent())

    values = [one["values"] for one in outcome.document["trials"]]
    assert all(set(one) == {"rate"} and 0.05 <= one["rate"] <= 0.5 for one in values)


# --- durability ---------------------------------------------------------------------------


@pytest.mark.parametrize("after", [1, 4, 9, 13, 18])
def test_a_driver_that_dies_anywhere_loses_and_repeats_nothing(tmp_path, notes, after):
    request = request_of(tmp_path, save_every_s=0.0)
    with pytest.raises(KilledError):
        run_search(request, Interrupting(after, die))

    outcome = run_search(request, Silent())

    assert outcome.is_finished
    assert sum(outcome.document["counts"].values()) == 12
    assert "unfinished" not in outcome.document["counts"]
    assert len(starts(notes)) == len(set(starts(notes)))
    assert outcome.document["runs"] == 2


def test_a_finished_search_answers_again_without_running_anything(tmp_path, notes):
    first = run_search(request_of(tmp_path), Silent())
    ran = len(starts(notes))

    second = run_search(request_of(tmp_path), Silent())

    assert len(starts(notes)) == ran
    assert second.document["decision"] == first.document["decision"]


def test_a_search_is_extended_by_asking_for_more_trials(tmp_path, notes):
    run_search(request_of(tmp_path, trials=6), Silent())
    before = [one for one in starts(notes) if one.endswith(" 7 0")]

    outcome = run_search(request_of(tmp_path, trials=9), Silent())

    after = [one for one in starts(notes) if one.endswith(" 7 0")]
    assert (len(before), len(after)) == (6, 9)
    assert sum(outcome.document["counts"].values()) == 9


def test_another_space_or_seed_is_another_search(tmp_path):
    for changes in ({}, {"seed": 8}, {"only": ("rate",)}, {"search": "random"}, {"budget": 3}):
        run_search(request_of(tmp_path, trials=2, **changes), Silent())

    assert len(list((tmp_path / "tune").iterdir())) == 5


def test_ctrl_c_leaves_what_was_found_and_the_same_command_goes_on(tmp_path):
    outcome = run_search(request_of(tmp_path), Interrupting(5))

    assert outcome.exit_code == 130
    assert outcome.document["status"] == "interrupted"
    assert outcome.document["decision"] is None
    assert list((tmp_path / "tune").glob("*/best_so_far.yaml"))
    assert not list((tmp_path / "tune").glob("*/config.yaml"))

    assert run_search(request_of(tmp_path), Silent()).is_finished


def test_when_the_time_is_over_the_finalists_are_still_confirmed(tmp_path):
    request = request_of(tmp_path, "SLOW", trials=500, time_s=1.0, budget=1, seeds=(1,))

    outcome = run_search(request, Silent())

    assert 1 < sum(outcome.document["counts"].values()) < 500
    assert outcome.is_finished


def test_a_time_that_is_over_at_once_leaves_the_default(tmp_path):
    outcome = run_search(request_of(tmp_path, "FLAT", time_s=1e-9), Silent())

    assert outcome.document["decision"]["number"] == 0
    config = yaml.safe_load(next((tmp_path / "tune").glob("*/config.yaml")).read_text())
    assert config["fit"] == SPACE.default()


def test_a_second_driver_of_the_same_search_is_kept_out(tmp_path):
    request = request_of(tmp_path)

    class Second(Silent):
        def ended(self, record, left_s):
            with pytest.raises(NotReadyError, match="at work"):
                run_search(request, Silent())

    run_search(request, Second())


# --- bad input: exit code 2, and no trial was started ---------------------------------------


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--model", "nothing"], "nothing"),
        (["--model", "toy_objective:NOTHING"], "toy_objective:NOTHING"),
        (["--model", "no.such.module:TOY"], "no.such.module"),
        (["--only", "speed"], "speed"),
        (["--range", "speed=1..2"], "speed"),
        (["--range", "rate=5..9"], "rate"),
        (["--range", "rate=0.5..0.1"], "rate"),
        (["--range", "rate"], "rate"),
        (["--range", "width=a..b"], "width"),
        (["--range", "kind=plain"], "kind"),
        (["--range", "kind=round,plain"], "kind"),
        (["--trials", "0"], "trials"),
        (["--time", "-1"], "time"),
        (["--seeds", "a"], "seeds"),
        (["--seeds", "1,1"], "seeds"),
        (["--budget", "99"], "budget"),
        (["--data", "/no/such/folder"], "data"),
        (["--storage", "/proc/nothing"], "storage"),
        (["--storage", "nowhere://x"], "storage"),
        (["--model", "toy_objective:WHOLE", "--scheduler", "asha"], "scheduler"),
        (["--model", "toy_objective:WHOLE", "--budget", "3"], "budget"),
        (["--model", "toy_objective:POPULATION"], "engine"),
        (["--model", "toy_objective:NO_NUMBER"], "metrics"),
        (["--model", "toy_objective:NO_NUMBER_AT_ALL"], "scores.upper"),
    ],
)
def test_bad_input_is_named_before_any_trial_starts(tmp_path, notes, capsys, options, named):
    base = ["--engine", "here", "--no-track", "--storage", str(tmp_path), "--trials", "2"]
    base += [] if "--model" in options else ["--model", "toy_objective:TOY"]

    code = search.main([*base, *options])

    answer = json.loads(capsys.readouterr().out)
    assert code == 2
    assert named in answer["error"]
    # The defaults of an objective that cannot show its metrics beforehand are the check.
    assert len(starts(notes)) == ("NO_NUMBER_AT_ALL" in options[1])


def test_an_empty_space_is_refused():
    with pytest.raises(ConfigError, match="no parameter"):
        SPACE.only([])


def test_a_request_names_the_number_that_is_out_of_range(tmp_path):
    with pytest.raises(OutOfRangeError, match="parallel"):
        request_of(tmp_path, parallel=0)
    with pytest.raises(UnknownNameError, match="bandwidths"):
        run_search(SearchRequest(model="bandwidths", storage=str(tmp_path)), Silent())


# --- what it says ---------------------------------------------------------------------------


def test_there_is_one_line_for_each_trial_with_the_time_left(tmp_path):
    stream = io.StringIO()

    run_search(request_of(tmp_path), Lines(toy_objective.TOY.metrics, stream))

    lines = stream.getvalue().splitlines()
    trials = [one for one in lines if one.startswith("search ") and "/12" in one]
    assert len(trials) == 12
    assert all("left " in one for one in trials)
    assert "default" in trials[0]


def test_the_command_answers_with_one_json_object(tmp_path, capsys):
    code = search.main(
        ["--model", "toy_objective:TOY", "--engine", "here", "--no-track", "--trials", "6",
         "--seeds", "1,2", "--storage", str(tmp_path)]
    )  # fmt: skip

    answer = json.loads(capsys.readouterr().out)
    assert code == 0
    assert answer["status"] == "finished"
    assert sum(answer["trials"].values()) == 6
    assert toy_objective.SPACE.model == answer["model"]


def test_a_finished_search_leaves_its_report_with_the_decision(tmp_path, notes):
    outcome = run_search(request_of(tmp_path), Silent())

    page = outcome.folder.read_text("report/index.html") or ""

    assert outcome.document["decision"]["reason"].split(":")[0] in page
    assert outcome.folder.has_folder("report")
