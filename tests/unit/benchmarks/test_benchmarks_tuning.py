"""The benchmark of the search: its quick form runs, and what it counts is counted right."""

import json

import numpy as np
import pytest

from benchmarks import tuning
from benchmarks.tuning_control import Control, Training, price_of
from benchmarks.tuning_gain import (
    Figure,
    GainResult,
    OneSearch,
    delivered_by,
    from_json,
    gain,
    to_json,
)
from benchmarks.tuning_kills import count_kills, idle_between_trials_ms
from benchmarks.tuning_toy import STEPS
from tuning.catalog import objective_of
from tuning.journal import Record
from tuning.objective import Metric
from tuning.scores import GroupScores


@pytest.mark.timeout(180)
def test_the_quick_form_measures_gain_and_cost_of_a_small_search(tmp_path):
    assert tuning.main(["--quick", "--output", str(tmp_path)]) == 0

    found = json.loads((tmp_path / "tuning.json").read_text())
    rows = {(one["name"], one["set"]): one for one in found["metrics"]}
    gained = rows["gain_over_default", "toy"]
    assert gained["n"] == 8
    assert gained["lo"] > 0.3
    assert rows["search_cpu_ratio_to_exhaustive_training", "toy"]["n"] >= 1
    assert found["command"] == "python -m benchmarks.tuning --quick"
    assert "| gain_over_random_search |" in (tmp_path / "tuning.md").read_text()


@pytest.mark.parametrize("better", ["lower", "higher"])
def test_a_gain_is_above_zero_whatever_direction_is_better(better):
    groups = tuple("abcdef")
    unit = GroupScores(groups=groups, upper=(10.0,) * 6, lower=(1.0,) * 6)
    other = GroupScores(groups=groups, upper=(8.0, 8.0, 8.0, 8.0, 8.0, 9.0), lower=(1.0,) * 6)

    found = gain([other], [unit], unit, Metric(name="m", better=better))

    sign = 1.0 if better == "lower" else -1.0
    assert found.value == pytest.approx(sign * 11 / 60)
    assert found.lo <= found.value <= found.hi
    assert np.sign(found.lo) == np.sign(found.hi) == sign


def test_what_is_not_surely_better_is_not_delivered():
    groups = tuple("abcdef")
    metric = Metric(name="m", better="lower")
    default = GroupScores(groups=groups, upper=(10.0,) * 6, lower=(1.0,) * 6)
    better = GroupScores(groups=groups, upper=(9.0,) * 6, lower=(1.0,) * 6)
    mixed = GroupScores(groups=groups, upper=(2.0, 14.0, 9.0, 13.0, 8.0, 12.0), lower=(1.0,) * 6)

    assert delivered_by(better, default, metric) is better
    assert delivered_by(mixed, default, metric) is default


def test_the_interval_of_a_gain_speaks_of_searches_too():
    groups = tuple("abcdef")
    metric = Metric(name="m", better="lower")
    default = GroupScores(groups=groups, upper=(10.0,) * 6, lower=(1.0,) * 6)
    lucky = GroupScores(groups=groups, upper=(8.0,) * 6, lower=(1.0,) * 6)
    unlucky = GroupScores(groups=groups, upper=(10.5,) * 6, lower=(1.0,) * 6)

    steady = gain([lucky, lucky, lucky], [default] * 3, default, metric)
    mixed = gain([lucky, lucky, unlucky], [default] * 3, default, metric)

    assert (steady.lo, steady.value) == pytest.approx((0.2, 0.2))
    assert mixed.value == pytest.approx((0.2 + 0.2 - 0.05) / 3)
    assert mixed.lo < 0 < mixed.hi


class Told:
    """A search that is known by its cost and by what its best setting gained."""

    seed = 7

    def __init__(self, cost_s, gained):
        self._cost_s, self._gained = cost_s, gained

    def best_at_cpu_s(self, metric):
        return self._cost_s

    def default(self, metric):
        return 1.0

    def best(self, metric):
        return Record(
            spec=None, state="finished", values={},
            scores={metric.name: GroupScores.of_one(1.0 - self._gained)},
        )  # fmt: skip


class Drawn:
    """Runs whose settings all come out alike."""

    def __init__(self, gained):
        self.objective, self._gained = objective_of("benchmarks.tuning_toy:FAST"), gained

    def run(self, values, seed, block):
        return GroupScores.of_one(1.0 - self._gained), 2.0


