import asyncio
import gc
import weakref

import pytest
from rollout_replicas import (
    AUDIT,
    PLAN,
    begin,
    versions,
)
from serving_fakes import MeanModel

from novacron.errors import ArtifactError
from novacron.monitoring.rollouts.plan import RolloutPlan
from novacron.monitoring.rollouts.starting import abort_rollout, promote_rollout
from serve_apps.request_path import CANDIDATE, STABLE
from serve_apps.rollout.agent import KEEP_S

pytestmark = pytest.mark.asyncio


async def test_a_good_version_is_loaded_beside_tried_promoted_and_the_alias_follows(replica):
    begin(replica)
    await replica.look()
    await replica.look()
    first = versions(await replica.ask(200))

    rollout = await replica.run()

    assert 10 <= first.count("2") <= 20
    assert rollout.status == "promoted"
    assert replica.store.aliases["mean", "champion"] == "2"
    assert set(versions(await replica.ask(10))) == {"2"}
    assert replica.host.get("mean").version == "2"
    assert [line["what"] for line in replica.folder.audit("mean")] == [
        "start", "stage", "stage", "promote", "promoted",
    ]  # fmt: skip
    assert replica.metrics.total("novacron_rollout_decisions", "mean", "stage") == 2
    assert replica.metrics.values["novacron_rollout_share", "mean", "2"][-1] == 1.0


async def test_a_version_that_answers_wrongly_is_taken_back_and_the_alias_stays(replica):
    replica.store.versions["mean"]["2"] = MeanModel(factor=3.0)
    begin(replica)

    rollout = await replica.run()

    assert rollout.status == "rolled_back"
    assert "answers" in rollout.decisions[-1].why
    assert replica.store.aliases["mean", "champion"] == "1"
    assert set(versions(await replica.ask(50))) == {"1"}
    assert rollout.exposed_ratio <= 0.1


async def test_a_version_that_fails_is_taken_back(replica):
    class Failing(MeanModel):
        def predict(self, rows):
            if (rows["mean"] == 2.0).all():
                raise RuntimeError("no")
            return super().predict(rows)

    replica.store.versions["mean"]["2"] = Failing()
    begin(replica, plan=PLAN.model_copy(update={"compare_share": 0.0}))

    rollout = await replica.run()

    assert rollout.status == "rolled_back"
    assert "errors" in rollout.decisions[-1].why
    assert replica.metrics.total("novacron_rollout_requests", "mean", "2", "tried", "failed") > 0


async def test_a_version_that_does_not_load_is_never_asked(replica):
    replica.store.features["mean"] = "other"
    begin(replica)
    replica.store.features["mean"] = "0" * 16
    await replica.look()
    assert set(versions(await replica.ask(50))) == {"1"}

    await replica.look()

    rollout = replica.folder.get("mean")
    assert rollout.status == "rolled_back"
    assert "could not be loaded" in rollout.decisions[-1].why


async def test_a_key_stays_with_its_version_on_every_replica_and_after_a_restart(
    replica, make_replica
):
    plan = RolloutPlan(mode="ab", weights={"1": 0.5, "2": 0.5})
    begin(replica, plan=plan)
    await replica.look()
    other = make_replica("b", seed=7)
    await other.host.load()
    await other.look()
    keys = [f"vm-{i}" for i in range(40)]

    here = [versions(await replica.ask(1, key))[0] for key in keys]
    again = [versions(await replica.ask(1, key))[0] for key in keys]
    there = [versions(await other.ask(1, key))[0] for key in keys]

    assert here == again == there
    assert set(here) == {"1", "2"}
    assert set(versions(await replica.ask(20))) == {"1"}


async def test_the_next_replica_leads_when_the_leader_is_gone(replica, make_replica):
    begin(replica)
    other = make_replica("b", seed=3)
    await other.host.load()
    await replica.look()
    for _ in range(4):
        await replica.ask(40)
        await replica.look()
        await other.look()
    stage = replica.folder.get("mean").stage

    replica.agent._leadership.give_up()
    rollout = await other.run()

    assert rollout.status == "promoted"
    assert stage < 2
    assert rollout.answered["1"] + rollout.answered["2"] > 160


async def test_the_version_before_is_let_go_and_its_memory_given_back(replica):
    begin(replica)
    await replica.run()
    gone = weakref.ref(replica.store.versions["mean"].pop("1"))
    assert replica.host.versions("mean") == ("2", "1")

    replica.clock.now_s += KEEP_S
    await replica.look()
    await asyncio.sleep(0.05)
    gc.collect()

    assert replica.host.versions("mean") == ("2",)
    assert gone() is None


