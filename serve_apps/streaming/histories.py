"""Completes a row that names its link or node and brings no history: the samples kept are its own."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

from novacron.contracts.telemetry import LINK_SCHEMA, SCHEMAS
from novacron.errors import NotFoundError, OutOfRangeError
from novacron.features.live import hold_last
from novacron.telemetry.blocks import US, iso_utc
from novacron.telemetry.live.store import SampleStore, Window
from serve_apps.domain.completion import Completed
from serve_apps.domain.rows import Row
from serve_apps.messages import unexpected

_LINK: Final = tuple(field.name for field in LINK_SCHEMA.metrics)
_REQUIRED: Final = "bandwidth_mbps"
"""A model that reads it reads the history of a link."""
_VALUE: Final = "value"
METRIC: Final = "metric"
"""Field by which a row names the metric whose samples are the `value` of a model that reads one."""


class LiveHistories:
    """Fills in the histories of rows from the store.

    Args:
        store: The samples.
        max_age_s: How old the newest sample may be.
        now: The clock for that.
    """

    def __init__(
        self,
        store: SampleStore,
        max_age_s: float,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._max_age_s = max_age_s
        self._now = now

    async def complete(self, inputs: frozenset[str], row: Row) -> Completed | None:
        """Return the row with a history; None where it brings its own, or the model reads none.

        Gaps are filled by the value before, as the model's inputs ask for. Each sample is a step.

        Args:
            inputs: Names of the model's inputs.
            row: As it was asked.

        Raises:
            NotFoundError: No sample of the entity is kept.
            OutOfRangeError: Its newest sample is too old.
            SchemaError: The metric is none that is kept.
        """
        if row.entity is None:
            return None
        if _REQUIRED in inputs:
            if any(name in row.fields for name in _LINK):
                return None
            window = await self._window("link", row.entity)
            filled: dict[str, Any] = {
                name: held.tolist()
                for name in _LINK
                if name in inputs
                and name in window.metrics
                and (held := hold_last(window.metrics[name])) is not None
            }
            return self._completed(row, window, filled)
        is_asked = METRIC in row.fields and METRIC not in inputs and _VALUE in inputs
        if not is_asked or _VALUE in row.fields:
            return None
        metric = row.fields[METRIC]
        window = await self._window(self._table_of(metric), row.entity)
        held = hold_last(window.metrics[metric])
        if held is None:
            raise NotFoundError(
                f"No sample of {row.entity!r} holds {metric}.", remedy="Send some, or its history."
            )
        bare = replace(row, fields={k: v for k, v in row.fields.items() if k != METRIC})
        found = self._completed(bare, window, {_VALUE: held.tolist()})
        step_s = found.told.get("step_s")
        if step_s is None or "step_s" not in inputs or "step_s" in bare.fields:
            return found
        fields = {"step_s": step_s} | dict(found.row.fields)
        return replace(found, row=replace(found.row, fields=fields))

    def _table_of(self, metric: object) -> str:
        for table, kept in self._store.config.metrics.items():
            if metric in kept:
                return table
        known = [name for kept in self._store.config.metrics.values() for name in kept]
        raise unexpected(METRIC, metric, "one of " + ", ".join(known))

    async def _window(self, table: str, entity: str) -> Window:
        store, steps = self._store, self._store.config.samples_per_entity
        if store.is_at_hand():
            window = store.window(table, entity, steps)
        else:
            window = await asyncio.to_thread(store.window, table, entity, steps)
        if not len(window):
            raise NotFoundError(
                f"No samples of {SCHEMAS[table].entity} {entity!r} are kept here.",
                remedy="Send them to /api/v1/samples, or send the history with the request. Those "
                "of entities that are silent for longest make room for others.",
            )
        return window

    def _completed(self, row: Row, window: Window, filled: Mapping[str, Any]) -> Completed:
        newest_us = int(window.ts_us[-1])
        age_s = self._now().timestamp() - newest_us / US
        if age_s > self._max_age_s:
            raise OutOfRangeError(
                field="history",
                got=f"a newest sample {age_s:.0f} s old",
                expected=f"at most {self._max_age_s:g} s",
                remedy=f"Send newer samples of {row.entity!r}, or the history with the request.",
            )
        told: dict[str, Any] = {
            "samples": len(window),
            "newest_at": iso_utc(newest_us),
            "age_s": round(age_s, 3),
        }
        if len(window) > 1:
            steps_us = np.diff(window.ts_us)
            told["step_s"] = float(np.median(steps_us)) / US
            told["longest_gap_s"] = float(steps_us.max()) / US
        return Completed(row=replace(row, fields=dict(filled) | dict(row.fields)), told=told)
