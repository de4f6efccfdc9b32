import asyncio
import gc
import json
import weakref
from datetime import UTC, datetime
from hashlib import sha256
from types import SimpleNamespace

import httpx
import numpy as np
import pandas as pd
import pytest
import pytest_asyncio
from serving_fakes import MeanModel, MemoryStore

from novacron.errors import ArtifactError, ConfigError, NotReadyError
from novacron.monitoring.rollouts.folder import Kill, RolloutFolder
from novacron.monitoring.rollouts.plan import RolloutPlan
from novacron.monitoring.rollouts.starting import abort_rollout, promote_rollout, start
from novacron.registry.records import Audit
from serve_apps.access.desk import Desk
from serve_apps.access.guard import Guard
from serve_apps.asking import PlainAsking
from serve_apps.config import BatchingConfig, LimitsConfig
from serve_apps.dataplane import DataPlane
from serve_apps.domain.site import Site
from serve_apps.gateway import Gateway
from serve_apps.host import ModelHost
from serve_apps.metrics import MemoryMetrics, ServingMetrics
from serve_apps.request_path import CANDIDATE, STABLE
from serve_apps.rollout.agent import KEEP_S, RolloutAgent
from serve_apps.rollout.conductor import Conductor
from serve_apps.rollout.outcomes import LoggedOutcomes, count_losses, stage_began_s
from serve_apps.rollout.routes import RolloutRoutes
from serve_apps.rollout.shadow import ShadowComparison, differ
from serve_apps.rollout.tally import ReplicaTally
from serve_apps.rollout.traffic import RolloutTraffic
from serve_apps.rollout.wiring import kills_of
from serve_apps.settings.access import AccessConfig, TokenConfig

pytestmark = pytest.mark.asyncio
URL = "/v2/models/mean/infer"
AUDIT = Audit(who="me", at=datetime(2026, 5, 4, tzinfo=UTC), why="better")
# No gate on latency: that of a test says how busy the machine is.
PLAN = RolloutPlan(
    window_s=5, min_requests=20, min_compared=5, compare_share=1.0, p95_ratio_limit=100
)
KILL = Kill(mode="stable", who="me", why="it burns", at_s=1.0)
STOP = Kill(mode="stop", who="me", why="it burns", at_s=1.0)


class Registry(MemoryStore):
    """A registry that can be cut off, as the host and the conductor see it."""

    is_down = False

    def resolve(self, name, ref):
        if self.is_down:
            raise NotReadyError("The registry does not answer.")
        return super().resolve(name, ref)

    def champion(self, name):
        return self.resolve(name, "champion")

    def appoint(self, name, version, *, audit, note):
        self.resolve(name, version)
        self.aliases[name, "champion"] = version
        return True


