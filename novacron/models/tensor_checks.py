"""Checks a request's tensors against a model's specs: what can be told without the model.

Used by the endpoint before `prepare`, and by any model whose `prepare` wants the same answers; what
the endpoint has checked is not checked a second time.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from novacron.errors import OutOfRangeError, SchemaError
from novacron.models.base import Datatype, Tensors, TensorSpec

DTYPES: Final[dict[Datatype, np.dtype[np.generic]]] = {
    "BOOL": np.dtype(np.bool_),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(object),
}
"""The numpy dtype of every datatype; BYTES is an object array of `str`."""

_LARGEST: Final = float(np.finfo(np.float64).max)
_DATATYPES: Final = {dtype: name for name, dtype in DTYPES.items()}


class CheckedTensors(Mapping[str, NDArray[np.generic]]):
    """Tensors that were found to be what some specs ask for; nothing can be put in afterwards.

    Args:
        tensors: Name to array.
        specs: What they are checked against.

    Raises:
        SchemaError: As `check_tensors`.
        OutOfRangeError: As `check_tensors`.
    """

    __slots__ = ("_tensors", "n_rows", "specs")

    def __init__(self, tensors: Tensors, specs: Sequence[TensorSpec]) -> None:
        self.n_rows = _check(tensors, specs)
        self.specs = specs
        self._tensors = dict(tensors)

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def check_tensors(tensors: Tensors, specs: Sequence[TensorSpec]) -> int:
    """Check names, datatypes, shapes and element ranges, and return the number of rows.

    Args:
        tensors: Name to array; axis 0 is the row in each.
        specs: What the model takes.

    Raises:
        SchemaError: A tensor is missing, unknown, empty, of the wrong datatype or shape, or the
            tensors differ in their number of rows.
        OutOfRangeError: An element is not finite or outside its spec's [low, high].
    """
    if isinstance(tensors, CheckedTensors) and tensors.specs is specs:
        return tensors.n_rows
    return _check(tensors, specs)


def _check(tensors: Tensors, specs: Sequence[TensorSpec]) -> int:
    known = {spec.name: spec for spec in specs}
    for name in tensors:
        if name not in known:
            raise SchemaError(
                field="inputs",
                got=name[:100],
                expected="one of " + ", ".join(known),
                remedy="Ask for the model's metadata to see its inputs.",
            )
    rows: dict[str, int] = {}
    for spec in specs:
        if spec.name in tensors:
            rows[spec.name] = _check_one(tensors[spec.name], spec)
        elif spec.required:
            raise SchemaError(
                field=spec.name,
                got="nothing",
                expected=f"{_form(spec)}: {spec.doc}",
                remedy="This input is required.",
            )
    if len(set(rows.values())) > 1:
        raise SchemaError(
            field="shape",
            got=", ".join(f"{name} has {count}" for name, count in rows.items()),
            expected="the same number of rows in every input",
        )
    if not rows:
        raise SchemaError(field="inputs", got="none", expected="one of " + ", ".join(known))
    return next(iter(rows.values()))


def _form(spec: TensorSpec) -> str:
    return f"{spec.datatype} of shape {list(spec.shape)}"


def _check_one(array: NDArray[np.generic], spec: TensorSpec) -> int:
    if array.dtype != DTYPES[spec.datatype]:
        raise SchemaError(
            field=spec.name,
            got=_DATATYPES.get(array.dtype, str(array.dtype)),
            expected=_form(spec),
            remedy="Change the datatype.",
        )
    fits = array.ndim == len(spec.shape) and all(
        want in (-1, have) for want, have in zip(spec.shape, array.shape, strict=True)
    )
    if not fits:
        raise SchemaError(
            field=spec.name,
            got=list(array.shape),
            expected=f"shape {list(spec.shape)}, where -1 is free",
            remedy="Axis 0 is the row.",
        )
    if array.size == 0:
        raise SchemaError(
            field=spec.name, got=list(array.shape), expected="at least one row and one element"
        )
    if array.dtype != object:
        _check_range(cast(NDArray[np.float64], array), spec)
    return int(array.shape[0])


def _check_range(array: NDArray[np.float64], spec: TensorSpec) -> None:
    low = -_LARGEST if spec.low is None else spec.low
    high = _LARGEST if spec.high is None else spec.high
    # The usual case in two passes; NaN makes both comparisons false.
    if low <= array.min().item() and array.max().item() <= high:
        return
    wrong = ~np.isfinite(array)
    if spec.low is not None:
        wrong |= array < spec.low
    if spec.high is not None:
        wrong |= array > spec.high
    if not wrong.any():
        return
    where = np.unravel_index(int(np.argmax(wrong)), array.shape)
    ends = ["-inf" if spec.low is None else f"{spec.low:g}"]
    ends.append("inf" if spec.high is None else f"{spec.high:g}")
    raise OutOfRangeError(
        field=f"{spec.name}[{', '.join(str(int(axis)) for axis in where)}]",
        got=array[where].item(),
        expected=f"a finite number in [{', '.join(ends)}] {spec.unit}",
        remedy=f"{spec.name} is in {spec.unit}.",
    )
