"""The command that searches the settings of a model."""

import sys
from collections.abc import Callable
from typing import Annotated, Literal

import typer

from ray_jobs.answers import Answer, answer

app = typer.Typer()

Model = Annotated[
    str, typer.Argument(help="Name of the model, or package.module:VARIABLE of an objective.")
]
Trials = Annotated[
    int, typer.Option(help="Settings in all; more of them extend a search that is there.")
]
Time = Annotated[
    float | None, typer.Option(help="Seconds of the search phase, over all its runs.")
]
Search = Annotated[Literal["tpe", "random"], typer.Option(help="How new settings arise.")]
Scheduler = Annotated[
    Literal["asha", "median", "pbt", "none"] | None,
    typer.Option(help="What gives trials up early; default: the model's own."),
]
Seeds = Annotated[str, typer.Option(help="Of the finalists.")]
Finalists = Annotated[int, typer.Option(help="Settings that are confirmed.")]
Seed = Annotated[int, typer.Option(help="Of the search.")]
Budget = Annotated[
    int | None, typer.Option(help="Of a trial, in the model's unit; default: a full training.")
]
Place = Annotated[
    str | None, typer.Option(help="Folder or URI, e.g. s3://bucket/tune; default runs/tune.")
]
Data = Annotated[
    str | None, typer.Option(help="Folder of traces, or `generator`; default $NOVACRON_DATA_DIR.")
]
Only = Annotated[list[str] | None, typer.Option(help="Search this parameter; may be repeated.")]
Ranges = Annotated[
    list[str] | None,
    typer.Option("--range", help="NAME=LOW..HIGH or NAME=A,B; may be repeated."),
]
Engine = Annotated[Literal["ray", "here"], typer.Option(help="here: no Ray, one trial at a time.")]
Parallel = Annotated[
    int | None, typer.Option(help="Most trials at once; default: as many as fit.")
]
Cpus = Annotated[int, typer.Option(help="CPU slots and threads of a trial.")]
Small = Annotated[bool, typer.Option("--small", help="As little data as still trains.")]
NoTrack = Annotated[bool, typer.Option("--no-track", help="Leave MLflow out.")]
Register = Annotated[
    bool, typer.Option("--register", help="Train what holds in full, as challenger.")
]
Submit = Annotated[
    bool, typer.Option("--submit", help="Run as a job of the local cluster, started if needed.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Answer with one JSON object.")]


@app.command()
def tune(  # noqa: PLR0913 - one argument for each option
    model: Model,
    trials: Trials = 30,
    time: Time = None,
    search: Search = "tpe",
    scheduler: Scheduler = None,
    seeds: Seeds = "1,2,3",
    finalists: Finalists = 3,
    seed: Seed = 7,
    budget: Budget = None,
    storage: Place = None,
    data: Data = None,
    only: Only = None,
    ranges: Ranges = None,
    engine: Engine = "ray",
    parallel: Parallel = None,
    cpus_per_trial: Cpus = 1,
    small: Small = False,
    no_track: NoTrack = False,
    register: Register = False,
    submit: Submit = False,
    as_json: AsJson = False,
) -> None:
    """Search the settings of a model; the same command goes on where an earlier run stopped.

    The default setting is the first trial, and stays unless another one holds on a block of data
    that the search never saw.
    """
    options = {
        "model": model, "trials": trials, "time": time, "search": search,
        "scheduler": scheduler, "seeds": seeds, "finalists": finalists, "seed": seed,
        "budget": budget, "storage": storage, "data": data, "only": only, "range": ranges,
        "engine": engine, "parallel": parallel, "cpus-per-trial": cpus_per_trial,
        "small": small, "no-track": no_track, "register": register,
    }  # fmt: skip
    arguments = arguments_of(options)
    raise typer.Exit(
        answer(lambda: _answer(arguments, submit=submit, quiet=as_json), as_json=as_json)
    )


def _answer(arguments: list[str], *, submit: bool, quiet: bool) -> Answer:
    from ray_jobs import tune as job
    from tuning.search import request_of

    given = job.parser_of_job().parse_args(arguments)
    # Also before a job is submitted: bad input costs no cluster.
    request = request_of(given)
    if not submit:
        return job.tuning_answer(
            request, track=not given.no_track, register=given.register, show_progress=not quiet
        )
    from ray_jobs.cli_cluster import ensure_cluster
    from ray_jobs.cluster_state import ClusterConfig

    cluster, _ = ensure_cluster(ClusterConfig())
    return job.submitted_answer(arguments, cluster, _say(quiet=quiet))


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
