"""Where runs are kept and data are read: the two folders a user can name from outside."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from novacron.errors import DatasetNotFoundError

if TYPE_CHECKING:
    from novacron.registry.config import RegistryConfig

RUNS_DIR_VARIABLE: Final = "NOVACRON_RUNS_DIR"
DATA_DIR_VARIABLE: Final = "NOVACRON_DATA_DIR"


def runs_dir() -> Path:
    """Return the absolute folder of everything that runs write: `$NOVACRON_RUNS_DIR` or `runs`.

    Jobs and replicas work in other folders than the command that started the cluster, so the
    cluster hands them this one through the environment.
    """
    return Path(os.environ.get(RUNS_DIR_VARIABLE) or "runs").resolve()


def data_dir() -> Path | None:
    """Return the folder of the public traces, or None where none is named.

    Raises:
        DatasetNotFoundError: `$NOVACRON_DATA_DIR` names a folder that is not there.
    """
    named = os.environ.get(DATA_DIR_VARIABLE)
    if not named:
        return None
    path = Path(named).resolve()
    if not path.is_dir():
        raise DatasetNotFoundError(
            f"{DATA_DIR_VARIABLE} names {named!r}, which is not a folder.",
            remedy="Set it to the folder of the traces, or unset it to use generated ones.",
        )
    return path


def registry_config() -> "RegistryConfig":
    """Return the registry named by the environment; by default it lies in the runs folder.

    Raises:
        ConfigError: A variable holds a setting that is not allowed.
    """
    from novacron.registry.config import VARIABLES, RegistryConfig

    root = os.environ.get(VARIABLES["root"]) or str(runs_dir() / "registry")
    return RegistryConfig.from_mapping({**os.environ, VARIABLES["root"]: root})
