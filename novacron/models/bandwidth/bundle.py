"""Loads a saved forecaster; what `novacron.models.bundles` calls for the kind `bandwidth`."""

from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError

from novacron.errors import ArtifactError
from novacron.features.fingerprint import check_fingerprint
from novacron.models.bandwidth.bundle_files import REMEDY, read_classes, read_manifest
from novacron.models.bandwidth.config import BandwidthConfig
from novacron.models.bandwidth.model import BandwidthModel


def load(directory: Path) -> BandwidthModel:
    """Read a bundle and check it: digests, format, and the features of this code.

    Raises:
        ArtifactError: A file is missing, changed or not readable.
        FeatureMismatchError: The features of this code are not the ones it was fitted on.
    """
    try:
        manifest = read_manifest(directory)
        config = BandwidthConfig.model_validate(manifest["config"])
        check_fingerprint(manifest["features_hash"], config.features)
        classes = read_classes(directory, manifest, config)
    except (OSError, ValueError, KeyError, SafetensorError, ValidationError) as cause:
        raise ArtifactError(
            f"The bundle in {directory.name} is missing a part or unreadable: {cause}.",
            remedy=REMEDY,
        ) from cause
    return BandwidthModel(config, classes)
