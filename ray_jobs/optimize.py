"""Trains or finds a target's policy, shows what it is worth, and registers it if the gate lets it."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from novacron.errors import GateRefusedError
from novacron.registry.gate import GateRules, decide
from novacron.registry.records import Audit
from novacron.registry.store import ModelStore
from ray_jobs.answers import Answer, progress_bar
from ray_jobs.config import load_config
from ray_jobs.job import user_name
from ray_jobs.locations import registry_config
from ray_jobs.policy_rllib import CurvePoint
from ray_jobs.policy_training import (
    MODEL,
    PolicyRequest,
    TrainedPolicy,
    latest_version,
    policy_card,
    register_policy,
    train_policy,
)
from ray_jobs.policy_view import policy_outcome, policy_view
from ray_jobs.promote import GateConfig

GATE: Final = Path("configs/gate/optimizer.yaml")


def optimize_answer(request: PolicyRequest, gate: Path, *, show_progress: bool) -> Answer:
    """Train or reuse, judge, register and promote.

    Raises:
        GateRefusedError: The policy does not pass; nothing was registered.
        NovacronError: The target or a config is wrong, or the registry does not answer.
    """
    config = load_config(gate, GateConfig)
    with progress_bar(hidden=not show_progress) as bar:
        trained = train_policy(request, _bar(bar))
    store = ModelStore.connect(registry_config())
    outcome = policy_outcome(trained) | offer(trained, store, config)
    return Answer(payload=outcome, view=policy_view(trained, outcome))


def offer(trained: TrainedPolicy, store: ModelStore, gate: GateConfig) -> dict[str, Any]:
    """Register a policy and make it champion if it passes; leave a known one as it is.

    Raises:
        GateRefusedError: It does not pass; the figures are in the message.
    """
    target, version = trained.part.card.target, trained.part.card.version
    base = latest_version(store)
    card = policy_card(trained, base)
    rules = rules_for(gate.rules_for(card), target)
    # The limits decide; the champion's figures count when the alias moves.
    decision = decide(card, None, rules)
    if not decision.passed:
        raise GateRefusedError(
            f"The policy of {target} is not registered: {' '.join(decision.reasons)}",
            remedy="Train longer, or change configs/policy; the run folder keeps the figures.",
        )
    known = base.model.parts.get(target)
    if base.version and known is not None and known.card.version == version:
        return {"model": MODEL, "version": base.version, "reused": True}
    registered = register_policy(trained, store)
    audit = Audit(who=user_name(), at=datetime.now(UTC), why=f"policy {version} passed its gate")
    store.promote(MODEL, registered["version"], rules, audit=audit)
    return registered | {"reused": False}


def rules_for(rules: GateRules, target: str) -> GateRules:
    """Return the rules whose set is the target."""
    return rules.model_copy(
        update={
            "required": tuple(rule for rule in rules.required if rule.set == target),
            "bands": tuple(rule for rule in rules.bands if rule.set == target),
        }
    )


def _bar(bar: Any) -> Callable[[CurvePoint, int], None]:
    task = bar.add_task("training", total=None, note="")

    def listen(point: CurvePoint, env_steps: int) -> None:
        note = f"gain {point.gain_nats:.3f} nats"
        bar.update(task, total=env_steps, completed=point.env_steps, note=note)

    return listen
