"""Job: score a registered version on held-out traces beside its baselines.

`python -m ray_jobs.evaluate --model bandwidth --ref champion`
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Group

from novacron.registry.card import CardMetric
from novacron.registry.config import RegistryConfig
from novacron.registry.store import ModelStore
from ray_jobs.answers import Answer, facts, table
from ray_jobs.config import load_config
from ray_jobs.job import run_job
from ray_jobs.locations import registry_config
from ray_jobs.train import interval
from ray_jobs.trainers import data_for, trainer_of


def evaluate(
    registry: RegistryConfig, model: str, ref: str, *, config_path: Path, data: str | None
) -> dict[str, Any]:
    """Score a version on the held-out part of the data that a training config names.

    Returns:
        The version, the data, and each metric with its interval, its baseline and, where the
        version's own card was measured on the same data, the value it claims.

    Raises:
        ModelNotFoundError: There is no such version.
    """
    trainer = trainer_of(model)
    config = load_config(config_path, trainer.config_model)
    loaded = ModelStore.connect(registry).load(model, ref)
    measured_on = data_for(trainer, config, data)
    evaluation = trainer.evaluate(loaded.model, measured_on, config)
    same_data = loaded.card.data_sha256 == measured_on.sha256

    def claimed(metric: CardMetric) -> float | None:
        found = loaded.card.metric(metric.name, metric.set) if same_data else None
        return None if found is None else found.value

    return {
        "model": model,
        "version": loaded.version,
        "data_source": measured_on.source,
        "data_sha256": measured_on.sha256,
        "same_data_as_card": same_data,
        "metrics": [
            metric.model_dump(mode="json") | {"on_card": claimed(metric)}
            for metric in evaluation.metrics
        ],
    }


def evaluation_answer(*, model: str, ref: str, data: str | None, config: Path | None) -> Answer:
    """Evaluate and say so."""
    path = config or Path(f"configs/train/{model}.yaml")
    payload = evaluate(registry_config(), model, ref, config_path=path, data=data)
    rows = [
        (
            *(one["set"], one["name"], f"{one['value']:.4g}", interval(one), one["n"]),
            *(one["baseline"], one["on_card"]),
        )
        for one in payload["metrics"]
    ]
    columns = ("set", "metric", "value", "95 % interval", "n", "beside", "on its card")
    head = {"version": f"{model} {payload['version']}", "data": payload["data_source"]}
    return Answer(payload=payload, view=Group(facts("Evaluated", head), table("", columns, rows)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, evaluate, write one JSON line, return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m ray_jobs.evaluate", description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--ref", default="challenger", help="version number or alias")
    parser.add_argument("--data", help="folder of traces or `generator`")
    parser.add_argument("--config", type=Path, help="default: configs/train/<model>.yaml")
    given = parser.parse_args(arguments)
    return run_job(
        "evaluate",
        lambda: evaluation_answer(
            model=given.model, ref=given.ref, data=given.data, config=given.config
        ),
    )


if __name__ == "__main__":
    raise SystemExit(main())
