"""Live samples: what is kept, what comes back with a reason, and what survives a killed process."""

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live_samples import NOW, START, close_stores, lines, open_store, same, sample, seconds
from pydantic import ValidationError

from novacron.contracts.telemetry import LINK_SCHEMA
from novacron.errors import ConfigError, UnknownNameError
from novacron.telemetry.blocks import US
from novacron.telemetry.live.config import StoreConfig
from novacron.telemetry.live.rings import Rows, SampleRings
from novacron.telemetry.live.segments import numbers
from novacron.telemetry.quarantine import read_quarantine
from novacron.telemetry.text_formats import JsonLines
from novacron.telemetry.text_readers import read_lines
from novacron.telemetry.validate import ValidationConfig, Validator


@pytest.fixture(autouse=True)
def _closing():
    yield
    close_stores()


def reasons(ingested):
    return [(one.row, one.reason) for one in ingested.rejected]


def test_good_samples_are_kept_and_bad_ones_come_back_with_their_reason(tmp_path):
    store = open_store(tmp_path)
    batch = [
        sample(0),
        sample(1, rtt_kbps=3),
        sample(2, mbps=-1),
        sample(3, loss_ratio=5.0),
        sample(4) | {"ts": "2026-03-01 12:00:04"},
        sample(5) | {"ts": "2030-01-01T00:00:00Z"},
        sample(6, mbps="7"),
        sample(7) | {"link_id": ""},
        sample(8, link="x" * 300),
        sample(9),
    ]

    ingested = store.ingest("link", lines(batch))

    assert ingested.accepted == 2
    assert seconds(store) == [0, 9]
    assert reasons(ingested) == [
        (2, "unknown_column"),
        (3, "out_of_range"),
        (4, "percent_not_ratio"),
        (5, "wrong_type"),
        (6, "future"),
        (7, "wrong_type"),
        (8, "missing_required"),
        (9, "out_of_range"),
    ]
    (kept,) = (tmp_path / "quarantine").glob("*.jsonl")
    assert [(one.row, one.reason) for one in read_quarantine(kept)] == reasons(ingested)


def test_samples_out_of_order_are_put_in_order_within_the_allowed_disorder(tmp_path):
    store = open_store(tmp_path)
    store.ingest("link", lines([sample(100), sample(104)]))

    ingested = store.ingest("link", lines([sample(102), sample(30), sample(101), sample(105)]))

    assert reasons(ingested) == [(2, "clock_went_back")]
    assert seconds(store) == [100, 101, 102, 104, 105]


def test_a_repeat_is_told_from_a_conflict_and_the_first_sample_stays(tmp_path):
    store = open_store(tmp_path)
    store.ingest("link", lines([sample(1, rtt_ms=5.0), sample(2)]))

    again = [sample(1, rtt_ms=5.0), sample(1), sample(2, mbps=9.0), sample(3)]
    ingested = store.ingest("link", lines(again))

    assert reasons(ingested) == [
        (1, "duplicate"), (2, "conflicting_duplicate"), (3, "conflicting_duplicate"),
    ]  # fmt: skip
    assert store.window("link", "a", 9).metrics["bandwidth_mbps"].tolist() == [1, 2, 3]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(
            st.tuples(st.sampled_from("abc"), st.integers(0, 150), st.sampled_from([1.0, 2.0])),
            min_size=1,
            max_size=12,
        ),
        max_size=6,
    )
)
def test_the_store_keeps_exactly_what_the_house_validator_accepts(tmp_path_factory, batches):
    store = open_store(tmp_path_factory.mktemp("samples"), samples_per_entity=256)
    validator = Validator(LINK_SCHEMA, ValidationConfig(), now=lambda: NOW)
    text = JsonLines(LINK_SCHEMA)
    text.expect_all()
    accepted = {"a": [], "b": [], "c": []}
    for batch in batches:
        given_lines = lines([sample(second, link, mbps) for link, second, mbps in batch])
        checked = validator.check(read_lines(given_lines, text, source="live"))
        words = validator.vocabularies.entities.words
        block = checked.accepted
        for code, ts_us, mbps in zip(
            block.entities, block.ts_us, block.metrics["bandwidth_mbps"], strict=True
        ):
            accepted[words[code]].append((ts_us, mbps))

        ingested = store.ingest("link", given_lines)

        assert [one.row for one in ingested.rejected] == sorted(
            one.row for one in checked.rejected
        )
    for link, rows in accepted.items():
        window = store.window("link", link, 256)
        kept = list(zip(window.ts_us, window.metrics["bandwidth_mbps"], strict=True))
        assert kept == sorted(rows)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40)), max_size=60, unique=True),
    st.lists(st.integers(1, 9), min_size=1, max_size=5),
)
def test_rings_hold_the_newest_samples_whatever_the_order_and_the_batches(rows, cuts):
    rings = SampleRings(("m",), samples=5, max_entities=4)
    at = 0
    turn = 0
    while at < len(rows):
        part = rows[at : at + cuts[turn % len(cuts)]]
        at, turn = at + len(part), turn + 1
        names = list(dict.fromkeys(f"e{entity}" for entity, _ in part))
        rings.add(
            Rows(
                names,
                np.array([names.index(f"e{entity}") for entity, _ in part], np.int32),
                np.array([ts for _, ts in part], np.int64),
                np.array([[float(ts)] for _, ts in part]),
            )
        )
    for entity in range(4):
        expected = sorted(ts for one, ts in rows if one == entity)[-5:]
        ts_us, x_sc = rings.window(f"e{entity}", 9)
        assert ts_us.tolist() == expected == x_sc[:, 0].tolist()
    _, x_nsc = rings.windows(["e0", "nobody"], 7)
    assert np.isnan(x_nsc[1]).all()
    assert np.isnan(x_nsc[0, : 7 - len(rings.window("e0", 7)[0])]).all()


