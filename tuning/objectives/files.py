"""Training files as a search starts from them and writes them; digests of what was prepared."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml
from numpy.typing import NDArray

from novacron.errors import ConfigError
from novacron.models.search_space import SearchSpace, Values

CONFIGS: Final = Path(__file__).parents[2] / "configs"


def training_file(name: str) -> dict[str, Any]:
    """Return the content of a shipped training file, such as `train/bandwidth`.

    Raises:
        ConfigError: It is not there, or is no mapping.
    """
    path = CONFIGS / f"{name}.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as cause:
        raise ConfigError(
            field=f"configs/{name}.yaml",
            got=str(cause),
            expected="the training file that a search starts from",
            remedy="Run from a checkout of the project.",
        ) from cause
    if not isinstance(content, dict):
        raise ConfigError(field=path.name, got=type(content).__name__, expected="a mapping")
    return content


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested blocks with the settings of `changes` over those of `base`."""
    made = dict(base)
    for name, value in changes.items():
        inside = made.get(name)
        if isinstance(value, Mapping):
            made[name] = merged(inside if isinstance(inside, Mapping) else {}, value)
        else:
            made[name] = value
    return made


def with_values(name: str, space: SearchSpace, values: Values) -> dict[str, Any]:
    """Return a shipped training file with searched values in their places."""
    return merged(training_file(name), space.nested(space.check(values)))


def block_of(space: SearchSpace, values: Values) -> dict[str, Any]:
    """Return values as the nested content of the space's own block."""
    inside: dict[str, Any] = space.nested(values)
    for part in space.block.split("."):
        inside = inside[part]
    return inside


def arrays_sha256(arrays: Mapping[str, NDArray[np.generic]]) -> str:
    """Return the digest of arrays by name."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
