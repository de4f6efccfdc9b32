"""Journal, sampler, plan, stopping rules and PBT's changes, without Ray and without a fit."""

import copy
import os
import threading

import numpy as np
import pytest
import threadpoolctl
from ray import cloudpickle, tune
from toy_objective import SPACE, TOY, distance
from trial_records import METRICS, record_of, scores_of, spec_of

from tuning import on_ray
from tuning.attempt import Parent, Saving, attempt
from tuning.journal import Journal, Record, Report
from tuning.objective import Metric, TrialStopped
from tuning.plan import ListPlan, SearchPlan, Spending, Watch
from tuning.progress import Silent
from tuning.sampler import Sampler
from tuning.scores import GroupScores
from tuning.storage import Storage


@pytest.fixture
def journal(tmp_path):
    return Journal(Storage.open(str(tmp_path)), SPACE)


def spending(trials, search="tpe"):
    return Spending(trials=trials, seed=7, budget=6, search=search)


def sampler_of(search="tpe", seed=7, trials=40, metrics=METRICS):
    return Sampler(SPACE, metrics, search=search, seed=seed, trials=trials)


# --- journal ------------------------------------------------------------------------------


def test_a_trial_comes_back_as_it_was_started_reported_and_ended(journal):
    spec = spec_of(3, {"kind": "bent", "bend": 0.25})
    journal.start(spec)
    journal.report(spec.id, Report(step=2, metrics={"wape": 1.5}, values=spec.values, seconds=4.0))
    journal.end(spec.id, "finished", values=spec.values, seconds=9.0, scores=scores_of(1.0))

    (record,) = journal.records()

    assert record.spec == spec
    assert record.state == "finished"
    assert record.metrics == {"wape": 1.0}
    assert record.step == 6
    assert record.curve[0].metrics == {"wape": 1.5}
    assert record.seconds == 9.0


def test_the_first_end_of_a_trial_stands(journal):
    spec = spec_of()
    journal.start(spec)
    journal.end(spec.id, "finished", values=spec.values, seconds=1.0, scores=scores_of(1.0))
    journal.end(spec.id, "failed", values=spec.values, seconds=1.0, error="later")

    assert journal.record(spec.id).state == "finished"


def test_a_trial_without_an_end_is_unfinished_and_keeps_its_last_values(journal):
    spec = spec_of()
    changed = SPACE.check({"rate": 0.5})
    journal.start(spec)
    journal.report(spec.id, Report(step=2, metrics={"wape": 1.5}, values=changed, seconds=3.0))

    record = journal.record(spec.id)

    assert record.state == "unfinished"
    assert record.values == changed
    assert record.seconds == 3.0


def test_only_the_latest_states_of_a_trial_are_kept(journal):
    spec = spec_of()
    for step in range(1, 6):
        journal.save_state(spec.id, step, lambda folder: (folder / "x").write_text("1"), kept=3)

    assert journal.saved_steps(spec.id) == [3, 4, 5]
    with journal.state_here(spec.id, 5) as folder:
        assert (folder / "x").read_text() == "1"
    journal.drop_states(spec.id)
    assert journal.saved_steps(spec.id) == []


# --- sampler and plan ---------------------------------------------------------------------


@pytest.mark.parametrize("search", ["tpe", "random"])
def test_every_suggestion_lies_in_the_space_and_respects_conditions(search):
    sampler = sampler_of(search)
    for number in range(1, 40):
        values = sampler.ask(f"t{number}", number)

        assert SPACE.check(values) == values
        assert ("bend" in values) == (values["kind"] == "bent")


def test_tpe_comes_closer_than_random_draws_on_average():
    found = {"tpe": [], "random": []}
    for search, best in found.items():
        for seed in range(6):
            sampler = sampler_of(search, seed)
            seen = []
            for number in range(1, 41):
                values = sampler.ask(spec_of(number).id, number)
                seen.append(distance(values))
                sampler.tell([record_of(number, seen[-1], values=values)])
            best.append(min(seen))

    assert np.mean(found["tpe"]) < np.mean(found["random"])


def test_the_first_suggestions_lie_around_the_default_and_the_next_anywhere():
    sampler = sampler_of(trials=40)
    default = SPACE.default()
    far = []
    for number in range(1, 11):
        values = sampler.ask(spec_of(number).id, number)
        far.append(abs(np.log(values["rate"] / default["rate"])))
        sampler.tell([record_of(number, distance(values), values=values)])

    assert np.mean(far[:5]) < np.mean(far[5:])
    assert max(far[:5]) > 0


def test_a_setting_that_fails_is_not_tried_again_and_again():
    sampler = sampler_of()
    kinds = []
    for number in range(1, 41):
        values = sampler.ask(spec_of(number).id, number)
        kinds.append(values["kind"])
        failed = values["kind"] == "broken"
        state = "failed" if failed else "finished"
        sampler.tell([record_of(number, distance(values), state, values)])

    assert kinds[20:].count("broken") <= 4


def test_two_trials_that_run_at_once_are_not_twins():
    sampler = sampler_of()
    for number in range(1, 20):
        values = sampler.ask(spec_of(number).id, number)
        sampler.tell([record_of(number, distance(values), values=values)])

    one, other = sampler.ask("a", 21), sampler.ask("b", 22)

    assert one != other


