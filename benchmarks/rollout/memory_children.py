"""Processes that the memory benchmark starts: one takes samples, one logs answers, until it is killed."""

import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.rollout.memory_samples import SPECS, entities, sample_lines
from novacron.features.live import live_features
from novacron.monitoring.predictions.config import PredictionLogConfig
from novacron.monitoring.predictions.entry import Entry, weigh
from novacron.monitoring.predictions.writer import PredictionWriter
from novacron.telemetry.live.config import StoreConfig
from novacron.telemetry.live.store import SampleStore

NOW: Final = datetime(2026, 3, 2, tzinfo=UTC)
STORE: Final = StoreConfig(segment_bytes=2**20)
LOG: Final = PredictionLogConfig(block_rows=500, block_interval_s=0.2)
BATCH_LINES: Final = 200


def open_store(directory: Path) -> SampleStore:
    """Open the store of the benchmark, by a clock that stands still."""
    return SampleStore(directory, STORE, now=lambda: NOW)


def make_entry(log: PredictionWriter, rng: np.random.Generator, value: float) -> Entry:
    """Return an answer of the bandwidth forecaster's shape: 96 samples in, five steps out."""
    inputs = {"bandwidth_mbps": rng.gamma(2.0, 20.0, (1, 96))}
    steps = np.full((1, 5), value)
    fallback = np.array([""], dtype=object)
    outputs: dict[str, NDArray[np.generic]] = {
        "value_mbps": steps,
        "lower_mbps": steps * 0.8,
        "upper_mbps": steps * 1.2,
        "fallback": fallback,
    }
    return Entry(
        log.new_id(),
        1,
        "bandwidth",
        "1",
        "bandwidth",
        "champion",
        int(NOW.timestamp()) * 1_000_000,
        inputs,
        outputs,
        ("link-1",),
        (5.0,),
        "",
        (1e-4, 1e-4, 1e-3, 1e-4),
        weigh(inputs, outputs),
    )


def take_samples(directory: Path, seed: int) -> None:
    """Send every sample of the benchmark, saying after each batch how many are acknowledged."""
    store = open_store(directory)
    lines = sample_lines(seed)
    done = 0
    for start in range(0, len(lines), BATCH_LINES):
        part = lines[start : start + BATCH_LINES]
        done += store.ingest("link", b"".join(part)).accepted
        _say(done)
    while True:
        time.sleep(1)


def tell_features(directory: Path) -> None:
    """Write the features of every link to standard output, as a process beside the others has them."""
    store = open_store(directory)
    found = [live_features(spec, store, "link", entities()) for spec in SPECS]
    sys.stdout.buffer.write(b"".join(x_NF.tobytes() for x_NF in found))


def log_answers(directory: Path, seed: int) -> None:
    """Log answers for ever, saying after each how many there were."""
    rng = np.random.default_rng(seed)
    log = PredictionWriter(directory, LOG, now=lambda: NOW)
    count = 0
    while True:
        if log.record(make_entry(log, rng, float(count))):
            count += 1
            _say(count)
        time.sleep(0.0005)


def _say(number: int) -> None:
    os.write(1, f"{number}\n".encode())


if __name__ == "__main__":
    what, where, *more = sys.argv[1:]
    if what == "take":
        take_samples(Path(where), int(more[0]))
    elif what == "features":
        tell_features(Path(where))
    else:
        log_answers(Path(where), int(more[0]))
