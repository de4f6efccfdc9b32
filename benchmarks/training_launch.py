"""What each way to start a small training on one machine costs, beside training in this process.

`python -m benchmarks.training_launch`: the same LSTM, data and number of epochs in this process,
as a Ray task, and under Ray Train's TorchTrainer with one and with two workers.
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

from benchmarks.results_format import (
    RESULTS_DIR,
    BenchmarkResult,
    Metric,
    describe_machine,
    describe_versions,
    write_result,
)
from ray_jobs.cluster import LocalCluster, connect, use_cluster
from ray_jobs.cluster_state import ClusterConfig, free_ports

_SEED: Final = 7


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """The size of the training."""

    rows: int = 12_000
    steps: int = 32
    channels: int = 4
    hidden: int = 32
    epochs: int = 6
    batch_rows: int = 256


def train_here(work: Work, *, workers: int = 1) -> float:
    """Train the LSTM on its share of the rows and return its last loss.

    With several workers each takes its part of every batch and gradients are averaged between
    them, so that the steps are those of one worker.
    """
    import torch

    torch.manual_seed(_SEED)
    torch.set_num_threads(1)
    x_NTC = torch.randn(work.rows, work.steps, work.channels)
    y_N = x_NTC[:, -8:].mean(dim=(1, 2))
    network: Any = _Network(work)
    rank = 0
    if workers > 1:
        import ray.train
        from ray.train.torch import prepare_model

        rank = ray.train.get_context().get_world_rank()
        network = prepare_model(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    loss = torch.zeros(())
    for _ in range(work.epochs):
        for first in range(0, work.rows - work.batch_rows + 1, work.batch_rows):
            rows = slice(first + rank, first + work.batch_rows, workers)
            loss = torch.nn.functional.mse_loss(network(x_NTC[rows]), y_N[rows])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    return float(loss.detach())


def _Network(work: Work) -> Any:  # noqa: N802 - a class made where torch is imported
    import torch

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = torch.nn.LSTM(work.channels, work.hidden, batch_first=True)
            self.head = torch.nn.Linear(work.hidden, 1)

        def forward(self, x_NTC: Any) -> Any:
            return self.head(self.lstm(x_NTC)[0][:, -1]).squeeze(1)

    return Network()


def train_as_task(work: Work) -> float:
    """Train in one Ray task."""
    import ray

    return float(ray.get(ray.remote(num_cpus=1)(train_here).remote(work)))


def train_by_trainer(work: Work, *, workers: int, storage: Path) -> None:
    """Train under Ray Train with a number of workers."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    def loop(settings: dict[str, Any]) -> None:
        import ray.train

        ray.train.report({"loss": train_here(settings["work"], workers=workers)})

    trainer = TorchTrainer(
        loop,
        train_loop_config={"work": work},
        scaling_config=ScalingConfig(num_workers=workers, resources_per_worker={"CPU": 1}),
        run_config=RunConfig(storage_path=str(storage)),
    )
    trainer.fit()


def measure(work: Work, *, repeats: int, workers: Sequence[int]) -> dict[str, list[float]]:
    """Time every way once per repeat, in turns, in seconds of wall time."""
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="launch-") as folder:
        runs = Path(folder)
        config = ClusterConfig(cpus=2, dashboard_port=free_ports(1)[0], ha_proxy=False)
        with LocalCluster(config, runs=runs, now=datetime.now(UTC)) as cluster:
            use_cluster(cluster.state)
            with connect():
                ways: dict[str, Callable[[], object]] = {
                    "in_process": lambda: train_here(work),
                    "ray_task": lambda: train_as_task(work),
                }
                for count in workers:
                    ways[f"torch_trainer_{count}"] = _trainer_way(work, count, runs / "train")
                for _ in range(repeats):
                    for name, way in ways.items():
                        started = time.perf_counter()
                        way()
                        seconds.setdefault(name, []).append(time.perf_counter() - started)
    return seconds


def _trainer_way(work: Work, count: int, storage: Path) -> Callable[[], object]:
    return lambda: train_by_trainer(work, workers=count, storage=storage)


def to_result(seconds: dict[str, list[float]], command: str) -> BenchmarkResult:
    """Express every way as a ratio to training in this process, over the repeats."""
    metrics = []
    for name, own in seconds.items():
        if name == "in_process":
            continue
        ratios = [mine / base for mine, base in zip(own, seconds["in_process"], strict=True)]
        metrics.append(
            Metric(
                name="wall_time_ratio",
                set=name,
                value=statistics.median(ratios),
                lo=min(ratios),
                hi=max(ratios),
                n=len(ratios),
                baseline="the same training in process",
            )
        )
    base_s = seconds["in_process"]
    return BenchmarkResult(
        theme="training_launch",
        command=command,
        seeds=(_SEED,),
        data_sha256=f"generated:{_SEED}",
        machine=describe_machine(),
        versions=describe_versions(["ray", "torch"]),
        metrics=tuple(metrics),
        notes=(
            "The interval is the range over the repeats, all ways taking turns; of five repeats it "
            "covers the median 94 times in 100. The first repeat includes starting the workers.",
            f"In process the training takes {min(base_s):.1f} to {max(base_s):.1f} s of wall time.",
        ),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the result; `--quick` checks the way there and writes elsewhere."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training_launch")
    parser.add_argument("--quick", action="store_true", help="tiny, for the tests")
    parser.add_argument("--out", type=Path, default=RESULTS_DIR)
    given = parser.parse_args(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    work = Work(rows=512, epochs=1) if given.quick else Work()
    seconds = measure(
        work, repeats=1 if given.quick else 5, workers=(1,) if given.quick else (1, 2)
    )
    write_result(to_result(seconds, "python -m benchmarks.training_launch"), given.out)


if __name__ == "__main__":
    # Workers import what they run by name, and cannot import `__main__`.
    from benchmarks.training_launch import main as run

    run()
