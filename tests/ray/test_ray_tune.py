"""Searches on a real cluster: killed drivers, killed workers, a population, a job."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from ray_jobs.tune import submitted_answer

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]


@pytest.fixture
def notes(tmp_path):
    path = tmp_path / "notes"
    path.touch()
    return path


@pytest.fixture
def start(cluster, tmp_path, notes):
    """Start a search as a process of its own, on the shared cluster."""

    def run(objective, *options, track=False):
        env = os.environ | cluster.state.client_env() | {"NOVACRON_RUNS_DIR": str(tmp_path)}
        options += () if track else ("--no-track",)
        env |= {"TOY_NOTES": str(notes)}
        return subprocess.Popen(
            [sys.executable, "-m", "tuning.search", "--model", f"tests.toy_objective:{objective}",
             "--storage", str(tmp_path / "tune"), "--data", "generator", *options],
            env=env, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    return run


def lines_of(notes, what):
    return [one.split(" ") for one in notes.read_text().splitlines() if f" {what} " in one]


def wait_for(condition, process, seconds=90.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)


def finish(process):
    output, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    return json.loads(output.splitlines()[-1]), errors


def test_a_search_survives_the_death_of_its_driver_and_of_a_worker(start, notes, tmp_path):
    options = ("--trials", "8", "--seeds", "1", "--finalists", "1")
    first = start("SLOW", *options)
    wait_for(lambda: len(lines_of(notes, "end")) >= 2, first)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    ended = len(list(tmp_path.glob("tune/*/trials/*/ended.json")))

    second = start("SLOW", *options)
    wait_for(lambda: len(list(tmp_path.glob("tune/*/trials/*/ended.json"))) > ended, second)
    wait_for(lambda: len(lines_of(notes, "start")) > len(lines_of(notes, "end")), second)
    os.kill(int(lines_of(notes, "start")[-1][0]), signal.SIGKILL)
    answer, errors = finish(second)

    assert answer["status"] == "finished"
    assert sum(answer["trials"].values()) == 8
    assert set(answer["trials"]) <= {"finished", "stopped", "failed"}
    whole = Counter(" ".join(one[1:]) for one in lines_of(notes, "end"))
    assert max(whole.values()) == 1
    assert answer["runs"] == 2
    assert "there already" in errors


def test_a_population_copies_its_better_half_and_ends_whole(start, notes, tmp_path):
    options = ("--trials", "4", "--seeds", "1", "--finalists", "1", "--range", "kind=plain,bent")

    answer, _ = finish(start("POPULATION", *options))

    assert answer["trials"] == {"finished": 4}
    document = json.loads(next(tmp_path.glob("tune/*/results.json")).read_text())
    trials = [one for one in document["trials"] if one["phase"] == "search"]
    assert any(one["parent"] for one in trials)
    changed = [one for one in trials if len({row["values"]["rate"] for row in one["curve"]}) > 1]
    assert changed
    # A copy goes on from the state it was given, not from the start.
    assert any(int(one[-1]) > 0 for one in lines_of(notes, "start"))


def test_ctrl_c_on_a_terminal_leaves_what_was_found(start, tmp_path):
    process = start("SLOW", "--trials", "40", "--seeds", "1", track=True)
    wait_for(lambda: len(list(tmp_path.glob("tune/*/trials/*/ended.json"))) >= 3, process)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=90)

    answer = json.loads(output.splitlines()[-1])
    assert process.returncode == 130, errors
    assert answer["status"] == "interrupted"
    assert answer["best_so_far"] is not None
    assert list(tmp_path.glob("tune/*/best_so_far.yaml"))
    assert len(list(tmp_path.glob("tune/*/trials/*/tracked.json"))) >= 3


def test_a_search_runs_as_a_job_and_its_lines_arrive(cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("NOVACRON_RUNS_DIR", str(tmp_path))
    said = []

    answer = submitted_answer(
        ["--model=tests.toy_objective:SLOW", "--trials=3", "--seeds=1", "--finalists=1",
         "--data=generator", "--no-track", f"--storage={tmp_path / 'tune'}"],
        cluster.state,
        said.append,
    )  # fmt: skip

    assert answer.payload["status"] == "finished"
    assert any(one.startswith("search 3/3") for one in said)


def test_a_search_goes_on_when_a_node_is_lost(private_home, tmp_path, notes):
    finished = subprocess.run(
        [sys.executable, "-m", "tests.losing_a_node", str(tmp_path)],
        env=os.environ | {"TOY_NOTES": str(notes), "RAY_AUTH_MODE": "disabled"},
        cwd=ROOT, capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip

    assert finished.returncode == 0, finished.stderr[-3000:]
    answer = json.loads(finished.stdout.splitlines()[-1])
    assert answer["trials"] == {"finished": 10}
    whole = Counter(" ".join(one[1:]) for one in lines_of(notes, "end"))
    assert max(whole.values()) == 1