def test_full_trainings_are_priced_by_how_many_of_them_are_as_good():
    metric = Metric(name="distance")
    trainings = tuple(Training(gained=one, cpu_s=2.0) for one in (0.0, 0.125, 0.25, 0.5))
    control = Control(trainings=trainings, cpu_s=8.0, chosen=None)
    searches = [Told(1.0, 0.25), Told(1.0, 0.75)]

    price = price_of(Drawn(0.0), searches, [control], metric, least_ratio=4.0, most=9)

    assert price.trainings == 4
    assert price.hits == (2, 0)
    assert price.cpu_s == pytest.approx((2.0 * 5 / 3, 2.0 * 5))


def test_trainings_go_on_until_they_have_had_four_times_the_cost_of_a_search():
    metric = Metric(name="distance")
    control = Control(trainings=(Training(gained=0.0, cpu_s=2.0),), cpu_s=2.0, chosen=None)

    price = price_of(Drawn(0.9), [Told(5.0, 0.3)], [control], metric, least_ratio=4.0, most=99)

    assert price.trainings == 10
    assert price.hits == (9,)


def test_a_result_survives_its_file():
    figure = Figure(value=0.1, lo=0.0, hi=0.2, n=5)
    search = OneSearch(
        seed=7, winner=3, is_chosen=True, reason="", cpu_s=1.0, control_cpu_s=1.0, trials=2,
        control_trials=2, stopped_early=0, best_at_cpu_s=1.0, exhaustive_cpu_s=4.0,
        exhaustive_hits=0, values={"a": 1}, random_is_default=False,
    )  # fmt: skip
    result = GainResult(
        name="x", metric="m", source="s", sha256="0", default=1.0, found=0.9, random=0.95,
        over_default=figure, over_random=figure, random_over_default=figure,
        delivered_over_default=figure, delivered_over_random=figure, exhaustive_trainings=3,
        searches=(search, search),
    )  # fmt: skip

    assert from_json(json.loads(json.dumps(to_json(result)))) == result


def test_every_piece_that_was_measured_has_its_rows():
    figure = {"value": 0.1, "lo": 0.0, "hi": 0.2, "n": 5}
    found = {
        "pbt-policy": {
            "name": "policy", "members": 8, "trained_s": 60.0, "over_default": figure,
            "copies": 3, "reason": "",
        },
        "decision-placement": {
            "time_ratio": 1.5, "lo": 1.4, "hi": 1.6, "default_ms": 9.0, "decisions": 40,
            "leaves_ratio": 2.0,
        },
    }  # fmt: skip

    result = tuning.assemble(found, quick=False)

    rows = {(one.name, one.set): one for one in result.metrics}
    assert rows["gain_over_default", "policy, PBT"].lo == 0.0
    assert rows["decision_cpu_ratio_to_default", "placement, tuned"].value == 1.5
    assert "overhead" in result.notes[-1]


def toy_search(folder, *, ended=(0, 1, 2)):
    """A folder with three trials of which some have an end, and the log of their steps."""
    trials, rows = [], []
    for number in range(3):
        values = {"x": number / 10, "y": 3.0}
        trials.append(
            {"id": f"search-{number}", "block": "search", "seed": 7, "values": values,
             "state": "finished"}
        )  # fmt: skip
        rows += [
            {
                "block": "search",
                "seed": 7,
                "values": values,
                "step": step,
                "pid": 9,
                "at_ns": (number * 5 + step) * 10**9,
            }
            for step in range(1, STEPS + 1)
        ]
        if number in ended:
            place = folder / "trials" / f"search-{number}"
            place.mkdir(parents=True)
            (place / "ended.json").write_text("{}")
    return {"trials": trials, "folder": str(folder)}, rows


def counted(found, rows, folder):
    log = folder / "steps.jsonl"
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = count_kills(found, log, ("driver",), 2, 1.0)
    return result.lost, result.repeated, result.steps_again


def test_a_search_that_went_on_properly_lost_and_repeated_nothing(tmp_path):
    found, rows = toy_search(tmp_path)
    again = rows[0] | {"at_ns": 1500, "pid": 8}

    assert counted(found, rows, tmp_path) == (0, 0, 0)
    assert counted(found, [*rows, again], tmp_path) == (0, 0, 1)


def test_a_trial_without_an_end_is_lost(tmp_path):
    found, rows = toy_search(tmp_path, ended=(0, 2))

    assert counted(found, rows, tmp_path)[0] == 1


def test_a_step_after_a_trials_end_is_a_repetition(tmp_path):
    found, rows = toy_search(tmp_path)
    late = rows[5] | {"at_ns": 2**62}

    assert counted(found, [*rows, late], tmp_path) == (0, 1, 1)


def test_idle_time_is_what_lies_between_two_trials_of_a_worker(tmp_path):
    _, rows = toy_search(tmp_path)
    log = tmp_path / "steps.jsonl"
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))

    # Trials start every five seconds and take four.
    assert idle_between_trials_ms(log) == [1000.0, 1000.0]
