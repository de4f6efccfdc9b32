"""Turns a bundle folder back into a model, only after every file was found to be the card's."""

from pathlib import Path

from novacron.errors import ArtifactError, FeatureMismatchError
from novacron.models.base import ServableModel
from novacron.models.bundles import load_bundle
from novacron.registry.bundle_files import check_files, list_files
from novacron.registry.card import ModelCard


def load_checked(bundle_dir: Path, card: ModelCard, *, max_bytes: int) -> ServableModel:
    """Load a bundle that a card describes.

    Raises:
        ArtifactError: A file is missing, added, changed, unsafe or too large, or the bundle is
            of another kind than its card says.
        FeatureMismatchError: Bundle and card, or bundle and this code, name other features.
    """
    check_files(list_files(bundle_dir, max_bytes=max_bytes), card.files)
    model = load_bundle(bundle_dir)
    if model.kind != card.kind:
        raise ArtifactError(
            f"The bundle is a {model.kind}, its card says {card.kind}.",
            remedy="Register the bundle with the card of its own training run.",
        )
    if model.features_hash != card.features_hash:
        raise FeatureMismatchError(
            f"The bundle was fitted on features {model.features_hash}, "
            f"its card says {card.features_hash}.",
            remedy="Register the bundle with the card of its own training run.",
        )
    return model
