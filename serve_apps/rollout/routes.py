"""`/api/v1/rollouts`: how rollouts stand, and the ways to end them; the kill switch is one.

A rollout is started by `novacron rollout start`, which asks the gate of the model's card first.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from novacron.errors import SchemaError
from novacron.monitoring.rollouts.description import describe
from novacron.monitoring.rollouts.folder import KILL_MODES, Kill, RolloutFolder
from novacron.monitoring.rollouts.starting import abort_rollout, promote_rollout
from novacron.registry.records import Audit
from serve_apps.domain.extension import Operation
from serve_apps.messages import unexpected
from serve_apps.oip import parse_json
from serve_apps.rollout.agent import RolloutAgent

PATH: Final = "/api/v1/rollouts"
_ACTIONS: Final = {
    "abort": "End a rollout: the stable version answers alone",
    "promote": "Let the tried version take over now",
    "kill": "Kill switch: `mode` stable (the stable version alone) or stop (nobody is answered)",
    "lift": "Turn the kill switch off",
}
_TEXTS: Final = {"model": 63, "why": 500, "who": 100, "mode": 10}
_BODY: Final = {
    "type": "object",
    "required": ["model"],
    "additionalProperties": False,
    "properties": {name: {"type": "string", "maxLength": most} for name, most in _TEXTS.items()},
}


class RolloutRoutes:
    """Implements `Extension` over the folder.

    Args:
        folder: What all replicas see.
        agent: That of this replica, which follows at once.
        models: Names that are served here.
    """

    def __init__(
        self, folder: RolloutFolder, agent: RolloutAgent, models: Callable[[], tuple[str, ...]]
    ) -> None:
        self._folder = folder
        self._agent = agent
        self._models = models

    @property
    def operations(self) -> dict[str, Operation]:
        """What is offered, by path."""
        actions = {
            f"{PATH}/{action}": Operation(method="POST", summary=summary, body=_BODY, role="admin")
            for action, summary in _ACTIONS.items()
        }
        shown = Operation(
            method="GET", summary="Rollouts: stage, shares, gates, decisions, kill switches"
        )
        return {PATH: shown} | actions

    def health(self) -> dict[str, str]:
        """Return nothing: no rollout makes an endpoint unready."""
        return {}

    def read(self, path: str) -> dict[str, Any]:  # noqa: ARG002  there is one
        """Return every rollout of the models served here."""
        found = {}
        for model in self._folder.models():
            rollout, kill = self._folder.read(model), self._folder.kill_of(model)
            if rollout is not None:
                found[model] = describe(rollout, self._folder)
            elif kill is not None:
                found[model] = {"model": model, "kill": kill.mode}
        return {"rollouts": found}

    async def ask(self, path: str, body: bytes, new_id: Callable[[], str]) -> dict[str, Any]:  # noqa: ARG002
        """Carry out one action; every replica follows at its next look, this one at once.

        Raises:
            SchemaError: The body is no such document.
            UnknownNameError: There is no rollout of the model.
            ConflictError: It is in another state.
            InvalidInputError: A promotion against the gates without a reason.
        """
        given = _read(parse_json(body), self._models())
        audit = Audit(who=given.get("who") or "endpoint", at=datetime.now(UTC), why=given["why"])
        action = path.removeprefix(f"{PATH}/")
        answer = await asyncio.to_thread(self._act, action, given, audit)
        self._agent.follow(given["model"])
        return answer

    def _act(self, action: str, given: Mapping[str, str], audit: Audit) -> dict[str, Any]:
        model = given["model"]
        if action == "lift":
            was_on = self._folder.lift(model, audit.who, audit.at.timestamp())
            return {"model": model, "lifted": was_on}
        if action == "kill":
            mode = given.get("mode") or "stable"
            if mode not in KILL_MODES:
                raise unexpected("mode", mode, "stable or stop")
            kill = Kill(
                mode="stop" if mode == "stop" else "stable",
                who=audit.who,
                why=audit.why,
                at_s=audit.at.timestamp(),
            )
            self._folder.kill(model, kill)
            return {"model": model, "kill": mode}
        change = abort_rollout if action == "abort" else promote_rollout
        return describe(change(self._folder, model, audit), self._folder)


def _read(document: Any, models: tuple[str, ...]) -> dict[str, str]:
    if not isinstance(document, dict):
        raise unexpected("body", document, "a JSON object")
    found = {"why": ""}
    for name, value in document.items():
        if name not in _TEXTS:
            raise SchemaError(
                field=name[:60], got="a field of this name", expected=", ".join(_TEXTS)
            )
        if not isinstance(value, str) or len(value) > _TEXTS[name]:
            raise unexpected(name, value, f"a string of at most {_TEXTS[name]} characters")
        found[name] = value
    if found.get("model") not in models:
        raise unexpected("model", found.get("model"), "one of " + ", ".join(models))
    return found
