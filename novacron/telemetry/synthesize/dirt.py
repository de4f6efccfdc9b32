"""Spoils clean telemetry on purpose and remembers how: the test bench of validation.

Each row is left alone or gets one kind of dirt. The truth table has one row per spoiled sample.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from novacron.contracts.fields import FieldSpec, SampleSchema
from novacron.errors import SchemaError
from novacron.telemetry.synthesize.config import DirtConfig
from novacron.telemetry.synthesize.streams import Streams

KINDS: Final = ("duplicate", "late", "dropped", "percent", "sentinel")
SENTINELS: Final = (-1.0, 1.8e6)
"""What real collectors write where a measurement failed."""

TRUTH_SCHEMA: Final = pa.schema(
    [
        ("row", pa.int64()),
        ("ts", pa.timestamp("us", tz="UTC")),
        ("entity_id", pa.string()),
        ("kind", pa.string()),
        ("column", pa.string()),
        ("was", pa.float64()),
        ("became", pa.float64()),
        ("breaks_contract", pa.bool_()),
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Dirty:
    """A spoiled table and the truth about it.

    `truth.row` is the row in `table` (null for dropped rows; the second copy of a duplicate);
    `column`, `was` and `became` are filled where a value was changed. `breaks_contract` says
    whether a check of bounds, order and duplicates can notice: 0.5 % loss sent as percent is a
    valid ratio, and a dropped row is only a gap.
    """

    table: pa.Table
    truth: pa.Table


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    kind: NDArray[np.int64]
    pick: NDArray[np.float64]
    entity: NDArray[np.object_]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Edit:
    field: FieldSpec
    was: float
    became: float

    @property
    def breaks_bounds(self) -> bool:
        low, high = self.field.low or 0.0, self.field.high or np.inf
        return not low <= self.became <= high


def spoil(table: pa.Table, schema: SampleSchema, config: DirtConfig, *, seed: int) -> Dirty:
    """Return the table with some rows spoiled, and what was done to each.

    Args:
        table: Clean rows of `schema`, ordered by time; at most one row per entity and time.
        schema: The link or node table.
        config: Share of rows by kind.
        seed: The same seed spoils the same rows.

    Raises:
        SchemaError: The table is not of that schema.
    """
    if table.schema.names != list(schema.names):
        raise SchemaError(
            field=schema.name, got=table.schema.names, expected=", ".join(schema.names)
        )
    rng = Streams(seed).of(schema.name, "dirt")
    u_kind, u_pick = rng.random((2, table.num_rows))
    shares = (
        config.duplicate_ratio,
        config.late_ratio,
        config.dropped_ratio,
        config.percent_ratio,
        config.sentinel_ratio,
    )
    plan = _Plan(
        kind=np.searchsorted(np.cumsum(shares), u_kind, side="right"),
        pick=u_pick,
        entity=np.asarray(table[schema.entity].to_pylist(), dtype=object),
    )
    changed, edits = _change_values(table, schema, plan)
    order = _arrival_order(plan)
    truth = _truth(table, plan, order, edits)
    return Dirty(table=changed.take(pa.array(order)), truth=truth)


def _change_values(
    table: pa.Table, schema: SampleSchema, plan: _Plan
) -> tuple[pa.Table, dict[int, _Edit]]:
    """Write percents into true ratios and sentinels into any measurement; return edits by row."""
    floats = [field for field in schema.metrics if field.kind == "float"]
    shares = [
        f for f in floats if f.name.endswith("_ratio") and f.high is not None and f.high <= 4
    ]
    columns = {field.name: table[field.name].to_numpy().copy() for field in floats}
    edits: dict[int, _Edit] = {}
    for kind, fields in (("percent", shares), ("sentinel", floats)):
        for row in np.flatnonzero(plan.kind == KINDS.index(kind)).tolist():
            known = [field for field in fields if np.isfinite(columns[field.name][row])]
            if not known:
                continue
            field = known[int(plan.pick[row] * len(known))]
            was = float(columns[field.name][row])
            sentinel = SENTINELS[int(plan.pick[row] * 1e6) % len(SENTINELS)]
            became = was * 100 if kind == "percent" else sentinel
            columns[field.name][row] = became
            edits[row] = _Edit(field=field, was=was, became=became)
    for name in dict.fromkeys(edit.field.name for edit in edits.values()):
        at = table.schema.get_field_index(name)
        values = pa.array(columns[name], from_pandas=True)
        table = table.set_column(at, table.schema.field(at), values)
    return table, edits


def _arrival_order(plan: _Plan) -> NDArray[np.int64]:
    """Return source rows in order of arrival: dropped ones left out, doubled ones twice."""
    rows_of: dict[str, list[int]] = {}
    for row, entity in enumerate(plan.entity.tolist()):
        rows_of.setdefault(entity, []).append(row)
    order = np.arange(plan.kind.size)
    late = plan.kind == KINDS.index("late")
    for rows in rows_of.values():
        for this, following in itertools.pairwise(rows):
            if late[this] and not late[following] and order[this] == this:
                order[this], order[following] = following, this
    copies = np.ones(plan.kind.size, dtype=np.int64)
    copies[plan.kind == KINDS.index("duplicate")] = 2
    copies[plan.kind == KINDS.index("dropped")] = 0
    return np.repeat(order, copies[order])


def _late_rows(plan: _Plan, order: NDArray[np.int64]) -> set[int]:
    """Return the source rows that arrive after a later one of their entity."""
    newest: dict[str, int] = {}
    late = set()
    for source in order.tolist():
        entity = plan.entity[source]
        if source < newest.get(entity, -1):
            late.add(source)
        newest[entity] = max(source, newest.get(entity, -1))
    return late


def _truth(
    table: pa.Table, plan: _Plan, order: NDArray[np.int64], edits: Mapping[int, _Edit]
) -> pa.Table:
    place = {source: row for row, source in enumerate(order.tolist())}
    late = _late_rows(plan, order)
    rows = []
    for source in np.flatnonzero(plan.kind < len(KINDS)).tolist():
        kind = KINDS[int(plan.kind[source])]
        edit = edits.get(source)
        if (kind in ("percent", "sentinel") and edit is None) or (
            kind == "late" and source not in late
        ):
            continue
        rows.append(
            {
                "row": place.get(source),
                "ts": table["ts"][source].as_py(),
                "entity_id": plan.entity[source],
                "kind": kind,
                "column": edit.field.name if edit else None,
                "was": edit.was if edit else None,
                "became": edit.became if edit else None,
                "breaks_contract": edit.breaks_bounds if edit else kind != "dropped",
            }
        )
    return pa.Table.from_pylist(rows, schema=TRUTH_SCHEMA)