class Replica:
    """One replica with everything but Ray, on a clock of its own."""

    def __init__(self, store, root, clock, name="a", seed=0, recorder=None):
        self.store, self.clock = store, clock
        rng = np.random.default_rng(seed)
        self.metrics = MemoryMetrics()
        self.folder = RolloutFolder(root)
        self.host = ModelHost(store, ["mean"], BatchingConfig())
        self.traffic = RolloutTraffic(self.host, rng.random)
        self.tally = ReplicaTally()
        asking = PlainAsking(LimitsConfig())
        self.shadow = ShadowComparison(
            self.host, asking, self.tally, uniform=rng.random, recorder=recorder
        )
        self.agent = RolloutAgent(
            self.host,
            self.folder,
            self.traffic,
            self.tally,
            Conductor(self.folder, store, clock),
            replica=name,
            library=self.metrics,
            clock=clock,
        )
        self.plane = DataPlane(
            self.host,
            LimitsConfig(),
            ServingMetrics(MemoryMetrics()),
            asking=asking,
            recorder=recorder,
            chooser=self.traffic,
            observers=[self.tally.observe, self.shadow.observe],
        )
        transport = httpx.ASGITransport(app=Gateway(self.plane), raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://novacron")

    async def look(self):
        self.clock.now_s += 1.0
        await self.agent.look()
        await self.agent.settle()
        await self.shadow.settle()

    async def ask(self, n=1, key=None, value=2.0):
        body = {
            "inputs": [{"name": "x_mbps", "shape": [1, 1], "datatype": "FP64", "data": [value]}]
        }
        headers = {} if key is None else {"X-NovaCron-Key": key}
        replies = [await self.client.post(URL, json=body, headers=headers) for _ in range(n)]
        return [(r.status_code, r.json().get("model_version")) for r in replies]

    async def run(self, looks=60, n=40):
        """Ask and look until the rollout has ended; return it."""
        for _ in range(looks):
            await self.ask(n)
            await self.look()
            rollout = self.folder.get("mean")
            if not rollout.is_live:
                break
        await self.look()
        return rollout


class Clock:
    def __init__(self):
        self.now_s = 1_000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def store():
    made = Registry(mean=MeanModel())
    made.versions["mean"]["2"] = MeanModel()
    made.aliases["mean", "challenger"] = "2"
    return made


@pytest.fixture
def make_replica(store, tmp_path):
    clock, made = Clock(), []

    def make(name="a", seed=0, recorder=None):
        made.append(Replica(store, tmp_path / "rollouts", clock, name, seed, recorder))
        return made[-1]

    yield make
    for replica in made:
        replica.agent._leadership.give_up()


@pytest_asyncio.fixture
async def replica(make_replica):
    made = make_replica()
    await made.host.load()
    return made


def begin(replica, ref="challenger", plan=PLAN):
    return start(replica.folder, replica.store.resolve, "mean", ref, plan, AUDIT)


def versions(replies):
    assert {status for status, _ in replies} == {200}
    return [version for _, version in replies]


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


async def test_the_kill_switch_works_while_the_registry_is_down_and_nobody_leads(replica):
    begin(replica)
    await replica.look()
    await replica.look()
    assert "2" in versions(await replica.ask(60))
    replica.store.is_down = True
    replica.agent._conductor = None

    replica.folder.kill("mean", KILL)
    replica.agent.follow("mean")

    assert set(versions(await replica.ask(60))) == {"1"}
    assert replica.metrics.values["novacron_rollout_share", "mean", "2"][-1] == 0.0


async def test_the_kill_switch_ends_the_rollout_where_somebody_leads(replica):
    begin(replica)
    await replica.look()
    replica.folder.kill("mean", KILL)

    await replica.look()

    rollout = replica.folder.get("mean")
    assert rollout.status == "aborted"
    assert rollout.decisions[-1].why == "kill switch: it burns"


async def test_a_stopped_model_refuses_and_says_how_it_answers_again(replica):
    replica.folder.kill("mean", STOP)
    await replica.look()

    assert await replica.ask(1) == [(503, None)]
    replica.folder.lift("mean", "me", 2.0)
    await replica.look()
    assert versions(await replica.ask(1)) == ["1"]


async def test_a_promoted_version_can_be_killed_too_while_the_one_before_is_kept(replica):
    begin(replica)
    rollout = await replica.run()
    assert rollout.status == "promoted"
    replica.store.is_down = True

    replica.folder.kill("mean", KILL)
    replica.agent.follow("mean")

    assert set(versions(await replica.ask(5))) == {"1"}


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


async def test_a_shadow_is_asked_unheard_and_counted(replica):
    begin(replica, plan=PLAN.model_copy(update={"mode": "shadow"}))
    await replica.look()

    rollout = await replica.run()

    assert rollout.status == "finished"
    assert rollout.exposed_ratio == 0.0
    assert rollout.stage_counts["2"].compared >= 20
    assert set(versions(await replica.ask(20))) == {"1"}


class Notes:
    """A recorder that keeps who answered under which id."""

    def __init__(self):
        self.told = []
        self.count = 0

    def new_id(self):
        self.count += 1
        return f"p{self.count}"

    def record(self, served, request, answer, timing, *, role="champion"):
        self.told.append((answer.prediction_id, served.version, role))


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


async def test_kill_switches_of_the_environment_are_read_and_checked():
    assert {name: kill.mode for name, kill in kills_of("a, b:stop,c:stable").items()} == {
        "a": "stable", "b": "stop", "c": "stable",
    }  # fmt: skip
    with pytest.raises(ConfigError):
        kills_of("a:now")


async def test_the_audit_log_says_who_what_and_why(replica):
    begin(replica)
    abort_rollout(replica.folder, "mean", AUDIT)

    lines = (replica.folder.root / "audit.jsonl").read_text().splitlines()
    last = SimpleNamespace(**json.loads(lines[-1]))
    assert (last.what, last.who, last.why, last.status) == ("abort", "me", "better", "aborted")
    assert (last.stable, last.tried, last.exposed_ratio) == ("1", ["2"], 0.0)


def served_over_http(replica, tmp_path, desk=None, address="127.0.0.1"):
    routes = RolloutRoutes(replica.folder, replica.agent, lambda: replica.host.names)
    site = Site(replica.plane, tmp_path / "feedback", extensions=[routes])
    app = Gateway(replica.plane, site=site, desk=desk)
    transport = httpx.ASGITransport(app=app, client=(address, 1))
    return httpx.AsyncClient(transport=transport, base_url="http://novacron")


async def test_rollouts_are_seen_and_ended_over_http_and_followed_at_once(replica, tmp_path):
    begin(replica)
    await replica.look()
    await replica.look()
    client = served_over_http(replica, tmp_path)

    shown = (await client.get("/api/v1/rollouts")).json()["rollouts"]["mean"]
    ended = await client.post("/api/v1/rollouts/abort", json={"model": "mean", "why": "enough"})
    again = await client.post("/api/v1/rollouts/abort", json={"model": "mean"})

    assert (shown["status"], shown["shares"]) == ("running", {"2": 0.1, "1": 0.9})
    assert (ended.status_code, ended.json()["status"]) == (200, "aborted")
    assert (again.status_code, again.json()["code"]) == (409, "ConflictError")
    assert set(versions(await replica.ask(60))) == {"1"}


async def test_the_kill_switch_over_http_holds_in_this_replica_at_once(replica, tmp_path):
    client = served_over_http(replica, tmp_path)
    url = "/api/v1/rollouts"

    stopped = await client.post(f"{url}/kill", json={"model": "mean", "mode": "stop", "why": "no"})
    assert stopped.json() == {"model": "mean", "kill": "stop"}
    assert await replica.ask(1) == [(503, None)]

    lifted = await client.post(f"{url}/lift", json={"model": "mean"})
    assert lifted.json() == {"model": "mean", "lifted": True}
    assert versions(await replica.ask(1)) == ["1"]


@pytest.mark.parametrize(
    "body", [{}, {"model": "other"}, {"model": "mean", "now": 1}, {"model": "mean", "mode": "x"}]
)
async def test_an_action_that_says_no_sense_changes_nothing(replica, tmp_path, body):
    client = served_over_http(replica, tmp_path)

    reply = await client.post("/api/v1/rollouts/kill", json=body)

    assert reply.status_code == 400
    assert replica.folder.models() == ()


async def test_from_elsewhere_and_without_a_token_nobody_ends_a_rollout(replica, tmp_path):
    begin(replica)
    client = served_over_http(replica, tmp_path, address="10.0.0.9")

    reply = await client.post("/api/v1/rollouts/abort", json={"model": "mean"})

    assert reply.status_code in (401, 403)
    assert replica.folder.get("mean").status == "running"


async def test_a_token_that_may_only_ask_ends_no_rollout(replica, tmp_path):
    begin(replica)
    token = TokenConfig(name="app", sha256=sha256(b"secret").hexdigest())
    desk = Desk(Guard(AccessConfig(tokens=(token,))))
    client = served_over_http(replica, tmp_path, desk)
    headers = {"Authorization": "Bearer secret"}

    seen = await client.get("/api/v1/rollouts", headers=headers)
    reply = await client.post("/api/v1/rollouts/abort", json={"model": "mean"}, headers=headers)

    assert (seen.status_code, reply.status_code) == (200, 403)
    assert replica.folder.get("mean").status == "running"
