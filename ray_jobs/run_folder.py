"""The folder of one training run: named after its inputs, so the same command finds it again."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import novacron
from novacron.registry.lineage import UNKNOWN, read_code_version

_CODE_FOLDER: Final = Path(novacron.__file__).parent
_KEY_CHARS: Final = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFolder:
    """Paths of a run. `run.json` says what it is, `result.json` that it is finished."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Folder of what the units have finished."""
        return self.path / "checkpoints"

    @property
    def progress(self) -> Path:
        """Folder of the units' progress files."""
        return self.path / "progress"

    @property
    def bundle(self) -> Path:
        """The fitted model."""
        return self.path / "bundle"

    @property
    def report(self) -> Path:
        """Folder of the report."""
        return self.path / "report"

    def read(self, name: str) -> dict[str, Any] | None:
        """Read one of the JSON files, None where it is missing or half written."""
        try:
            found: dict[str, Any] = json.loads((self.path / f"{name}.json").read_text())
        except (OSError, ValueError):
            return None
        return found

    def write(self, name: str, value: dict[str, Any]) -> None:
        """Write one of the JSON files in one step."""
        self.path.mkdir(parents=True, exist_ok=True)
        draft = self.path / f"{name}.json.tmp-{os.getpid()}"
        draft.write_text(json.dumps(value, indent=1, default=str) + "\n")
        draft.replace(self.path / f"{name}.json")


def run_key(model: str, config_json: str, data_sha256: str) -> str:
    """Return a short digest of everything that decides what a training produces.

    That is the model's name, its config, the data and the code of the library; with any of them
    changed, finished pieces of an earlier run would not fit.
    """
    text = "\0".join((model, config_json, data_sha256, code_sha256()))
    return hashlib.sha256(text.encode()).hexdigest()[:_KEY_CHARS]


def code_sha256() -> str:
    """Return the digest of the library's source files."""
    digest = hashlib.sha256()
    for path in sorted(_CODE_FOLDER.rglob("*.py")):
        digest.update(f"{path.relative_to(_CODE_FOLDER).as_posix()}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def code_version() -> str:
    """Return the git commit, or `source:<digest>` in a packed job folder without git."""
    commit = read_code_version(_CODE_FOLDER)
    return commit if commit != UNKNOWN else f"source:{code_sha256()[:_KEY_CHARS]}"
