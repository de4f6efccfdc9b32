"""Job: train a model, measure it, and register it as challenger.

`python -m ray_jobs.train --model bandwidth --config configs/train/bandwidth.yaml`
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from rich.console import Group

from ray_jobs.answers import Answer, facts, progress_bar, table
from ray_jobs.cluster_state import ClusterState
from ray_jobs.job import run_job
from ray_jobs.locations import runs_dir
from ray_jobs.submitting import project_folder, run_as_job
from ray_jobs.training import TrainRequest, train
from ray_jobs.training_data import GENERATOR
from ray_jobs.units import UnitProgress

PROGRESS_PREFIX: Final = "progress "
"""Starts the lines of a job's log that a following client draws as a bar."""


def request_from(
    *, model: str, config: Path | None, data: str | None, run_dir: Path | None
) -> TrainRequest:
    """Fill in the default config of a model; relative run folders lie in the runs folder."""
    # A job works in another folder than the command that submits it.
    named = data if data is None or data == GENERATOR else str(Path(data).resolve())
    return TrainRequest(
        model=model,
        config_path=config or Path(f"configs/train/{model}.yaml"),
        data=named,
        run_dir=runs_dir() / run_dir if run_dir else None,
    )


def training_answer(request: TrainRequest, *, show_progress: bool) -> Answer:
    """Train in this process, or as tasks of the cluster it is connected to."""
    with progress_bar(hidden=not show_progress) as bar:
        outcome = train(request, unit_bar(bar))
    return Answer(payload=outcome, view=training_view(outcome))


def submitted_answer(
    request: TrainRequest, cluster: ClusterState, *, show_progress: bool
) -> Answer:
    """Train as a job of a cluster and follow it to its end."""
    with progress_bar(hidden=not show_progress) as bar:
        outcome = submit_training(request, cluster, unit_bar(bar))
    return Answer(payload=outcome, view=training_view(outcome))


def submit_training(
    request: TrainRequest,
    cluster: ClusterState,
    on_progress: Callable[[UnitProgress, int], None],
    on_line: Callable[[str], None] = lambda _line: None,
) -> dict[str, Any]:
    """Submit the training as a job, follow it, and return its outcome with the job's id.

    Raises:
        NovacronError: The job failed; the message repeats its last line.
    """
    command = _command(request, from_source=project_folder() is not None)

    def read(line: str) -> None:
        on_line(line)
        if line.startswith(PROGRESS_PREFIX):
            event = json.loads(line.removeprefix(PROGRESS_PREFIX))
            units = event.pop("units")
            on_progress(UnitProgress(**event), units)

    return run_as_job("Training job", command, cluster, read, metadata={"model": request.model})


def _command(request: TrainRequest, *, from_source: bool) -> list[str]:
    config = request.config_path if from_source else request.config_path.resolve()
    command = ["python", "-m", "ray_jobs.train", "--model", request.model, "--config", str(config)]
    command += ["--data", request.data] if request.data else []
    return command + (["--run-dir", str(request.run_dir)] if request.run_dir else [])


def unit_bar(bar: Any) -> Callable[[UnitProgress, int], None]:
    """Return a listener that draws one bar over the steps of all units."""
    task = bar.add_task("training", total=None, note="")
    shares: dict[str, float] = {}

    def listen(event: UnitProgress, units: int) -> None:
        shares[event.unit] = event.step / event.steps
        losses = ", ".join(f"{split} {loss:.4g}" for split, loss in event.losses.items())
        note = f"{event.unit} {losses}"
        bar.update(task, total=units, completed=sum(shares.values()), note=note)

    return listen


def training_view(outcome: dict[str, Any]) -> Group:
    """Show a training's outcome to people."""
    found = "reused: the same data, config and code" if outcome["reused"] else "trained now"
    shown = {
        "data": f"{outcome['data_source']} ({outcome['rows']} samples)",
        "registered": f"{outcome['model']} version {outcome['version']}, {found}",
        "report": outcome["report"],
    }
    rows = [
        (one["name"], one["set"], f"{one['value']:.4g}", interval(one), one["n"], one["baseline"])
        for one in outcome["metrics"]
    ]
    columns = ("metric", "set", "value", "95 % interval", "n", "beside")
    return Group(facts("Training", shown), table("Measured on held-out traces", columns, rows))


def interval(metric: dict[str, Any]) -> str:
    """Write the interval of a metric."""
    return "" if metric["lo"] is None else f"{metric['lo']:.4g} .. {metric['hi']:.4g}"


def _log_progress(event: UnitProgress, units: int) -> None:
    sys.stderr.write(PROGRESS_PREFIX + json.dumps(asdict(event) | {"units": units}) + "\n")
    sys.stderr.flush()


def _work(request: TrainRequest) -> Answer:
    outcome = train(request, _log_progress)
    return Answer(payload=outcome, view=training_view(outcome))


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, train, write one JSON line, return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m ray_jobs.train", description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--config", type=Path, help="default: configs/train/<model>.yaml")
    parser.add_argument(
        "--data", "--data-dir", help="folder of traces or `generator`; default $NOVACRON_DATA_DIR"
    )
    parser.add_argument("--run-dir", type=Path, help="default: named after the inputs")
    given = parser.parse_args(arguments)
    request = request_from(
        model=given.model, config=given.config, data=given.data, run_dir=given.run_dir
    )
    return run_job("train", lambda: _work(request), on_cluster=True)


if __name__ == "__main__":
    raise SystemExit(main())
