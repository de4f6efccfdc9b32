"""Answers the rows of a table by any servable model; a bad row is set aside, never its batch."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from novacron.errors import InvalidInputError, OutOfRangeError, SchemaError
from novacron.models.base import ServableModel
from novacron.registry.records import LoadedModel
from novacron.telemetry.quarantine import MAX_RAW_CHARS, Reason, Rejection
from ray_jobs.tensor_rows import Fault, RowGroup, arrow_type, check_columns, split_rows, to_column

Prepared = dict[str, NDArray[np.generic]]

_PROVENANCE: Final = pa.schema(
    [
        ("source_row", pa.int64()),
        ("prediction_id", pa.string()),
        ("model_name", pa.string()),
        ("model_version", pa.string()),
        ("made_at", pa.timestamp("us", tz="UTC")),
        ("features_hash", pa.string()),
    ]
)
"""`source_row` counts from 1 in the source file, as the quarantine does."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """What became of a batch: its answers in order of the rows, and the rows set aside."""

    table: pa.Table
    rejected: tuple[Rejection, ...]


class RowAnswerer:
    """Answers batches of one source.

    An answer has the source's columns that are no input (keys, times, labels), one column for each
    output tensor, and who answered when.

    Args:
        loaded: The model with its name and version.
        schema: Of the source.
        source: Its name, in quarantined rows and prediction ids.
        clock: Gives `made_at`.

    Raises:
        SchemaError: The source's columns are not what the model takes, or one is called like a
            column of the answer.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        schema: pa.Schema,
        source: str,
        clock: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._loaded = loaded
        self._source = source
        self._clock = clock
        self._outputs = {spec.name: spec for spec in loaded.model.outputs}
        inputs = {spec.name for spec in loaded.model.inputs}
        check_columns(schema, loaded.model.inputs)
        self._kept = [name for name in schema.names if name not in inputs]
        own = [pa.field(spec.name, arrow_type(spec)) for spec in self._outputs.values()]
        taken = {field.name for field in own} | set(_PROVENANCE.names)
        for name in self._kept:
            if name in taken:
                raise SchemaError(
                    field=name,
                    got="a column of that name",
                    expected="columns with other names than those of the answer",
                    remedy="Rename or drop it.",
                )
        self.schema = pa.schema([schema.field(name) for name in self._kept] + own + [*_PROVENANCE])

    def answer(self, batch: pa.RecordBatch, first_row: int) -> Answered:
        """Answer one batch.

        Args:
            batch: Rows of the source's schema.
            first_row: Rows of the source before it.
        """
        model = self._loaded.model
        split = split_rows(batch, model.inputs)
        faults = dict(split.faults)
        prepared: list[Prepared] = []
        rows: list[NDArray[np.int64]] = []
        for group in split.groups:
            for places, made in _prepare(model, group, faults):
                prepared.append(made)
                rows.append(places)
        rejected = tuple(
            self._rejection(fault, batch, row, first_row) for row, fault in sorted(faults.items())
        )
        if not prepared:
            return Answered(table=self.schema.empty_table(), rejected=rejected)
        joined = {name: np.concatenate([one[name] for one in prepared]) for name in prepared[0]}
        places = np.concatenate(rows)
        order = np.argsort(places)
        found = {name: values[order] for name, values in model.predict(joined).items()}
        return Answered(
            table=self._table(batch, places[order], found, first_row), rejected=rejected
        )

    def _table(
        self,
        batch: pa.RecordBatch,
        places: NDArray[np.int64],
        found: Mapping[str, NDArray[np.generic]],
        first_row: int,
    ) -> pa.Table:
        name, version = self._loaded.name, self._loaded.version
        numbers = places + first_row + 1
        taken = pa.array(places)
        kept = [batch.column(column).take(taken) for column in self._kept]
        own = [to_column(found[spec.name], spec) for spec in self._outputs.values()]
        count = len(places)
        provenance = [
            pa.array(numbers),
            pa.array([f"{name}-{version}-{self._source}-{one}" for one in numbers.tolist()]),
            pa.repeat(name, count),
            pa.repeat(version, count),
            pa.array([self._clock()] * count, pa.timestamp("us", tz="UTC")),
            pa.repeat(self._loaded.model.features_hash, count),
        ]
        return pa.Table.from_arrays([*kept, *own, *provenance], schema=self.schema)

    def _rejection(
        self, fault: Fault, batch: pa.RecordBatch, row: int, first_row: int
    ) -> Rejection:
        raw = batch.slice(row, 1).to_pylist()[0]
        return Rejection(
            source=self._source,
            row=first_row + row + 1,
            reason=fault.reason,
            column=fault.column,
            got=fault.got,
            expected=fault.expected,
            hint=fault.hint,
            raw=_as_json(raw),
        )


def _prepare(
    model: ServableModel, group: RowGroup, faults: dict[int, Fault]
) -> list[tuple[NDArray[np.int64], Prepared]]:
    """Prepare a group in as large pieces as its bad rows allow; those are added to `faults`."""
    try:
        return [(group.places, model.prepare(group.tensors))]
    except InvalidInputError as error:
        if len(group.places) == 1:
            faults[int(group.places[0])] = _fault(error)
            return []
    half = len(group.places) // 2
    found = []
    for part in (slice(None, half), slice(half, None)):
        tensors = {name: values[part] for name, values in group.tensors.items()}
        found += _prepare(model, RowGroup(places=group.places[part], tensors=tensors), faults)
    return found


def _fault(error: InvalidInputError) -> Fault:
    reason: Reason = "refused_by_model"
    if isinstance(error, OutOfRangeError):
        reason = "non_finite" if error.got in ("nan", "inf", "-inf") else "out_of_range"
    return Fault(
        reason=reason,
        column=error.field,
        got=error.got,
        expected=error.expected,
        hint=error.remedy,
    )


def _as_json(row: dict[str, Any]) -> str | dict[str, Any]:
    """Return a row as it can be written as JSON, or the beginning of its text where it is long."""
    plain = json.loads(json.dumps(row, default=str), parse_constant=str)
    text = json.dumps(plain)
    if len(text) > MAX_RAW_CHARS:
        return text[:MAX_RAW_CHARS]
    return dict(plain)
