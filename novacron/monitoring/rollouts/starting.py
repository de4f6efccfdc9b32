"""Begins rollouts and ends them by hand: what both the command line and the endpoint do."""

import uuid
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from pydantic import ValidationError

from novacron.errors import ConfigError, ConflictError, InvalidInputError
from novacron.monitoring.rollouts.folder import RolloutFolder
from novacron.monitoring.rollouts.machine import abort, pass_on
from novacron.monitoring.rollouts.plan import RolloutPlan
from novacron.monitoring.rollouts.split import check_weights
from novacron.monitoring.rollouts.state import Decision, Rollout
from novacron.registry.records import CHAMPION, Audit


class Resolver(Protocol):
    """What a rollout asks of the registry."""

    def __call__(self, name: str, ref: str, /) -> str:
        """Return the version behind an alias or number; raises `ModelNotFoundError`."""
        ...


def read_plan(settings: Mapping[str, Any]) -> RolloutPlan:
    """Check the settings of a rollout.

    Raises:
        ConfigError: One is unknown or not allowed.
        InvalidInputError: The weights do not sum to 1.
    """
    try:
        plan = RolloutPlan.model_validate(dict(settings))
    except ValidationError as cause:
        first = cause.errors(include_url=False)[0]
        raise ConfigError(
            field=".".join(map(str, first["loc"])) or "rollout",
            got=first.get("input"),
            expected=first["msg"],
        ) from cause
    if plan.mode == "ab":
        check_weights(plan.weights)
    return plan


def start(
    folder: RolloutFolder,
    resolve: Resolver,
    model: str,
    ref: str,
    plan: RolloutPlan,
    audit: Audit,
) -> Rollout:
    """Begin a rollout; every check comes before anything is changed.

    Args:
        folder: Where it is kept.
        resolve: The registry.
        model: Its name.
        ref: Version or alias to try; of an A/B test the weights say which.
        plan: Stages and limits.
        audit: Who asks, when and why.

    Raises:
        ModelNotFoundError: No such model, version or alias, or no champion.
        InvalidInputError: The version answers already, or weights do not fit.
        ConflictError: A rollout runs, or the kill switch is on.
        NotReadyError: The registry does not answer.
    """
    stable = resolve(model, CHAMPION)
    if plan.mode == "ab":
        weights = {resolve(model, named): share for named, share in plan.weights.items()}
        check_weights(weights)
        plan = plan.model_copy(update={"weights": weights})
        tried = tuple(version for version in weights if version != stable)
    else:
        version = resolve(model, ref)
        tried = () if version == stable else (version,)
    if not tried:
        raise InvalidInputError(
            field="version",
            got=ref,
            expected=f"another one than the champion, version {stable}",
        )
    rollout = Rollout(
        id=f"{model}-{uuid.uuid4().hex[:12]}",
        model=model,
        stable=stable,
        tried=tried,
        plan=plan,
        started_at_s=audit.at.timestamp(),
        who=audit.who,
        why=audit.why,
    )
    why = audit.why or "no reason given"
    rollout.decide(Decision(at_s=audit.at.timestamp(), what="start", why=why, who=audit.who))
    folder.begin(rollout)
    return rollout


def end(
    folder: RolloutFolder,
    model: str,
    change: Callable[[Rollout], Decision],
    *,
    wanted: tuple[str, ...],
) -> Rollout:
    """Change a rollout by hand, if it is in one of the states wanted.

    Raises:
        UnknownNameError: There is none.
        ConflictError: It is in another state; nothing was changed.
    """
    folder.get(model)
    with folder.changing(model):
        rollout = folder.get(model)
        if rollout.status not in wanted:
            raise ConflictError(
                f"The rollout of {model} is {rollout.status}, not {' or '.join(wanted)}.",
                remedy=f"novacron rollout status {model} shows what happened.",
            )
        decision = change(rollout)
        folder.write(rollout)
    folder.note(rollout, decision)
    return rollout


def abort_rollout(folder: RolloutFolder, model: str, audit: Audit) -> Rollout:
    """Take all traffic back to the stable version; see `end`."""
    return end(
        folder,
        model,
        lambda rollout: abort(rollout, audit.why, audit.at.timestamp(), audit.who),
        wanted=("running", "passed"),
    )


def promote_rollout(folder: RolloutFolder, model: str, audit: Audit) -> Rollout:
    """Let the tried version take over now, whatever the gates have seen; see `end`.

    Raises:
        InvalidInputError: No reason is given, although the gates have not passed it.
    """

    def change(rollout: Rollout) -> Decision:
        why, at_s = audit.why.strip(), audit.at.timestamp()
        if rollout.status == "running" and not why:
            raise InvalidInputError(
                field="why", got=audit.why, expected="the reason for overriding the gates"
            )
        return pass_on(rollout, rollout.tried[0], why or "passed before", at_s, audit.who)

    return end(folder, model, change, wanted=("running", "passed"))
