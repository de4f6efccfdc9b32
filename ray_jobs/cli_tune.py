"""The command that searches the settings of a model."""

import sys
from collections.abc import Callable
from typing import Annotated, Literal

import typer

from ray_jobs.answers import Answer, answer

app = typer.Typer()


@app.command()
def tune(  # noqa: PLR0913 - one argument for each option
    model: Annotated[
        str, typer.Argument(help="Name of the model, or package.module:VARIABLE of an objective.")
    ],
    trials: Annotated[
        int, typer.Option(help="Settings in all; more of them extend a search that is there.")
    ] = 30,
    time: Annotated[
        float | None, typer.Option(help="Seconds of the search phase, over all its runs.")
    ] = None,
    search: Annotated[
        Literal["tpe", "random"], typer.Option(help="How new settings arise.")
    ] = "tpe",
    scheduler: Annotated[
        Literal["asha", "median", "pbt", "none"] | None,
        typer.Option(help="What gives trials up early; default: the model's own."),
    ] = None,
    seeds: Annotated[str, typer.Option(help="Of the finalists.")] = "1,2,3",
    finalists: Annotated[int, typer.Option(help="Settings that are confirmed.")] = 3,
    seed: Annotated[int, typer.Option(help="Of the search.")] = 7,
    budget: Annotated[
        int | None, typer.Option(help="Of a trial, in the model's unit; default: a full training.")
    ] = None,
    storage: Annotated[
        str | None, typer.Option(help="Folder or URI, e.g. s3://bucket/tune; default runs/tune.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Folder of traces, or `generator`; default $NOVACRON_DATA_DIR."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Search this parameter; may be repeated.")
    ] = None,
    range_: Annotated[
        list[str] | None,
        typer.Option("--range", help="NAME=LOW..HIGH or NAME=A,B; may be repeated."),
    ] = None,
    engine: Annotated[
        Literal["ray", "here"], typer.Option(help="here: no Ray, one trial at a time.")
    ] = "ray",
    parallel: Annotated[
        int | None, typer.Option(help="Most trials at once; default: as many as fit.")
    ] = None,
    cpus_per_trial: Annotated[int, typer.Option(help="CPU slots and threads of a trial.")] = 1,
    small: Annotated[
        bool, typer.Option("--small", help="As little data as still trains.")
    ] = False,
    no_track: Annotated[bool, typer.Option("--no-track", help="Leave MLflow out.")] = False,
    register: Annotated[
        bool, typer.Option("--register", help="Train what holds in full, as challenger.")
    ] = False,
    submit: Annotated[
        bool,
        typer.Option("--submit", help="Run as a job of the local cluster, started if needed."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Answer with one JSON object.")] = False,
) -> None:
    """Search the settings of a model; the same command goes on where an earlier run stopped.

    The default setting is the first trial, and stays unless another one holds on a block of data
    that the search never saw.
    """
    options = {
        "model": model, "trials": trials, "time": time, "search": search, "scheduler": scheduler,
        "seeds": seeds, "finalists": finalists, "seed": seed, "budget": budget,
        "storage": storage, "data": data, "only": only, "range": range_, "engine": engine,
        "parallel": parallel, "cpus-per-trial": cpus_per_trial, "small": small,
        "no-track": no_track, "register": register,
    }  # fmt: skip
    arguments = arguments_of(options)

    def work() -> Answer:
        from ray_jobs import tune as job
        from tuning.search import request_of

        given = job.parser_of_job().parse_args(arguments)
        request = request_of(given)
        if submit:
            from ray_jobs.cli_cluster import ensure_cluster
            from ray_jobs.cluster_state import ClusterConfig

            cluster, _ = ensure_cluster(ClusterConfig())
            return job.submitted_answer(arguments, cluster, _say(quiet=as_json))
        return job.tuning_answer(
            request, track=not no_track, register=register, show_progress=not as_json
        )

    raise typer.Exit(answer(work, as_json=as_json))


def arguments_of(options: dict[str, object]) -> list[str]:
    """Return the command line of the job for these options; those left out are not written."""
    found: list[str] = []
    for name, value in options.items():
        if isinstance(value, bool):
            found += [f"--{name}"] if value else []
        elif isinstance(value, list):
            found += [f"--{name}={each}" for each in value]
        elif value is not None:
            found.append(f"--{name}={value}")
    return found


def _say(*, quiet: bool) -> Callable[[str], None]:
    def say(line: str) -> None:
        if not quiet:
            sys.stderr.write(line + "\n")

    return say
