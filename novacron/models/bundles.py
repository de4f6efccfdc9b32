"""Finds the loader of a saved model by the `kind` in its `bundle.json`."""

import importlib
import json
from pathlib import Path
from typing import Final, cast

from novacron.errors import ArtifactError
from novacron.models.base import ServableModel

MANIFEST: Final = "bundle.json"

# kind -> module with a function `load(directory: Path) -> ServableModel`. Loaded on demand, so that
# a model's libraries are needed only where that model is.
LOADERS: Final[dict[str, str]] = {
    "anomaly": "novacron.models.anomaly.bundle",
    "bandwidth": "novacron.models.bandwidth.bundle",
    "capacity": "novacron.models.capacity.bundle",
    "patterns": "novacron.models.patterns.bundle",
    "scaling": "novacron.models.scaling.bundle",
    "placement": "novacron.models.placement.bundle",
    "policy": "novacron.models.policy.bundle",
    "performance": "novacron.models.performance.bundle",
}


def load_bundle(directory: Path) -> ServableModel:
    """Load a saved model of any known kind.

    Raises:
        ArtifactError: The manifest is missing or unreadable, or names an unknown kind.
        FeatureMismatchError: The features of this code are not the ones it was fitted on.
    """
    path = directory / MANIFEST
    try:
        kind = json.loads(path.read_text())["kind"]
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise ArtifactError(
            f"{path.name} is missing or unreadable: {cause}.",
            remedy="Register the model again from its training run.",
        ) from cause
    if kind not in LOADERS:
        raise ArtifactError(
            f"Bundle kind {kind!r} is unknown; known: {', '.join(LOADERS)}.",
            remedy="Serve it with the version of this project that trained it.",
        )
    return cast(ServableModel, importlib.import_module(LOADERS[kind]).load(directory))
