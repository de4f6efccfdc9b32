import json
import os

import pytest

from novacron.errors import UnreadableInputError
from novacron.telemetry.quarantine import Quarantine, Rejection, read_quarantine


def rejection(row=1, **more):
    return Rejection(source="x.csv", row=row, reason="late", **more)


def test_rejections_come_back_as_they_went_in(tmp_path):
    path = tmp_path / "q.jsonl"
    rejections = [rejection(1, raw="a,b\x00\u2028"), rejection(2, raw={"rtt_ms": 1.5}, hint="x")]

    with Quarantine(path) as quarantine:
        quarantine.add(rejections)

    assert list(read_quarantine(path)) == rejections


def test_every_rejection_is_one_line_whatever_the_row_held(tmp_path):
    path = tmp_path / "q.jsonl"

    with Quarantine(path) as quarantine:
        quarantine.add([rejection(raw="two\nlines\r\u2029")])

    assert len(path.read_text().splitlines()) == 1


def test_a_full_buffer_is_written_without_being_asked(tmp_path):
    path = tmp_path / "q.jsonl"
    quarantine = Quarantine(path, flush_rows=3)

    quarantine.add(rejection(row) for row in range(7))

    assert len(path.read_text().splitlines()) == 6
    quarantine.close()
    assert len(path.read_text().splitlines()) == 7


def test_what_was_flushed_survives_a_crash(tmp_path):
    path = tmp_path / "q.jsonl"
    child = os.fork()
    if child == 0:
        quarantine = Quarantine(path, flush_rows=1_000)
        quarantine.add([rejection(1)])
        quarantine.flush()
        quarantine.add([rejection(2)])
        os._exit(9)
    os.waitpid(child, 0)

    assert [bad.row for bad in read_quarantine(path)] == [1]


def test_a_half_written_last_line_is_skipped_and_a_broken_one_before_it_is_not(tmp_path):
    path = tmp_path / "q.jsonl"
    line = rejection().to_json()
    path.write_text(line + "\n" + line[:20])

    assert len(list(read_quarantine(path))) == 1
    path.write_text(line[:20] + "\n" + line + "\n")
    with pytest.raises(UnreadableInputError, match=r"q\.jsonl:1"):
        list(read_quarantine(path))


def test_reasons_are_counted(tmp_path):
    with Quarantine(tmp_path / "q.jsonl") as quarantine:
        quarantine.add([rejection(1), rejection(2)])

    assert quarantine.counts == {"late": 2}
    assert json.loads((tmp_path / "q.jsonl").read_text().splitlines()[0])["source"] == "x.csv"
