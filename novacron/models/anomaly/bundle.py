"""Loads a saved detector; what `novacron.models.bundles` calls for the kind `anomaly`."""

from pathlib import Path

from novacron.models.anomaly.detector import AnomalyDetector
from novacron.models.anomaly.model import AnomalyModel


def load(directory: Path) -> AnomalyModel:
    """Read a bundle and check it.

    Raises:
        ArtifactError: The bundle is missing, changed or unreadable.
        FeatureMismatchError: The features of this code are not the ones it was fitted on.
    """
    return AnomalyModel(AnomalyDetector.load(directory))
