"""Job: forecast every row of link telemetry, Parquet in, Parquet out.

`python -m ray_jobs.predict --model bandwidth links.parquet forecasts.parquet`
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from novacron.registry.store import ModelStore
from ray_jobs.answers import Answer, facts, progress_bar
from ray_jobs.forecast_files import PredictRequest, predict_file, predict_folder
from ray_jobs.job import run_job
from ray_jobs.locations import registry_config


def prediction_answer(request: PredictRequest, *, on_cluster: bool, show_progress: bool) -> Answer:
    """Forecast a file here, or a folder on the cluster this process is connected to."""
    if on_cluster:
        payload = predict_folder(request)
    else:
        loaded = ModelStore.connect(registry_config()).load(request.model, request.ref)
        with progress_bar(hidden=not show_progress) as bar:
            task = bar.add_task("rows", total=_row_count(request.source), note="")
            payload = predict_file(loaded, request, lambda rows: bar.update(task, completed=rows))
    shown = {
        "rows": f"{payload['rows']} at {payload['rows_per_s']:.0f} rows/s",
        "rejected": f"{payload['rows_rejected']}",
        "forecasts": payload["target"],
    }
    return Answer(payload=payload, view=facts("Forecast", shown))


def _row_count(path: Path) -> int | None:
    is_parquet = path.suffix == ".parquet" and path.is_file()
    return int(pq.read_metadata(path).num_rows) if is_parquet else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, forecast, write one JSON line, return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m ray_jobs.predict", description=__doc__)
    parser.add_argument("source", type=Path, help="link telemetry; a folder with --ray")
    parser.add_argument("target", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--ref", default="champion", help="version number or alias")
    parser.add_argument("--step-s", type=float, help="seconds between samples; default measured")
    parser.add_argument("--path-class", help="class of the paths; default the pooled model")
    parser.add_argument("--ray", action="store_true", help="a folder of files, by Ray Data")
    given = parser.parse_args(arguments)
    request = PredictRequest(
        model=given.model,
        ref=given.ref,
        source=given.source.resolve(),
        target=given.target.resolve(),
        step_s=given.step_s,
        path_class=given.path_class,
    )
    return run_job(
        "predict",
        lambda: prediction_answer(request, on_cluster=given.ray, show_progress=False),
        on_cluster=given.ray,
    )


if __name__ == "__main__":
    raise SystemExit(main())
