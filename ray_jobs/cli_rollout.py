"""`novacron rollout`: try a version on live traffic, follow it, end it, or pull the kill switch."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ray_jobs.answers import Answer, answer
from ray_jobs.cli_cluster import AsJson

app = typer.Typer(
    name="rollout",
    help="Try a version on live traffic, step by step, and take it back by itself if it is worse.",
    no_args_is_help=True,
)

Model = Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model.")]
Why = Annotated[str, typer.Option(help="Kept in the log.")]
Plan = Annotated[Path | None, typer.Option(dir_okay=False, help="Stages and limits, YAML.")]
Mode = Annotated[Literal["canary", "shadow", "ab"] | None, typer.Option(help="Default: canary.")]
Weights = Annotated[
    str, typer.Option(help="Of an A/B test: version=share, with commas; they sum to 1.")
]
WindowSeconds = Annotated[
    float | None, typer.Option(help="Shortest seconds between two steps up.")
]
MinRequests = Annotated[
    int | None, typer.Option(help="Requests the version must answer in each stage.")
]
Gate = Annotated[
    Path | None, typer.Option(dir_okay=False, help="Default: configs/gate/<model>.yaml.")
]
Force = Annotated[
    bool, typer.Option("--force", help="Try it against the gate of its card; needs --why.")
]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--directory",
        file_okay=False,
        help="Folder that the replicas watch; default $NOVACRON_ROLLOUT_DIR, then `rollouts` in the "
        "registry's folder.",
    ),
]


@app.command()
def start(  # noqa: PLR0913 - one argument for each option
    model: Model,
    ref: Annotated[
        str, typer.Argument(metavar="[REF]", help="Version number or alias.")
    ] = "challenger",
    plan: Plan = None,
    mode: Mode = None,
    weights: Weights = "",
    window_s: WindowSeconds = None,
    min_requests: MinRequests = None,
    gate: Gate = None,
    force: Force = False,
    why: Why = "",
    directory: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Begin a rollout: 10 %, 50 %, 100 %, then champion, or back at once if it is worse."""

    def work() -> Answer:
        from ray_jobs import rollouts

        request = rollouts.Start(
            model=model,
            ref=ref,
            plan=rollouts.plan_of(
                plan,
                mode,
                weights=rollouts.read_weights(weights) or None,
                window_s=window_s,
                min_requests=min_requests,
            ),
            why=why,
            gate=gate,
            force=force,
        )
        return rollouts.start_answer(request, rollouts.rollout_folder(directory))

    raise typer.Exit(answer(work, as_json=as_json))


@app.command()
def status(
    model: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="Default: all in a line each.")
    ] = None,
    directory: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Show stage, windows, gates, exposure and decisions."""

    def work() -> Answer:
        from ray_jobs import rollouts

        return rollouts.status_answer(model, rollouts.rollout_folder(directory))

    raise typer.Exit(answer(work, as_json=as_json))


@app.command()
def abort(model: Model, why: Why = "", directory: Folder = None, as_json: AsJson = False) -> None:
    """End a rollout: the stable version answers alone, the alias stays where it is."""

    def work() -> Answer:
        from ray_jobs import rollouts

        return rollouts.abort_answer(model, why, rollouts.rollout_folder(directory))

    raise typer.Exit(answer(work, as_json=as_json))


@app.command()
def promote(
    model: Model, why: Why = "", directory: Folder = None, as_json: AsJson = False
) -> None:
    """Let the tried version take over now; before the gates have passed it, this needs --why."""

    def work() -> Answer:
        from ray_jobs import rollouts

        return rollouts.promote_answer(model, why, rollouts.rollout_folder(directory))

    raise typer.Exit(answer(work, as_json=as_json))


@app.command()
def kill(
    model: Model,
    stop: Annotated[
        bool,
        typer.Option("--stop", help="The model answers nobody, not even by its stable version."),
    ] = False,
    why: Why = "",
    directory: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Take all traffic back to the stable version at once; asks neither registry nor cluster."""

    def work() -> Answer:
        from ray_jobs import rollouts

        folder = rollouts.rollout_folder(directory)
        return rollouts.kill_answer(model, "stop" if stop else "stable", why, folder)

    raise typer.Exit(answer(work, as_json=as_json))


@app.command()
def lift(model: Model, directory: Folder = None, as_json: AsJson = False) -> None:
    """Turn the kill switch off again."""

    def work() -> Answer:
        from ray_jobs import rollouts

        return rollouts.lift_answer(model, rollouts.rollout_folder(directory))

    raise typer.Exit(answer(work, as_json=as_json))
