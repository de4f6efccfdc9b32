"""Job: answer every row of a Parquet file, or of a folder of them, by a registered model.

`python -m ray_jobs.predict --model NAME rows.parquet answers.parquet`: the columns are named like
the model's input tensors, see `ray_jobs.tensor_rows`. Link telemetry, one sample a row, is read as
well by the bandwidth model: it gets each row's window from the rows of its link before it.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from novacron.models.base import ServableModel
from novacron.registry.records import LoadedModel
from novacron.registry.store import ModelStore
from ray_jobs.answers import Answer, facts, progress_bar
from ray_jobs.batch_files import DEFAULT_BATCH_ROWS, BatchRequest, answer_file, answer_folder
from ray_jobs.forecast_files import PredictRequest, is_telemetry, predict_file, predict_folder
from ray_jobs.forecasting import TARGET
from ray_jobs.job import run_job
from ray_jobs.locations import registry_config


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """A request to predict, whichever way its source is read."""

    model: str
    source: Path
    target: Path
    ref: str = "champion"
    batch_rows: int = DEFAULT_BATCH_ROWS
    """Rows in memory at once; of link telemetry 16 times as many, since its rows are small."""
    step_s: float | None = None
    """Of link telemetry, see `PredictRequest`."""
    path_class: str | None = None
    """Of link telemetry, see `PredictRequest`."""

    @property
    def of_links(self) -> PredictRequest:
        """The request over link telemetry."""
        return PredictRequest(
            model=self.model,
            ref=self.ref,
            source=self.source,
            target=self.target,
            step_s=self.step_s,
            path_class=self.path_class,
            batch_rows=16 * self.batch_rows,
        )

    @property
    def of_rows(self) -> BatchRequest:
        """The request over rows that carry all their inputs."""
        return BatchRequest(
            model=self.model,
            ref=self.ref,
            source=self.source,
            target=self.target,
            batch_rows=self.batch_rows,
        )


def prediction_answer(request: Prediction, *, on_cluster: bool, show_progress: bool) -> Answer:
    """Answer a file here, or a folder on the cluster this process is connected to."""
    loaded = ModelStore.connect(registry_config()).load(request.model, request.ref)
    links = reads_links(loaded.model, request.source)
    if on_cluster:
        payload = predict_folder(request.of_links) if links else answer_folder(request.of_rows)
    else:
        payload = _answer_here(loaded, request, links=links, show_progress=show_progress)
    shown = {
        "rows": f"{payload['rows']} at {payload['rows_per_s']:.0f} rows/s",
        "rejected": f"{payload['rows_rejected']}",
        "answers": payload["target"],
    }
    return Answer(payload=payload, view=facts("Predicted", shown))


def _answer_here(
    loaded: LoadedModel, request: Prediction, *, links: bool, show_progress: bool
) -> dict[str, Any]:
    with progress_bar(hidden=not show_progress) as bar:
        task = bar.add_task("rows", total=_row_count(request.source), note="")

        def on_rows(rows: int) -> None:
            bar.update(task, completed=rows)

        if links:
            return predict_file(loaded, request.of_links, on_rows)
        return answer_file(loaded, request.of_rows, on_rows)


def reads_links(model: ServableModel, source: Path) -> bool:
    """Tell whether a source holds single samples of links for a model that takes windows of them.

    It does unless it is Parquet without a column of that name, or with one that holds lists.
    """
    if TARGET not in {spec.name for spec in model.inputs}:
        return False
    files = [source]
    if source.is_dir():
        files = [path for path in sorted(source.iterdir()) if is_telemetry(path)][:1]
    if not files or files[0].suffix != ".parquet":
        return True
    try:
        schema = pq.read_schema(files[0])
    except (pa.ArrowException, OSError):
        return True  # its reader says what is wrong with it
    return TARGET not in schema.names or not pa.types.is_nested(schema.field(TARGET).type)


def _row_count(path: Path) -> int | None:
    is_parquet = path.suffix == ".parquet" and path.is_file()
    return int(pq.read_metadata(path).num_rows) if is_parquet else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, forecast, write one JSON line, return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m ray_jobs.predict", description=__doc__)
    parser.add_argument("source", type=Path, help="Parquet; a folder with --ray")
    parser.add_argument("target", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--ref", default="champion", help="version number or alias")
    parser.add_argument("--batch-rows", type=int, default=DEFAULT_BATCH_ROWS)
    parser.add_argument("--step-s", type=float, help="link telemetry: seconds between samples")
    parser.add_argument("--path-class", help="link telemetry: class of the paths")
    parser.add_argument("--ray", action="store_true", help="a folder of files, by Ray Data")
    given = parser.parse_args(arguments)
    request = Prediction(
        model=given.model,
        ref=given.ref,
        source=given.source.resolve(),
        target=given.target.resolve(),
        batch_rows=given.batch_rows,
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
