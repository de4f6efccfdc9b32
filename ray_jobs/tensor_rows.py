"""From the columns of a table to the tensors of a model: rows of one shape together, bad rows apart.

Columns are named like the model's input tensors. A tensor with one axis is a plain column, one with
more is a column of lists (of lists); rows may differ in the length of their lists.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from novacron.errors import SchemaError
from novacron.models.base import Datatype, TensorSpec
from novacron.models.tensor_checks import DTYPES
from novacron.telemetry.quarantine import Reason

Ints = NDArray[np.int64]

_RAGGED: Final = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """Why a row cannot be given to the model."""

    reason: Reason
    column: str
    got: str
    expected: str
    hint: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class RowGroup:
    """Rows whose tensors have the same names and shapes, so that they are one request."""

    places: Ints
    """Their places in the batch."""
    tensors: dict[str, NDArray[np.generic]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """A batch as requests, and the rows that are none."""

    groups: tuple[RowGroup, ...]
    faults: dict[int, Fault] = field(default_factory=dict)
    """Place in the batch -> what is wrong with that row."""


def check_columns(schema: pa.Schema, specs: Sequence[TensorSpec]) -> None:
    """Check once that the columns of a file can hold what a model takes.

    Raises:
        SchemaError: A required column is missing, or one holds another type than its tensor.
    """
    names = ", ".join(schema.names)
    for spec in specs:
        if spec.name not in schema.names:
            if spec.required:
                raise SchemaError(
                    field=spec.name,
                    got=f"the columns {names}",
                    expected=f"a column of {_words(spec)}: {spec.doc}",
                    remedy="Columns are named like the model's input tensors.",
                )
            continue
        leaf = schema.field(spec.name).type
        for _ in spec.shape[1:]:
            leaf = leaf.value_type if _is_list(leaf) else None
        if leaf is None or not _holds(leaf, spec.datatype):
            raise SchemaError(
                field=spec.name,
                got=str(schema.field(spec.name).type),
                expected=_words(spec),
                remedy="Change the type of the column.",
            )


def split_rows(batch: pa.RecordBatch, specs: Sequence[TensorSpec]) -> Split:
    """Split a batch, whose columns `check_columns` has passed, into requests and bad rows."""
    present = [spec for spec in specs if spec.name in batch.schema.names]
    faults: dict[int, Fault] = {}
    keys: list[Ints] = []
    for spec in present:
        column = batch.column(spec.name)
        known = column.is_valid().to_numpy(zero_copy_only=False)
        shapes = _shapes(column, len(spec.shape) - 1)
        keys.append(np.where(known[:, None], shapes, 0))
        keys.append(known[:, None].astype(np.int64))
        if spec.required:
            missing = Fault(
                reason="missing_required", column=spec.name, got="nothing", expected=_words(spec)
            )
            _mark(faults, ~known, missing)
        ragged = Fault(
            reason="wrong_type",
            column=spec.name,
            got="lists of different length in one row",
            expected=_words(spec),
        )
        _mark(faults, known & (shapes == _RAGGED).any(axis=1), ragged)
        hole = Fault(
            reason="missing_required",
            column=spec.name,
            got="an empty element",
            expected=_words(spec),
        )
        _mark(faults, known & _has_holes(column, len(spec.shape) - 1), hole)
    good = np.setdiff1d(np.arange(batch.num_rows), list(faults))
    if not len(good):
        return Split(groups=(), faults=faults)
    keyed = np.concatenate(keys, axis=1)[good]
    _, group_of = np.unique(keyed, axis=0, return_inverse=True)
    groups = []
    for number in range(group_of.max() + 1):
        places = good[group_of.reshape(-1) == number]
        groups.append(RowGroup(places=places, tensors=_tensors(batch, present, places)))
    return Split(groups=tuple(groups), faults=faults)


def _tensors(
    batch: pa.RecordBatch, specs: Sequence[TensorSpec], places: Ints
) -> dict[str, NDArray[np.generic]]:
    tensors: dict[str, NDArray[np.generic]] = {}
    for spec in specs:
        column = batch.column(spec.name).take(pa.array(places))
        if column.null_count:  # an optional input that these rows lack
            continue
        inner = _shapes(column, len(spec.shape) - 1)[0].tolist()
        leaf = column
        for _ in spec.shape[1:]:
            leaf = leaf.flatten()
        if pa.types.is_dictionary(leaf.type):
            leaf = leaf.dictionary_decode()
        values = leaf.to_numpy(zero_copy_only=False)
        tensors[spec.name] = values.astype(DTYPES[spec.datatype]).reshape(len(places), *inner)
    return tensors


def _mark(faults: dict[int, Fault], bad: NDArray[np.bool_], fault: Fault) -> None:
    for row in np.flatnonzero(bad):
        faults.setdefault(int(row), fault)


def _shapes(column: pa.Array, axes: int) -> Ints:
    """Return the lengths of each row's lists [rows, axes]; -1 where they differ in a row."""
    shapes = np.zeros((len(column), axes), dtype=np.int64)
    row_of = np.arange(len(column))
    level = column
    for axis in range(axes):
        lengths = _lengths(level)
        most = np.zeros(len(column), dtype=np.int64)
        least = np.full(len(column), np.iinfo(np.int64).max)
        np.maximum.at(most, row_of, lengths)
        np.minimum.at(least, row_of, lengths)
        uneven = least < most
        shapes[:, axis] = np.where(uneven, _RAGGED, most)
        row_of = np.repeat(row_of, lengths)
        level = level.flatten()
    return shapes


