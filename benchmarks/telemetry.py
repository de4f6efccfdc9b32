"""Speed and memory of telemetry ingestion and of the feature set: `make bench-telemetry`.

Ingestion is timed whole - read, validate, quarantine, join, quality report, write - on one core,
in turns with a plain pandas script that reads, checks and joins only; both answers are compared.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from scipy import stats

from benchmarks.results_format import (
    RESULTS_DIR,
    BenchmarkResult,
    Metric,
    describe_machine,
    describe_versions,
    render_markdown,
    write_result,
)
from benchmarks.telemetry_features import measure_features
from benchmarks.telemetry_pandas import pandas_ingest, require_same
from novacron.contracts.telemetry import DWCP_MODES, LINK_SCHEMA
from novacron.telemetry.arrow import arrow_schema
from novacron.telemetry.ingest import IngestConfig, IngestReport, ingest
from novacron.telemetry.join import JoinConfig

Result = TypeVar("Result")

LINKS: Final = 200
ROW_GROUP_ROWS: Final = 131_072
GOAL_INGEST_ROWS_PER_S: Final = 500_000
GOAL_FEATURE_ROWS_PER_S: Final = 100_000
_START_US: Final = 1_767_225_600_000_000
_NOW: Final = datetime(2026, 11, 1, tzinfo=UTC)
_SET: Final = f"generated Parquet, {LINKS} links at 1 Hz, 13 columns, 0.5 % of rows bad"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is measured."""

    rows: int
    text_rows: int
    feature_rows: int
    repeats: int
    memory_factor: int = 8
    memory_runs: int = 3


FULL: Final = Sizes(rows=2_000_000, text_rows=500_000, feature_rows=100_000, repeats=5)
QUICK: Final = Sizes(rows=20_000, text_rows=5_000, feature_rows=2_000, repeats=2, memory_runs=2)


def generate(path: Path, rows: int, seed: int) -> None:
    """Write a Parquet file of links interleaved in order of time, with some bad rows.

    Memory stays at one row group, so long files can be made for the memory measurement.
    """
    rng = np.random.default_rng(seed)
    schema = arrow_schema(LINK_SCHEMA)
    nullable = pa.schema([field.with_nullable(nullable=True) for field in schema])
    with pq.ParquetWriter(path, nullable, compression="zstd") as writer:
        for start in range(0, rows, ROW_GROUP_ROWS):
            count = min(ROW_GROUP_ROWS, rows - start)
            writer.write_table(_generate_rows(rng, start, count, nullable))


def _generate_rows(
    rng: np.random.Generator, start: int, count: int, schema: pa.Schema
) -> pa.Table:
    index = np.arange(start, start + count)
    link = index % LINKS
    # Links answer in turn within a second, each at its own phase.
    ts_us = _START_US + index // LINKS * 1_000_000 + link * (1_000_000 // LINKS)
    bad = rng.random(count)
    ts_us[(bad > 0.998) & (bad <= 0.9985)] -= 120_000_000
    repeat = np.flatnonzero(bad > 0.999)
    repeat = repeat[repeat >= LINKS]
    ts_us[repeat] = ts_us[repeat - LINKS]
    bandwidth = rng.gamma(2.0, 50.0, count)
    bandwidth[bad < 0.001] *= -1
    loss = rng.beta(1, 100, count)
    loss[(bad > 0.001) & (bad < 0.003)] = 5.0
    names = pa.array([f"link-{i:03d}" for i in range(LINKS)])
    sites = pa.array([f"site-{i:02d}" for i in range(20)])
    columns = {
        "ts": pa.array(ts_us).cast(pa.timestamp("us", "UTC")),
        "link_id": _words(link, names),
        "src": _words(link % 20, sites),
        "dst": _words((link + 7) % 20, sites),
        "mode": _words(link % 3, pa.array(DWCP_MODES)),
        "bandwidth_mbps": pa.array(bandwidth),
        "loss_ratio": _sparse(rng, loss),
        "retransmits": _sparse(rng, rng.poisson(2.0, count)),
        "streams": _sparse(rng, rng.integers(1, 64, count)),
    }
    for name, scale in (("rtt_ms", 40), ("jitter_ms", 4), ("cwnd_pkts", 300)):
        columns[name] = _sparse(rng, rng.gamma(3.0, scale, count))
    columns["queue_depth_pkts"] = _sparse(rng, rng.gamma(1.0, 30.0, count))
    return pa.table([columns[name] for name in schema.names], schema=schema)


