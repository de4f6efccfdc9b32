"""Models that others logged to MLflow: their files without pickles, their signature as tensor specs.

A version without a card of this project is read here. What comes out is what a server needs to
build an engine; nothing of the model has run yet, except skops reading types that are trusted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

import mlflow.types
import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.types.schema import ColSpec

from novacron.errors import ArtifactError, SchemaError
from novacron.models.base import Datatype, TensorSpec
from novacron.registry.backend import MlflowBackend
from novacron.registry.records import VersionRecord

Flavor = Literal["lightgbm", "sklearn", "onnx"]
FLAVORS: Final[tuple[Flavor, ...]] = ("lightgbm", "onnx", "sklearn")
TRUSTED_TYPES: Final = (
    "collections.OrderedDict",
    "lightgbm.basic.Booster",
    "lightgbm.sklearn.LGBMClassifier",
    "lightgbm.sklearn.LGBMRegressor",
)
"""Types that skops may make beside those it trusts itself; MLflow writes no others for LightGBM."""
_SAFE: Final = {"lightgbm": (".lgb", ".txt", ".skops"), "sklearn": (".skops",), "onnx": (".onnx",)}
_DATATYPES: Final[dict[str, Datatype]] = {
    "boolean": "BOOL",
    "integer": "INT32",
    "long": "INT64",
    "float": "FP32",
    "double": "FP64",
    "string": "BYTES",
}
_OF_DTYPE: Final[dict[np.dtype[Any], Datatype]] = {
    np.dtype(np.bool_): "BOOL",
    np.dtype(np.int32): "INT32",
    np.dtype(np.int64): "INT64",
    np.dtype(np.float32): "FP32",
    np.dtype(np.float64): "FP64",
}
_REMEDY: Final = "Log it again as LightGBM, scikit-learn (serialization_format='skops') or ONNX."
_TORCH_REMEDY: Final = (
    "Export it with torch.onnx.export and log it with mlflow.onnx: what MLflow writes for torch runs "
    "code when it is read, as a pickle or, in `pt2`, as expressions that torch evaluates."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ForeignModel:
    """A model's data file and what its signature says.

    `by_column` tells that the signature lists columns, each of them a tensor of shape [N]; else it
    lists tensors. `outputs` is empty where the signature says nothing of them.
    """

    flavor: Flavor
    path: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    by_column: bool
    created_at: datetime


def fetch(
    backend: MlflowBackend, record: VersionRecord, target: Path, *, max_bytes: int
) -> ForeignModel:
    """Download a version that MLflow itself logged, and read what it says of itself.

    Args:
        backend: Where it is.
        record: The version.
        target: An empty folder, which must stay until the model is loaded.
        max_bytes: Size above which it is not downloaded.

    Raises:
        ArtifactError: It cannot be read, is a pickle, or has no flavor that is served.
        SchemaError: It has no signature.
    """
    return read_foreign(
        backend.fetch_foreign(record.name, record.version, target, max_bytes=max_bytes)
    )


def read_foreign(folder: Path) -> ForeignModel:
    """Read the folder of an MLflow model.

    Raises:
        ArtifactError: It is no such folder, has no flavor that is served, or is a pickle.
        SchemaError: It has no signature, or one with types that have no tensor.
    """
    try:
        described = Model.load(str(folder))
    except (MlflowException, OSError, ValueError, TypeError) as cause:
        raise ArtifactError(f"{folder.name} is no MLflow model: {cause}.") from cause
    flavor = next((name for name in FLAVORS if name in described.flavors), None)
    if flavor is None:
        raise ArtifactError(
            f"Flavors {', '.join(described.flavors)} are not served.",
            remedy=_TORCH_REMEDY if "pytorch" in described.flavors else _REMEDY,
        )
    settings = described.flavors[flavor]
    named = settings.get("pickled_model") if flavor == "sklearn" else settings.get("data")
    path = (folder / str(named)).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise ArtifactError(f"The {flavor} model's file {named!r} is not in its folder.")
    if path.suffix not in _SAFE[flavor]:
        raise ArtifactError(
            f"{path.name} holds a pickle, which runs code when it is read.", remedy=_REMEDY
        )
    if described.signature is None or described.signature.inputs is None:
        raise SchemaError(
            field="signature",
            got="none",
            expected="a signature: names, types and shapes of the inputs",
            remedy="Log the model with signature=infer_signature(inputs, outputs).",
        )
    inputs, by_column = _specs(described.signature.inputs, "input")
    outputs = described.signature.outputs
    return ForeignModel(
        flavor=flavor,
        path=path,
        inputs=inputs,
        outputs=() if outputs is None else _specs(outputs, "output")[0],
        by_column=by_column,
        created_at=datetime.fromisoformat(described.utc_time_created),
    )


def _specs(schema: mlflow.types.Schema, default: str) -> tuple[tuple[TensorSpec, ...], bool]:
    items: Sequence[Any] = schema.inputs
    specs = []
    for place, item in enumerate(items):
        name = item.name or (default if len(items) == 1 else f"{default}_{place}")
        is_column = isinstance(item, ColSpec)
        datatype = (
            _DATATYPES.get(getattr(item.type, "name", ""))
            if is_column
            else _OF_DTYPE.get(item.type, "BYTES" if item.type.kind in "OUS" else None)
        )
        if datatype is None:
            raise SchemaError(
                field=f"signature.{name}",
                got=str(item.type),
                expected="one of " + ", ".join(_DATATYPES),
                remedy="Change the column's type before the model is fitted.",
            )
        specs.append(
            TensorSpec(
                name=str(name),
                datatype=datatype,
                shape=(-1,) if is_column else tuple(int(length) for length in item.shape),
                unit="",
                doc="as the model's MLflow signature has it",
            )
        )
    return tuple(specs), isinstance(items[0], ColSpec)