def _has_holes(column: pa.Array, axes: int) -> NDArray[np.bool_]:
    """Tell which rows have a null inside their lists."""
    holes = np.zeros(len(column), dtype=bool)
    row_of = np.arange(len(column))
    level = column
    for _ in range(axes):
        row_of = np.repeat(row_of, _lengths(level))
        level = level.flatten()
        if level.null_count:
            holes[row_of[level.is_null().to_numpy(zero_copy_only=False)]] = True
    return holes


def _lengths(level: pa.Array) -> Ints:
    lengths = pc.list_value_length(level).fill_null(0)
    return np.asarray(lengths.to_numpy(zero_copy_only=False), dtype=np.int64)


def _is_list(kind: pa.DataType) -> bool:
    tests = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(test(kind) for test in tests)


def _holds(kind: pa.DataType, datatype: Datatype) -> bool:
    """Tell whether every value of an Arrow type fits a datatype unchanged."""
    if datatype == "BYTES":
        text = kind.value_type if pa.types.is_dictionary(kind) else kind
        return bool(pa.types.is_string(text) or pa.types.is_large_string(text))
    if datatype == "BOOL":
        return bool(pa.types.is_boolean(kind))
    if datatype in ("INT32", "INT64"):
        fits = (
            not pa.types.is_uint64(kind)
            and (datatype == "INT64" or (kind.bit_width <= 32 and not pa.types.is_uint32(kind)))
            if pa.types.is_integer(kind)
            else False
        )
        return bool(fits)
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _words(spec: TensorSpec) -> str:
    leaf: dict[Datatype, str] = {
        "BYTES": "string",
        "BOOL": "bool",
        "INT32": "int32",
        "INT64": "int64",
    }
    words = leaf.get(spec.datatype, "double")
    for _ in spec.shape[1:]:
        words = f"list<{words}>"
    return words


def arrow_type(spec: TensorSpec) -> pa.DataType:
    """Return the type of the column that holds a tensor."""
    leaves: dict[Datatype, pa.DataType] = {
        "BYTES": pa.string(),
        "BOOL": pa.bool_(),
        "INT32": pa.int32(),
        "INT64": pa.int64(),
        "FP32": pa.float32(),
        "FP64": pa.float64(),
    }
    kind = leaves[spec.datatype]
    for _ in spec.shape[1:]:
        kind = pa.list_(kind)
    return kind


def to_column(values: NDArray[Any], spec: TensorSpec) -> pa.Array:
    """Return a tensor as a column, its inner axes as lists."""
    leaf_type = arrow_type(spec)
    for _ in spec.shape[1:]:
        leaf_type = leaf_type.value_type
    flat = values.reshape(-1)
    column = pa.array(flat.tolist() if values.dtype == object else flat, leaf_type)
    for axis in range(values.ndim - 1, 0, -1):
        count, width = int(np.prod(values.shape[:axis])), values.shape[axis]
        offsets = pa.array(np.arange(count + 1, dtype=np.int32) * width)
        column = pa.ListArray.from_arrays(offsets, column)
    return column
