"""Which resource a workload leans on: a measurement with its uncertainty, not a learned class.

`cpu_intensive` and its like can be defined once usage is a ratio of what is provisioned: the
resource whose mean ratio is the highest. Resampling says whether that would hold on another day.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.contracts.telemetry import NODE_SCHEMA
from novacron.errors import OutOfRangeError, SchemaError

Floats = NDArray[np.float64]

RESOURCES: Final[dict[str, str]] = {
    "cpu_ratio": "cpu",
    "mem_ratio": "memory",
    "disk_ratio": "io",
    "net_ratio": "network",
}
"""Columns of node telemetry -> the resource they say the use of."""

BALANCED: Final = "balanced"
LEAD_LEVEL: Final = 0.95
_RESAMPLES: Final = 400


@dataclass(frozen=True, kw_only=True, slots=True)
class Lead:
    """The resource used most (`balanced` without a clear one) and how often it led."""

    intensive: str
    lead_ratio: float
    mean_ratio: Mapping[str, float]


def check_usage(usage: Mapping[str, Floats]) -> None:
    """Make sure that the columns are ratios of what is provisioned.

    Raises:
        SchemaError: A column is unknown, there is none, or their lengths differ.
        OutOfRangeError: A value is outside its column's range: percent or bytes, not a ratio.
    """
    unknown = sorted(set(usage) - set(RESOURCES))
    if unknown or not usage:
        raise SchemaError(
            field="usage", got=unknown or "no column", expected="some of " + ", ".join(RESOURCES)
        )
    if len({column.shape for column in usage.values()}) > 1:
        raise SchemaError(
            field="usage",
            got={name: column.shape for name, column in usage.items()},
            expected="columns of one length",
        )
    for name, column in usage.items():
        high = NODE_SCHEMA[name].high or 1.0
        wrong = (column < 0) | (column > high) | np.isinf(column)
        if wrong.any():
            raise OutOfRangeError(
                field=name,
                got=float(column[wrong][0]),
                expected=f"a ratio in [0, {high:g}] of what is provisioned",
                remedy="Percent are divided by 100; bytes and rates by the capacity.",
            )


def find_lead(usage: Mapping[str, Floats], rng: np.random.Generator) -> Lead:
    """Compare the mean ratios; how sure that is comes from a moving-block bootstrap.

    Blocks of the cube root of twice the length keep neighbours together (Kuensch 1989).

    Args:
        usage: Checked columns of `RESOURCES`, NaN where missing, each with some sample.
        rng: Draws the blocks.
    """
    columns = np.stack([usage[name] for name in usage])
    named = [RESOURCES[name] for name in usage]
    mean = np.nanmean(columns, axis=1)
    length = columns.shape[1]
    block = max(1, round((2 * length) ** (1 / 3)))
    starts = rng.integers(0, length - block + 1, size=(_RESAMPLES, -(-length // block)))
    steps = (starts[:, :, None] + np.arange(block)).reshape(_RESAMPLES, -1)
    present = ~np.isnan(columns)
    total = np.where(present, columns, 0.0)[:, steps].sum(axis=2)
    resampled = total / np.maximum(present[:, steps].sum(axis=2), 1)
    best = int(np.argmax(mean))
    # Equal means lead nothing: the others must be below, not beside.
    others = np.delete(resampled, best, axis=0)
    lead = float((resampled[best] > others.max(axis=0)).mean()) if len(others) else 1.0
    return Lead(
        intensive=named[best] if lead >= LEAD_LEVEL and len(named) > 1 else BALANCED,
        lead_ratio=lead,
        mean_ratio=dict(zip(named, mean.tolist(), strict=True)),
    )
