"""Loads a saved predictor; what `novacron.models.bundles` calls for the kind `performance`."""

from pathlib import Path

from novacron.models.performance.bundle_files import read_core
from novacron.models.performance.model import PerformanceModel


def load(directory: Path) -> PerformanceModel:
    """Read a bundle and check it: digests, format, and the features of this code.

    Raises:
        ArtifactError: A file is missing, changed or not readable.
        FeatureMismatchError: The features of this code are not the ones it was fitted on.
    """
    core, _ = read_core(directory, PerformanceModel.kind)
    return PerformanceModel(core)
