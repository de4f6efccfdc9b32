"""Loads a saved capacity model; what `novacron.models.bundles` calls for the kind `capacity`."""

import json
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from novacron.errors import ArtifactError, FeatureMismatchError
from novacron.models.capacity.boosted import Booster, features_hash
from novacron.models.capacity.config import CapacityConfig
from novacron.models.capacity.model import FORMAT, MANIFEST, CapacityModel, prior_from_dict
from novacron.telemetry.digest import file_sha256

REMEDY: Final = "Register the model again from its training run."
SHIPPED: Final = Path(__file__).parent / "shipped"
"""The model that answers before any training: see docs/models/capacity.md for its origin."""


def load(directory: Path) -> CapacityModel:
    """Read a bundle and check it: digests, format, and the features of this code.

    Raises:
        ArtifactError: A file is missing, changed or not readable.
        FeatureMismatchError: The features of this code are not what it was fitted on.
    """
    try:
        manifest: dict[str, Any] = json.loads((directory / MANIFEST).read_text())
        if manifest["format"] != FORMAT:
            raise ArtifactError(
                f"Bundle format {manifest['format']!r} is not {FORMAT}.", remedy=REMEDY
            )
        config = CapacityConfig.model_validate(manifest["config"])
        priors = {int(step): prior_from_dict(one) for step, one in manifest["priors"].items()}
        boosters = {step: _booster(directory, step, manifest["files"]) for step in priors}
        own, fitted = features_hash(), str(manifest["features_hash"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as cause:
        raise ArtifactError(
            f"The bundle in {directory.name} is missing a part or unreadable: {cause}.",
            remedy=REMEDY,
        ) from cause
    if own != fitted:
        raise FeatureMismatchError(
            f"The model was fitted on features {fitted[:12]}, this code computes {own[:12]}.",
            remedy="Train and register the model again.",
        )
    return CapacityModel(config, priors, boosters)


def _booster(directory: Path, step_s: int, files: dict[str, str]) -> Booster:
    name = f"boosted_{step_s}.txt"
    path = directory / name
    if name not in files or file_sha256(path) != files[name]:
        raise ArtifactError(f"{name} is missing or was changed.", remedy=REMEDY)
    return Booster(path.read_text())
