"""Live samples: equal to batch features everywhere, what they cost, what a killed process loses."""

import json
import signal
import subprocess
import sys
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.results_format import Metric
from benchmarks.rollout.memory_children import BATCH_LINES, open_store
from benchmarks.rollout.memory_samples import (
    LINKS,
    SAMPLES,
    SPECS,
    entities,
    expected_features,
    sample_lines,
)
from novacron.features.live import live_features
from novacron.telemetry.live.rings import Rows, SampleRings
from novacron.telemetry.live.store import SampleStore


def measure_streaming(seed: int = 1, *, quick: bool = False) -> list[Metric]:
    """Return every row about live samples."""
    rows = [*_equality(seed), *_kills(seed, 2 if quick else 10)]
    repeats = 2 if quick else 10
    return [*rows, *_ingest(seed, repeats), _window(seed, repeats), *_bytes(quick=quick)]


@contextmanager
def child(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run one of the children, killed at the end if it still runs."""
    command = [sys.executable, "-m", "benchmarks.rollout.memory_children", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)  # noqa: S603  our own module
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def read_numbers(process: subprocess.Popen[bytes], at_least: int) -> int:
    """Wait until a child has said a number, and return it."""
    assert process.stdout is not None  # noqa: S101  it is a pipe
    number = 0
    while number < at_least:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("the child ended early")
        number = int(line)
    return number


def last_number(process: subprocess.Popen[bytes], number: int) -> int:
    """Kill a child and return the last number that it said."""
    assert process.stdout is not None  # noqa: S101
    process.send_signal(signal.SIGKILL)
    told = process.stdout.read().splitlines()
    return int(told[-1]) if told else number


def _equality(seed: int) -> list[Metric]:
    """Compare features after SIGKILL and restart, and in processes beside the one that wrote."""
    expected = expected_features(seed)
    total = LINKS * SAMPLES
    found: dict[str, list[NDArray[np.float64]]] = {}
    with TemporaryDirectory() as folder:
        directory = Path(folder)
        with child("take", folder, str(seed)) as writer:
            beside = open_store(directory)
            read_numbers(writer, total)
            found["replica_open_all_along"] = _features(beside)
            found["replica_in_another_process"] = _told_features(folder)
        restarted = open_store(directory)
        found["restart_after_sigkill"] = _features(restarted)
        for store in (beside, restarted):
            store.close()
    return [
        Metric(
            name="stream_features_max_abs_difference",
            set=name,
            value=max(_difference(one, other) for one, other in zip(parts, expected, strict=True)),
            n=total,
            baseline="batch features of the same samples; goal 1e-9",
        )
        for name, parts in found.items()
    ]


def _features(store: SampleStore) -> list[NDArray[np.float64]]:
    return [live_features(spec, store, "link", entities()) for spec in SPECS]


def _told_features(folder: str) -> list[NDArray[np.float64]]:
    with child("features", folder) as process:
        data = process.communicate(timeout=120)[0]
    flat = np.frombuffer(data)
    cut = LINKS * len(SPECS[0].names)
    return [part.reshape(LINKS, -1) for part in (flat[:cut], flat[cut:])]


def _difference(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the largest difference; infinite where one is missing and the other is not."""
    if not np.array_equal(np.isnan(one), np.isnan(other)):
        return float("inf")
    return float(np.nanmax(np.abs(one - other)))


def _kills(seed: int, kills: int) -> list[Metric]:
    """Kill the process that takes samples at some batch, and count what it had acknowledged."""
    lost = []
    rng = np.random.default_rng(seed)
    for _ in range(kills):
        with TemporaryDirectory() as folder:
            with child("take", folder, str(seed)) as writer:
                batches = int(rng.integers(3, LINKS * SAMPLES // BATCH_LINES - 3))
                said = read_numbers(writer, batches * BATCH_LINES)
                acknowledged = last_number(writer, said)
            store = open_store(Path(folder))
            lost.append(max(0, acknowledged - int(store.status()["rows"])))
            store.close()
    return [
        Metric(
            name="stream_acknowledged_rows_lost",
            set="sigkill",
            value=float(max(lost)),
            n=kills,
            baseline="rows acknowledged before the kill; goal 0",
        )
    ]


def _ingest(seed: int, repeats: int) -> list[Metric]:
    lines = sample_lines(seed)
    plain = [_rate(_plain, lines, 1000) for _ in range(repeats)]
    found = []
    for size in (1, 100, 1000):
        used = lines if size > 1 else lines[:300]
        rates = [_rate(_through_store, used, size) for _ in range(repeats)]
        beside = f"plain Python without checks or log: {np.median(plain):,.0f}"
        found.append(spread("stream_ingest_rows_per_cpu_s", f"batches_of_{size}", rates, beside))
    return found


def _rate(take: Callable[[Path, list[bytes]], None], lines: list[bytes], size: int) -> float:
    batches = [b"".join(lines[start : start + size]) for start in range(0, len(lines), size)]
    with TemporaryDirectory() as folder:
        began_s = time.process_time()
        take(Path(folder), batches)
        return len(lines) / (time.process_time() - began_s)


def _through_store(directory: Path, batches: list[bytes]) -> None:
    store = open_store(directory)
    for batch in batches:
        store.ingest("link", batch)
    store.close()


def _plain(_directory: Path, batches: list[bytes]) -> None:
    held: dict[str, deque[dict[str, object]]] = defaultdict(lambda: deque(maxlen=128))
    for batch in batches:
        for line in batch.splitlines():
            row = json.loads(line)
            held[row["link_id"]].append(row)


def _window(seed: int, repeats: int) -> Metric:
    costs = []
    with TemporaryDirectory() as folder:
        store = open_store(Path(folder))
        store.ingest("link", b"".join(sample_lines(seed)))
        names = entities()
        for _ in range(repeats):
            began_s = time.process_time()
            for turn in range(1_000):
                store.window("link", names[turn % LINKS], 96)
            costs.append((time.process_time() - began_s) * 1e3)
        store.close()
    return spread("stream_window_cpu_us", "96_samples_of_a_link", costs, "none: a raw cost")


def _bytes(*, quick: bool) -> list[Metric]:
    """Fill rings whole and see what the process grew by."""
    held, samples, metrics = (2_000 if quick else 20_000), 128, 4
    process = psutil.Process()
    rings = SampleRings([f"m{n}" for n in range(metrics)], samples=samples, max_entities=held)
    names = [f"link-{number:08d}" for number in range(held)]
    before = process.memory_info().rss
    code = np.arange(held, dtype=np.int32)
    for step in range(samples):
        ts = np.full(held, step, dtype=np.int64)
        rings.add(Rows(names, code, ts, np.full((held, metrics), float(step))))
    grown = process.memory_info().rss - before
    beside = f"{samples} samples of {metrics} metrics and a timestamp: {samples * 8 * 5} bytes"
    return [
        Metric(name="stream_bytes_per_entity", set=name, value=value, n=held, baseline=beside)
        for name, value in (("arrays", float(rings.nbytes / held)), ("process", grown / held))
    ]


def spread(name: str, where: str, values: list[float], baseline: str) -> Metric:
    """Return the median of repeats with the range that 95 % of them lie in."""
    low, high = np.quantile(values, (0.025, 0.975))
    return Metric(
        name=name,
        set=where,
        value=float(np.median(values)),
        lo=float(low),
        hi=float(high),
        n=len(values),
        baseline=baseline,
    )
