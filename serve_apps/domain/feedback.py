"""Operators' verdicts on alerts: kept in a file, and applied to the detector in every replica.

A line is one verdict. Each replica applies those that were given on the version it serves, in the
order of the file, so that all of them hold the same threshold; a new version starts from its own.
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

import orjson

from novacron.errors import SchemaError
from serve_apps.host import ServedModel
from serve_apps.messages import unexpected

logger = logging.getLogger(__name__)

PATH: Final = "/api/v1/anomalies/feedback"
MODEL: Final = "anomaly"
FILE: Final = "verdicts.jsonl"
VERDICTS: Final = ("confirmed", "false_alarm")
MAX_TEXT: Final = 256
_TEXTS: Final = ("entity_id", "alert_id", "at", "comment")
_FIELDS: Final = (*_TEXTS, "verdict", "false_positive")


class _Detector(Protocol):
    threshold: float

    def feedback(self, verdict: Any) -> float: ...


@runtime_checkable
class _Judged(Protocol):
    """A model whose threshold verdicts may move."""

    detector: _Detector


def read_verdict(document: Any) -> dict[str, str]:
    """Check one verdict: `verdict`, or `false_positive` as the Go callers send it.

    Raises:
        SchemaError: A field is unknown or mistyped, or not exactly one of the two is there.
    """
    if not isinstance(document, dict):
        raise unexpected("body", document, "a JSON object")
    for name in document:
        if name not in _FIELDS:
            raise SchemaError(
                field=name[:100], got="a field of this name", expected=", ".join(_FIELDS)
            )
    found: dict[str, str] = {}
    for name in _TEXTS:
        value = document.get(name, "")
        if not isinstance(value, str) or len(value) > MAX_TEXT:
            raise unexpected(name, value, f"a string of at most {MAX_TEXT} characters")
        found[name] = value
    if not found["entity_id"]:
        raise unexpected("entity_id", None, "what the alert was about")
    return found | {"verdict": _verdict(document)}


def _verdict(document: Mapping[str, Any]) -> str:
    if ("verdict" in document) == ("false_positive" in document):
        raise unexpected("verdict", document.get("verdict"), "either verdict or false_positive")
    is_false = document.get("false_positive", False)
    if not isinstance(is_false, bool):
        raise unexpected("false_positive", is_false, "true or false")
    given = document.get("verdict", "false_alarm" if is_false else "confirmed")
    if not isinstance(given, str) or given not in VERDICTS:
        raise unexpected("verdict", given, "one of " + ", ".join(VERDICTS))
    return given


@dataclass
class VerdictLog:
    """The file, and how far this process has applied it.

    Args:
        directory: Where it lies; replicas of one node share it.
    """

    directory: Path
    _offset: int = 0
    _version: str = ""
    _seen: set[str] = field(default_factory=set)

    def append(self, verdict: Mapping[str, str]) -> None:
        """Keep one verdict; it is on the disk when this returns."""
        self.directory.mkdir(parents=True, exist_ok=True)
        line = orjson.dumps(dict(verdict)) + b"\n"
        target = os.open(self.directory / FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            # One write: lines of several replicas do not mix.
            os.write(target, line)
            os.fsync(target)
        finally:
            os.close(target)

    def apply(self, served: ServedModel) -> int:
        """Apply what was not applied yet to the version served; return how many verdicts were.

        An `alert_id` counts once, however often its verdict was sent.
        """
        model = served.model
        path = self.directory / FILE
        if not isinstance(model, _Judged) or not path.exists():
            return 0
        if served.version != self._version:
            self._offset, self._version, self._seen = 0, served.version, set()
        with path.open("rb") as lines:
            lines.seek(self._offset)
            data = lines.read()
        whole = data.rpartition(b"\n")[0]
        self._offset += len(whole) + 1 if whole else 0
        applied = 0
        for line in whole.splitlines():
            try:
                found = orjson.loads(line)
                version, name, verdict = (
                    found[key] for key in ("model_version", "feedback_id", "verdict")
                )
            except (orjson.JSONDecodeError, KeyError, TypeError):
                # Somebody edited the file; the verdicts around it still hold.
                logger.error("a line of %s is no verdict: %r", path, line[:100])
                continue
            if version != served.version or name in self._seen or verdict not in VERDICTS:
                continue
            self._seen.add(name)
            model.detector.feedback(verdict)
            applied += 1
        return applied


def describe_effect(served: ServedModel) -> dict[str, Any]:
    """Return the threshold now in force, where the model has one that verdicts move."""
    model = served.model
    threshold = model.detector.threshold if isinstance(model, _Judged) else None
    return {"threshold": threshold}
