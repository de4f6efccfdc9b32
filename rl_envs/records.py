"""Records of arrays: replace some rows of a nested record by those of a smaller one."""

import dataclasses
from typing import Any

import numpy as np

from rl_envs.physics.quantities import IntArray


def put_rows(record: Any, rows: IntArray, part: Any) -> Any:
    """Return `record` with its rows `rows` taken from `part`, through nested dataclasses.

    Arrays carry the batch on axis 0; anything that is neither a dataclass nor an array is shared
    by the whole batch and kept.
    """
    if isinstance(record, np.ndarray):
        merged = record.copy()
        merged[rows] = part
        return merged
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        names = [field.name for field in dataclasses.fields(record)]
        changes = {
            name: put_rows(getattr(record, name), rows, getattr(part, name)) for name in names
        }
        return dataclasses.replace(record, **changes)
    return record
