"""What is counted of each version: comparisons with a shadow, and outcomes fed back."""

import asyncio

import numpy as np
import pandas as pd
import pytest
from rollout_replicas import (
    AUDIT,
    PLAN,
    URL,
    Notes,
    begin,
    versions,
)

from novacron.monitoring.rollouts.plan import RolloutPlan
from serve_apps.asking import PlainAsking
from serve_apps.config import LimitsConfig
from serve_apps.request_path import CANDIDATE, STABLE
from serve_apps.rollout.outcomes import LoggedOutcomes, count_losses, stage_began_s
from serve_apps.rollout.shadow import differ

pytestmark = pytest.mark.asyncio


async def test_a_shadow_is_asked_unheard_and_counted(replica):
    begin(replica, plan=PLAN.model_copy(update={"mode": "shadow"}))
    await replica.look()

    rollout = await replica.run()

    assert rollout.status == "finished"
    assert rollout.exposed_ratio == 0.0
    assert rollout.stage_counts["2"].compared >= 20
    assert set(versions(await replica.ask(20))) == {"1"}


async def test_what_a_shadow_says_is_recorded_under_the_id_of_the_answer_that_was_heard(
    make_replica,
):
    notes = Notes()
    replica = make_replica(recorder=notes)
    await replica.host.load()
    begin(replica, plan=PLAN.model_copy(update={"mode": "shadow", "compare_share": 1.0}))
    await replica.look()
    notes.told.clear()

    await replica.ask(5)
    await replica.shadow.settle()

    heard = {name for name, version, role in notes.told if (version, role) == ("1", "champion")}
    unheard = {name for name, version, role in notes.told if (version, role) == ("2", "shadow")}
    assert len(heard) == 5
    assert heard == unheard


async def test_too_many_comparisons_are_dropped_and_counted_and_delay_nobody(replica):
    gate = asyncio.Event()

    class Stuck(PlainAsking):
        async def ask(self, served, request, deadline_s, *, cached=True, fallback=True):
            assert not cached
            assert not fallback
            await gate.wait()
            return await super().ask(served, request, deadline_s)

    replica.shadow._asking = Stuck(LimitsConfig())
    replica.shadow._max_pending = 2
    begin(replica)
    await replica.agent.look()
    await replica.agent.settle()

    answered = versions(await replica.ask(10))

    arm = replica.tally.counts("mean")[0]["2"]
    assert (len(answered), arm.dropped, arm.compared) == (10, 8, 0)
    gate.set()
    await replica.shadow.settle()
    assert arm.compared == 2


async def test_outcomes_that_are_fed_back_count_for_their_version(replica):
    begin(replica, plan=PLAN.model_copy(update={"compare_share": 0.0}))
    rng = np.random.default_rng(4)
    joined = pd.DataFrame(
        {
            "prediction_id": [f"p{i}" for i in range(800)],
            "version": ["1", "2"] * 400,
            "role": [STABLE, CANDIDATE] * 400,
            "entity": [""] * 800,
            "made_at": pd.Timestamp(AUDIT.at) + pd.Timedelta(seconds=1),
            "error": rng.exponential([1.0, 3.0] * 400),
        }
    )
    replica.agent._conductor._outcomes = lambda rollout: count_losses(
        joined, rollout, stage_began_s(rollout)
    )

    await replica.look()
    await replica.ask(5)
    await replica.look()

    rollout = replica.folder.get("mean")
    assert rollout.status == "rolled_back"
    assert "outcomes" in rollout.decisions[-1].why


async def test_losses_are_those_of_this_stage_by_prediction_and_by_group_of_entities(replica):
    plan = RolloutPlan(mode="ab", weights={"1": 0.5, "2": 0.5})
    rollout = begin(replica, plan=plan)
    later = pd.Timestamp(AUDIT.at) + pd.Timedelta(seconds=1)
    joined = pd.DataFrame(
        {
            "prediction_id": ["a", "a", "b", "old", "hand"],
            "version": ["1", "1", "2", "2", "2"],
            "role": [STABLE, STABLE, CANDIDATE, CANDIDATE, "named"],
            "entity": ["vm", "vm", "vn", "vn", "vn"],
            "made_at": [later, later, later, later - pd.Timedelta(days=1), later],
            "error": [1.0, -3.0, 5.0, 100.0, 100.0],
        }
    )

    found = count_losses(joined, rollout, stage_began_s(rollout))

    assert (found["1"].outcomes, found["1"].loss_sum, found["1"].loss_squares) == (1, 2.0, 4.0)
    assert (found["2"].outcomes, found["2"].loss_sum) == (1, 5.0)
    assert list(found["2"].unit_sum.values()) == [5.0]


async def test_outcomes_come_from_the_log_that_is_there(replica, tmp_path):
    rollout = begin(replica)

    assert LoggedOutcomes(tmp_path / "predictions")(rollout) == {}


async def test_a_callers_mistake_says_nothing_of_a_version(replica):
    begin(replica)
    await replica.look()

    for _ in range(30):
        await replica.client.post(URL, content=b"{")

    assert replica.tally.counts("mean").get(0, {}) == {}


@pytest.mark.parametrize(
    ("one", "other", "is_other"),
    [
        ([[1.0, 2.0]], [[1.05, 2.0]], False),
        ([[1.0, 2.0]], [[1.5, 2.0]], True),
        ([[1.0, 2.0]], [[1.0]], True),
        ([[1.0]], [[np.nan]], True),
        ([[0.0]], [[0.0]], False),
    ],
)
async def test_answers_differ_beyond_the_tolerance_in_any_number(one, other, is_other):
    a, b = {"x": np.array(one)}, {"x": np.array(other)}

    assert differ(a, b, RolloutPlan()) is is_other
