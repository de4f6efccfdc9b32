import json
from datetime import UTC, datetime

import doubling_model
import pytest
from typer.testing import CliRunner

from novacron.models.bundles import LOADERS
from novacron.monitoring.rollouts.folder import RolloutFolder
from novacron.registry.config import RegistryConfig
from novacron.registry.gate import GateRules, MetricRule
from novacron.registry.records import Audit
from novacron.registry.store import ModelStore
from ray_jobs.cli import app

RULES = GateRules(required=(MetricRule(name="wape_ratio_to_ewma", set="oboe", limit=1.0),))
RUNNER = CliRunner()


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """Version 1 is champion, 2 challenger, 3 was measured to be worse than its baseline."""
    LOADERS["doubling"] = "doubling_model"
    root = tmp_path_factory.mktemp("registry")
    store = ModelStore.connect(RegistryConfig(root=root))
    cards = [doubling_model.card(), doubling_model.card()]
    cards.append(doubling_model.card(metrics=(doubling_model.metric(value=1.3),)))
    for place, card in enumerate(cards):
        folder = doubling_model.write_bundle(root / f"b{place}", factor=2.0 + place)
        store.register("bandwidth", folder, card)
    audit = Audit(who="test", at=datetime.now(UTC), why="first")
    store.promote("bandwidth", "1", RULES, audit=audit)
    yield root
    LOADERS.pop("doubling")


@pytest.fixture
def run(registry, tmp_path, monkeypatch):
    monkeypatch.setenv("NOVACRON_REGISTRY_ROOT", str(registry))
    monkeypatch.setenv("NOVACRON_ROLLOUT_DIR", str(tmp_path / "rollouts"))
    gate = tmp_path / "gate.yaml"
    gate.write_text("limits: [{name: wape_ratio_to_ewma, limit: 1.0}]\n")

    def call(*arguments):
        extra = ["--gate", str(gate)] if arguments[0] == "start" else []
        done = RUNNER.invoke(app, ["rollout", *arguments, *extra, "--json"])
        return done.exit_code, json.loads(done.stdout.splitlines()[-1])

    call.folder = RolloutFolder(tmp_path / "rollouts")
    return call


def test_a_rollout_is_started_shown_and_aborted(run):
    code, started = run("start", "bandwidth", "2", "--window-s", "5", "--why", "new data")
    assert (code, started["status"], started["tried"]) == (0, "running", ["2"])
    assert started["shares"] == {"2": 0.1, "1": 0.9}

    code, shown = run("status", "bandwidth")
    assert (code, shown["id"], shown["exposed_ratio"]) == (0, started["id"], 0.0)
    assert run("status")[1]["rollouts"]["bandwidth"]["status"] == "running"

    code, ended = run("abort", "bandwidth", "--why", "enough")
    assert (code, ended["status"], ended["shares"]) == (0, "aborted", {"1": 1.0})
    assert [one["why"] for one in ended["decisions"]] == ["new data", "enough"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("start", "bandwidth", "9"), 2, "has no version or alias"),
        (("start", "nothing", "1"), 2, "There is no model"),
        (("start", "bandwidth", "champion"), 2, "another one than the champion"),
        (("start", "bandwidth", "2", "--mode", "ab", "--weights", "1=0.5,2=0.4"), 2, "sum to"),
        (("start", "bandwidth", "2", "--mode", "ab", "--weights", "1=half"), 2, "weights"),
        (("start", "bandwidth", "2", "--window-s", "-1"), 2, "window_s"),
        (("start", "bandwidth", "3"), 3, "does not beat"),
        (("start", "bandwidth", "3", "--force"), 2, "reason"),
        (("abort", "bandwidth"), 2, "There is no rollout"),
        (("promote", "bandwidth"), 2, "There is no rollout"),
        (("status", "bandwidth"), 2, "There is no rollout"),
        (("kill", "../bandwidth"), 2, "model"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_code_and_changes_nothing(
    run, arguments, code, says
):
    got, answer = run(*arguments)

    assert (got, says in answer["error"]) == (code, True), answer
    assert not run.folder.models()


def test_a_rollout_while_one_runs_is_refused(run):
    run("start", "bandwidth", "2")
    before = run.folder.get("bandwidth")

    code, answer = run("start", "bandwidth", "2")

    assert (code, answer["code"]) == (2, "ConflictError")
    assert run.folder.get("bandwidth") == before


def test_the_gate_of_the_card_can_be_overridden_with_a_reason(run):
    code, answer = run("start", "bandwidth", "3", "--force", "--why", "a drill")

    assert (code, answer["status"]) == (0, "running")


def test_the_kill_switch_needs_no_registry(run, monkeypatch):
    monkeypatch.setenv("NOVACRON_TRACKING_URI", "postgresql://nobody@127.0.0.1:1/none")

    code, answer = run("kill", "bandwidth", "--why", "it burns")

    assert (code, answer) == (0, {"model": "bandwidth", "kill": "stable"})
    assert run.folder.kill_of("bandwidth").why == "it burns"
    assert run("kill", "bandwidth", "--stop")[1]["kill"] == "stop"
    assert run("lift", "bandwidth")[1] == {"model": "bandwidth", "lifted": True}
    code, refused = run("start", "bandwidth", "2")
    assert (code, refused["code"]) == (1, "NotReadyError")
    assert run.folder.read("bandwidth") is None


def test_a_person_sees_stages_gates_and_decisions(run):
    run("start", "bandwidth", "2")

    shown = RUNNER.invoke(app, ["rollout", "status", "bandwidth"]).stdout

    assert "[10%] > 50% > 100% > champion" in shown
    for word in ("running", "exposed so far", "Gates", "Decisions", "start"):
        assert word in shown
