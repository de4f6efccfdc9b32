"""The prediction log: every answer once in Parquet, or counted as lost; never in the way."""

import os
import signal
import struct
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from logged_predictions import DAY_US, MADE_AT_US, NOW, close_logs, entry, open_log

from novacron.monitoring.predictions.config import PredictionLogConfig
from novacron.monitoring.predictions.counters import noted_losses
from novacron.monitoring.predictions.entry import parse_id
from novacron.monitoring.predictions.files import block_files, remove_old, write_block
from novacron.monitoring.predictions.join import read_predictions
from novacron.monitoring.predictions.tables import row_digest
from novacron.monitoring.predictions.writer import PredictionWriter


@pytest.fixture(autouse=True)
def _closing():
    yield
    close_logs()


def test_an_answer_is_found_again_row_by_row(tmp_path):
    log = open_log(tmp_path)
    one = entry(
        log,
        [[1, 2], [3, 4]],
        entities=("a", None),
        steps_s=(5.0, None),
        role="canary",
        fallback="ewma_band",
    )
    log.record(one)
    log.flush()

    rows = read_predictions(tmp_path, model="bandwidth").to_pylist()

    assert [row["prediction_id"] for row in rows] == one.row_ids()
    assert [row["entity"] for row in rows] == ["a", None]
    assert [row["output.value_mbps"] for row in rows] == [[1, 2], [3, 4]]
    assert [row["horizon_s"] for row in rows] == [10.0, None]
    made_at = datetime.fromtimestamp(MADE_AT_US / 1e6, UTC)
    assert rows[0]["made_at"] == made_at
    assert (rows[0]["valid_until"] - made_at).total_seconds() == 5
    assert rows[1]["valid_until"] is None
    assert {row["role"] for row in rows} == {"canary"}
    assert {row["fallback"] for row in rows} == {"ewma_band"}
    np.testing.assert_allclose(rows[0]["predict_s"], 0.003, rtol=1e-6)
    assert rows[0]["inputs_digest"] != rows[1]["inputs_digest"]


def test_a_fallback_that_the_model_names_is_kept_row_by_row(tmp_path):
    log = open_log(tmp_path)
    one = entry(log, [[1], [2]])
    outputs = one.outputs | {"fallback": np.array(["", "ewma_band"], dtype=object)}
    log.record(one._replace(outputs=outputs))
    log.flush()

    rows = read_predictions(tmp_path, model="bandwidth").to_pylist()
    assert [row["fallback"] for row in rows] == ["", "ewma_band"]


def test_answers_of_one_block_may_differ_in_length_day_model_and_outputs(tmp_path):
    log = open_log(tmp_path)
    log.record(entry(log, [[1, 2, 3]]))
    log.record(entry(log, [[4]]))
    log.record(entry(log, [[5]], made_at_us=MADE_AT_US + DAY_US))
    log.record(entry(log, [[6]], model="other"))
    part = entry(log, [[7]])
    log.record(part._replace(outputs={"value_mbps": part.outputs["value_mbps"]}))
    log.flush()

    table = read_predictions(tmp_path, model="bandwidth")
    assert sorted(table.column("output.value_mbps").to_pylist()) == [[1, 2, 3], [4], [5], [7]]
    later = read_predictions(tmp_path, model="bandwidth", first_day="2026-03-02")
    assert later.column("output.value_mbps").to_pylist() == [[5]]
    assert {file.model for file in block_files(tmp_path)} == {"bandwidth", "other"}


def test_inputs_are_kept_for_the_share_asked_for_and_digests_for_all(tmp_path):
    whole = open_log(tmp_path / "all", inputs_ratio=1.0)
    whole.record(entry(whole, [[1.0]]))
    whole.flush()
    none = open_log(tmp_path / "none", inputs_ratio=0.0)
    none.record(entry(none, [[1.0]]))
    none.flush()

    kept = read_predictions(tmp_path / "all", model="bandwidth")
    bare = read_predictions(tmp_path / "none", model="bandwidth")
    assert kept.column("input.bandwidth_mbps").to_pylist() == [[0, 1, 2, 3]]
    assert "input.bandwidth_mbps" not in bare.column_names
    assert kept.column("inputs_digest") == bare.column("inputs_digest")