def _words(codes: np.ndarray, words: pa.Array) -> pa.Array:
    return words.take(pa.array(codes))


def _sparse(rng: np.random.Generator, values: np.ndarray) -> pa.Array:
    return pa.array(values, mask=rng.random(len(values)) < 0.02)


def measure_ingest(folder: Path, sizes: Sizes, seed: int) -> list[Metric]:
    """Time ingestion and the pandas script in turns on the same file and compare their answers."""
    path = folder / "links.parquet"
    generate(path, sizes.rows, seed)
    config = IngestConfig()
    ours_cpu, ours_wall, theirs_cpu = [], [], []
    for turn in range(sizes.repeats + 1):
        report, cpu_s, wall_s = _timed(lambda: _ingest(path, folder / "out", config))
        answer, pandas_s, _ = _timed(lambda: pandas_ingest(path, LINK_SCHEMA, config))
        require_same(pd.read_parquet(report.grid), report.reasons, answer)
        if turn == 0:
            continue  # the first turn only warms up
        ours_cpu.append(sizes.rows / cpu_s)
        ours_wall.append(sizes.rows / wall_s)
        theirs_cpu.append(sizes.rows / pandas_s)
    ratio = np.array(ours_cpu) / np.array(theirs_cpu)
    beside = "plain pandas script"
    return [
        _metric("ingest_rows_per_cpu_s", _SET, ours_cpu, beside),
        _metric("ingest_rows_per_s", _SET, ours_wall, f"goal {GOAL_INGEST_ROWS_PER_S}"),
        _metric("pandas_rows_per_cpu_s", _SET, theirs_cpu, "the script itself"),
        _metric("ingest_speedup_over_pandas", _SET, ratio, beside),
    ]


def measure_text(folder: Path, sizes: Sizes, seed: int) -> list[Metric]:
    """Time the same ingestion from CSV and JSON lines."""
    parquet = folder / "text.parquet"
    generate(parquet, sizes.text_rows, seed)
    table = pq.read_table(parquet)
    paths = {"CSV": folder / "links.csv", "JSON lines": folder / "links.jsonl"}
    frame = table.to_pandas()
    frame["ts"] = frame["ts"].dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    pa_csv.write_csv(pa.Table.from_pandas(frame, preserve_index=False), paths["CSV"])
    frame.to_json(paths["JSON lines"], orient="records", lines=True)
    metrics = []
    for name, path in paths.items():
        speeds = []
        for _ in range(sizes.repeats):
            _, cpu_s, _ = _timed(partial(_ingest, path, folder / "out", IngestConfig()))
            speeds.append(sizes.text_rows / cpu_s)
        metrics.append(
            _metric("ingest_rows_per_cpu_s", f"the same rows as {name}", speeds, "none")
        )
    return metrics


def measure_memory(folder: Path, sizes: Sizes, seed: int) -> list[Metric]:
    """Measure how far the memory of a fresh process grows for a file and one 8 times as long."""
    growth: dict[int, list[float]] = {}
    for factor in (1, sizes.memory_factor):
        path = folder / f"memory-{factor}.parquet"
        generate(path, factor * sizes.rows, seed)
        growth[factor] = [
            _memory_growth_mib(path, folder / "memory-out") for _ in range(sizes.memory_runs)
        ]
        path.unlink()
    short, long = growth[1], growth[sizes.memory_factor]
    where = f"file {sizes.memory_factor} times as long"
    ratio = float(np.mean(long) / np.mean(short))
    return [
        _metric("ingest_memory_growth_mib", f"file of {sizes.rows:,} rows", short, "none"),
        _metric("ingest_memory_growth_mib", where, long, "the shorter file"),
        Metric(
            name="ingest_memory_growth_ratio",
            set=where,
            value=ratio,
            n=sizes.memory_runs,
            baseline="the shorter file",
        ),
    ]


def _memory_growth_mib(path: Path, out_dir: Path) -> float:
    command = [sys.executable, "-m", "benchmarks.telemetry", "--memory-of", str(path)]
    done = subprocess.run(  # noqa: S603 - our own module
        [*command, "--out", str(out_dir)], check=True, capture_output=True, text=True
    )
    return float(json.loads(done.stdout)["growth_mib"])