def test_a_search_over_two_metrics_takes_trials_that_were_given_up():
    sampler = sampler_of(metrics=(*METRICS, Metric(name="size")))
    for number in range(1, 12):
        values = sampler.ask(spec_of(number).id, number)
        record = record_of(number, distance(values), "stopped", values, curve=(2.0,))
        if number % 2:
            both = scores_of(distance(values)) | {"size": GroupScores.of_one(values["width"])}
            record = Record(spec=record.spec, state="finished", values=record.values, scores=both)
        sampler.tell([record])

    assert SPACE.check(sampler.ask("last", 99))


def test_the_default_is_the_first_trial_whatever_searches(journal):
    for search in ("tpe", "random"):
        plan = SearchPlan(SPACE, journal, sampler_of(search), [], spending(3, search))

        first = plan.next()

        assert first.values == SPACE.default()
        assert (first.number, first.origin) == (0, "default")


def test_a_resumed_plan_hands_out_what_was_unfinished_then_what_is_missing(journal):
    plan = SearchPlan(SPACE, journal, sampler_of(), [], spending(5))
    specs = [plan.next() for _ in range(4)]
    for spec in (specs[0], specs[2]):
        journal.end(spec.id, "finished", values=spec.values, seconds=1.0, scores=scores_of(1.0))

    again = SearchPlan(SPACE, journal, sampler_of(), journal.records(), spending(5))
    handed = list(iter(again.next, None))

    assert [one.number for one in handed] == [1, 3, 4]
    assert [one.values for one in handed[:2]] == [specs[1].values, specs[3].values]


def test_a_resumed_sampler_suggests_the_same_as_one_that_never_stopped():
    records = [
        record_of(number, distance(values), values=values)
        for number in range(1, 13)
        for values in [SPACE.sample(np.random.default_rng(number))]
    ]
    steady, resumed = sampler_of("random"), sampler_of("random")
    resumed.tell(records)

    assert steady.ask("x", 13) == resumed.ask("x", 13)


def test_a_list_leaves_out_what_has_ended(journal):
    specs = [spec_of(number, phase="finalists") for number in (1, 2)]
    journal.start(specs[0])
    journal.end(specs[0].id, "finished", values=specs[0].values, seconds=1.0, scores=scores_of(1))

    plan = ListPlan(journal, specs)

    assert plan.left == 1
    assert plan.next() == specs[1]
    assert plan.next() is None


# --- attempts -----------------------------------------------------------------------------


class Listening:
    """A channel that stops a trial after some reports."""

    def __init__(self, most=99):
        self.most, self.steps = most, []

    def report(self, report):
        self.steps.append(report.step)
        if len(self.steps) == self.most:
            raise TrialStopped


DATA = {"shift": 0.0, "notes": ""}
EVERY_REPORT = Saving(every_s=0.0)


def test_a_cut_off_trial_goes_on_after_its_last_saved_step(journal):
    spec = spec_of()
    journal.start(spec)
    with pytest.raises(TrialStopped):
        attempt(spec, TOY, DATA, journal, Listening(3), saving=EVERY_REPORT)

    again = Listening()
    attempt(spec, TOY, DATA, journal, again, saving=EVERY_REPORT)

    assert again.steps == [4, 5]
    assert journal.record(spec.id).state == "finished"
    assert journal.saved_steps(spec.id) == []


def test_a_trial_can_go_on_from_the_state_of_a_better_one_and_says_so(journal):
    better, worse = spec_of(1), spec_of(2)
    for spec in (better, worse):
        journal.start(spec)
    keeping = Saving(every_s=0.0, keeps_all=True)
    attempt(better, TOY, DATA, journal, Listening(), saving=keeping)

    channel = Listening()
    parent = Parent(trial_id=better.id, step=3)
    attempt(worse, TOY, DATA, journal, channel, parent=parent, saving=keeping)

    assert channel.steps == [4, 5]
    assert journal.record(worse.id).parent == better.id
    assert journal.record(better.id).parent == ""


def test_an_ended_trial_never_runs_again(journal):
    spec = spec_of()
    journal.start(spec)
    attempt(spec, TOY, DATA, journal, Listening())

    again = Listening()
    attempt(spec, TOY, DATA, journal, again)

    assert again.steps == []


# --- workers ------------------------------------------------------------------------------


def test_a_trial_keeps_every_numeric_library_to_its_threads(monkeypatch):
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "8")

    with on_ray._threads(1):
        found = threadpoolctl.threadpool_info()

        assert os.environ["OMP_NUM_THREADS"] == "1"
        assert found
        assert {one["num_threads"] for one in found} == {1}


class Unpicklable(Silent):
    def __init__(self):
        self.lock = threading.Lock()

    def __call__(self, *_):
        return False


def test_what_the_driver_holds_need_not_be_pickled_for_tune(journal, tmp_path):
    plan = ListPlan(journal, [])
    plan.lock = threading.Lock()
    watch = Watch(should_stop=Unpicklable(), on_end=Unpicklable())
    parts = [
        on_ray._PlanSearcher(plan, SPACE),
        on_ray._Ends(plan, journal, watch, is_last=True),
        on_ray._StopAll(watch),
    ]

    for part in parts:
        assert cloudpickle.dumps(part)
        assert copy.deepcopy(part) is part

    tune.Tuner(
        len,
        tune_config=tune.TuneConfig(search_alg=parts[0]),
        run_config=tune.RunConfig(
            name="x", storage_path=str(tmp_path), callbacks=[parts[1]], stop=parts[2]
        ),
    )
