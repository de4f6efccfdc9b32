"""Reads the resources of one workload from a frame, as ratios or in the caller's own unit.

A column `cpu_ratio` is a ratio of what is provisioned. The documented `cpu_usage` may be percent or
a ratio: which of them cannot be told from small numbers, so it is refused with the remedy.
"""

import difflib
from collections.abc import Mapping
from typing import Any, Final

import pandas as pd

from novacron.errors import SchemaError

RESOURCES: Final[Mapping[str, str]] = {
    "cpu": "cpu_ratio",
    "memory": "mem_ratio",
    "storage": "disk_ratio",
    "network": "net_ratio",
}
DEMAND: Final = ("demand", "requests", "requests_per_s", "vm_count", "cores")
"""Columns that are demand in a unit of their own; any `*_mbps`, `*_rps` or `*_per_*` too."""
TIMES: Final = ("timestamp", "ts")
_ENTITIES: Final = ("vm_id", "node_id")
_SUFFIXES: Final = ("_mbps", "_rps", "_gb", "_mhz", "_cores", "_count", "_sum")


def resource_series(data: Any) -> dict[str, Any]:
    """Return the series of a history by name.

    Args:
        data: A frame with `timestamp` or `ts` (or a DatetimeIndex) and columns of one workload; a
            pandas series; or numbers, which are called `demand`.

    Raises:
        SchemaError: A column is unknown or of an unclear unit, or several workloads are mixed.
    """
    if isinstance(data, pd.Series):
        return {str(data.name or "demand"): data}
    if not isinstance(data, pd.DataFrame):
        return {"demand": data}
    frame = data
    for name in _ENTITIES:
        if name in frame and frame[name].nunique() > 1:
            raise SchemaError(
                field=name,
                got=f"{frame[name].nunique()} workloads",
                expected="the samples of one workload",
                remedy="Call once for each, for example over frame.groupby.",
            )
    for name in TIMES:
        if name in frame:
            frame = frame.set_index(pd.DatetimeIndex(pd.to_datetime(frame[name])))
            frame = frame.drop(columns=name)
            break
    columns = [str(name) for name in frame.columns if name not in _ENTITIES]
    for name in columns:
        _check_name(name)
    if not columns:
        raise SchemaError(field="frame", got="no column", expected=_known())
    return {name: frame[name] for name in columns}


def _known() -> str:
    return ", ".join([*RESOURCES.values(), *DEMAND]) + ", or a name with its unit at the end"


def _check_name(name: str) -> None:
    if name.endswith("_usage"):
        ratio = RESOURCES.get(name.removesuffix("_usage"), "")
        raise SchemaError(
            field=name,
            got="a column without a unit",
            expected=ratio or "a name that ends with its unit",
            remedy=f"Rename it {ratio!r} and divide by 100 if it is in percent."
            if ratio
            else "For example net_mbps.",
        )
    unit = name.endswith(_SUFFIXES) or "_per_" in name
    if name in RESOURCES.values() or name in DEMAND or unit:
        return
    near = difflib.get_close_matches(name, [*RESOURCES.values(), *DEMAND], n=1)
    raise SchemaError(
        field=name,
        got="an unknown column",
        expected=_known(),
        remedy=f"Did you mean {near[0]!r}?" if near else "Pass the one column as a series.",
    )
