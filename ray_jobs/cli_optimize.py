"""The command that trains, judges and registers the policy of a target."""

from pathlib import Path
from typing import Annotated

import typer

from ray_jobs.answers import Answer, answer

app = typer.Typer()


@app.command()
def optimize(
    target: Annotated[str, typer.Argument(help="Group of knobs, e.g. hde_compression.")],
    config: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="Default: configs/policy/<target>.yaml."),
    ] = None,
    gate: Annotated[
        Path, typer.Option(dir_okay=False, help="What a policy must show to be registered.")
    ] = Path("configs/gate/optimizer.yaml"),
    run_dir: Annotated[Path | None, typer.Option(help="Default: named after its inputs.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Answer with one JSON object.")] = False,
) -> None:
    """Train a target's policy, or reuse the trained one, and judge it on held-out paths.

    Shows the shipped default, the best fixed setting, the policy, its guarded form and the oracle
    side by side, each class of paths, and what got worse; registers it if the gate lets it (exit
    code 3 if not). All figures are simulated.
    """

    def work() -> Answer:
        from ray_jobs.optimize import optimize_answer
        from ray_jobs.policy_training import PolicyRequest

        request = PolicyRequest(target=target, config_path=config, run_dir=run_dir)
        return optimize_answer(request, gate, show_progress=not as_json)

    raise typer.Exit(answer(work, as_json=as_json))
