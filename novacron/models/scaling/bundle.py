"""Loads a saved scaling model; what `novacron.models.bundles` calls for the kind `scaling`."""

import json
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from novacron.errors import ArtifactError, FeatureMismatchError
from novacron.models.scaling.config import ScalingConfig
from novacron.models.scaling.density import Density
from novacron.models.scaling.features import features_hash
from novacron.models.scaling.fitted import Fitted
from novacron.models.scaling.members import Members
from novacron.models.scaling.model import FORMAT, MANIFEST, ScalingModel
from novacron.telemetry.digest import file_sha256

REMEDY: Final = "Register the model again from its training run."


def load(directory: Path) -> ScalingModel:
    """Read a bundle and check it: digests, format, and the features of this code.

    Raises:
        ArtifactError: A file is missing, changed or not readable.
        FeatureMismatchError: The features of this code are not what it was fitted on.
    """
    try:
        manifest: dict[str, Any] = json.loads((directory / MANIFEST).read_text())
        _check(directory, manifest)
        config = ScalingConfig.model_validate(manifest["config"])
        density = Density.load(directory, manifest["density"])
        members = Members.load(directory, manifest["members"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as cause:
        raise ArtifactError(
            f"The bundle in {directory.name} is missing a part or unreadable: {cause}.",
            remedy=REMEDY,
        ) from cause
    return ScalingModel(Fitted(config=config, density=density, members=members))


def _check(directory: Path, manifest: dict[str, Any]) -> None:
    if manifest["format"] != FORMAT:
        raise ArtifactError(
            f"Bundle format {manifest['format']!r} is not {FORMAT}.", remedy=REMEDY
        )
    for name, digest in manifest["files"].items():
        if file_sha256(directory / name) != digest:
            raise ArtifactError(f"{name} was changed.", remedy=REMEDY)
    own = features_hash()
    if manifest["features_hash"] != own:
        raise FeatureMismatchError(
            f"The model was fitted on features {manifest['features_hash'][:12]}, this code "
            f"computes {own[:12]}.",
            remedy="Train and register the model again.",
        )
