"""Loads a saved recogniser; what `novacron.models.bundles` calls for the kind `patterns`."""

import json
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file

from novacron.errors import ArtifactError, FeatureMismatchError
from novacron.features.evidence.table import evidence_fingerprint, names
from novacron.models.patterns.config import PatternsConfig
from novacron.models.patterns.definitions import NAMES
from novacron.models.patterns.forest import Forest
from novacron.models.patterns.model import FORMAT, MANIFEST, WEIGHTS, Calibration, PatternModel
from novacron.telemetry.digest import file_sha256

REMEDY: Final = "Register the model again from its training run."


def load(directory: Path) -> PatternModel:
    """Read a bundle and check it: digest, format, types, and the evidence of this code.

    Raises:
        ArtifactError: A file is missing, changed or not readable, or the types are others.
        FeatureMismatchError: The evidence of this code is not what it was fitted on.
    """
    try:
        manifest: dict[str, Any] = json.loads((directory / MANIFEST).read_text())
        _check(directory, manifest)
        forest = Forest.from_arrays(
            load_file(directory / WEIGHTS), features=len(names()), classes=len(NAMES)
        )
        config = PatternsConfig.model_validate(manifest["config"])
        calibration = Calibration(
            temperature=float(manifest["temperature"]),
            period_width=float(manifest["period_width"]),
        )
    except (OSError, ValueError, KeyError, TypeError, SafetensorError, ValidationError) as cause:
        raise ArtifactError(
            f"The bundle in {directory.name} is missing a part or unreadable: {cause}.",
            remedy=REMEDY,
        ) from cause
    return PatternModel(config, forest, calibration)


def _check(directory: Path, manifest: dict[str, Any]) -> None:
    if manifest["format"] != FORMAT:
        raise ArtifactError(
            f"Bundle format {manifest['format']!r} is not {FORMAT}.", remedy=REMEDY
        )
    if tuple(manifest["types"]) != NAMES:
        raise ArtifactError("The bundle tells other types apart than this code.", remedy=REMEDY)
    if file_sha256(directory / WEIGHTS) != manifest["files"][WEIGHTS]:
        raise ArtifactError(f"{WEIGHTS} was changed.", remedy=REMEDY)
    own = evidence_fingerprint()
    if manifest["features_hash"] != own:
        raise FeatureMismatchError(
            f"The model was fitted on evidence {manifest['features_hash'][:12]}, this code computes "
            f"{own[:12]}.",
            remedy="Train and register the model again.",
        )
