"""The `novacron` command. Heavy libraries are imported by the commands that need them."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from ray_jobs import (
    cli_capacity,
    cli_cluster,
    cli_data,
    cli_optimize,
    cli_predictions,
    cli_rollout,
    cli_simulate,
    cli_tune,
)
from ray_jobs.answers import Answer, answer, configure_logging
from ray_jobs.cli_cluster import AsJson
from ray_jobs.cluster_state import ClusterConfig
from ray_jobs.interrupts import Terminated

app = typer.Typer(
    name="novacron",
    help="Train, judge, promote and serve NovaCron's models on Ray.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(cli_cluster.app)
app.add_typer(
    cli_data.app, name="data", help="Public data sets, telemetry files, generated fleets."
)
app.add_typer(cli_simulate.app)
app.add_typer(cli_capacity.app)
app.add_typer(cli_optimize.app)
app.add_typer(cli_rollout.app, name="rollout")
app.add_typer(
    cli_predictions.app,
    name="predictions",
    help="The prediction log: what it holds, how good it was.",
)
app.add_typer(cli_tune.app)

Model = Annotated[str, typer.Option(help="Name of the model.")]
Ref = Annotated[str, typer.Option(help="Version number or alias.")]
ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model.")]
RefName = Annotated[str, typer.Argument(metavar="[REF]", help="Version number or alias.")]
Data = Annotated[
    str | None,
    typer.Option(
        help="Folder of the public traces, or `generator`; by default $NOVACRON_DATA_DIR, and "
        "generated traces where that is not set."
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(dir_okay=False, help="Training config; default configs/train/<model>.yaml."),
]


@app.callback()
def root(
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], typer.Option(help="Of lines on stderr.")
    ] = "WARNING",
) -> None:
    """Set up what all commands share."""
    configure_logging(log_level)


@app.command()
def train(
    model: Model,
    config: Config = None,
    data: Data = None,
    run_dir: Annotated[Path | None, typer.Option(help="Default: named after its inputs.")] = None,
    submit: Annotated[
        bool,
        typer.Option("--submit", help="Run as a job of the local cluster, started if needed."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train a model and register it as challenger; goes on where an earlier run stopped."""

    def work() -> Answer:
        from ray_jobs import train as job

        request = job.request_from(model=model, config=config, data=data, run_dir=run_dir)
        if submit:
            cluster, _ = cli_cluster.ensure_cluster(ClusterConfig())
            return job.submitted_answer(request, cluster, show_progress=not as_json)
        return job.training_answer(request, show_progress=not as_json)

    raise typer.Exit(answer(work, as_json=as_json))


@app.command()
def evaluate(
    model: ModelName,
    ref: RefName = "challenger",
    data: Data = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Score a registered version on held-out traces beside its baselines."""

    def work() -> Answer:
        from ray_jobs import evaluate as job

        return job.evaluation_answer(model=model, ref=ref, data=data, config=config)

    raise typer.Exit(answer(work, as_json=as_json))


@app.command()
def promote(
    model: ModelName,
    ref: RefName = "challenger",
    gate: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Default: configs/gate/<model>.yaml.")
    ] = None,
    why: Annotated[str, typer.Option(help="Kept in the model's history.")] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Promote against the gate; needs --why.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a version the champion if the gate lets it (exit code 3 if not)."""

    def work() -> Answer:
        from ray_jobs import promote as job

        path = gate or Path(f"configs/gate/{model}.yaml")
        return job.promotion_answer(model, ref, path, why=why, force=force)

    raise typer.Exit(answer(work, as_json=as_json))


@app.command()
def rollback(
    model: ModelName,
    why: Annotated[str, typer.Option(help="Kept in the model's history.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make the champion before the present one champion again."""

    def work() -> Answer:
        from ray_jobs import rollback as job

        return job.rollback_answer(model, why=why)

    raise typer.Exit(answer(work, as_json=as_json))


@app.command()
def predict(  # noqa: PLR0913 - one argument for each option
    model: Model,
    source: Annotated[Path, typer.Argument(help="Parquet; columns named like the inputs.")],
    target: Annotated[Path, typer.Argument(help="Answers, Parquet; a folder with --ray.")],
    ref: Ref = "champion",
    batch_rows: Annotated[int, typer.Option(min=1, help="Rows in memory at once.")] = 1024,
    step_s: Annotated[
        float | None,
        typer.Option(min=0.001, help="Link telemetry: seconds between samples; else measured."),
    ] = None,
    path_class: Annotated[
        str | None, typer.Option(help="Link telemetry: class of the paths; else the pooled model.")
    ] = None,
    ray: Annotated[
        bool, typer.Option("--ray", help="Spread a folder of files over the cluster by Ray Data.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Answer every row of a Parquet file; bad rows go to a quarantine file with the reason.

    Link telemetry, one sample a row, is forecast from the rows of each link up to that row.
    """

    def work() -> Answer:
        from ray_jobs.predict import Prediction, prediction_answer

        request = Prediction(
            model=model,
            ref=ref,
            source=source.resolve(),
            target=target.resolve(),
            batch_rows=batch_rows,
            step_s=step_s,
            path_class=path_class,
        )
        if not ray:
            return prediction_answer(request, on_cluster=False, show_progress=not as_json)
        from ray_jobs.cluster import connect, use_cluster

        use_cluster(cli_cluster.running_cluster())
        with connect():
            return prediction_answer(request, on_cluster=True, show_progress=False)

    raise typer.Exit(answer(work, as_json=as_json))


def main() -> None:
    """Run the command line; an interrupt ends it quietly."""
    try:
        app()
    except Terminated as signal:
        sys.exit(signal.exit_code)


if __name__ == "__main__":
    main()