def test_the_entity_silent_for_longest_makes_room_and_that_is_counted(tmp_path):
    store = open_store(tmp_path, max_entities=2)
    for second, link in enumerate("abac"):
        store.ingest("link", lines([sample(second, link)]))

    assert seconds(store, "b") == []
    assert (seconds(store, "a"), seconds(store, "c")) == ([0, 2], [3])
    assert store.status()["tables"]["link"]["evictions"] == 1


def test_a_batch_with_more_entities_than_fit_keeps_the_first_ones(tmp_path):
    store = open_store(tmp_path, max_entities=2)

    ingested = store.ingest("link", lines([sample(n, link) for n, link in enumerate("abcab")]))

    assert reasons(ingested) == [(3, "entity_limit")]
    assert seconds(store, "a") == [0, 3]


def test_memory_stays_within_its_bound(tmp_path):
    config = StoreConfig(max_bytes=2**17, samples_per_entity=16)
    fitting = config.entities_of("link")
    store = open_store(tmp_path, max_bytes=2**17, samples_per_entity=16)
    for start in range(0, 400, 50):
        store.ingest("link", lines([sample(1, f"l{n}") for n in range(start, start + 50)]))

    held = store.status()["tables"]["link"]
    assert held["entities"] == fitting < 400
    assert held["bytes"] <= 2**16
    assert held["evictions"] == 400 - fitting


def test_what_one_process_took_another_hands_out_at_once(tmp_path):
    one, other = open_store(tmp_path), open_store(tmp_path)
    for second in range(0, 40, 2):
        one.ingest("link", lines([sample(second)]))
        assert seconds(other)[-1] == second
        other.ingest("link", lines([sample(second + 1)]))
        assert seconds(one)[-1] == second + 1

    assert reasons(one.ingest("link", lines([sample(7)]))) == [(1, "duplicate")]
    assert same(one, other, "a")


def test_a_restart_finds_the_same_through_snapshots_and_removed_segments(tmp_path):
    small = {"segment_bytes": 4096, "samples_per_entity": 20}
    store, lagging = open_store(tmp_path, **small), open_store(tmp_path, **small)
    for second in range(300):
        store.ingest("link", lines([sample(second, f"l{second % 7}", rtt_ms=second / 3)]))

    assert min(numbers(tmp_path, "segment")) > 1
    assert len(numbers(tmp_path, "snapshot")) == 2
    links = [f"l{n}" for n in range(7)]
    assert same(store, lagging, links)
    assert same(store, open_store(tmp_path, **small), links)
    assert len(seconds(store, "l0")) == 20
    assert lagging.status()["rows"] == 300


def test_a_folder_that_cannot_be_written_is_refused_with_its_name(tmp_path):
    (tmp_path / "file").write_text("not a folder")

    with pytest.raises(ConfigError, match=r"streaming\.directory"):
        open_store(tmp_path / "file" / "samples")


def test_lines_without_a_sample_count_as_nothing(tmp_path):
    store = open_store(tmp_path)

    ingested = store.ingest("link", b"\n" + lines([sample(0)]) + b"  \n" + lines([sample(0)]))

    assert (ingested.accepted, reasons(ingested)) == (1, [(4, "duplicate")])


def test_an_unknown_table_is_refused(tmp_path):
    store = open_store(tmp_path, node_metrics=())

    with pytest.raises(UnknownNameError):
        store.ingest("node", b"{}\n")
    with pytest.raises(UnknownNameError):
        store.window("disk", "a", 3)


def test_settings_that_cannot_hold_are_refused():
    for bad in (
        {"link_metrics": ("bandwidth_kbps",)},
        {"link_metrics": (), "node_metrics": ()},
        {"max_bytes": 2**16, "samples_per_entity": 4096},
        {"samples": 3},
    ):
        with pytest.raises(ValidationError):
            StoreConfig(**bad)


def test_other_metrics_and_sizes_after_a_restart_keep_what_still_fits(tmp_path):
    open_store(tmp_path).ingest("link", lines([sample(n, rtt_ms=n) for n in range(30)]))

    found = open_store(tmp_path, link_metrics=("rtt_ms", "streams"), samples_per_entity=10)

    window = found.window("link", "a", 99)
    assert window.metrics["rtt_ms"].tolist() == list(range(20, 30))
    assert np.isnan(window.metrics["streams"]).all()


def test_threads_and_readers_at_once_lose_and_double_nothing(tmp_path):
    store = open_store(tmp_path, samples_per_entity=512, segment_bytes=8192)
    reader = open_store(tmp_path, samples_per_entity=512, segment_bytes=8192)
    is_over = threading.Event()
    seen = []

    def read():
        while not is_over.is_set():
            seen.append(len(reader.window("link", "l0", 512)))
            time.sleep(0.001)

    def write(number):
        for second in range(60):
            store.ingest("link", lines([sample(second, f"l{number}")]))

    watcher = threading.Thread(target=read)
    watcher.start()
    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for one in writers:
        one.start()
    for one in writers:
        one.join()
    is_over.set()
    watcher.join()

    assert seen == sorted(seen)
    assert all(seconds(reader, f"l{number}") == list(range(60)) for number in range(4))
    assert reader.status()["rows"] == 240


def test_timestamps_keep_their_microseconds(tmp_path):
    store = open_store(tmp_path)
    store.ingest("link", lines([sample(0) | {"ts": "2026-03-01T14:00:00.123456+02:00"}]))

    (ts_us,) = store.window("link", "a", 5).ts_us
    assert ts_us == round(START.timestamp()) * US + 123_456
