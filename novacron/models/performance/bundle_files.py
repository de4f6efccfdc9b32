"""A core as files: LightGBM text, safetensors, and a manifest with digests; never a pickle."""

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors.numpy import load_file, save_file

from novacron.errors import ArtifactError, FeatureMismatchError
from novacron.models.performance.blend import Blend, SideFactors
from novacron.models.performance.config import PerformanceConfig
from novacron.models.performance.core import Core
from novacron.models.performance.degradation import Degradation
from novacron.models.performance.examples import ExtraScale
from novacron.models.performance.level import FleetLevel, LevelModel, OwnLevel
from novacron.models.performance.lstm_numpy import LstmWeights
from novacron.models.performance.names import Names, Priors
from novacron.models.performance.twin import Twin
from novacron.telemetry.digest import file_sha256

MANIFEST: Final = "bundle.json"
ARRAYS: Final = "arrays.safetensors"
FORMAT: Final = 1
REMEDY: Final = "Register the model again from its training run."


def write_core(core: Core, directory: Path, facts: dict[str, Any]) -> None:
    """Write a core into an empty or missing directory; `facts` go into the manifest."""
    directory.mkdir(parents=True, exist_ok=True)
    core.twin.save(directory / "twin")
    core.degradation.save(directory)
    for place, weights in enumerate(core.lstms):
        save_file(
            {name: np.ascontiguousarray(value) for name, value in weights.arrays.items()},
            directory / f"lstm_{place}.safetensors",
        )
    save_file(
        {name: np.ascontiguousarray(value) for name, value in _arrays(core).items()},
        directory / ARRAYS,
    )
    files = sorted(p for p in directory.rglob("*") if p.is_file() and p.name != MANIFEST)
    manifest = {
        **facts,
        "format": FORMAT,
        "features_hash": core.features_hash,
        "config": core.config.model_dump(mode="json"),
        "names": core.names.to_dict(),
        "lstms": len(core.lstms),
        "files": {p.relative_to(directory).as_posix(): file_sha256(p) for p in files},
    }
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")


def _arrays(core: Core) -> dict[str, Any]:
    priors = core.level.priors
    return {
        "cells_C3": np.array(core.cells, dtype=np.int64).reshape(-1, 3),
        "prior_cell_V3": np.array(priors.cell, dtype=np.int64).reshape(-1, 3),
        "prior_vm_V": np.array(priors.vm, dtype=np.int64),
        "prior_median_V": priors.median,
        "prior_distance_V": priors.distance,
        "low": priors.low,
        "high": priors.high,
        "fleet_GK": core.level.fleet.weight_GK,
        "own_BGK": core.level.own.weight_BGK,
        "extra_mean_E": core.extra.mean_E,
        "extra_scale_E": core.extra.scale_E,
        "twin_weight_B": core.blend.twin_weight_B,
        "trust_SG": core.blend.trust_SG,
        "factor_SG2": core.sides.factor_SG2,
        "raw_K": core.degradation.raw_K,
        "share_K": core.degradation.share_K,
    }


def read_core(directory: Path, kind: str) -> tuple[Core, dict[str, Any]]:
    """Read a core and its manifest, and check digests, format and features.

    Raises:
        ArtifactError: A file is missing, changed or unreadable, or the bundle is of another kind.
        FeatureMismatchError: The features of this code are not the ones it was fitted on.
    """
    try:
        manifest: dict[str, Any] = json.loads((directory / MANIFEST).read_text())
        _check(directory, manifest, kind)
        core = _core(directory, manifest)
    except ArtifactError:
        raise
    except Exception as cause:
        raise ArtifactError(
            f"The bundle in {directory.name} is missing a part or unreadable: {cause}.",
            remedy=REMEDY,
        ) from cause
    if core.features_hash != manifest["features_hash"]:
        raise FeatureMismatchError(
            f"The model was fitted on features {manifest['features_hash'][:12]}, this code computes "
            f"{core.features_hash[:12]}.",
            remedy="Train and register the model again.",
        )
    return core, manifest


def _check(directory: Path, manifest: dict[str, Any], kind: str) -> None:
    if manifest["format"] != FORMAT or manifest["kind"] != kind:
        raise ArtifactError(
            f"Bundle of kind {manifest['kind']!r}, format {manifest['format']!r}, is not "
            f"{kind!r}, {FORMAT}.",
            remedy=REMEDY,
        )
    for name, digest in manifest["files"].items():
        path = directory / name
        if directory.resolve() not in path.resolve().parents:
            raise ArtifactError(f"The bundle names a file outside of itself: {name}.")
        if not path.is_file() or file_sha256(path) != digest:
            raise ArtifactError(f"{name} is missing or was changed.", remedy=REMEDY)


def _core(directory: Path, manifest: dict[str, Any]) -> Core:
    config = PerformanceConfig.model_validate(manifest["config"])
    arrays = load_file(directory / ARRAYS)

    def triples(name: str) -> tuple[tuple[int, int, int], ...]:
        return tuple((int(a), int(b), int(c)) for a, b, c in arrays[name])

    priors = Priors(
        cell=triples("prior_cell_V3"),
        vm=tuple(int(vm) for vm in arrays["prior_vm_V"]),
        median=arrays["prior_median_V"],
        distance=arrays["prior_distance_V"],
        low=arrays["low"],
        high=arrays["high"],
    )
    return Core(
        config=config,
        names=Names.from_dict(manifest["names"]),
        cells=triples("cells_C3"),
        level=LevelModel(
            priors=priors,
            fleet=FleetLevel(weight_GK=arrays["fleet_GK"]),
            own=OwnLevel(weight_BGK=arrays["own_BGK"]),
        ),
        extra=ExtraScale(mean_E=arrays["extra_mean_E"], scale_E=arrays["extra_scale_E"]),
        twin=Twin.load(directory / "twin"),
        lstms=tuple(
            LstmWeights(
                arrays=load_file(directory / f"lstm_{place}.safetensors"),
                layers=config.lstm.layers,
            )
            for place in range(int(manifest["lstms"]))
        ),
        blend=Blend(twin_weight_B=arrays["twin_weight_B"], trust_SG=arrays["trust_SG"]),
        sides=SideFactors(factor_SG2=arrays["factor_SG2"]),
        degradation=Degradation.load(directory, arrays["raw_K"], arrays["share_K"]),
    )
