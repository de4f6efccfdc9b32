"""What every servable model offers: typed tensors in, typed tensors out, a safe bundle on disk.

A request is first prepared alone (`prepare` raises for it alone), then its rows join those of
other requests and `predict` runs once for all of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Datatype = Literal["BOOL", "INT32", "INT64", "FP32", "FP64", "BYTES"]
Tensors = Mapping[str, NDArray[np.generic]]
Dependence = Literal["request", "state", "unknown"]
"""What a model's answers depend on: on nothing but the request, or on what it was told or asked
before or what time it is. A model says so by a class attribute `depends_on`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorSpec:
    """One input or output tensor, in the terms of the Open Inference Protocol.

    `shape` has -1 where the length is free; axis 0 is always the row. `low` and `high` bound each
    element in `unit`. BYTES tensors are numpy object arrays of `str`.
    """

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    unit: str
    doc: str
    low: float | None = None
    high: float | None = None
    required: bool = True


@runtime_checkable
class ServableModel(Protocol):
    """A fitted model, as the registry stores it and the endpoint serves it."""

    kind: str
    """Bundle kind, the key under which `novacron.models.bundles` finds the loader."""

    features_hash: str
    """Fingerprint of the feature spec it was fitted on."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def prepare(self, tensors: Tensors) -> dict[str, NDArray[np.generic]]:
        """Check one request and bring it to fixed-shape rows.

        `novacron.models.tensor_checks.check_tensors` tells whatever the specs alone can tell.

        Returns:
            Arrays with the rows on axis 0 whose other axes do not depend on the request, so that
            the rows of several requests concatenate.

        Raises:
            SchemaError: A tensor is missing, unknown or of the wrong datatype or shape.
            OutOfRangeError: An element is outside its unit's range, or not finite.
        """
        ...

    def predict(self, rows: Tensors) -> dict[str, NDArray[np.generic]]:
        """Answer prepared rows; every output has the same number of rows on axis 0."""
        ...

    def save(self, directory: Path) -> None:
        """Write the bundle: `bundle.json` plus weights in safe formats, never a pickle."""
        ...


def dependence_of(model: ServableModel) -> Dependence:
    """Return what a model's answers depend on; `unknown` where it does not say."""
    found: Dependence = getattr(model, "depends_on", "unknown")
    return found
