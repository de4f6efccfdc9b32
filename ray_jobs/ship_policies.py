"""Copies a registered version of the optimizer into the library: what `AutoOptimizer()` starts with.

`python -m ray_jobs.ship_policies --ref challenger`
"""

import argparse
import shutil
from collections.abc import Sequence

from novacron.models.policy.optimizer import SHIPPED_BUNDLE
from novacron.registry.store import ModelStore
from ray_jobs.answers import Answer, facts
from ray_jobs.job import run_job
from ray_jobs.locations import registry_config
from ray_jobs.policy_training import MODEL


def ship(ref: str) -> Answer:
    """Replace the library's policies by those of a registered version.

    Raises:
        ModelNotFoundError: No such version.
        ArtifactError: Its files are not the registered ones.
    """
    found = ModelStore.connect(registry_config()).load(MODEL, ref)
    draft = SHIPPED_BUNDLE.with_name("shipped.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    found.model.save(draft)
    shutil.rmtree(SHIPPED_BUNDLE, ignore_errors=True)
    draft.replace(SHIPPED_BUNDLE)
    payload = {"version": found.version, "folder": str(SHIPPED_BUNDLE), "ref": ref}
    return Answer(payload=payload, view=facts("Shipped", payload))


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, copy, write one JSON line, return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m ray_jobs.ship_policies", description=__doc__)
    parser.add_argument("--ref", default="champion", help="version number or alias")
    given = parser.parse_args(arguments)
    return run_job("ship_policies", lambda: ship(given.ref))


if __name__ == "__main__":
    raise SystemExit(main())
