"""Serves what others logged to MLflow: LightGBM, scikit-learn by skops, ONNX; no code to write.

Column signatures take a tensor of shape [N] for each column; tensor signatures take their tensors.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from novacron.errors import ArtifactError
from novacron.models.base import Tensors, TensorSpec
from novacron.models.tensor_checks import DTYPES, check_tensors
from novacron.registry.foreign import TRUSTED_TYPES, ForeignModel
from serve_apps.engines import Choice, Engine, choose_engine
from serve_apps.tree_onnx import find_obstacle, to_onnx

logger = logging.getLogger(__name__)

PROBE_ROWS: Final = 64
_PROBE_SEED: Final = 7
_OUTPUT: Final = "prediction"


class MlflowModel:
    """A foreign model behind the protocol of servable models.

    Args:
        foreign: Its file and signature.
        name: Named in errors.
    """

    def __init__(self, foreign: ForeignModel, name: str) -> None:
        self.kind = f"mlflow_{foreign.flavor}"
        self.inputs = foreign.inputs
        self.features_hash = _fingerprint(foreign.inputs)
        reference, others = _ENGINES[foreign.flavor](foreign)
        probe = self.prepare(_probe(foreign.inputs))
        self.choice: Choice = choose_engine(reference, others, probe)
        self._predict = self.choice.engine.predict
        self.outputs = _output_specs(self._predict(probe), foreign, name)

    def prepare(self, tensors: Tensors) -> dict[str, NDArray[np.generic]]:
        """Check one request; see `ServableModel.prepare`."""
        check_tensors(tensors, self.inputs)
        return dict(tensors)

    def predict(self, rows: Tensors) -> dict[str, NDArray[np.generic]]:
        """Answer prepared rows; see `ServableModel.predict`."""
        return dict(self._predict(rows))

    def save(self, directory: Path) -> None:
        """Refuse: its files are MLflow's own.

        Raises:
            ArtifactError: Always.
        """
        raise ArtifactError(f"A foreign model is not saved to {directory.name}; MLflow has it.")


def _lightgbm(foreign: ForeignModel) -> tuple[Engine, list[Engine]]:
    import lightgbm

    if foreign.path.suffix != ".skops":
        booster = lightgbm.Booster(model_file=str(foreign.path))
        return _booster_engine(booster, foreign), _tree_engines(booster, foreign)
    reference, others = _sklearn(foreign)
    model = _read_skops(foreign.path)
    if isinstance(model, lightgbm.LGBMRegressor):
        # Its `predict` is the booster's; a classifier's makes labels of it.
        booster = model.booster_
        others += [_booster_engine(booster, foreign), *_tree_engines(booster, foreign)]
    return reference, others


def _tree_engines(booster: Any, foreign: ForeignModel) -> list[Engine]:
    """Return ONNX Runtime walking the same trees, where they convert exactly."""
    if find_spec("onnx") is None:
        logger.info("onnx is not installed: LightGBM's trees are left to LightGBM")
        return []
    obstacle = find_obstacle(booster)
    if obstacle:
        logger.info("LightGBM's trees are left to LightGBM: %s", obstacle)
        return []
    session = _session(to_onnx(booster))
    wants = [spec.name for spec in foreign.inputs]

    def predict(rows: Tensors) -> dict[str, NDArray[Any]]:
        x = np.ascontiguousarray(_matrix(rows, wants, np.float64))
        return {_OUTPUT: session.run(None, {"x": x})[0][:, 0]}

    return [Engine(name="onnxruntime_trees", predict=predict)]


def _session(model: str | bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # One thread: replicas are scaled by the endpoint, not by the library.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _booster_engine(booster: Any, foreign: ForeignModel) -> Engine:
    wants = [spec.name for spec in foreign.inputs]

    def predict(rows: Tensors) -> dict[str, NDArray[Any]]:
        return {_OUTPUT: booster.predict(_matrix(rows, wants, np.float64), num_threads=1)}

    return Engine(name="lightgbm", predict=predict)


def _sklearn(foreign: ForeignModel) -> tuple[Engine, list[Engine]]:
    wants = [spec.name for spec in foreign.inputs]
    numeric = all(spec.datatype != "BYTES" for spec in foreign.inputs)
    own, bare = _read_skops(foreign.path), _read_skops(foreign.path)

    def by_frame(rows: Tensors) -> dict[str, NDArray[Any]]:
        return {_OUTPUT: np.asarray(own.predict(pd.DataFrame({n: rows[n] for n in wants})))}

    def by_matrix(rows: Tensors) -> dict[str, NDArray[Any]]:
        return {_OUTPUT: np.asarray(bare.predict(_matrix(rows, wants, np.float64)))}

    matrix = Engine(name="sklearn_matrix", predict=by_matrix)
    if not foreign.by_column:
        return matrix, []
    _forget_names(bare)
    # A frame is what MLflow hands over; a matrix spares pandas' milliseconds where it is the same.
    return Engine(name="sklearn_frame", predict=by_frame), [matrix] if numeric else []


def _onnx(foreign: ForeignModel) -> tuple[Engine, list[Engine]]:
    session = _session(str(foreign.path))
    taken = [node.name for node in session.get_inputs()]
    given = [node.name for node in session.get_outputs()]
    wants = [spec.name for spec in foreign.inputs]
    is_one = len(taken) == 1 and not set(wants) & set(taken)

    def predict(rows: Tensors) -> dict[str, NDArray[Any]]:
        if is_one and foreign.by_column:
            feeds = {taken[0]: _matrix(rows, wants, np.float32)}
        elif is_one:
            feeds = {taken[0]: rows[wants[0]]}
        else:
            feeds = {name: rows[name] for name in taken}
        return dict(zip(given, map(np.asarray, session.run(given, feeds)), strict=True))

    return Engine(name="onnxruntime", predict=predict), []


_ENGINES: Final = {"lightgbm": _lightgbm, "sklearn": _sklearn, "onnx": _onnx}


def _read_skops(path: Path) -> Any:
    from skops.io import get_untrusted_types, load

    unknown = set(get_untrusted_types(file=path)) - set(TRUSTED_TYPES)
    if unknown:
        raise ArtifactError(
            f"{path.name} makes objects of {', '.join(sorted(unknown)[:5])}, which are not trusted.",
            remedy="Build it of scikit-learn's own estimators.",
        )
    return load(path, trusted=list(TRUSTED_TYPES))


def _forget_names(model: Any) -> None:
    """Let an estimator take a matrix without a warning about missing column names."""
    for part in (model, *(step for _, step in getattr(model, "steps", ()))):
        vars(part).pop("feature_names_in_", None)


def _matrix(rows: Tensors, names: Sequence[str], dtype: type[np.generic]) -> NDArray[Any]:
    first = rows[names[0]]
    if len(names) == 1 and first.ndim > 1:
        return first.astype(dtype, copy=False)
    out = np.empty((len(first), len(names)), dtype=dtype)
    for place, name in enumerate(names):
        out[:, place] = rows[name]
    return out


def _probe(specs: Sequence[TensorSpec]) -> dict[str, NDArray[Any]]:
    """Make rows of many sizes of values: zeros, ones, small and large, both signs."""
    rng = np.random.default_rng(_PROBE_SEED)
    made: dict[str, NDArray[Any]] = {}
    for spec in specs:
        shape = (PROBE_ROWS, *(max(1, length) for length in spec.shape[1:]))
        if spec.datatype == "BYTES":
            made[spec.name] = np.full(shape, "probe", dtype=object)
            continue
        scale = 10.0 ** rng.integers(-2, 4, size=(PROBE_ROWS, *[1] * (len(shape) - 1)))
        values = rng.standard_normal(shape) * scale
        values[0], values[1] = 0.0, 1.0
        made[spec.name] = values.astype(DTYPES[spec.datatype])
    return made


def _output_specs(
    answers: Mapping[str, NDArray[Any]], foreign: ForeignModel, name: str
) -> tuple[TensorSpec, ...]:
    """Describe the outputs by what the model answered; the signature may only name them."""
    datatypes = {dtype: datatype for datatype, dtype in DTYPES.items()}
    specs = []
    for output, array in answers.items():
        datatype = datatypes.get(array.dtype)
        if datatype is None:
            raise ArtifactError(f"Model {name!r} answers {output!r} as {array.dtype}, not served.")
        specs.append(
            TensorSpec(
                name=output,
                datatype=cast(Any, datatype),
                shape=(-1, *array.shape[1:]),
                unit="",
                doc=f"of the {foreign.flavor} model",
            )
        )
    return tuple(specs)


def _fingerprint(specs: Sequence[TensorSpec]) -> str:
    text = "\n".join(f"{spec.name} {spec.datatype} {spec.shape}" for spec in specs)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
