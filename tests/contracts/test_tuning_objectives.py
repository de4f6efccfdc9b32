"""What every objective of the catalogue does, on small generated data and a small budget."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ray_jobs.config import parse_config
from ray_jobs.policy_config import PolicyTrainConfig
from ray_jobs.trainers import TRAINERS, trainer_of
from tuning.catalog import OBJECTIVES, objective_of
from tuning.objective import DataSource, Objective, Prepared, Probes, Trial

BUDGETS = {
    "anomaly": 6, "bandwidth": 2, "capacity": 1, "performance": 1,
    "placement": 3, "policy": 8192, "scaling": 1,
}  # fmt: skip
"""Of the fidelity; enough for a score."""
CUT_BY_GROUP = {"anomaly", "bandwidth", "patterns", "policy"}
"""The others are cut in time, or number simulated fleets of two seeds alike."""


@dataclass
class Recorder:
    """A progress that keeps what is told, and one state."""

    resume: Path | None = None
    resume_step: int = 0
    is_judged: bool = True
    folder: Path | None = None
    steps: list = field(default_factory=list)
    scores: list = field(default_factory=list)

    def report(self, step, scores, save=None):
        self.steps.append(step)
        self.scores.append(scores)
        if self.folder is not None and save is not None and not any(self.folder.iterdir()):
            save(self.folder)


@dataclass
class Prepared1:
    objective: Objective
    prepared: Prepared
    name: str

    def trial(self, block="search", seed=1, **values):
        budget = BUDGETS.get(self.name) if self.objective.fidelity else None
        checked = self.objective.space.check(values)
        return Trial(values=checked, seed=seed, block=block, budget=budget)

    def run(self, trial, progress=None):
        data = self.prepared.part(trial.block)
        return self.objective.run(data, trial, progress or Recorder())


@pytest.fixture(scope="module", params=sorted(OBJECTIVES))
def mine(request):
    objective = objective_of(request.param)
    prepared = objective.prepare(DataSource(small=True, seed=3))
    return Prepared1(objective, prepared, request.param)


def test_every_trainer_and_the_policy_can_be_searched():
    assert {objective_of(name).model for name in OBJECTIVES} == {*TRAINERS, "policy"}


def test_same_trial_same_scores_and_every_metric_is_reported(mine):
    told = Recorder()

    first = mine.run(mine.trial(), told)

    assert mine.run(mine.trial()) == first
    assert set(first) == {metric.name for metric in mine.objective.metrics}
    if mine.objective.fidelity:
        assert told.steps == sorted(set(told.steps))
        assert told.steps[-1] == BUDGETS[mine.name]
        assert told.scores[-1] == first


def test_the_untouched_block_is_another_part_of_the_data(mine):
    metric = mine.objective.metrics[0].name

    searched = mine.run(mine.trial())[metric]
    held = mine.run(mine.trial(block="untouched"))[metric]

    assert len(held.groups) >= 3
    assert held != searched
    if mine.name in CUT_BY_GROUP:
        assert not set(searched.groups) & set(held.groups)


def test_finalists_are_scored_on_groups_of_which_neither_other_block_holds_one(mine):
    if mine.prepared.finalists is None or mine.name not in CUT_BY_GROUP:
        return
    metric = mine.objective.metrics[0].name

    fresh = set(mine.run(mine.trial(block="finalists"))[metric].groups)

    for block in ("search", "untouched"):
        assert not fresh & set(mine.run(mine.trial(block=block))[metric].groups)


def test_what_no_report_can_end_scores_the_same_with_fewer_reports(mine):
    unjudged = Recorder(is_judged=False)

    assert mine.run(mine.trial(), unjudged) == mine.run(mine.trial())


def test_a_found_setting_becomes_a_training_file_that_the_trainer_takes(mine):
    objective = mine.objective
    first = objective.space.parameters[0]
    end = first.choices[0] if hasattr(first, "choices") else first.low

    content = objective.config({first.name: end})

    kind = PolicyTrainConfig if objective.model == "policy" else None
    kind = kind or trainer_of(objective.model).config_model
    config = parse_config(content, kind, source="found.yaml")
    found = config
    for part in f"{objective.space.block}.{first.name}".split("."):
        found = getattr(found, part)
    assert found == end


def test_a_probe_gives_finite_scores(mine):
    if isinstance(mine.objective, Probes):
        assert set(mine.objective.probe(mine.prepared.search)) == {
            metric.name for metric in mine.objective.metrics
        }


def test_a_saved_state_is_gone_on_from(mine, tmp_path):
    if not mine.objective.perturbed:
        return
    folder = tmp_path / "state"
    folder.mkdir()
    told = Recorder(folder=folder)
    whole = mine.run(mine.trial(), told)
    after = told.steps[0]

    resumed = Recorder(resume=folder, resume_step=after)
    again = mine.run(mine.trial(), resumed)

    assert resumed.steps == told.steps[1:]
    assert set(again) == set(whole)


def test_the_bandwidth_network_goes_on_as_if_it_had_not_stopped(tmp_path):
    objective = objective_of("bandwidth")
    one = Prepared1(objective, objective.prepare(DataSource(small=True, seed=3)), "bandwidth")
    told = Recorder(folder=tmp_path)
    whole = one.run(one.trial(), told)

    assert one.run(one.trial(), Recorder(resume=tmp_path, resume_step=told.steps[0])) == whole
