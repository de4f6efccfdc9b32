import os
import subprocess
import sys
import time

import psutil
import pytest

from ray_jobs.guard import Guard, stand_guard
from ray_jobs.processes import MARKER, end_cluster_processes, find_cluster_processes

# Starts a child in a session of its own, as Ray's job supervisor does, and waits.
NESTING = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
time.sleep(600)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(600)
"""


@pytest.fixture
def start():
    started = []

    def run(code: str, cluster_id: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            env=os.environ | {MARKER: cluster_id},
            start_new_session=True,
            stdout=subprocess.PIPE,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        # A child in a session of its own outlives its parent, and holds the pipe open.
        if process.poll() is None:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
        process.kill()
        process.wait()
        process.stdout.close()


def has_ended(process: subprocess.Popen) -> bool:
    return wait_until(lambda: process.poll() is not None)


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def test_a_process_and_its_child_in_another_session_are_found(start):
    process = start(NESTING, "one")

    assert wait_until(lambda: len(find_cluster_processes("one", set())) == 2)
    assert process.pid in {found.pid for found in find_cluster_processes("one", set())}


def test_processes_of_another_cluster_are_left_alone(start):
    mine, other = start("import time; time.sleep(600)", "two"), start(NESTING, "three")

    ended = end_cluster_processes("two", set())

    assert ended == 1
    assert has_ended(mine)
    assert other.poll() is None


def test_a_process_that_ignores_the_request_is_ended_all_the_same(start):
    process = start(STUBBORN, "four")
    assert process.stdout.readline() == b"deaf\n"

    end_cluster_processes("four", set())

    assert has_ended(process)


def test_a_process_that_lost_its_marker_is_found_by_its_session(start):
    process = start("import time; time.sleep(600)", "five")

    found = find_cluster_processes("not its marker", {process.pid})

    assert [each.pid for each in found] == [process.pid]


def test_the_searching_process_never_finds_itself(monkeypatch):
    found = find_cluster_processes("six", {os.getsid(0)})

    assert os.getpid() not in {each.pid for each in found}
    assert found == []


def test_a_guard_ends_the_cluster_when_its_owner_is_gone_without_a_word(start, tmp_path):
    process = start("import time; time.sleep(600)", "seven")
    folder = tmp_path / "temp"
    folder.mkdir()

    stand_guard([f"{process.pid}\n"], "seven", [folder])

    assert has_ended(process)
    assert not folder.exists()


def test_a_released_guard_leaves_the_cluster_alone(start, tmp_path):
    process = start("import time; time.sleep(600)", "eight")
    guard = Guard("eight", [tmp_path])
    guard.watch_session(process.pid)

    guard.release()

    assert process.poll() is None
    assert tmp_path.exists()


def test_a_guard_outlives_an_owner_that_is_killed(start, tmp_path):
    process = start("import time; time.sleep(600)", "nine")
    owner_code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from ray_jobs.guard import Guard\n"
        "guard = Guard('nine', [])\n"
        f"guard.watch_session({process.pid})\n"
        "print('guarded', flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", owner_code], stdout=subprocess.PIPE) as owner:
        assert owner.stdout.readline() == b"guarded\n"
        owner.kill()

    assert has_ended(process)
    assert not psutil.pid_exists(owner.pid) or psutil.Process(owner.pid).status() == "zombie"
