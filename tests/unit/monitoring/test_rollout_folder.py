import json
import multiprocessing
import os
import signal
import threading
from datetime import UTC, datetime

import pytest

from novacron.errors import (
    ArtifactError,
    ConfigError,
    ConflictError,
    InvalidInputError,
    ModelNotFoundError,
    NotReadyError,
    UnknownNameError,
)
from novacron.monitoring.rollouts.counts import ArmCounts
from novacron.monitoring.rollouts.folder import Kill, ReplicaReport, RolloutFolder
from novacron.monitoring.rollouts.plan import RolloutPlan
from novacron.monitoring.rollouts.starting import (
    abort_rollout,
    promote_rollout,
    read_plan,
    start,
)
from novacron.registry.records import Audit

NOW = datetime(2026, 5, 4, 3, 2, tzinfo=UTC)
AUDIT = Audit(who="me", at=NOW, why="a better one")
KILL = Kill(mode="stable", who="me", why="it burns", at_s=1.0)


def resolve(name, ref):
    known = {"champion": "1", "challenger": "2", "1": "1", "2": "2", "3": "3"}
    if name != "m" or ref not in known:
        raise ModelNotFoundError(f"No {name}@{ref}.")
    return known[ref]


@pytest.fixture
def folder(tmp_path):
    return RolloutFolder(tmp_path / "rollouts")


def begin(folder, ref="challenger", plan=None, audit=AUDIT):
    return start(folder, resolve, "m", ref, plan or RolloutPlan(), audit)


def files_of(folder):
    return {path: path.read_bytes() for path in folder.root.rglob("*") if path.is_file()}


def test_a_rollout_that_was_started_is_read_back_by_everybody(folder):
    rollout = begin(folder)

    other = RolloutFolder(folder.root)

    assert other.get("m") == rollout
    assert (rollout.stable, rollout.tried, rollout.status) == ("1", ("2",), "running")
    line = other.audit("m")[-1]
    assert (line["what"], line["who"], line["why"]) == ("start", "me", "a better one")


def test_a_second_rollout_while_one_runs_is_refused_and_changes_nothing(folder):
    begin(folder)
    before = files_of(folder)

    with pytest.raises(ConflictError, match="runs already"):
        begin(folder, "3")

    assert files_of(folder) == before


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"ref": "9"}, ModelNotFoundError),
        ({"ref": "champion"}, InvalidInputError),
        ({"plan": RolloutPlan(mode="ab", weights={"1": 0.6, "2": 0.6})}, InvalidInputError),
        ({"plan": RolloutPlan(mode="ab", weights={"1": 0.5, "7": 0.5})}, ModelNotFoundError),
    ],
)
def test_what_cannot_be_started_is_refused_before_anything_is_written(folder, changes, error):
    with pytest.raises(error):
        begin(folder, **changes)

    assert not folder.root.exists()


def test_a_registry_that_does_not_answer_starts_nothing(folder):
    def unreachable(name, ref):
        raise NotReadyError("The registry does not answer.")

    with pytest.raises(NotReadyError, match="registry"):
        start(folder, unreachable, "m", "2", RolloutPlan(), AUDIT)

    assert not folder.root.exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"windws": 2},
        {"stages": [0.5, 0.1]},
        {"stages": [0.0, 1.0]},
        {"alpha": 0},
        {"mode": "canary", "weights": {"1": 1.0}},
        {"mode": "ab", "weights": {"1": 0.5, "2": 0.4}},
        {"p95_ratio_limit": 0.5},
    ],
)
def test_a_plan_with_a_setting_that_is_not_allowed_names_it(settings):
    with pytest.raises((ConfigError, InvalidInputError)):
        read_plan(settings)


def test_an_ended_rollout_cannot_be_ended_again(folder):
    begin(folder)
    abort_rollout(folder, "m", AUDIT)
    before = files_of(folder)

    with pytest.raises(ConflictError, match="aborted"):
        abort_rollout(folder, "m", AUDIT)
    with pytest.raises(ConflictError, match="aborted"):
        promote_rollout(folder, "m", AUDIT)
    with pytest.raises(UnknownNameError):
        abort_rollout(folder, "other", AUDIT)

    assert files_of(folder) == before
    assert begin(folder).status == "running"


def test_a_promotion_against_the_gates_needs_a_reason(folder):
    begin(folder)

    with pytest.raises(InvalidInputError, match="why"):
        promote_rollout(folder, "m", Audit(who="me", at=NOW))

    assert promote_rollout(folder, "m", AUDIT).status == "promoting"


def test_the_kill_switch_is_a_file_and_a_rollout_does_not_start_while_it_is_on(folder):
    folder.kill("m", KILL)

    with pytest.raises(ConflictError, match="kill switch"):
        begin(folder)

    assert folder.kill_of("m") == KILL
    assert folder.lift("m", "me", 2.0)
    assert not folder.lift("m", "me", 3.0)
    assert begin(folder).status == "running"
    assert [line["what"] for line in folder.audit("m")] == ["kill", "lift", "start"]


def test_a_kill_file_that_nobody_can_read_still_kills(folder):
    folder.root.mkdir()
    (folder.root / "m.kill").write_text("")

    assert folder.kill_of("m").mode == "stable"


def test_a_damaged_state_is_an_error_that_says_what_to_do(folder):
    begin(folder)
    (folder.root / "m.json").write_text('{"id": 3}')

    with pytest.raises(ArtifactError, match="Remove the file"):
        folder.read("m")


def test_a_name_that_leaves_the_folder_is_refused(folder):
    with pytest.raises(InvalidInputError):
        folder.kill("../m", KILL)


def test_the_stamp_changes_with_state_and_kill_switch_alone(folder):
    begin(folder)
    first = folder.stamp("m")
    folder.report("m-x", "replica", ReplicaReport(counts={}))
    assert folder.stamp("m") == first

    folder.kill("m", KILL)
    second = folder.stamp("m")
    abort_rollout(folder, "m", AUDIT)

    assert len({first, second, folder.stamp("m")}) == 3


def test_reports_of_replicas_come_back_as_they_were(folder):
    counts = ArmCounts(requests=3, errors=1)
    counts.observe_latency(0.01)
    report = ReplicaReport(counts={0: {"1": counts}}, failure="no", loaded=("2",))

    folder.report("r", "a", report)
    folder.report("r", "b", ReplicaReport(counts={}))

    assert folder.reports("r") == {"a": report, "b": ReplicaReport(counts={})}
    assert folder.reports("none") == {}


def hold_the_lock(root, ready):
    with RolloutFolder(root).changing("m"):
        ready.send("held")
        signal.pause()


def test_a_lock_dies_with_the_process_that_held_it(folder):
    begin(folder)
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    holder = context.Process(target=hold_the_lock, args=(folder.root, theirs))
    holder.start()
    assert ours.recv() == "held"
    done = threading.Event()
    waiting = threading.Thread(target=lambda: (abort_rollout(folder, "m", AUDIT), done.set()))
    waiting.start()
    assert not done.wait(0.2)

    os.kill(holder.pid, signal.SIGKILL)

    assert done.wait(10)
    waiting.join()
    holder.join()
    assert folder.get("m").status == "aborted"


def test_decisions_of_many_processes_are_whole_lines(folder):
    begin(folder)
    rollout = folder.get("m")
    threads = [
        threading.Thread(
            target=lambda: [folder.note(rollout, rollout.decisions[0]) for _ in range(20)]
        )
        for _ in range(4)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()

    lines = (folder.root / "audit.jsonl").read_text().splitlines()
    assert len([json.loads(line) for line in lines]) == 81