async def test_an_alias_that_cannot_be_followed_yet_leaves_the_traffic_with_the_new_version(
    replica,
):
    begin(replica)
    await replica.look()
    promote_rollout(replica.folder, "mean", AUDIT)
    replica.agent._conductor.conduct("mean")
    assert replica.folder.get("mean").status == "promoted"
    replica.store.is_down = True

    await replica.look()
    await replica.look()
    assert set(versions(await replica.ask(5))) == {"2"}

    replica.store.is_down = False
    await replica.look()
    assert replica.host.versions("mean") == ("2", "1")
    assert set(versions(await replica.ask(5))) == {"2"}


async def test_after_a_rollout_the_alias_alone_says_who_answers(replica):
    begin(replica)
    await replica.run()
    replica.store.versions["mean"]["3"] = MeanModel()
    replica.store.aliases["mean", "champion"] = "3"

    await replica.host.refresh()
    await replica.look()

    assert set(versions(await replica.ask(5))) == {"3"}
    assert replica.traffic.choose("mean", None, "").role == STABLE


async def test_a_replica_that_starts_after_a_promotion_serves_what_the_alias_names(
    replica, make_replica
):
    begin(replica)
    await replica.run()
    late = make_replica("late")
    await late.host.load()

    await late.look()

    assert set(versions(await late.ask(5))) == {"2"}
    assert late.traffic.choose("mean", None, "").role == STABLE


async def test_a_registry_that_is_down_at_the_promotion_is_waited_for(replica):
    begin(replica)
    await replica.look()
    promote_rollout(replica.folder, "mean", AUDIT)
    replica.store.is_down = True
    await replica.look()
    await replica.look()
    assert replica.folder.get("mean").status == "promoting"
    assert set(versions(await replica.ask(5))) == {"2"}

    replica.store.is_down = False
    await replica.look()

    assert replica.folder.get("mean").status == "promoted"
    assert replica.store.aliases["mean", "champion"] == "2"


async def test_an_alias_that_somebody_moves_ends_the_rollout(replica):
    replica.store.versions["mean"]["3"] = MeanModel()
    begin(replica)
    await replica.look()
    replica.store.aliases["mean", "champion"] = "3"

    for _ in range(12):
        await replica.look()

    rollout = replica.folder.get("mean")
    assert rollout.status == "aborted"
    assert "version 3" in rollout.decisions[-1].why


async def test_an_abort_takes_the_traffic_back_at_the_next_look(replica):
    begin(replica)
    await replica.look()
    await replica.look()
    abort_rollout(replica.folder, "mean", AUDIT)

    replica.agent.follow("mean")

    assert set(versions(await replica.ask(60))) == {"1"}


async def test_a_damaged_state_leaves_the_stable_version_alone(replica, caplog):
    begin(replica)
    (replica.folder.root / "mean.json").write_text("{")

    await replica.look()

    assert set(versions(await replica.ask(5))) == {"1"}
    assert "holds no rollout" in caplog.text


async def test_held_versions_are_found_by_number_warm_and_only_once(replica):
    first = await replica.host.hold("mean", "2")
    again = await replica.host.hold("mean", "2")
    held_default = await replica.host.hold("mean", "1")

    assert first is again
    assert held_default is replica.host.get("mean")
    assert replica.host.versions("mean") == ("1", "2")
    assert len(first.model.calls) > 10
    await replica.host.release("mean", "2")
    await replica.host.release("mean", "1")
    assert replica.host.versions("mean") == ("1",)
    assert versions(await replica.ask(1)) == ["1"]


async def test_a_version_that_fails_its_checks_is_not_held(replica):
    class Wrong(MeanModel):
        def predict(self, rows):
            return {"mean_mbps": super().predict(rows)["mean_mbps"]}

    replica.store.versions["mean"]["2"] = Wrong()

    with pytest.raises(ArtifactError):
        await replica.host.hold("mean", "2")

    assert replica.host.versions("mean") == ("1",)


async def test_roles_are_told_by_the_choice(replica):
    begin(replica, plan=PLAN.model_copy(update={"stages": (0.5, 1.0)}))
    await replica.look()
    await replica.look()

    roles = {replica.traffic.choose("mean", None, f"k{i}").role for i in range(40)}

    assert roles == {STABLE, CANDIDATE}
