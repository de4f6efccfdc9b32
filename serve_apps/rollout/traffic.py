"""Which version of a model a request goes to while a rollout runs or the kill switch is on."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from novacron.errors import ModelNotFoundError, NotReadyError
from novacron.monitoring.rollouts.folder import Kill
from novacron.monitoring.rollouts.split import Quota, Split, bucket_of
from novacron.monitoring.rollouts.state import Rollout
from serve_apps.host import ServedModel
from serve_apps.request_path import CANDIDATE, NAMED, STABLE, Chooser, Chosen


class Finder(Protocol):
    """Where loaded versions are found: `ModelHost`, or several as one."""

    def get(self, name: str, version: str | None = None) -> ServedModel:
        """Find a loaded version; raises as `ModelHost.get`."""
        ...


@dataclass(slots=True)
class _Direction:
    """What holds for one model now."""

    rollout_id: str
    stable: str
    split: Split
    quota: Quota
    kill: Kill | None
    keyless_to_stable: bool


class RolloutTraffic(Chooser):
    """Splits traffic between the versions of a model as the newest state of its rollout says.

    A key falls into the same share in every replica and after every restart. A request without one
    is dealt at random, never above the share; in an A/B test, which is about keys, it stays with the
    stable version. A tried version that is not loaded here gets nothing.

    Args:
        host: The loaded versions.
        uniform: Draws from [0, 1).
    """

    def __init__(self, host: Finder, uniform: Callable[[], float] = random.random) -> None:
        self._host = host
        self._uniform = uniform
        self._directions: dict[str, _Direction] = {}

    def direct(
        self, model: str, rollout: Rollout | None, kill: Kill | None, *, followed: bool = True
    ) -> None:
        """Follow a new state of a model's rollout and kill switch.

        Args:
            model: Its name.
            rollout: The newest one, or None.
            kill: The kill switch, where it is on.
            followed: Whether this replica has followed the alias since the rollout ended; from then
                on the alias alone says who answers by default.
        """
        directs = rollout is not None and (
            rollout.is_live or (rollout.status == "promoted" and not followed)
        )
        if not directs and kill is None:
            self._directions.pop(model, None)
            return
        stable = rollout.stable if rollout else ""
        split = rollout.split if rollout and directs else Split(((stable, 1.0),))
        before = self._directions.get(model)
        is_same = before is not None and before.split == split
        self._directions[model] = _Direction(
            rollout_id=rollout.id if rollout else "",
            stable=stable,
            split=split,
            quota=before.quota if before is not None and is_same else Quota(split),
            kill=kill,
            keyless_to_stable=bool(rollout and rollout.is_live and rollout.plan.mode == "ab"),
        )

    def choose(self, name: str, version: str | None, key: str) -> Chosen:
        """Choose; see `Chooser.choose`."""
        now = self._directions.get(name)
        if now is None:
            return Chosen(
                served=self._host.get(name, version), role=STABLE if version is None else NAMED
            )
        if now.kill is not None and now.kill.mode == "stop":
            raise NotReadyError(
                f"Model {name!r} was stopped by its kill switch: {now.kill.why or 'no reason given'}.",
                remedy=f"novacron rollout lift {name} lets it answer again.",
            )
        if version is not None:
            return Chosen(served=self._host.get(name, version), role=NAMED)
        picked = now.stable if now.kill is not None else self._pick(now, key)
        if picked and picked != now.stable:
            try:
                return Chosen(served=self._host.get(name, picked), role=CANDIDATE)
            except ModelNotFoundError:
                # Not loaded here yet, or no more.
                picked = now.stable
        return Chosen(served=self._find_stable(name, picked), role=STABLE)

    def _pick(self, now: _Direction, key: str) -> str:
        if key:
            return now.split.pick(bucket_of(key, now.rollout_id))
        if now.keyless_to_stable:
            return now.stable
        return now.quota.pick(self._uniform())

    def _find_stable(self, name: str, version: str) -> ServedModel:
        """Find the stable version, or what answers by default where it is not here."""
        if version:
            try:
                return self._host.get(name, version)
            except ModelNotFoundError:
                pass
        return self._host.get(name)
