"""Where a model's code came from: the git commit and the library versions."""

import platform
import shutil
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

UNKNOWN: Final = "unknown"


def read_code_version(directory: Path) -> str:
    """Return the git commit of a source folder.

    Returns:
        The full commit, with `-dirty` appended when tracked files were changed since, or
        `unknown` where there is no git or no repository (for example in a packed job folder).
    """
    git = shutil.which("git")
    if git is None or not directory.is_dir():
        return UNKNOWN
    command = ("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    answer = subprocess.run(  # noqa: S603 - fixed arguments, no shell
        [git, "-C", str(directory), *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return answer.stdout.strip() or UNKNOWN


def library_versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the installed version of Python and of each package named."""
    return {"python": platform.python_version()} | {name: version(name) for name in packages}
