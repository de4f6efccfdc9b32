"""Live samples on files that are damaged, cut short or full, and a writer that is killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live_samples import close_stores, lines, open_store, same, sample, seconds

from novacron.errors import NotReadyError
from novacron.telemetry.live.log_blocks import DATA, Block, Damage, Rest, read_blocks
from novacron.telemetry.live.segments import numbers, segment_path, snapshot_path


@pytest.fixture(autouse=True)
def _closing():
    yield
    close_stores()


def test_a_damaged_snapshot_is_told_and_the_one_before_it_loses_nothing(tmp_path):
    small = {"segment_bytes": 4096}
    store = open_store(tmp_path, **small)
    for second in range(200):
        store.ingest("link", lines([sample(second)]))
    newest = snapshot_path(tmp_path, numbers(tmp_path, "snapshot")[-1])
    damaged = bytearray(newest.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    newest.write_bytes(damaged)

    found = open_store(tmp_path, **small)

    assert same(store, found, "a")
    assert found.status()["lost"]["snapshots"] == 1
    assert found.status()["lost"]["damaged_rows"] == 0


def test_a_changed_byte_costs_its_block_alone_and_the_rows_lost_are_told(tmp_path):
    store = open_store(tmp_path)
    for second in range(0, 30, 3):
        store.ingest("link", lines([sample(second), sample(second + 1), sample(second + 2)]))
    store.close()
    path = segment_path(tmp_path, 1)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)

    found = open_store(tmp_path)

    lost = found.status()["lost"]
    assert lost["damaged_rows"] == 3
    assert lost["damaged_bytes"] > 0
    assert len(seconds(found)) == 27
    found.ingest("link", lines([sample(40)]))
    assert seconds(open_store(tmp_path))[-1] == 40


def test_a_block_cut_short_by_a_crash_is_cut_off_and_counted_by_all(tmp_path):
    store = open_store(tmp_path)
    store.ingest("link", lines([sample(0), sample(1)]))
    other = open_store(tmp_path)
    path = segment_path(tmp_path, 1)
    whole = path.read_bytes()
    torn = Block(DATA, 2, 5, b"x" * 100).encode()[:90]
    path.write_bytes(whole + torn)

    assert seconds(other) == [0, 1]
    found = open_store(tmp_path)
    found.ingest("link", lines([sample(2)]))

    for one in (found, other, open_store(tmp_path)):
        assert one.status()["lost"]["torn_rows"] == 5
        assert one.status()["lost"]["torn_bytes"] == 90
        assert seconds(one) == [0, 1, 2]


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 400), st.integers(0, 255))
def test_any_damage_between_blocks_is_passed_over_and_no_block_is_made_up(noise, place, byte):
    blocks = [Block(DATA, n, 1, bytes([n]) * (n * 7)) for n in range(5)]
    data = bytearray(b"".join(one.encode() for one in blocks))
    data[place % len(data)] = byte
    data = bytes(data) + noise

    found = [part for _, part in read_blocks(data)]

    assert {one for one in found if isinstance(one, Block)} <= set(blocks)
    assert sum(isinstance(one, Block) for one in found) >= 4
    if isinstance(found[-1], Rest):
        found.pop()
    assert not any(isinstance(one, Rest) for one in found)
    assert sum(isinstance(one, Damage) for one in found) <= 1


WRITER = """
import sys
from datetime import timedelta
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from live_samples import lines, open_store, sample
store = open_store(Path(sys.argv[1]), segment_bytes=8192)
second = 0
while True:
    store.ingest("link", lines([sample(second + n, f"l{n % 3}") for n in range(20)]))
    second += 20
    print(second, flush=True)
"""


def test_a_process_killed_while_it_writes_loses_nothing_that_it_acknowledged(tmp_path):
    tests = str(Path(__file__).parents[2])
    for turn in range(3):
        directory = tmp_path / str(turn)
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(directory), tests],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        told = [int(process.stdout.readline()) for _ in range(20 + 17 * turn)]
        process.send_signal(signal.SIGKILL)
        told += [int(line) for line in process.stdout.read().splitlines() if line.isdecimal()]
        process.wait()
        process.stdout.close()

        found = open_store(directory, segment_bytes=8192)

        rows = found.status()["rows"]
        # A batch may be in the log whose acknowledgement was not printed any more.
        assert rows in (told[-1], told[-1] + 20)
        newest = max(seconds(found, f"l{n}")[-1] for n in range(3))
        assert newest == rows - 1


def test_a_full_disk_refuses_the_batch_and_leaves_the_log_as_it_was(tmp_path, monkeypatch):
    store = open_store(tmp_path)
    store.ingest("link", lines([sample(0)]))
    write = os.write

    def half(handle, data):
        if len(data) < 100:
            return write(handle, data)
        write(handle, bytes(data)[:50])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(NotReadyError, match="No space left"):
        store.ingest("link", lines([sample(1), sample(2)]))
    monkeypatch.undo()

    assert seconds(store) == [0]
    store.ingest("link", lines([sample(1)]))
    assert seconds(open_store(tmp_path)) == [0, 1]
    assert store.status()["lost"]["torn_bytes"] == 0
