"""Job: search the settings of a model, and register what holds as challenger.

`python -m ray_jobs.tune --model bandwidth --trials 40 --register`
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from novacron.registry.store import ModelStore
from ray_jobs.answers import Answer
from ray_jobs.cluster_state import ClusterState
from ray_jobs.job import run_job
from ray_jobs.locations import registry_config, runs_dir
from ray_jobs.policy_training import PolicyRequest, register_policy, train_policy
from ray_jobs.submitting import run_as_job
from ray_jobs.trainers import TRAINERS
from ray_jobs.training import TrainRequest, train
from tuning.catalog import objective_of
from tuning.objective import Objective
from tuning.progress import Lines, Listener, Silent
from tuning.request import SearchRequest
from tuning.results import CONFIG
from tuning.search import add_options, request_of
from tuning.study import SearchOutcome, run_search
from tuning.summary import payload, text


def tuning_answer(
    request: SearchRequest, *, track: bool, register: bool, show_progress: bool
) -> Answer:
    """Search in this process, and register the chosen setting where it is a gain.

    Raises:
        NovacronError: See `tuning.study.run_search`; the registry does not answer.
    """
    objective = objective_of(request.model)
    listener: Listener = Lines(objective.metrics) if show_progress else Silent()
    store = ModelStore.connect(registry_config()) if track else None
    outcome = run_search(request, listener, store=store)
    found = payload(outcome)
    shown = text(outcome)
    if register and outcome.is_finished:
        if outcome.is_gain:
            listener.said("training the chosen setting in full")
        found["registered"] = register_chosen(outcome, objective, request)
        shown += f"\n{_registered_text(found)}"
    return Answer(payload=found, view=shown, exit_code=outcome.exit_code)


def register_chosen(
    outcome: SearchOutcome, objective: Objective, request: SearchRequest
) -> dict[str, Any] | None:
    """Train the chosen setting in full and register it as challenger.

    Returns:
        Model and version; None where the default stays or the model has no training job.

    Raises:
        NovacronError: The training failed.
    """
    config = chosen_config(outcome, objective.model)
    if not outcome.is_gain or config is None:
        return None
    target = getattr(objective, "target", None)
    if target is not None:
        store = ModelStore.connect(registry_config())
        trained = train_policy(
            PolicyRequest(target=target, config_path=config), lambda _point, _steps: None
        )
        return register_policy(trained, store)
    if objective.model not in TRAINERS:
        return None
    wanted = TrainRequest(
        model=objective.model,
        config_path=config,
        data=str(request.data) if request.data else "generator",
    )
    trained_now = train(wanted, lambda _event, _units: None)
    return {key: trained_now[key] for key in ("model", "version", "run_id", "report")}


def chosen_config(outcome: SearchOutcome, model: str) -> Path | None:
    """Return a local copy of the chosen setting's training file; None before the choice."""
    content = outcome.folder.read_text(CONFIG)
    if content is None:
        return None
    path = runs_dir() / "tune" / f"{model}-{outcome.document['key']}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def submitted_answer(
    arguments: Sequence[str], cluster: ClusterState, on_line: Callable[[str], None]
) -> Answer:
    """Search as a job of a cluster and follow it to its end.

    Raises:
        NovacronError: The job failed.
    """
    command = ["python", "-m", "ray_jobs.tune", *arguments]

    def read(line: str) -> None:
        if not line.startswith("{"):
            on_line(line)

    outcome = run_as_job("Search job", command, cluster, read, metadata={"job": "tune"})
    decision = outcome["decision"] or {}
    lines = [
        str(decision.get("reason", outcome["status"])),
        f"Everything is in {outcome['folder']}",
    ]
    if "registered" in outcome:
        lines.append(_registered_text(outcome))
    return Answer(payload=outcome, view="\n".join(lines))


def _registered_text(found: Mapping[str, Any]) -> str:
    registered = found["registered"]
    if registered is None:
        is_gain = (found["decision"] or {}).get("is_gain")
        why = "this model has no training job" if is_gain else "the default stays"
        return f"Nothing was registered: {why}."
    return f"Registered as challenger: {registered['model']} version {registered['version']}"


def parser_of_job() -> argparse.ArgumentParser:
    """Return the parser of the job: that of a search, and `--register`."""
    parser = argparse.ArgumentParser(prog="python -m ray_jobs.tune", description=__doc__)
    add_options(parser)
    parser.add_argument(
        "--register", action="store_true", help="train what holds in full, as challenger"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, search, write one JSON line, return the exit code."""
    given = parser_of_job().parse_args(arguments)

    def work() -> Answer:
        return tuning_answer(
            request_of(given),
            track=not given.no_track,
            register=given.register,
            show_progress=True,
        )

    return run_job("tune", work, on_cluster=True)


if __name__ == "__main__":
    raise SystemExit(main())
