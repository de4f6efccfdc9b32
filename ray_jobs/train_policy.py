"""Job: train policies with RLlib, judge them on test worlds, and register them as challenger.

`python -m ray_jobs.train_policy --target hde_compression`, also as
`ray job submit --working-dir . -- python -m ray_jobs.train_policy --target hde_compression`;
`--target all` trains every target again after the simulator has changed.
"""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Group

from novacron.params.observations import OBSERVATIONS
from ray_jobs.answers import Answer
from ray_jobs.job import run_job
from ray_jobs.locations import registry_config, runs_dir
from ray_jobs.policy_rllib import CurvePoint
from ray_jobs.policy_training import PolicyRequest, register_policy, train_policy
from ray_jobs.policy_view import policy_outcome, policy_view
from ray_jobs.train import PROGRESS_PREFIX

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, train, write one JSON line, return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m ray_jobs.train_policy", description=__doc__)
    parser.add_argument("--target", required=True, help="group of knobs, or `all`")
    parser.add_argument("--config", type=Path, help="default: configs/policy/<target>.yaml")
    parser.add_argument("--run-dir", type=Path, help="default: named after the inputs")
    parser.add_argument(
        "--trainer",
        choices=("rllib", "loop"),
        default="rllib",
        help="`loop`: this project's own PPO, without Ray and without resuming",
    )
    given = parser.parse_args(arguments)
    targets = tuple(OBSERVATIONS) if given.target == "all" else (given.target,)
    requests = [
        PolicyRequest(
            target=target,
            config_path=given.config,
            trainer=given.trainer,
            run_dir=runs_dir() / given.run_dir / target if given.run_dir else None,
        )
        for target in targets
    ]
    return run_job("train_policy", lambda: _work(requests), on_cluster=True)


def _work(requests: Sequence[PolicyRequest]) -> Answer:
    from novacron.registry.store import ModelStore

    outcomes, views = [], []
    for request in requests:
        trained = train_policy(request, _log_progress)
        registered = register_policy(trained, ModelStore.connect(registry_config()))
        outcomes.append(policy_outcome(trained) | registered)
        views.append(policy_view(trained, outcomes[-1]))
    return Answer(payload={"policies": outcomes}, view=Group(*views))


def _log_progress(point: CurvePoint, env_steps: int) -> None:
    sys.stderr.write(PROGRESS_PREFIX + json.dumps(asdict(point) | {"of": env_steps}) + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    raise SystemExit(main())
