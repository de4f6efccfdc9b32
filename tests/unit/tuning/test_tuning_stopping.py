"""Which trials a scheduler gives up, and what PBT may change."""

import json

import numpy as np
import pytest
from toy_objective import POPULATION, SPACE, TOY, WHOLE
from trial_records import record_of

from novacron.errors import ConfigError
from tuning.stopping import (
    MEMBER,
    STEP,
    TARGET,
    Explore,
    StandIn,
    check_scheduler,
    replay,
    scheduler_of,
)


@pytest.mark.parametrize("kind", ["asha", "median"])
def test_a_scheduler_fed_from_the_journal_judges_as_one_that_saw_it_all(kind):
    records = [
        record_of(number, 1.0 + number / 10, curve=(2.0 + number / 10, 1.5 + number / 10))
        for number in range(1, 8)
    ]
    scheduler = scheduler_of(TOY, kind, SPACE, budget=6, seed=1)
    replay(scheduler, records, "wape")

    bad, good = StandIn("bad"), StandIn("good")
    scheduler.on_trial_add(None, bad)
    scheduler.on_trial_add(None, good)

    assert scheduler.on_trial_result(None, bad, {STEP: 1, TARGET: 9.0}) == "STOP"
    assert scheduler.on_trial_result(None, good, {STEP: 1, TARGET: 0.1}) == "CONTINUE"


def test_nothing_is_stopped_on_too_little_evidence():
    scheduler = scheduler_of(TOY, "median", SPACE, budget=6, seed=1)
    only = StandIn("only")
    scheduler.on_trial_add(None, only)

    assert scheduler.on_trial_result(None, only, {STEP: 1, TARGET: 9.0}) == "CONTINUE"


def test_changes_of_pbt_stay_in_the_space_and_touch_only_what_may_change():
    explore = Explore(SPACE, ("rate", "kind"), np.random.default_rng(1))
    start = SPACE.check({"rate": 0.9, "width": 24})
    rates = set()
    for _ in range(60):
        found = explore.changed(start)

        assert SPACE.check(found) == found
        assert found["width"] == 24
        rates.add(found["rate"])

    assert len(rates) > 10
    assert max(rates) <= 1.0


def test_pbt_hands_over_values_as_its_store_writes_them():
    explore = Explore(SPACE, ("rate",), np.random.default_rng(1))
    values = {"rate": 0.1, "width": 8, "kind": "plain"}

    found = explore({MEMBER: {"spec": {"number": 3}, "values": values}})[MEMBER]

    assert found["spec"] == {"number": 3}
    assert json.loads(json.dumps(found["values"])) == found["values"]


def test_a_scheduler_that_needs_reports_is_refused_where_there_are_none():
    with pytest.raises(ConfigError, match="reports nothing before its end"):
        check_scheduler(WHOLE, "asha", SPACE)
    with pytest.raises(ConfigError, match="may change in the middle"):
        check_scheduler(POPULATION, "pbt", SPACE.only(["width"]))
