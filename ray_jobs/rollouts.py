"""Starts, shows and ends rollouts through the folder that the replicas watch.

No endpoint is asked: the folder is the truth, so that all of this works while a replica, a controller
or, for the kill switch, the registry does not.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

import yaml
from rich.console import Group

from novacron.errors import ConfigError, GateRefusedError, InvalidInputError
from novacron.monitoring.rollouts.description import describe
from novacron.monitoring.rollouts.folder import Kill, KillMode, RolloutFolder
from novacron.monitoring.rollouts.plan import RolloutPlan
from novacron.monitoring.rollouts.starting import (
    abort_rollout,
    promote_rollout,
    read_plan,
    start,
)
from novacron.monitoring.rollouts.state import Rollout
from novacron.registry.gate import decide
from novacron.registry.records import CHAMPION, Audit
from novacron.registry.store import ModelStore
from ray_jobs.answers import Answer, facts, table
from ray_jobs.config import load_config
from ray_jobs.job import user_name
from ray_jobs.locations import registry_config
from ray_jobs.promote import GateConfig

FOLDER_VARIABLE: Final = "NOVACRON_ROLLOUT_DIR"
_DECISIONS_SHOWN: Final = 12


def rollout_folder(given: Path | None = None) -> RolloutFolder:
    """Return the folder: the one given, that of the environment, or `rollouts` of the registry."""
    named = given or os.environ.get(FOLDER_VARIABLE)
    return RolloutFolder(Path(named) if named else registry_config().root / "rollouts")


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """What `novacron rollout start` was asked for."""

    model: str
    ref: str
    plan: RolloutPlan
    why: str
    gate: Path | None
    force: bool


def plan_of(
    path: Path | None, mode: Literal["canary", "shadow", "ab"] | None, **changes: object
) -> RolloutPlan:
    """Read a plan from a YAML file, or start from the defaults, and change what was given.

    Raises:
        ConfigError: The file is not there, or a setting is not allowed.
        InvalidInputError: The weights do not sum to 1.
    """
    settings: dict[str, Any] = {}
    if path is not None:
        try:
            settings = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (OSError, yaml.YAMLError) as cause:
            raise ConfigError(field=str(path), got=str(cause), expected="a YAML file") from cause
        if not isinstance(settings, dict):
            raise ConfigError(field=str(path), got=settings, expected="settings by name")
    given = {name: value for name, value in changes.items() if value is not None}
    return read_plan(settings | ({"mode": mode} if mode else {}) | given)


def read_weights(text: str) -> dict[str, float]:
    """Read `1=0.5,2=0.5`.

    Raises:
        InvalidInputError: It is written in another way, or names a version twice.
    """
    weights: dict[str, float] = {}
    for part in filter(None, text.split(",")):
        version, _, share = part.partition("=")
        try:
            number = float(share)
        except ValueError:
            number = -1.0
        if number < 0 or not version.strip() or version.strip() in weights:
            raise InvalidInputError(
                field="weights", got=text, expected="version=share for each version, with commas"
            )
        weights[version.strip()] = number
    return weights


def start_answer(request: Start, folder: RolloutFolder) -> Answer:
    """Begin a rollout and say how to follow it."""
    store = ModelStore.connect(registry_config())
    notes = _check_gate(store, request)
    audit = _audit(request.why)
    rollout = start(
        folder,
        lambda name, ref: store.resolve(name, ref).version,
        request.model,
        request.ref,
        request.plan,
        audit,
    )
    shown = {
        "rollout": rollout.id,
        "tried": f"version {', '.join(rollout.tried)}",
        "stable": f"version {rollout.stable}",
        "first share": f"{1 - rollout.split.share(rollout.stable):.0%}",
        "card": " ".join(notes) or "passed its gate",
        "follow it": f"novacron rollout status {request.model}",
    }
    return Answer(payload=describe(rollout, folder), view=facts("Rollout started", shown))


def _check_gate(store: ModelStore, request: Start) -> list[str]:
    """Let a version in only if its card passes the promotion gate, as a promotion would ask.

    Raises:
        GateRefusedError: The gate says no, and nobody forces it.
        InvalidInputError: Forced without a reason.
    """
    if request.force and not request.why.strip():
        raise InvalidInputError(
            field="why", got=request.why, expected="the reason for overriding the gate"
        )
    path = request.gate or Path(f"configs/gate/{request.model}.yaml")
    refs = [request.ref] if request.plan.mode != "ab" else list(request.plan.weights)
    notes = []
    for ref in refs:
        record = store.resolve(request.model, ref)
        if record.is_foreign or CHAMPION in record.aliases:
            continue
        if request.gate is None and not path.exists():
            notes.append(f"There is no {path}: live answers decide alone.")
            continue
        card = record.card()
        champion = store.card(request.model, CHAMPION)
        decision = decide(card, champion, load_config(path, GateConfig).rules_for(card))
        notes += decision.notes
        if not decision.passed:
            reasons = " ".join(decision.reasons)
            if not request.force:
                raise GateRefusedError(
                    f"{request.model} version {record.version} stays out: {reasons}",
                    remedy="Train a better one, or force it and say why.",
                )
            notes.append(f"Forced against: {reasons}")
    return notes


def abort_answer(model: str, why: str, folder: RolloutFolder) -> Answer:
    """End a rollout."""
    rollout = abort_rollout(folder, model, _audit(why))
    return _changed(rollout, folder, "Rollout ended", f"version {rollout.stable} alone")


def promote_answer(model: str, why: str, folder: RolloutFolder) -> Answer:
    """Let the tried version take over."""
    rollout = promote_rollout(folder, model, _audit(why))
    return _changed(rollout, folder, "Rollout goes on to its end", f"version {rollout.tried[0]}")


def _changed(rollout: Rollout, folder: RolloutFolder, title: str, traffic: str) -> Answer:
    shown = {"rollout": rollout.id, "status": rollout.status, "traffic": traffic}
    return Answer(payload=describe(rollout, folder), view=facts(title, shown))


def kill_answer(model: str, mode: KillMode, why: str, folder: RolloutFolder) -> Answer:
    """Turn the kill switch on; neither the registry nor the cluster is asked."""
    now_s = datetime.now(UTC).timestamp()
    folder.kill(model, Kill(mode=mode, who=user_name(), why=why, at_s=now_s))
    effect = "answers nobody" if mode == "stop" else "the stable version alone"
    shown = {"model": model, "traffic": effect, "undo": f"novacron rollout lift {model}"}
    return Answer(
        payload={"model": model, "kill": mode}, view=facts("The kill switch is on", shown)
    )


def lift_answer(model: str, folder: RolloutFolder) -> Answer:
    """Turn the kill switch off."""
    was_on = folder.lift(model, user_name(), datetime.now(UTC).timestamp())
    view = "The kill switch is off." if was_on else "The kill switch was not on."
    return Answer(payload={"model": model, "lifted": was_on}, view=view)


def status_answer(model: str | None, folder: RolloutFolder) -> Answer:
    """Show one rollout, or all in a line each."""
    if model is not None:
        rollout = folder.get(model)
        payload = describe(rollout, folder)
        return Answer(payload=payload, view=_view(rollout, payload))
    found = [(name, folder.read(name), folder.kill_of(name)) for name in folder.models()]
    rows = [
        (
            name,
            rollout.status if rollout else "",
            ", ".join(rollout.tried) if rollout else "",
            f"{1 - rollout.split.share(rollout.stable):.0%}" if rollout else "",
            kill.mode if kill else "",
        )
        for name, rollout, kill in found
    ]
    columns = ("model", "status", "tried", "its share now", "kill switch")
    payloads = {
        name: describe(rollout, folder) if rollout else {"kill": kill and kill.mode}
        for name, rollout, kill in found
    }
    return Answer(payload={"rollouts": payloads}, view=table("Rollouts", columns, rows))


def _view(rollout: Rollout, payload: Mapping[str, Any]) -> Group:
    shares = ", ".join(f"version {v} {share:.0%}" for v, share in rollout.split.shares)
    shown: dict[str, object] = {
        "rollout": rollout.id,
        "status": rollout.status,
        "way": _way(rollout),
        "shares now": shares,
        "windows closed": rollout.window,
        "exposed so far": f"{rollout.exposed_ratio:.2%} of {sum(rollout.answered.values())}",
    }
    if payload["kill"]:
        shown["kill switch"] = f"on ({payload['kill']}): no traffic but the stable version's"
    arms = [
        (
            version,
            "stable" if version == rollout.stable else "tried",
            arm["requests"],
            f"{arm['error_rate']:.2%}",
            "" if arm["p95_ms"] is None else f"{arm['p95_ms']:.2f}",
            f"{arm['differing']} of {arm['compared']}",
        )
        for version, arm in payload["arms"].items()
    ]
    columns = ("version", "as", "requests", "errors", "p95 ms", "answers that differ")
    decisions = [
        (one["at"], one["what"], one["why"]) for one in payload["decisions"][-_DECISIONS_SHOWN:]
    ]
    return Group(
        facts(f"Rollout of {rollout.model}", shown),
        table("This stage", columns, arms),
        table("Gates", ("verdict",), [(one,) for one in rollout.readings]),
        table("Decisions", ("at", "what", "why"), decisions),
    )


def _way(rollout: Rollout) -> str:
    """Draw the stages, with the present one in brackets."""
    if rollout.plan.mode != "canary":
        return rollout.plan.mode
    steps = [f"{share:.0%}" for share in rollout.plan.stages] + ["champion"]
    here = len(steps) - 1 if rollout.status in ("promoting", "promoted") else rollout.stage
    return " > ".join(f"[{step}]" if at == here else step for at, step in enumerate(steps))


def _audit(why: str) -> Audit:
    return Audit(who=user_name(), at=datetime.now(UTC), why=why)
