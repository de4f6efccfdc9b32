"""The folder that remembers rollouts: every replica, the command line and a new leader read it.

Plain files on purpose: rollback and kill switch must work while the registry does not answer and no
controller lives. A state is replaced in one rename, changed under a lock, and survives any crash.

    NAME.json          the newest rollout of a model
    NAME.kill          the kill switch: while it is there, no rollout directs traffic
    counts/ID/REPLICA  what a replica counted in rollout ID
    audit.jsonl        one line for each decision, for good
"""

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydantic import TypeAdapter, ValidationError

from novacron.errors import ConflictError, InvalidInputError, UnknownNameError
from novacron.monitoring.rollouts.counts import StageCounts
from novacron.monitoring.rollouts.state import (
    Decision,
    Rollout,
    counts_from_json,
    counts_to_json,
    from_json,
    to_json,
)

KillMode = Literal["stable", "stop"]
KILL_MODES: Final = ("stable", "stop")
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Kill:
    """The kill switch of one model."""

    mode: KillMode
    """`stable`: only the version that answers by default; `stop`: the model answers nobody."""
    who: str
    why: str
    at_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplicaReport:
    """What one replica says of a rollout."""

    counts: StageCounts
    failure: str = ""
    """Why it could not load a version that is tried; empty where it could."""
    loaded: tuple[str, ...] = ()
    """Tried versions that it holds."""


_KILL: Final = TypeAdapter(Kill)


