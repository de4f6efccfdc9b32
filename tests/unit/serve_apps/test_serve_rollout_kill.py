"""Who may end a rollout, how, and what the kill switch does."""

import json
from hashlib import sha256
from types import SimpleNamespace

import pytest
from rollout_replicas import AUDIT, KILL, STOP, begin, served_over_http, versions

from novacron.errors import ConfigError
from novacron.monitoring.rollouts.starting import abort_rollout
from serve_apps.access.desk import Desk
from serve_apps.access.guard import Guard
from serve_apps.rollout.wiring import kills_of
from serve_apps.settings.access import AccessConfig, TokenConfig

pytestmark = pytest.mark.asyncio


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
