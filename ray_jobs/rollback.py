"""Job: make the champion before the present one champion again.

`python -m ray_jobs.rollback --model bandwidth --why "p95 error doubled"`
"""

import argparse
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from novacron.registry.config import RegistryConfig
from novacron.registry.records import Audit
from novacron.registry.store import ModelStore
from ray_jobs.answers import Answer, facts
from ray_jobs.job import run_job, user_name
from ray_jobs.locations import registry_config


def rollback(registry: RegistryConfig, name: str, *, why: str) -> dict[str, Any]:
    """Go back to the earlier champion; it is loaded before the alias moves.

    Returns:
        The model's name, both versions, and the seconds it took.

    Raises:
        ModelNotFoundError: No such model, or no earlier champion.
        ArtifactError: The earlier champion's files are damaged.
    """
    started = time.monotonic()
    store = ModelStore.connect(registry)
    audit = Audit(who=user_name(), at=datetime.now(UTC), why=why)
    loaded = store.rollback(name, audit=audit)
    return {
        "model": name,
        "champion": loaded.version,
        "previous": store.history(name)[-1].previous,
        "seconds": round(time.monotonic() - started, 3),
    }


def rollback_answer(name: str, *, why: str) -> Answer:
    """Roll back and say so."""
    payload = rollback(registry_config(), name, why=why)
    shown = {
        "champion": f"{name} version {payload['champion']}",
        "before": f"version {payload['previous']}",
        "took": f"{payload['seconds']:.1f} s",
    }
    return Answer(payload=payload, view=facts("Rolled back", shown))


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, roll back, write one JSON line, return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m ray_jobs.rollback", description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--why", default="", help="kept in the model's history")
    given = parser.parse_args(arguments)
    return run_job("rollback", lambda: rollback_answer(given.model, why=given.why))


if __name__ == "__main__":
    raise SystemExit(main())
