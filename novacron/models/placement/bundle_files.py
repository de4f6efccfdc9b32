"""The optimizer on disk: JSON and LightGBM text, each file with its digest.

bundle.json         kind, format, settings, columns, intervals, gate, digest of every file
<target>.txt        one sum of trees a target
lifetimes.txt       the lifetime hazard, where there is one
"""

import json
from pathlib import Path
from typing import Any, Final

import lightgbm
import numpy as np
from pydantic import ValidationError

from novacron.errors import ArtifactError, FeatureMismatchError, SchemaError
from novacron.models.placement.columns import Columns, placement_fingerprint
from novacron.models.placement.config import PlacementConfig
from novacron.models.placement.fitted import NAME, PlacementModels
from novacron.models.placement.lifetimes import LifetimeModel
from novacron.models.placement.outcomes import TARGETS, OutcomeModels
from novacron.models.placement.packing import Gate
from novacron.telemetry.digest import file_sha256

MANIFEST: Final = "bundle.json"
FORMAT: Final = 1
LIFETIMES: Final = "lifetimes.txt"
REMEDY: Final = "Register the model again from its training run."


def save_models(models: PlacementModels, directory: Path) -> None:
    """Write a bundle into an empty or missing directory."""
    directory.mkdir(parents=True, exist_ok=True)
    texts = {f"{name}.txt": models.outcomes.boosters[name].model_to_string() for name in TARGETS}
    if models.lifetimes is not None:
        texts[LIFETIMES] = models.lifetimes.to_text()
    for name, text in texts.items():
        (directory / name).write_text(text)
    manifest = {
        "kind": NAME,
        "format": FORMAT,
        "features_hash": placement_fingerprint(),
        "config": models.config.model_dump(mode="json"),
        "columns": models.outcomes.columns.to_dict(),
        "half_width": models.outcomes.half_width_T.tolist(),
        "half_width_score": models.outcomes.half_width_score,
        "gate": {
            "rule": models.gate.rule,
            "scale_s": models.gate.scale_s,
            "least_gain": models.gate.least_gain,
        },
        "source": models.source,
        "files": {name: file_sha256(directory / name) for name in sorted(texts)},
    }
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")


def load_models(directory: Path) -> PlacementModels:
    """Read a bundle and check it.

    Raises:
        ArtifactError: A file is missing, changed or not readable.
        FeatureMismatchError: The factors of this code are not the ones it was fitted on.
    """
    try:
        manifest: dict[str, Any] = json.loads((directory / MANIFEST).read_text())
        _check(directory, manifest)
        config = PlacementConfig.model_validate(manifest["config"])
        outcomes = OutcomeModels(
            columns=Columns.from_dict(manifest["columns"]),
            boosters={name: _booster(directory / f"{name}.txt") for name in TARGETS},
            half_width_T=np.array(manifest["half_width"], dtype=np.float64),
            half_width_score=float(manifest["half_width_score"]),
        )
        has_lifetimes = LIFETIMES in manifest["files"]
        gate = Gate(**manifest["gate"])
        source = str(manifest["source"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError, SchemaError) as cause:
        raise ArtifactError(
            f"The bundle in {directory.name} is missing a part or unreadable: {cause}.",
            remedy=REMEDY,
        ) from cause
    lifetimes = None
    if has_lifetimes:
        lifetimes = LifetimeModel(_booster(directory / LIFETIMES), config.lifetimes)
    return PlacementModels(
        config=config, outcomes=outcomes, lifetimes=lifetimes, gate=gate, source=source
    )


def _check(directory: Path, manifest: dict[str, Any]) -> None:
    if manifest["format"] != FORMAT:
        raise ArtifactError(
            f"Bundle format {manifest['format']!r} is not {FORMAT}.", remedy=REMEDY
        )
    needed = {f"{name}.txt" for name in TARGETS}
    if not needed <= set(manifest["files"]) <= needed | {LIFETIMES}:
        raise ArtifactError("The bundle lists other files than it should.", remedy=REMEDY)
    for name, digest in manifest["files"].items():
        if not (directory / name).is_file() or file_sha256(directory / name) != digest:
            raise ArtifactError(f"{name} is missing or was changed.", remedy=REMEDY)
    own = placement_fingerprint()
    if manifest["features_hash"] != own:
        raise FeatureMismatchError(
            f"The model was fitted on factors {manifest['features_hash'][:12]}, this code has "
            f"{own[:12]}.",
            remedy="Train and register the model again.",
        )


def _booster(path: Path) -> lightgbm.Booster:
    try:
        return lightgbm.Booster(model_str=path.read_text())
    except lightgbm.basic.LightGBMError as cause:
        raise ArtifactError(f"{path.name} is not a LightGBM model: {cause}.") from cause
