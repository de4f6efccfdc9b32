"""The command that plans the capacity of many series."""

from pathlib import Path
from typing import Annotated

import typer

from ray_jobs import cli_cluster
from ray_jobs.answers import Answer, answer

app = typer.Typer()


@app.command("plan-capacity")
def plan_capacity(  # noqa: PLR0913 - one argument for each option
    source: Annotated[Path, typer.Argument(help="Parquet: series_id, ts, value, maybe metric.")],
    target: Annotated[Path, typer.Argument(help="Plans, Parquet: one row per series.")],
    horizon_days: Annotated[int, typer.Option(min=1, max=365, help="How far ahead.")] = 30,
    ref: Annotated[
        str, typer.Option(help="Registered version or alias, or `shipped`.")
    ] = "shipped",
    config: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Rules, prices, country: a YAML file.")
    ] = None,
    parallel: Annotated[int, typer.Option(min=1, help="Units at once, one CPU each.")] = 2,
    ray: Annotated[bool, typer.Option("--ray", help="Spread over the local cluster.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Answer with one JSON object.")] = False,
) -> None:
    """Forecast every series, tell when thresholds are reached, and plan what to add.

    Goes on where a killed run of the same inputs stopped.
    """

    def work() -> Answer:
        from novacron.models.capacity.config import CapacityConfig
        from ray_jobs.config import load_config
        from ray_jobs.plan_capacity import plan_answer

        def plan() -> Answer:
            return plan_answer(
                source.resolve(),
                target.resolve(),
                horizon_days=horizon_days,
                ref=ref,
                config=load_config(config, CapacityConfig) if config else None,
                parallel=parallel,
                hide_progress=as_json,
            )

        if not ray:
            return plan()
        from ray_jobs.cluster import connect, use_cluster

        use_cluster(cli_cluster.running_cluster())
        with connect():
            return plan()

    raise typer.Exit(answer(work, as_json=as_json))
