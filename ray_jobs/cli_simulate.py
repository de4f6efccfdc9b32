"""The command that plays one episode of the simulated WAN."""

from pathlib import Path
from typing import Annotated

import typer

from ray_jobs.answers import Answer, answer

app = typer.Typer()


@app.command()
def simulate(  # noqa: PLR0913 - one argument for each option
    scenario: Annotated[str, typer.Option(help="Class of paths, or `all`.")] = "wan",
    target: Annotated[str, typer.Option(help="Which group of knobs is set.")] = "amst_transport",
    policy: Annotated[
        str,
        typer.Option(
            help="`default` keeps what ships, `random` draws every knob afresh; or fixed knobs as "
            'JSON, e.g. {"streams": 8}, the others as shipped.'
        ),
    ] = "default",
    steps: Annotated[
        int | None, typer.Option(help="Decisions to play; by default the target's own number.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same run.")] = 0,
    split: Annotated[
        str, typer.Option(help="Side of the paths: train, validation, test or ood.")
    ] = "test",
    traces: Annotated[
        str | None,
        typer.Option(
            metavar="SET",
            help="Replay a set of measured traces from $NOVACRON_DATA_DIR as the capacity.",
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Also draw the run: a .png file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Answer with one JSON object.")] = False,
) -> None:
    """Play one transfer over a simulated path: knobs, throughput, latency, loss, cost over time.

    Beside every figure stands what the shipped settings give in the same world.
    """

    def work() -> Answer:
        from ray_jobs.simulation import SimulationRequest, simulation_answer

        request = SimulationRequest(
            target=target,
            scenario=scenario,
            split=split,
            policy=policy,
            seed=seed,
            steps=steps,
            trace_set=traces,
        )
        return simulation_answer(request, plot=plot)

    raise typer.Exit(answer(work, as_json=as_json))
