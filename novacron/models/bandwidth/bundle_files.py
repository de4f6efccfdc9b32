"""The forecaster on disk: JSON, safetensors and LightGBM text, each file with its digest.

bundle.json                            kind, config, features, classes, digest of every file
classes/<class>/lstm_<place>.safetensors
classes/<class>/twin/level_<percent>.txt
classes/<class>/calibration.safetensors   interval, EWMA band, linear forecast
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors.numpy import load_file, save_file

from novacron.errors import ArtifactError
from novacron.models.bandwidth.blend import ClassModel, Mixture
from novacron.models.bandwidth.config import BandwidthConfig, served_places
from novacron.models.bandwidth.linear import LinearForecast
from novacron.models.bandwidth.lstm_numpy import LstmWeights
from novacron.models.bandwidth.twin import Twin
from novacron.models.baselines import EwmaBand
from novacron.models.conformal import CalibrationTable
from novacron.telemetry.digest import file_sha256

MANIFEST: Final = "bundle.json"
FORMAT: Final = 1
REMEDY: Final = "Register the model again from its training run."


def write_bundle(
    directory: Path, classes: Mapping[str, ClassModel], facts: Mapping[str, Any]
) -> None:
    """Write a bundle into an empty or missing directory; `facts` go into the manifest."""
    directory.mkdir(parents=True, exist_ok=True)
    described = {
        name: _save_class(part, directory / "classes" / name) for name, part in classes.items()
    }
    files = sorted(p for p in (directory / "classes").rglob("*") if p.is_file())
    manifest = {
        **facts,
        "format": FORMAT,
        "classes": described,
        "files": {p.relative_to(directory).as_posix(): file_sha256(p) for p in files},
    }
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")


def _save_class(part: ClassModel, directory: Path) -> dict[str, Any]:
    directory.mkdir(parents=True, exist_ok=True)
    part.twin.save(directory / "twin")
    for place, weights in enumerate(part.lstms):
        save_file(dict(weights.arrays), directory / f"lstm_{place}.safetensors")
    arrays = {
        "score_HSR": part.calibration.score_HSR,
        "edges_G": part.band.edges_G,
        "residual_GHQ": part.band.residual_GHQ,
        "linear_KH": part.linear.weight_KH,
    }
    save_file(
        {name: np.ascontiguousarray(value) for name, value in arrays.items()},
        directory / "calibration.safetensors",
    )
    return {
        "lstms": len(part.lstms),
        "half_life": part.band.half_life,
        "twin_weight": part.mixture.twin_weight,
        "anchor": part.mixture.anchor,
        "anchor_weight": part.mixture.anchor_weight,
        "cold_by_band": part.mixture.cold_by_band,
    }


def read_manifest(directory: Path) -> dict[str, Any]:
    """Read the manifest and check every file against its digest.

    Raises:
        ArtifactError: The format is unknown, or a file is missing, changed or outside.
    """
    manifest: dict[str, Any] = json.loads((directory / MANIFEST).read_text())
    _check_files(directory, manifest)
    return manifest


def read_classes(
    directory: Path, manifest: dict[str, Any], config: BandwidthConfig
) -> dict[str, ClassModel]:
    """Read the classes of a bundle whose manifest was checked."""
    return {
        name: _load_class(directory / "classes" / name, facts, config)
        for name, facts in manifest["classes"].items()
    }


def _check_files(directory: Path, manifest: dict[str, Any]) -> None:
    if manifest["format"] != FORMAT:
        raise ArtifactError(
            f"Bundle format {manifest['format']!r} is not {FORMAT}.", remedy=REMEDY
        )
    for name, digest in manifest["files"].items():
        path = directory / name
        if directory.resolve() not in path.resolve().parents:
            raise ArtifactError(f"The bundle names a file outside of itself: {name}.")
        if not path.is_file() or file_sha256(path) != digest:
            raise ArtifactError(f"{name} is missing or was changed.", remedy=REMEDY)


def _load_class(directory: Path, facts: dict[str, Any], config: BandwidthConfig) -> ClassModel:
    horizon = config.horizon
    arrays = load_file(directory / "calibration.safetensors")
    return ClassModel(
        spec=config.features,
        linear=LinearForecast(weight_KH=arrays["linear_KH"]),
        twin=Twin.load(directory / "twin", horizon),
        lstms=tuple(
            LstmWeights(arrays=load_file(directory / f"lstm_{place}.safetensors"), horizon=horizon)
            for place in range(int(facts["lstms"]))
        ),
        served_places=served_places(config),
        mixture=Mixture(
            twin_weight=float(facts["twin_weight"]),
            anchor=str(facts["anchor"]),
            anchor_weight=float(facts["anchor_weight"]),
            cold_by_band=bool(facts["cold_by_band"]),
        ),
        band=EwmaBand(
            horizon=horizon,
            half_life=float(facts["half_life"]),
            edges_G=arrays["edges_G"],
            residual_GHQ=arrays["residual_GHQ"],
        ),
        calibration=CalibrationTable(score_HSR=arrays["score_HSR"]),
    )
