"""Rejected samples of one process: kept with their reasons up to a size, counted beyond it."""

import secrets
import threading
from collections.abc import Sequence
from pathlib import Path

from novacron.telemetry.quarantine import Quarantine, Rejection


class RejectedSamples:
    """Writes a quarantine file once there is something to write.

    Args:
        directory: Where the files of all processes lie.
        max_bytes: Of this process' own file; older files of others go beyond twice as much.
    """

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._file: Quarantine | None = None
        self.total = 0
        self.not_kept = 0
        """Rejected, and not written: the file is full, or the disk is."""

    def add(self, rejected: Sequence[Rejection]) -> None:
        """Keep rejections; what cannot be kept is counted."""
        if not rejected:
            return
        with self._lock:
            self.total += len(rejected)
            try:
                if self._is_full():
                    self.not_kept += len(rejected)
                    return
                if self._file is None:
                    self._file = self._open()
                self._file.add(rejected)
                self._file.flush()
            except OSError:
                # A full disk must not refuse the good samples beside them.
                self.not_kept += len(rejected)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _is_full(self) -> bool:
        if self._max_bytes == 0:
            return True
        return self._file is not None and self._file.path.stat().st_size >= self._max_bytes

    def _open(self) -> Quarantine:
        self._directory.mkdir(parents=True, exist_ok=True)
        files = sorted(self._directory.glob("*.jsonl"), key=lambda path: path.stat().st_mtime)
        spare = sum(path.stat().st_size for path in files) - 2 * self._max_bytes
        for path in files:
            if spare <= 0:
                break
            spare -= path.stat().st_size
            path.unlink()
        return Quarantine(self._directory / f"rejected-{secrets.token_hex(6)}.jsonl")