def _report_memory_growth(path: Path, out_dir: Path) -> None:
    """Ingest in this process and write by how much its resident memory peaked above the start."""
    with tempfile.TemporaryDirectory() as name:
        small = Path(name) / "small.parquet"
        generate(small, 1_000, 0)
        _ingest(small, out_dir, IngestConfig())
    # A fine grid, so that every buffer is full with either file.
    config = IngestConfig(join=JoinConfig(step_s=10))
    before = _status_mib("VmRSS")
    # Writing 5 sets the high-water mark back to the present size (proc(5), clear_refs).
    Path("/proc/self/clear_refs").write_text("5")
    _ingest(path, out_dir, config)
    sys.stdout.write(json.dumps({"growth_mib": _status_mib("VmHWM") - before}) + "\n")


def _status_mib(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith(f"{key}:"))
    return int(line.split()[1]) / 1024


def _ingest(path: Path, out_dir: Path, config: IngestConfig) -> IngestReport:
    return ingest([path], LINK_SCHEMA, out_dir, config, now=lambda: _NOW)


def _timed(work: Callable[[], Result]) -> tuple[Result, float, float]:
    """Return what the work gives, its CPU seconds over all threads, and its wall seconds."""
    wall, cpu = time.monotonic(), time.process_time()
    result = work()
    return result, time.process_time() - cpu, time.monotonic() - wall


def _metric(name: str, where: str, values: Sequence[float], baseline: str) -> Metric:
    """Return the mean over runs with its 95 % interval by Student's t."""
    mean = float(np.mean(values))
    half = float(stats.sem(values) * stats.t.ppf(0.975, len(values) - 1))
    return Metric(
        name=name,
        set=where,
        value=mean,
        lo=mean - half,
        hi=mean + half,
        n=len(values),
        baseline=baseline,
    )


def run(sizes: Sizes, seed: int, command: str) -> BenchmarkResult:
    """Run all parts and judge the goals."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        metrics = measure_ingest(folder, sizes, seed)
        metrics += measure_text(folder, sizes, seed)
        metrics += measure_memory(folder, sizes, seed)
    metrics += measure_features(sizes.feature_rows, seed)
    return BenchmarkResult(
        theme="telemetry",
        command=command,
        seeds=(seed,),
        data_sha256=f"generated:{seed}",
        machine=describe_machine(),
        versions=describe_versions(("numpy", "pandas", "pyarrow", "scipy")),
        metrics=tuple(metrics),
        notes=_notes(sizes, metrics),
    )


def _notes(sizes: Sizes, metrics: Sequence[Metric]) -> tuple[str, ...]:
    found = {metric.name: metric.value for metric in reversed(metrics)}
    goals = (
        ("ingest_rows_per_s", GOAL_INGEST_ROWS_PER_S),
        ("features_batch_rows_per_s", GOAL_FEATURE_ROWS_PER_S),
    )
    judged = [
        f"Goal {name} >= {goal:,}: {'reached' if found[name] >= goal else 'missed'} "
        f"({found[name]:,.0f})."
        for name, goal in goals
    ]
    return (
        f"{sizes.rows:,} rows a run for ingestion, {sizes.repeats} runs after one to warm up, "
        "in turns with the pandas script; intervals by Student's t over runs.",
        "Ingestion also writes the grid, the quarantine file and the quality report; the script "
        "only reads, checks and joins. Both run on one core and their answers are compared.",
        "Memory is the peak resident size of a fresh process above its size before the file, on a "
        f"grid of 10 s, in {sizes.memory_runs} processes each.",
        *judged,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write `telemetry.json` and `telemetry.md`, and show the latter."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.telemetry", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes; figures mean little")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, help="default: benchmarks/results, unless --quick")
    parser.add_argument("--memory-of", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    pa.set_cpu_count(1)
    if given.memory_of:
        _report_memory_growth(given.memory_of, given.out)
        return 0
    command = "python -m benchmarks.telemetry" + (" --quick" if given.quick else "")
    result = run(QUICK if given.quick else FULL, given.seed, command)
    out = given.out or (None if given.quick else RESULTS_DIR)
    if out is not None:
        write_result(result, out)
    sys.stdout.write(render_markdown(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
