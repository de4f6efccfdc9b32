"""The audit log: JSON lines of who asked what and what became of it, written beside the answers.

A line is handed over in a microsecond and written by a thread; if the disk cannot follow, lines are
lost and counted, and the answers go on. Each process has a file of its own, so that no two rotate
the same one. No token, no input and no answer is ever in it.
"""

import itertools
import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson

from novacron.errors import ConfigError
from serve_apps.settings.access import AuditConfig

logger = logging.getLogger(__name__)

FLUSH_S: Final = 0.5
_BLOCK: Final = 2_000
_MAX_CHARS: Final = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One line."""

    caller: str
    address: str
    action: str
    """What was asked: method and path, or the gRPC method, or the name of a change."""
    status: int
    decision: str
    """`answered`, `refused`, `failed` or `changed`."""
    model: str = ""
    version: str = ""
    request_id: str = ""
    reason: str = ""
    """Name of the error, or what a change was about."""


class AuditLog:
    """Append-only files in a folder; without one, entries go nowhere.

    Args:
        config: Settings.
        now: The time.
        on_lost: Called with the number of lines that could not be written.
        process: Tells this process' files from others'; by default its number.

    Raises:
        ConfigError: The folder cannot be made or written to.
    """

    def __init__(
        self,
        config: AuditConfig,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_lost: Callable[[int], None] = lambda _count: None,
        process: str = "",
    ) -> None:
        self._config = config
        self._now = now
        self._on_lost = on_lost
        self._process = process or str(os.getpid())
        self._waiting: deque[dict[str, Any]] = deque()
        self._wake = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._lost = 0
        if config.dir is not None:
            _make_folder(config.dir)

    @property
    def wants_predictions(self) -> bool:
        """Whether answered predictions are to be written."""
        return self._config.dir is not None and self._config.predictions

    @property
    def path(self) -> Path | None:
        """The file being written; None without a log."""
        folder = self._config.dir
        return None if folder is None else folder / f"audit-{self._process}.jsonl"

    def write(self, entry: Entry) -> None:
        """Take a line; neither blocks nor raises."""
        if self._config.dir is None:
            return
        if len(self._waiting) >= self._config.max_waiting:
            self._lost += 1
            self._on_lost(1)
            return
        self._waiting.append({"at": self._now(), **_fields(entry)})
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Write what waits and end the thread."""
        self._closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(10.0)

    def _run(self) -> None:
        while True:
            closed = self._closed
            self._flush()
            if closed:
                return
            self._wake.wait(FLUSH_S)

    def _flush(self) -> None:
        while self._waiting:
            block = [self._waiting.popleft() for _ in range(min(len(self._waiting), _BLOCK))]
            try:
                self._append(block)
            except OSError as error:
                logger.error("%d audit lines are lost: %s", len(block), error)
                self._lost += len(block)
                self._on_lost(len(block))

    def _append(self, block: list[dict[str, Any]]) -> None:
        path = self.path
        if path is None:
            return
        if self._lost:
            block = [{"at": self._now(), "action": "audit", "lost_lines": self._lost}, *block]
        data = b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in block)
        if path.exists() and path.stat().st_size + len(data) > self._config.max_bytes:
            self._rotate(path)
        # Read by its owner alone: it says who works with what.
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(handle, "ab") as file:
            file.write(data)
        self._lost = 0

    def _rotate(self, path: Path) -> None:
        older = sorted(path.parent.glob(f"{path.stem}.*.jsonl"))
        for name in itertools.count(self._next_number(older)):
            put_aside = path.with_name(f"{path.stem}.{name:06d}.jsonl")
            if not put_aside.exists():
                path.rename(put_aside)
                break
        # One place is the new file's.
        for old in [*older, put_aside][: -(self._config.keep - 1) or None]:
            old.unlink(missing_ok=True)

    def _next_number(self, older: list[Path]) -> int:
        return int(older[-1].name.split(".")[-2]) + 1 if older else 1


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError as cause:
        raise ConfigError(
            field="access.audit.dir", got=str(cause), expected="a folder that can be made"
        ) from cause
    if not writable:
        raise ConfigError(
            field="access.audit.dir", got=str(folder), expected="a folder that can be written to"
        )


def _fields(entry: Entry) -> dict[str, Any]:
    found = {
        "caller": entry.caller,
        "address": entry.address,
        "action": entry.action,
        "model": entry.model,
        "version": entry.version,
        "request_id": entry.request_id,
        "reason": entry.reason,
    }
    cut = {name: text[:_MAX_CHARS] for name, text in found.items() if text}
    return cut | {"status": entry.status, "decision": entry.decision}
