"""Commands about data: list, describe, ingest, validate, generate."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

import typer
from rich.console import Group

from novacron.errors import DatasetNotFoundError, InvalidInputError
from ray_jobs.answers import Answer, answer, facts, table
from ray_jobs.locations import DATA_DIR_VARIABLE, data_dir

AsJson = Annotated[bool, typer.Option("--json", help="Answer with one JSON object.")]
Table = Annotated[Literal["link", "node"], typer.Option(help="Which telemetry table.")]
Files = Annotated[list[Path], typer.Argument(help="Parquet, CSV or JSON lines files.")]

app = typer.Typer(no_args_is_help=True)


@app.command("list")
def list_sets(as_json: AsJson = False) -> None:
    """List the public data sets and whether their files are here."""

    def work() -> Answer:
        from novacron.telemetry.datasets.catalogue import DATASETS

        folder = data_dir()
        sets: list[dict[str, Any]] = [
            {
                "name": each.name,
                "purpose": each.purpose,
                "tables": list(each.tables),
                "present": folder is not None and not each.missing_files(folder),
            }
            for each in DATASETS.values()
        ]
        rows = [
            (
                one["name"],
                one["purpose"],
                ", ".join(one["tables"]),
                "yes" if one["present"] else "no",
            )
            for one in sets
        ]
        title = f"Data sets in {folder or f'${DATA_DIR_VARIABLE} (not set)'}"
        payload = {"data_dir": str(folder) if folder else None, "data_sets": sets}
        return Answer(
            payload=payload, view=table(title, ("name", "purpose", "tables", "here"), rows)
        )

    raise typer.Exit(answer(work, as_json=as_json))


@app.command()
def describe(
    name: Annotated[str, typer.Argument(help="Name of a data set.")],
    load: Annotated[
        bool, typer.Option("--load", help="Also read its tables and count rows and rejections.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say what a data set is for, where it is from, and what its tables hold."""

    def work() -> Answer:
        from novacron.telemetry.datasets.catalogue import dataset

        chosen = dataset(name)
        tables = {
            table_name: {"doc": entry.doc, "schema": entry.schema, "files": list(entry.files)}
            for table_name, entry in chosen.tables.items()
        }
        payload: dict[str, Any] = {
            "name": chosen.name,
            "purpose": chosen.purpose,
            "source": chosen.source,
            "licence": chosen.licence,
            "tables": tables,
        }
        if load:
            payload["loaded"] = _load_tables(name)
        return Answer(payload=payload, view=_description(payload))

    raise typer.Exit(answer(work, as_json=as_json))


@app.command()
def ingest(
    files: Files,
    out: Annotated[Path, typer.Option(help="Folder of the results.")],
    telemetry: Table = "link",
    as_json: AsJson = False,
) -> None:
    """Check telemetry files and join them on one grid; rejected rows go to a quarantine file."""

    def work() -> Answer:
        from novacron.telemetry.ingest import IngestConfig
        from ray_jobs.ingest import ingest_answer

        return ingest_answer(files, telemetry, out, IngestConfig(), hide_progress=as_json)

    raise typer.Exit(answer(work, as_json=as_json))


@app.command()
def validate(files: Files, telemetry: Table = "link", as_json: AsJson = False) -> None:
    """Check telemetry files and keep nothing; exit code 2 when a row is rejected."""

    def work() -> Answer:
        from novacron.telemetry.ingest import IngestConfig
        from novacron.telemetry.quality import QualityReport
        from ray_jobs.ingest import ingest_answer

        with TemporaryDirectory(prefix="novacron-") as scratch:
            done = ingest_answer(
                files, telemetry, Path(scratch), IngestConfig(), hide_progress=as_json
            ).payload
            quality = QualityReport.model_validate_json(Path(done["quality"]).read_text())
        counts = {"rows_read": done["rows_read"], "rows_rejected": done["rows_rejected"]}
        return Answer(
            payload=counts | {"quality": quality.model_dump(mode="json")},
            view=facts("Checked", counts | done["reasons"]),
            exit_code=InvalidInputError.exit_code if done["rows_rejected"] else 0,
        )

    raise typer.Exit(answer(work, as_json=as_json))


@app.command()
def generate(
    out: Annotated[Path, typer.Option(help="Folder of the tables.")],
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")] = 7,
    fleet: Annotated[
        Literal["small", "demo"], typer.Option(help="Three sites, or five on four continents.")
    ] = "small",
    hours: Annotated[float, typer.Option(min=0.1, help="Length of the telemetry.")] = 48.0,
    as_json: AsJson = False,
) -> None:
    """Generate the telemetry of a fleet with known faults: links, nodes, labels."""

    def work() -> Answer:
        import pyarrow.parquet as pq

        from novacron.telemetry.synthesize.config import fleet_demo, fleet_small
        from novacron.telemetry.synthesize.fleet import generate_fleet

        config = fleet_small(hours=hours) if fleet == "small" else fleet_demo(hours=hours)
        made = generate_fleet(config, seed=seed)
        tables = {"links": made.links, "nodes": made.nodes, "labels": made.labels}
        out.mkdir(parents=True, exist_ok=True)
        for name, content in tables.items():
            pq.write_table(content, out / f"{name}.parquet")
        rows = {name: content.num_rows for name, content in tables.items()}
        payload = {"seed": seed, "out": str(out), "rows": rows}
        return Answer(payload=payload, view=facts(f"Generated with seed {seed}", rows))

    raise typer.Exit(answer(work, as_json=as_json))


def _load_tables(name: str) -> dict[str, dict[str, Any]]:
    from novacron.telemetry.datasets.catalogue import dataset

    folder = data_dir()
    if folder is None:
        raise DatasetNotFoundError(
            f"The files of {name} are not named.", remedy=f"Set {DATA_DIR_VARIABLE}."
        )
    chosen = dataset(name)
    loaded = {}
    for table_name in chosen.tables:
        adapted = chosen.load(folder, table_name)
        loaded[table_name] = {
            "rows": adapted.table.num_rows,
            "columns": adapted.table.column_names,
            "rejected": adapted.rejected_counts,
            "masked": dict(adapted.masked),
        }
    return loaded


def _description(payload: dict[str, Any]) -> Group:
    head = {key: payload[key] for key in ("purpose", "source", "licence")}
    rows = []
    for table_name, entry in payload["tables"].items():
        counts = payload.get("loaded", {}).get(table_name)
        found = "" if counts is None else f"{counts['rows']} ({sum(counts['rejected'].values())})"
        rows.append((table_name, entry["doc"], entry["schema"], ", ".join(entry["files"]), found))
    columns = ("table", "holds", "schema", "files", "rows (rejected)")
    return Group(facts(payload["name"], head), table("Tables", columns, rows))
