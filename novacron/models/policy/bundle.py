"""Loads saved policies; what `novacron.models.bundles` calls for the kind `policy`."""

import json
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file

from novacron.errors import ArtifactError
from novacron.models.policy.config import GuardConfig
from novacron.models.policy.effects import Familiar
from novacron.models.policy.model import FORMAT, MANIFEST, OptimizerModel, fingerprint_now
from novacron.models.policy.part import FAMILIAR_FILE, PartCard, TargetPart, networks_of
from novacron.telemetry.digest import file_sha256

REMEDY: Final = "Train and register the policies again."


def load(directory: Path) -> OptimizerModel:
    """Read a bundle and check its files.

    A policy whose parameter table or observation is not the one of this code is not opened: the
    model keeps its name and answers for that target with the defaults, flagged.

    Raises:
        ArtifactError: A file is missing, changed or not readable.
    """
    try:
        manifest: dict[str, Any] = json.loads((directory / MANIFEST).read_text())
        if manifest["format"] != FORMAT:
            raise ArtifactError(
                f"Bundle format {manifest['format']!r} is not {FORMAT}.", remedy=REMEDY
            )
        for name, digest in manifest["files"].items():
            if file_sha256(directory / name) != digest:
                raise ArtifactError(f"{name} was changed.", remedy=REMEDY)
        cards = {
            target: PartCard.model_validate(card) for target, card in manifest["parts"].items()
        }
        given = manifest["guard"]
        guard = None if given is None else GuardConfig.model_validate(given)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError) as cause:
        raise ArtifactError(
            f"The bundle in {directory.name} is missing a part or unreadable: {cause}.",
            remedy=REMEDY,
        ) from cause
    fresh = {
        target: card
        for target, card in cards.items()
        if card.fingerprint == fingerprint_now(target)
    }
    stale = {target: card.fingerprint for target, card in cards.items() if target not in fresh}
    parts = {target: load_part(directory / target, card) for target, card in fresh.items()}
    return OptimizerModel(parts, stale=stale, guard=guard)


def load_part(directory: Path, card: PartCard) -> TargetPart:
    """Open the files of one target.

    Raises:
        ArtifactError: A file is missing, unreadable or of another shape.
    """
    try:
        familiar = Familiar.from_arrays(load_file(directory / FAMILIAR_FILE))
        policy, effects = networks_of(directory, card.target)
        return TargetPart(card, policy, effects, familiar, directory)
    except (OSError, KeyError, ValueError, SafetensorError) as cause:
        raise ArtifactError(
            f"The policy of {card.target} is missing a part or unreadable: {cause}.",
            remedy=REMEDY,
        ) from cause
