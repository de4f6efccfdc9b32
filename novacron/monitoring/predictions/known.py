"""Finds logged predictions by their ids, and what of each an outcome is compared with."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from novacron.monitoring.predictions.entry import Entry, parse_id
from novacron.monitoring.predictions.files import BlockFile, block_files
from novacron.monitoring.predictions.tables import OUTPUT

POINTS: Final[Mapping[str, tuple[str, str, str]]] = {
    "bandwidth": ("value_mbps", "lower_mbps", "upper_mbps"),
    "anomaly": ("alert", "", ""),
}
"""Outputs of a kind that are compared with outcomes: the value, and the ends of its interval. Other
kinds are compared by `value`, `lower` and `upper`, or by their first output that is a number."""
SHADOW: Final = "shadow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A prediction as an outcome needs it."""

    model: str
    version: str
    role: str
    entity: str | None
    predicted: tuple[float, ...]
    """Its values, step by step; empty where it has none that are numbers."""


def choose_points(kind: str, numbers: Sequence[str]) -> tuple[str, str, str]:
    """Return the outputs that are compared: value and ends of its interval, empty where there are none.

    Args:
        kind: Kind of the model.
        numbers: Its outputs that are numbers, in their order.
    """
    value, lower, upper = POINTS.get(kind, ("value", "lower", "upper"))
    if value not in numbers:
        return (numbers[0] if numbers else "", "", "")
    return (value, lower if lower in numbers else "", upper if upper in numbers else "")


def known_of(entry: Entry, row: int) -> Known:
    """Return one row of an entry that is not written yet."""
    numbers = [name for name, array in entry.outputs.items() if array.dtype.kind in "biuf"]
    value = choose_points(entry.kind, numbers)[0]
    predicted: tuple[float, ...] = ()
    if value:
        flat = np.asarray(entry.outputs[value][row], dtype=np.float64).ravel()
        predicted = tuple(flat.tolist())
    return Known(
        model=entry.model,
        version=entry.version,
        role=entry.role,
        entity=entry.entities[row] if entry.entities else None,
        predicted=predicted,
    )


def find_written(directory: Path, ids: Sequence[str]) -> dict[str, Known]:
    """Return those of some predictions that are in the files of a log.

    Of a prediction that a shadow answered too, the answer that was heard is returned.
    """
    by_writer: dict[str, list[str]] = defaultdict(list)
    for name in ids:
        asked = parse_id(name)
        if asked is not None:
            by_writer[asked.writer].append(name)
    found: dict[str, Known] = {}
    for writer, names in by_writer.items():
        for file in block_files(directory, writer=writer):
            inside = [name for name in names if _is_within(name, file)]
            if inside:
                _read(file, inside, found)
    return found


def _is_within(name: str, file: BlockFile) -> bool:
    asked = parse_id(name)
    return asked is not None and file.first <= asked.sequence <= file.last


def _read(file: BlockFile, names: Sequence[str], found: dict[str, Known]) -> None:
    try:
        schema = pq.read_schema(file.path)
        kind_column = pq.read_table(file.path, columns=["kind"], partitioning=None)["kind"]
        numbers = [
            field.name.removeprefix(OUTPUT)
            for field in schema
            if field.name.startswith(OUTPUT) and pa.types.is_floating(field.type.value_type)
        ]
        value = choose_points(kind_column[0].as_py() if len(kind_column) else "", numbers)[0]
        told = ["prediction_id", "version", "role", "entity"]
        table = pq.read_table(
            file.path,
            columns=[*told, *([OUTPUT + value] if value else [])],
            filters=[("prediction_id", "in", list(names))],
            partitioning=None,
        )
    except FileNotFoundError:
        # Too old, and removed by another process meanwhile.
        return
    for row in table.to_pylist():
        name = row["prediction_id"]
        if name in found and row["role"] == SHADOW:
            continue
        found[name] = Known(
            model=file.model,
            version=row["version"],
            role=row["role"],
            entity=row["entity"],
            predicted=tuple(row.get(OUTPUT + value) or ()) if value else (),
        )