def test_equal_inputs_have_equal_digests_and_others_have_not():
    x = np.array([[1.0, 2.0], [1.0, 2.0], [1.0, 2.5]])
    words = np.array(["ab", "c"], dtype=object)
    digest = [row_digest((("x", x), ("y", x)), row) for row in range(3)]

    assert digest[0] == digest[1] != digest[2]
    assert row_digest((("y", x), ("x", x)), 0) == digest[0]
    assert row_digest((("x", x),), 0) != digest[0]
    split = np.array([["ab", "c"]], dtype=object)
    other = np.array([["a", "bc"]], dtype=object)
    assert row_digest((("w", split),), 0) != row_digest((("w", other),), 0)
    assert row_digest((("w", words),), 0) != row_digest((("w", words),), 1)


def test_ids_tell_writer_number_and_row():
    assert parse_id("0123456789ab0000000f.12") == ("0123456789ab", 15, 12)
    assert parse_id("0123456789ab0000000f") == ("0123456789ab", 15, None)
    for bad in ("", "p1", "0123456789ab0000000f.", "../../etc/passwd", "0123456789AB0000000f"):
        assert parse_id(bad) is None


def test_ids_of_processes_differ(tmp_path):
    logs = [open_log(tmp_path) for _ in range(5)]

    assert len({log.new_id() for log in logs for _ in range(10)}) == 50


def test_a_full_buffer_drops_and_counts_and_never_waits(tmp_path):
    log = open_log(tmp_path, max_buffer_rows=10)

    taken = [log.record(entry(log, [[1], [2], [3]])) for _ in range(5)]

    assert taken == [True, True, True, False, False]
    assert log.status()["rows_refused"] == 6
    log.flush()
    assert log.record(entry(log, [[1]]))
    log.flush()
    assert read_predictions(tmp_path, model="bandwidth").num_rows == 10


def test_a_buffer_is_bounded_by_bytes_too(tmp_path):
    log = open_log(tmp_path, max_buffer_bytes=2**16)
    big = entry(log, np.ones((1, 2000)))

    assert [log.record(big) for _ in range(3)] == [True, False, False]


def test_blocks_are_written_when_they_are_full_or_old_enough(tmp_path):
    full = open_log(tmp_path / "full", block_rows=4)
    for _ in range(6):
        full.record(entry(full, [[1]]))
    old = open_log(tmp_path / "old", block_interval_s=0.05)
    old.record(entry(old, [[1]]))

    deadline_s = time.monotonic() + 30
    while not (full.blocks and old.blocks) and time.monotonic() < deadline_s:
        time.sleep(0.01)

    assert full.blocks
    assert old.blocks


def test_an_unwritable_folder_is_told_and_the_rows_wait_until_it_is_mended(tmp_path):
    (tmp_path / "log").write_text("a file in the way")
    log = open_log(tmp_path / "log", max_buffer_rows=3)

    assert not log.is_healthy
    assert [log.record(entry(log, [[n]])) for n in range(5)] == [True] * 3 + [False] * 2
    log.flush()
    assert not log.is_healthy
    assert log.status()["rows_waiting"] == 3
    assert "log" in log.last_error

    (tmp_path / "log").unlink()
    log.flush()
    assert log.is_healthy
    table = read_predictions(tmp_path / "log", model="bandwidth")
    assert table.column("output.value_mbps").to_pylist() == [[0], [1], [2]]


def test_a_full_disk_loses_nothing_that_fits_the_buffer(tmp_path):
    full = [True]

    def write(*block, **more):
        if full:
            raise OSError(28, "No space left on device")
        return write_block(*block, **more)

    log = open_log(tmp_path, write=write)
    log.record(entry(log, [[1]]))
    log.flush()
    assert "No space left" in log.status()["last_error"]
    assert log.status()["healthy"] is False
    full.clear()
    log.flush()

    assert log.is_healthy
    assert read_predictions(tmp_path, model="bandwidth").num_rows == 1
    assert not list(tmp_path.rglob("*.part"))


def test_an_answer_that_fits_no_table_is_counted_and_harms_no_other(tmp_path):
    log = open_log(tmp_path)
    odd = entry(log, [[1]], model="odd")
    log.record(odd._replace(outputs={"value_mbps": np.array([[1 + 2j]])}))
    log.record(entry(log, [[1]]))
    log.flush()

    status = log.status()
    assert (status["rows_failed"], status["rows_written"], status["rows_waiting"]) == (1, 1, 0)
    assert status["healthy"]


def test_closing_writes_what_waits_and_leaves_no_counts_behind(tmp_path):
    log = open_log(tmp_path)
    log.record(entry(log, [[1]]))
    log.close()

    assert read_predictions(tmp_path, model="bandwidth").num_rows == 1
    assert list((tmp_path / "writers").iterdir()) == []
    assert open_log(tmp_path).losses == []


