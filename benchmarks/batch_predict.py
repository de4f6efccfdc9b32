"""Batch prediction: rows per second of Ray Data beside a loop in one process, on the same files.

`python -m benchmarks.batch_predict` answers windows of usage by the pattern recogniser, whose work
is a millisecond or so a row, and windows of a metric by the anomaly detector, which fits forests for
every row. Both ways run the same code on the same rows.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.results_format import (
    RESULTS_DIR,
    BenchmarkResult,
    Metric,
    describe_machine,
    describe_versions,
    write_result,
)
from novacron.models.anomaly.detector import AnomalyDetector
from novacron.models.anomaly.model import AnomalyModel
from novacron.models.base import ServableModel
from novacron.models.patterns.config import PatternsConfig
from novacron.models.patterns.fit import fit_patterns
from novacron.registry.card import CardMetric, ModelCard
from novacron.registry.store import ModelStore
from ray_jobs.batch_files import BatchRequest, answer_file, answer_folder
from ray_jobs.cluster import LocalCluster, connect, use_cluster
from ray_jobs.cluster_state import ClusterConfig, free_ports
from ray_jobs.locations import RUNS_DIR_VARIABLE, registry_config

_SEED: Final = 7
_WORKERS: Final = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """How much is answered, and how often."""

    rows: int = 2000
    detector_rows: int = 200
    steps: int = 288
    files: int = 4
    repeats: int = 3


QUICK: Final = Load(rows=40, detector_rows=8, steps=64, files=2, repeats=1)


def write_windows(folder: Path, load: Load, column: str, rows: int) -> None:
    """Write windows of a noisy daily pattern as one column of lists, over several files."""
    rng = np.random.default_rng(_SEED)
    each = rows // load.files
    folder.mkdir(parents=True)
    for number in range(load.files):
        phase = rng.uniform(0, 2 * np.pi, (each, 1))
        daily = np.sin(2 * np.pi * np.arange(load.steps) / 96 + phase)
        windows = 0.5 + 0.3 * daily + rng.normal(0, 0.05, (each, load.steps))
        table = pa.table({column: list(windows), "step_s": np.full(each, 300.0)})
        pq.write_table(table, folder / f"{number}.parquet")


def register(model: ServableModel, folder: Path) -> None:
    """Register a fitted model under its kind."""
    model.save(folder)
    card = ModelCard(
        name=model.kind,
        kind=model.kind,
        created_at=datetime.now(UTC),
        data_sha256=f"generated:{_SEED}",
        data_source=f"generator seed {_SEED}",
        code_version="benchmark",
        config={},
        seeds=(_SEED,),
        metrics=(CardMetric(name="none", set="none", value=0, n=1, baseline="none"),),
        features_hash=model.features_hash,
        versions={},
        intended_use="Measures rows per second.",
        limits=("Nothing else.",),
    )
    ModelStore.connect(registry_config()).register(model.kind, folder, card)


def loop(kind: str, source: Path, target: Path) -> float:
    """Answer every file one after another in this process and return rows per second."""
    loaded = ModelStore.connect(registry_config()).load(kind, "challenger")
    started = time.perf_counter()
    rows = 0
    for path in sorted(source.glob("*.parquet")):
        request = BatchRequest(model=kind, source=path, target=target / path.name)
        rows += answer_file(loaded, request)["rows"]
    return rows / (time.perf_counter() - started)


def spread(kind: str, source: Path, target: Path) -> float:
    """Answer the folder by Ray Data and return rows per second, starting workers included."""
    request = BatchRequest(model=kind, ref="challenger", source=source, target=target)
    started = time.perf_counter()
    rows: int = answer_folder(request)["rows"]
    return rows / (time.perf_counter() - started)


def measure(load: Load, folder: Path) -> dict[str, dict[str, list[float]]]:
    """Return rows per second by model and way, the ways taking turns."""
    patterns = fit_patterns(PatternsConfig(train_each=20, validation_each=20, trees=60))
    anomaly = AnomalyModel(_fitted_detector())
    found: dict[str, dict[str, list[float]]] = {}
    config = ClusterConfig(cpus=_WORKERS, dashboard_port=free_ports(1)[0], ha_proxy=False)
    with LocalCluster(config, runs=folder / "runs", now=datetime.now(UTC)) as cluster:
        use_cluster(cluster.state)
        os.environ[RUNS_DIR_VARIABLE] = str(folder / "runs")
        jobs: tuple[tuple[ServableModel, str, int], ...] = (
            (patterns, "usage", load.rows),
            (anomaly, "value", load.detector_rows),
        )
        with connect():
            for model, column, rows in jobs:
                source = folder / model.kind
                write_windows(source, load, column, rows)
                register(model, folder / f"{model.kind}-bundle")
                ways: dict[str, Callable[..., float]] = {"loop": loop, "ray_data": spread}
                for repeat in range(load.repeats):
                    for way, run in ways.items():
                        target = folder / f"{model.kind}-{way}-{repeat}"
                        rate = run(model.kind, source, target)
                        found.setdefault(model.kind, {}).setdefault(way, []).append(rate)
    return found


def _fitted_detector() -> AnomalyDetector:
    rng = np.random.default_rng(_SEED)
    ts_s = 300.0 * np.arange(600)
    return AnomalyDetector().fit({"one": {"ts": ts_s, "value": rng.normal(0, 1, 600)}})


def to_result(found: dict[str, dict[str, list[float]]], command: str) -> BenchmarkResult:
    """Express Ray Data as a ratio to the loop over the repeats, with both rates beside it."""
    metrics = []
    for kind, ways in found.items():
        ratios = [one / base for one, base in zip(ways["ray_data"], ways["loop"], strict=True)]
        metrics.append(_metric("rows_per_s_ratio", kind, ratios, "a loop in one process"))
        for way, rates in ways.items():
            metrics.append(_metric(f"rows_per_s_{way}", kind, rates, "the other way"))
    return BenchmarkResult(
        theme="batch_predict",
        command=command,
        seeds=(_SEED,),
        data_sha256=f"generated:{_SEED}",
        machine=describe_machine(),
        versions=describe_versions(["ray", "pyarrow", "numpy"]),
        metrics=tuple(metrics),
        notes=(
            f"Ray Data has {_WORKERS} workers of one CPU each; its time includes starting them and "
            "loading the model in each, once per repeat. The loop's model is loaded before.",
            "The interval is the range over the repeats, the two ways taking turns; of three repeats "
            "it covers the median 75 times in 100.",
            "Both ways run the same code; on two cores, which the cluster's own processes and the "
            "driver share with the workers, the ratio cannot reach 2.",
        ),
    )


def _metric(name: str, kind: str, values: Sequence[float], baseline: str) -> Metric:
    return Metric(
        name=name,
        set=kind,
        value=statistics.median(values),
        lo=min(values),
        hi=max(values),
        n=len(values),
        baseline=baseline,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the result; `--quick` checks the way there and writes elsewhere."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch_predict")
    parser.add_argument("--quick", action="store_true", help="tiny, for the tests")
    parser.add_argument("--out", type=Path, default=RESULTS_DIR)
    given = parser.parse_args(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    before = os.environ.get(RUNS_DIR_VARIABLE)
    try:
        with tempfile.TemporaryDirectory(prefix="batch-predict-") as folder:
            found = measure(QUICK if given.quick else Load(), Path(folder))
    finally:
        _restore(before)
    command = "python -m benchmarks.batch_predict" + (" --quick" if given.quick else "")
    write_result(to_result(found, command), given.out)


def _restore(before: Any) -> None:
    if before is None:
        os.environ.pop(RUNS_DIR_VARIABLE, None)
    else:
        os.environ[RUNS_DIR_VARIABLE] = before


if __name__ == "__main__":
    # Workers import what they run by name, and cannot import `__main__`.
    from benchmarks.batch_predict import main as run

    run()
