"""Commands about the prediction log: what it holds and lost, and how good the answers were."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from ray_jobs.answers import Answer, answer, facts, table
from ray_jobs.locations import registry_config

AsJson = Annotated[bool, typer.Option("--json", help="Answer with one JSON object.")]
Folder = Annotated[
    Path | None,
    typer.Option(help="Folder of the log; by default `predictions` in the registry's folder."),
]

app = typer.Typer(no_args_is_help=True)


@app.command()
def show(directory: Folder = None, as_json: AsJson = False) -> None:
    """Say how many rows of each model and day are kept, how many outcomes, and what was lost."""

    def work() -> Answer:
        import pyarrow.parquet as pq

        from novacron.errors import DatasetNotFoundError
        from novacron.monitoring.predictions.actuals import read_actuals
        from novacron.monitoring.predictions.counters import noted_losses
        from novacron.monitoring.predictions.files import block_files

        folder = directory or registry_config().root / "predictions"
        if not folder.is_dir():
            raise DatasetNotFoundError(
                f"There is no prediction log in {folder}.",
                remedy="Name its folder by --directory; the endpoint writes it.",
            )
        rows: Counter[tuple[str, str]] = Counter()
        n_bytes = 0
        for file in block_files(folder):
            rows[file.model, file.day] += pq.read_metadata(file.path).num_rows
            n_bytes += file.path.stat().st_size
        payload: dict[str, Any] = {
            "directory": str(folder),
            "rows": [
                {"model": model, "day": day, "rows": count}
                for (model, day), count in sorted(rows.items())
            ],
            "bytes": n_bytes,
            "actuals": sum(1 for _ in read_actuals(folder)),
            "rows_lost": sum(loss.lost for loss in noted_losses(folder)),
        }
        told = {f"{one['model']} {one['day']}": f"{one['rows']:,} rows" for one in payload["rows"]}
        told |= {name: f"{payload[name]:,}" for name in ("actuals", "rows_lost", "bytes")}
        return Answer(payload=payload, view=facts(f"Predictions in {folder}", told))

    raise typer.Exit(answer(work, as_json=as_json))


@app.command()
def join(
    model: Annotated[str, typer.Option(help="Name of the model.")],
    days: Annotated[int, typer.Option(min=1, help="Newest days of predictions.")] = 7,
    out: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Also write the joined rows, Parquet.")
    ] = None,
    directory: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Compare predictions with what came true: errors by version, role and step."""

    def work() -> Answer:
        from novacron.monitoring.predictions.join import (
            errors_by_version,
            join_actuals,
            read_predictions,
        )

        folder = directory or registry_config().root / "predictions"
        first = (datetime.now(UTC) - timedelta(days=days - 1)).date().isoformat()
        predictions = read_predictions(folder, model=model, first_day=first, with_inputs=False)
        joined = join_actuals(predictions, folder)
        if out is not None:
            joined.to_parquet(out)
        errors = errors_by_version(joined)
        records = errors.astype(object).where(errors.notna(), None).to_dict("records")
        payload = {
            "model": model,
            "predictions": predictions.num_rows,
            "with_outcome": int(joined["prediction_id"].nunique()),
            "errors": records,
        }
        title = (
            f"{model}: {payload['with_outcome']} of {payload['predictions']} predictions of "
            f"{days} days have an outcome"
        )
        cells = [
            [f"{cell:.4g}" if isinstance(cell, float) else cell for cell in one.values()]
            for one in records
        ]
        return Answer(payload=payload, view=table(title, list(errors.columns), cells))

    raise typer.Exit(answer(work, as_json=as_json))
