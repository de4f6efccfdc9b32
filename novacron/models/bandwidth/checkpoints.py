"""Where an interrupted training goes on: one directory per finished unit, one file per epoch.

Files are written beside their place and moved there, so a killed process leaves none half done.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from novacron.errors import ConfigError

Stage = Literal["choose", "final"]

_DONE: Final = "unit.json"
_KEY: Final = "training.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """One member of one class with one seed at one stage: the smallest thing that is trained.

    The stage `choose` trains on the training part and chooses by the validation part, `final`
    trains on both as long as was chosen.
    """

    path_class: str
    member: str
    seed: int
    stage: Stage = "choose"

    @property
    def name(self) -> str:
        """The name of its directory and of its progress events."""
        return f"{self.path_class}-{self.member}-{self.seed}-{self.stage}"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path beside `path`, and move what was written there to `path` at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    draft = Path(name)
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


class Checkpoints:
    """The checkpoint directory of one training, bound to its config and data.

    Args:
        directory: Made if missing.
        key: Digest of the config and the traces.

    Raises:
        ConfigError: The directory belongs to a training with another config or other traces.
    """

    def __init__(self, directory: Path, key: str) -> None:
        self._directory = directory
        mark = directory / _KEY
        if mark.exists():
            found = json.loads(mark.read_text())["key"]
            if found != key:
                raise ConfigError(
                    field="checkpoint_dir",
                    got=f"{directory.name}, begun with config and traces {found[:12]}",
                    expected=f"a training with config and traces {key[:12]}",
                    remedy="Name an empty directory, or the config and traces it was begun with.",
                )
        with replacing(mark) as draft:
            draft.write_text(json.dumps({"key": key}))

    def work_path(self, unit: Unit) -> Path:
        """Return where a unit keeps its unfinished state; the file may not exist."""
        return self._directory / "unfinished" / f"{unit.name}.safetensors"

    def done(self, unit: Unit) -> Path | None:
        """Return the directory of a finished unit, or None."""
        directory = self._directory / "units" / unit.name
        return directory if (directory / _DONE).exists() else None

    def finish(self, unit: Unit, facts: dict[str, Any], write: Callable[[Path], None]) -> Path:
        """Let `write` fill a directory, put `facts` beside it, and make both appear at once."""
        home = self._directory / "units"
        home.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{unit.name}.", dir=home))
        write(draft)
        (draft / _DONE).write_text(json.dumps(facts))
        place = home / unit.name
        shutil.rmtree(place, ignore_errors=True)
        draft.replace(place)
        self.work_path(unit).unlink(missing_ok=True)
        return place


def unit_facts(directory: Path) -> dict[str, Any]:
    """Return what `finish` stored beside a unit."""
    facts: dict[str, Any] = json.loads((directory / _DONE).read_text())
    return facts
