"""Proves a model before it may answer: right features, answers as its specs promise."""

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from novacron.errors import ArtifactError, FeatureMismatchError, InvalidInputError
from novacron.models.base import ServableModel, Tensors, TensorSpec
from novacron.models.tensor_checks import DTYPES, check_tensors

PROBE_ROWS: Final = 3
PROBE_LENGTH: Final = 64
TOLERANCE_RATIO: Final = 1e-5
"""How far a row's answer may move when other rows join the call (float32 sums reorder)."""


def check_loaded(model: ServableModel, features_hash: str, name: str) -> Tensors:
    """Refuse a model that would not answer as its card and specs say.

    Returns:
        The PROBE_ROWS prepared rows it was asked for.

    Raises:
        FeatureMismatchError: The card speaks of other features than the model.
        ArtifactError: Its answers to a probe miss an output, have the wrong datatype or shape,
            are not finite, or change when rows are answered together.
    """
    if model.features_hash != features_hash:
        raise FeatureMismatchError(
            f"Model {name!r} computes features {model.features_hash[:12]}, its card says "
            f"{features_hash[:12]}.",
            remedy="Train and register it again with this version.",
        )
    rows = model.prepare(probe_tensors(model.inputs) | _own_probe(model.kind))
    joint = model.predict(rows)
    check_outputs(joint, model.outputs, PROBE_ROWS, name)
    alone = model.predict({key: array[:1] for key, array in rows.items()})
    for output, array in joint.items():
        if not _same(array[:1], alone[output]):
            raise ArtifactError(
                f"Model {name!r} answers {output!r} differently when rows are joined.",
                remedy="Its predict must treat every row alone.",
            )
    return rows


def check_outputs(
    outputs: Mapping[str, NDArray[Any]], specs: tuple[TensorSpec, ...], n_rows: int, name: str
) -> None:
    """Compare a model's answers with the specs of its outputs.

    Raises:
        ArtifactError: An output is missing, unknown, mistyped, misshapen or not finite.
    """
    try:
        got_rows = check_tensors(outputs, specs)
    except InvalidInputError as error:
        raise ArtifactError(f"Model {name!r} answered wrongly: {error}") from error
    if got_rows != n_rows:
        raise ArtifactError(f"Model {name!r} answered {got_rows} rows for {n_rows}.")


def probe_tensors(specs: tuple[TensorSpec, ...]) -> dict[str, NDArray[Any]]:
    """Make a small valid request from the specs of the required inputs, always the same."""
    return {spec.name: _probe(spec) for spec in specs if spec.required}


def _own_probe(kind: str) -> dict[str, NDArray[Any]]:
    """Return the inputs of a kind for which counting up from 1 makes no valid request."""
    if kind == "policy":
        from serve_apps.knobs import probe_tensors as one_interval

        return {name: np.repeat(one, PROBE_ROWS, axis=0) for name, one in one_interval().items()}
    if kind == "performance":
        # Own scores, oldest first, one every hour: a benchmark it does not know needs some.
        age_s = 3600.0 * np.arange(8, 0, -1)
        return {
            "score": np.tile(np.linspace(90.0, 110.0, 8), (PROBE_ROWS, 1)),
            "age_s": np.tile(age_s, (PROBE_ROWS, 1)),
        }
    return {
        name: np.full(PROBE_ROWS, value, dtype=object if isinstance(value, str) else np.float64)
        for name, value in _PROBE_VALUES.get(kind, {}).items()
    }


_PROBE_VALUES: Final[dict[str, dict[str, str | float]]] = {
    # Steps that make whole days; a day's history is a day long.
    "scaling": {"step_s": 300.0},
    "capacity": {"step_s": 86_400.0, "start_s": 1.6e9},
    "placement": {
        "workload": '{"workload_id": "probe", "cpu_cores": 1, "memory_gb": 1}',
        "nodes": '[{"node_id": "a", "cpu_cores_total": 8, "cpu_cores_available": 8, '
        '"memory_gb_total": 32, "memory_available": 32}]',
    },
}


def _probe(spec: TensorSpec) -> NDArray[Any]:
    shape = (PROBE_ROWS, *(PROBE_LENGTH if length == -1 else length for length in spec.shape[1:]))
    if spec.datatype == "BYTES":
        return np.full(shape, "probe", dtype=object)
    values = np.arange(1, math.prod(shape) + 1, dtype=np.float64).reshape(shape)
    return np.clip(values, spec.low, spec.high).astype(DTYPES[spec.datatype])


def _same(left: NDArray[Any], right: NDArray[Any]) -> bool:
    if left.dtype == object:
        return bool(np.array_equal(left, right))
    return bool(np.allclose(left, right, rtol=TOLERANCE_RATIO, atol=1e-9))
