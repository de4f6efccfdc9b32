"""Builds tensor specs in one line each; every model names its inputs and outputs with these.

Axis 0 is the row in each and is not named; `axes` are those after it, -1 where the length is free.
"""

from novacron.models.base import TensorSpec


def number(
    name: str,
    unit: str,
    doc: str,
    *axes: int,
    low: float | None = None,
    high: float | None = None,
    required: bool = True,
) -> TensorSpec:
    """Return a tensor of finite numbers (FP64), each within [low, high] in `unit`."""
    return TensorSpec(
        name=name,
        datatype="FP64",
        shape=(-1, *axes),
        unit=unit,
        doc=doc,
        low=low,
        high=high,
        required=required,
    )


def count(
    name: str,
    unit: str,
    doc: str,
    *axes: int,
    low: float | None = 0,
    high: float | None = None,
    required: bool = True,
) -> TensorSpec:
    """Return a tensor of whole numbers (INT64), each within [low, high] in `unit`."""
    return TensorSpec(
        name=name,
        datatype="INT64",
        shape=(-1, *axes),
        unit=unit,
        doc=doc,
        low=low,
        high=high,
        required=required,
    )


def flag(name: str, doc: str, *axes: int, required: bool = True) -> TensorSpec:
    """Return a tensor of truth values (BOOL)."""
    return TensorSpec(
        name=name, datatype="BOOL", shape=(-1, *axes), unit="bool", doc=doc, required=required
    )


def text(name: str, doc: str, *axes: int, unit: str = "name", required: bool = True) -> TensorSpec:
    """Return a tensor of words (BYTES, in numpy objects of `str`)."""
    return TensorSpec(
        name=name, datatype="BYTES", shape=(-1, *axes), unit=unit, doc=doc, required=required
    )
