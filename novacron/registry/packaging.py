"""Writes an MLflow model folder around a bundle: signature, requirements, loader, no pickle."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from mlflow.models import Model, ModelSignature
from mlflow.pyfunc import save_model
from mlflow.types import Schema, TensorSpec

from novacron.models.base import ServableModel
from novacron.models.base import TensorSpec as ServableTensorSpec

LOADER_MODULE: Final = "novacron.registry.pyfunc_loader"

DTYPES: Final = {
    "BOOL": np.dtype(np.bool_),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(np.object_),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelPackage:
    """What goes into one MLflow model folder."""

    bundle_dir: Path
    """Folder named `bundle`, already checked."""
    model: ServableModel
    """The loaded bundle; only its tensor specs are read."""
    requirements: tuple[str, ...]
    texts: Mapping[str, str] = field(default_factory=dict)
    """Further files beside the bundle: name -> content."""


def write_model_dir(target: Path, package: ModelPackage, *, model_id: str, run_id: str) -> None:
    """Write the folder that any MLflow client can load.

    The requirements are explicit: left to itself MLflow infers them by loading the model in a
    second process, which takes many seconds. MLflow knows no optional tensors, so the signature
    lists the required inputs only.
    """
    inputs = package.model.inputs
    required = [spec for spec in inputs if spec.required] or inputs
    save_model(
        str(target),
        loader_module=LOADER_MODULE,
        data_path=str(package.bundle_dir),
        # The signature is set here and not by argument: the argument warns about examples.
        mlflow_model=Model(
            model_uuid=model_id,
            model_id=model_id,
            run_id=run_id,
            signature=ModelSignature(
                inputs=_schema(required), outputs=_schema(package.model.outputs)
            ),
        ),
        pip_requirements=list(package.requirements),
    )
    for name, content in package.texts.items():
        (target / name).write_text(content)


def _schema(specs: Sequence[ServableTensorSpec]) -> Schema:
    return Schema([TensorSpec(DTYPES[spec.datatype], spec.shape, spec.name) for spec in specs])
