"""Finished stages of a benchmark kept on disk, so that a run that was stopped goes on where it was."""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


class Stages:
    """Results of finished stages, kept as JSON under a key of code, data and sizes."""

    def __init__(self, folder: Path, key: str, *, fresh: bool) -> None:
        self.folder = folder / key
        if fresh:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)

    def get(self, name: str, measure: Callable[[], Any]) -> Any:
        """Return a stage's result, measured now or before."""
        path = self.folder / f"{name}.json"
        if not path.exists():
            log.info("measuring %s", name)
            draft = path.with_suffix(".tmp")
            draft.write_text(json.dumps(measure()))
            draft.replace(path)
        return json.loads(path.read_text())


def stage_key(amounts: object, data: str, paths: Sequence[Path]) -> str:
    """Return a key that changes with the sizes, the data and the code."""
    digest = hashlib.sha256(f"{data} {amounts}".encode())
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
