"""Loads a saved optimizer; what `novacron.models.bundles` calls for the kind `placement`."""

from pathlib import Path

from novacron.models.placement.bundle_files import load_models
from novacron.models.placement.model import PlacementModel


def load(directory: Path) -> PlacementModel:
    """Read a bundle and check it.

    Raises:
        ArtifactError: The bundle is missing, changed or unreadable.
        FeatureMismatchError: The factors of this code are not the ones it was fitted on.
    """
    return PlacementModel(load_models(directory))
