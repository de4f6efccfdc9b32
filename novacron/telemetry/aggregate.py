"""Many samples of one grid step become one value each, as the table says for each column.

All arrays have one axis, with one entry a row or one a step.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from novacron.contracts.fields import FieldSpec, SampleSchema
from novacron.telemetry.blocks import NO_CODE, CodeArray, FloatArray, IntArray, RowBlock

_DENSE_FACTOR: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """One entry for each entity and step that has samples, sorted by step, then entity name.

    `metrics` and `labels` have every column of the table; NaN and `NO_CODE` where none of the
    samples has a value.
    """

    entities: CodeArray
    step: IntArray
    n_samples: IntArray
    newest_us: IntArray
    metrics: dict[str, FloatArray]
    labels: dict[str, CodeArray]


def aggregate(block: RowBlock, step: IntArray, ranks: CodeArray, schema: SampleSchema) -> Steps:
    """Reduce rows to one entry for each entity and step.

    Means are summed in row order, so the same rows give the same bits however they were batched.

    Args:
        block: At least one row, in order of time.
        step: Grid step of each row.
        ranks: Place of each entity code in the order of names.
        schema: Says for each column how values are combined.
    """
    group, entities, steps = _groups(block.entities, step, ranks)
    n_groups = len(steps)
    metrics = {}
    for field in schema.metrics:
        values = block.metrics.get(field.name)
        metrics[field.name] = (
            np.full(n_groups, np.nan)
            if values is None
            else _reduce(values, group, n_groups, field)
        )
    labels = {}
    for field in schema:
        if field.kind != "string" or field.name == schema.entity:
            continue
        labels[field.name] = np.full(n_groups, NO_CODE, np.int32)
        codes = block.labels.get(field.name)
        if codes is not None:
            known = codes != NO_CODE
            labels[field.name][group[known]] = codes[known]
    newest_us = np.empty(n_groups, np.int64)
    # Of repeated indices the last one stays, and rows are in order of time.
    newest_us[group] = block.ts_us
    return Steps(
        entities=entities,
        step=steps,
        n_samples=np.bincount(group, minlength=n_groups),
        newest_us=newest_us,
        metrics=metrics,
        labels=labels,
    )


def _groups(
    entities: CodeArray, step: IntArray, ranks: CodeArray
) -> tuple[IntArray, CodeArray, IntArray]:
    """Return the group of each row, and entity and step of each group."""
    n_entities = len(ranks)
    first = int(step.min())
    key = (step - first) * n_entities + ranks[entities]
    n_cells = (int(step.max()) - first + 1) * n_entities
    group: IntArray
    if n_cells <= _DENSE_FACTOR * len(key) + 1_024:
        taken = np.bincount(key, minlength=n_cells) > 0
        used = np.flatnonzero(taken)
        group = (np.cumsum(taken) - 1)[key]
    else:
        used, group = np.unique(key, return_inverse=True)
    code_by_rank = np.empty(n_entities, np.int32)
    code_by_rank[ranks] = np.arange(n_entities, dtype=np.int32)
    return group, code_by_rank[used % n_entities], used // n_entities + first


def _reduce(values: FloatArray, group: IntArray, n_groups: int, field: FieldSpec) -> FloatArray:
    known = ~np.isnan(values)
    if not known.all():
        values, group = values[known], group[known]
    result = np.full(n_groups, np.nan)
    if field.aggregate == "last":
        result[group] = values
    elif field.aggregate == "max":
        np.fmax.at(result, group, values)
    else:
        count = np.bincount(group, minlength=n_groups)
        total = np.bincount(group, weights=values, minlength=n_groups)
        some = count > 0
        result[some] = total[some] / (count[some] if field.aggregate == "mean" else 1)
    return result