def test_a_live_process_is_not_taken_for_a_dead_one(tmp_path):
    log = open_log(tmp_path)
    log.record(entry(log, [[1]]))

    assert open_log(tmp_path).losses == []
    log.flush()
    assert noted_losses(tmp_path) == []


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from logged_predictions import entry, open_log
log = open_log(Path(sys.argv[1]), block_rows=40, block_interval_s=0.05)
for number in range(10**9):
    assert log.record(entry(log, [[number]]))
    print(number, flush=True)
    time.sleep(0.001)
"""


def test_after_sigkill_the_log_says_exactly_how_many_rows_were_lost(tmp_path):
    tests = str(Path(__file__).parents[2])
    for turn in range(3):
        directory = tmp_path / str(turn)
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(directory), tests],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        first = 0
        # A busy machine takes its time for the first block.
        while first < 200 + 41 * turn or not any(block_files(directory)):
            process.stdout.readline()
            first += 1
        process.send_signal(signal.SIGKILL)
        told = [int(line) for line in process.stdout.read().splitlines()]
        process.wait()
        process.stdout.close()
        last = told[-1] if told else first - 1

        log = open_log(directory)

        files = list(block_files(directory))
        written = sum(pq.read_metadata(file.path).num_rows for file in files)
        assert files
        (loss,) = log.losses or [None]
        lost = loss.lost if loss else 0
        # One answer may be recorded whose number was not printed any more.
        assert written + lost in (last + 1, last + 2)
        assert log.status()["rows_lost_by_dead_processes"] == lost
        assert open_log(directory).losses == []


def test_a_block_that_was_written_and_not_counted_any_more_is_not_called_lost(tmp_path):
    log = open_log(tmp_path)
    for value in (1, 2):
        log.record(entry(log, [[value], [value]]))
        log.flush()
    counts = tmp_path / "writers" / "0123456789ab.counts"
    for file in block_files(tmp_path, writer=log.writer):
        file.path.rename(file.path.with_name(file.path.name.replace(log.writer, counts.stem)))
    # 5 rows recorded, none dropped, the 2 of block 0 counted: killed after block 1, before its count.
    counts.write_bytes(struct.pack("=QQQQ", 5, 0, 2, 1))

    (loss,) = open_log(tmp_path).losses

    assert (loss.recorded, loss.written, loss.lost) == (5, 4, 1)
    assert not counts.exists()


def test_old_days_go_first_by_age_and_then_by_size(tmp_path):
    log = open_log(tmp_path)
    for day in range(5):
        log.record(entry(log, [[day]], made_at_us=MADE_AT_US + day * DAY_US))
    log.flush()
    today = datetime(2026, 3, 5, tzinfo=UTC).date()

    assert remove_old(tmp_path, today=today, max_age_days=3, max_bytes=10**9) == 2
    assert [file.day for file in block_files(tmp_path)] == [
        "2026-03-03", "2026-03-04", "2026-03-05",
    ]  # fmt: skip
    size = next(block_files(tmp_path)).path.stat().st_size
    remove_old(tmp_path, today=today, max_age_days=3, max_bytes=int(1.5 * size))
    assert [file.day for file in block_files(tmp_path)] == ["2026-03-05"]
    assert not (tmp_path / "model=bandwidth" / "day=2026-03-03").exists()


def test_recording_while_blocks_are_written_loses_and_doubles_nothing(tmp_path):
    log = PredictionWriter(
        tmp_path,
        PredictionLogConfig(block_rows=50, block_interval_s=0.01, fsync=False),
        now=lambda: NOW,
    )
    flushing = threading.Thread(target=lambda: [log.flush() for _ in range(20)])
    flushing.start()
    taken = sum(log.record(entry(log, [[number]])) for number in range(2000))
    flushing.join()
    log.close()

    table = read_predictions(tmp_path, model="bandwidth")
    assert table.num_rows == taken == 2000
    assert sorted(table.column("output.value_mbps").to_pylist()) == [[n] for n in range(2000)]
    assert log.status()["rows_waiting"] == 0


def test_files_are_compressed_and_plain_parquet(tmp_path):
    log = open_log(tmp_path)
    log.record(entry(log, [[1]]))
    log.flush()

    (file,) = block_files(tmp_path)
    assert pq.read_metadata(file.path).row_group(0).column(0).compression == "ZSTD"
    assert file.path.parent.parts[-2:] == ("model=bandwidth", "day=2026-03-01")