class RolloutFolder:
    """Reads and writes the files of a folder.

    Args:
        root: The folder; made when something is written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def models(self) -> tuple[str, ...]:
        """Return the models that have a rollout or a kill switch."""
        found = {one.stem for pattern in ("*.json", "*.kill") for one in self.root.glob(pattern)}
        return tuple(sorted(found))

    def stamp(self, model: str) -> tuple[int, ...]:
        """Return numbers that change whenever the rollout or the kill switch of a model does."""
        found: list[int] = []
        for suffix in (".json", ".kill"):
            try:
                state = self._path(model, suffix).stat()
            except FileNotFoundError:
                found += [0, 0]
            else:
                found += [state.st_mtime_ns, state.st_ino]
        return tuple(found)

    def read(self, model: str) -> Rollout | None:
        """Return the newest rollout of a model, or None.

        Raises:
            ArtifactError: The file is damaged.
        """
        path = self._path(model, ".json")
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        return from_json(data, str(path))

    def get(self, model: str) -> Rollout:
        """Return the newest rollout of a model.

        Raises:
            UnknownNameError: There is none.
        """
        found = self.read(model)
        if found is None:
            raise UnknownNameError(kind="rollout of model", got=model, known=self.models())
        return found

    @contextmanager
    def changing(self, model: str) -> Iterator[None]:
        """Hold the lock under which the state of a model is changed; it dies with its process."""
        self.root.mkdir(parents=True, exist_ok=True)
        with self._path(model, ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def write(self, rollout: Rollout, *, durably: bool = True) -> None:
        """Replace the state of a rollout; call it while `changing`.

        Args:
            rollout: The new state.
            durably: Whether it must survive the machine's own crash, as a decision must; mere
                counts survive that of any process as they are.
        """
        self._replace(self._path(rollout.model, ".json"), to_json(rollout), durably=durably)

    def begin(self, rollout: Rollout) -> None:
        """Keep a new rollout.

        Raises:
            ConflictError: One runs already, or the kill switch is on; nothing was changed.
        """
        with self.changing(rollout.model):
            running = self.read(rollout.model)
            if running is not None and running.is_live:
                raise ConflictError(
                    f"A rollout of {rollout.model} runs already: {running.id}, version "
                    f"{', '.join(running.tried)}, {running.status}.",
                    remedy=f"Wait for it, or end it: novacron rollout abort {rollout.model}.",
                )
            if self.kill_of(rollout.model) is not None:
                raise ConflictError(
                    f"The kill switch of {rollout.model} is on.",
                    remedy=f"Lift it first: novacron rollout lift {rollout.model}.",
                )
            if running is not None:
                shutil.rmtree(self.root / "counts" / running.id, ignore_errors=True)
            self.write(rollout)
        self.note(rollout, rollout.decisions[-1])

    # --- kill switch ----------------------------------------------------------------------

    def kill(self, model: str, kill: Kill) -> None:
        """Turn the kill switch of a model on; needs nothing but this folder."""
        self.root.mkdir(parents=True, exist_ok=True)
        self._replace(self._path(model, ".kill"), _KILL.dump_json(kill))
        self._log({"model": model, "what": "kill", "mode": kill.mode, "who": kill.who}, kill)

    def lift(self, model: str, who: str, now_s: float) -> bool:
        """Turn the kill switch off; tell whether it was on."""
        path = self._path(model, ".kill")
        was_on = path.exists()
        path.unlink(missing_ok=True)
        if was_on:
            off = Kill(mode="stable", who=who, why="lifted", at_s=now_s)
            self._log({"model": model, "what": "lift", "who": who}, off)
        return was_on

    def kill_of(self, model: str) -> Kill | None:
        """Return the kill switch of a model, or None where it is off.

        A file that says nothing readable counts as on: whoever put it there meant it.
        """
        try:
            data = self._path(model, ".kill").read_bytes()
        except FileNotFoundError:
            return None
        try:
            return _KILL.validate_json(data)
        except ValidationError:
            return Kill(mode="stable", who="unknown", why="a file of this name is there", at_s=0.0)

    # --- counts ---------------------------------------------------------------------------

    def report(self, rollout_id: str, replica: str, report: ReplicaReport) -> None:
        """Keep what a replica counted, in place of what it said before."""
        folder = self.root / "counts" / rollout_id
        folder.mkdir(parents=True, exist_ok=True)
        self._replace(folder / replica, _frame(report), durably=False)

    def reports(self, rollout_id: str) -> dict[str, ReplicaReport]:
        """Return the last report of every replica, of those that are gone too."""
        found: dict[str, ReplicaReport] = {}
        folder = self.root / "counts" / rollout_id
        if not folder.is_dir():
            return found
        for path in folder.iterdir():
            if not path.name.endswith(_TEMPORARY):
                found[path.name] = _unframe(path.read_bytes())
        return found

    # --- audit ----------------------------------------------------------------------------

    def note(self, rollout: Rollout, decision: Decision) -> None:
        """Add a decision to the audit log."""
        about = {
            "model": rollout.model,
            "rollout": rollout.id,
            "what": decision.what,
            "stable": rollout.stable,
            "tried": list(rollout.tried),
            "status": rollout.status,
            "stage": decision.stage,
            "window": decision.window,
            "exposed_ratio": round(rollout.exposed_ratio, 4),
            "who": decision.who,
        }
        self._log(about, decision)

    def audit(self, model: str) -> list[dict[str, object]]:
        """Return the audit lines of a model, oldest first."""
        path = self.root / "audit.jsonl"
        if not path.exists():
            return []
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return [line for line in lines if line["model"] == model]

    def _log(self, about: dict[str, object], said: Decision | Kill) -> None:
        line = json.dumps({"at_s": said.at_s} | about | {"why": said.why}) + "\n"
        target = os.open(self.root / "audit.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            # One write: lines of several processes do not mix.
            os.write(target, line.encode())
            os.fsync(target)
        finally:
            os.close(target)

    def _path(self, model: str, suffix: str) -> Path:
        if not _NAME.fullmatch(model):
            raise InvalidInputError(
                field="model",
                got=model,
                expected="a lower-case letter, then up to 62 letters, digits, _ or -",
            )
        return self.root / f"{model}{suffix}"

    @staticmethod
    def _replace(path: Path, data: bytes, *, durably: bool = True) -> None:
        temporary = path.with_name(f"{path.name}.{os.getpid()}{_TEMPORARY}")
        with temporary.open("wb") as target:
            target.write(data)
            if durably:
                target.flush()
                os.fsync(target.fileno())
        temporary.replace(path)


_TEMPORARY: Final = ".part"


def _frame(report: ReplicaReport) -> bytes:
    head = json.dumps({"failure": report.failure, "loaded": list(report.loaded)})
    return head.encode() + b"\n" + counts_to_json(report.counts)


def _unframe(data: bytes) -> ReplicaReport:
    head, _, counts = data.partition(b"\n")
    said = json.loads(head)
    return ReplicaReport(
        counts=counts_from_json(counts), failure=said["failure"], loaded=tuple(said["loaded"])
    )
