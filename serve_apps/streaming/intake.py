"""Takes batches of samples: those that wait while one is written go to the log together.

A batch is acknowledged once it is in the log; its bad samples come back with their reasons, and
the good ones are kept.
"""

import asyncio
import logging
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from novacron.contracts.telemetry import SCHEMAS
from novacron.errors import (
    InvalidInputError,
    NovacronError,
    OutOfRangeError,
    OverloadedError,
    PayloadTooLargeError,
    SchemaError,
)
from novacron.telemetry.live.store import Ingested, SampleStore
from novacron.telemetry.quarantine import REASONS, Reason, Rejection
from serve_apps.messages import unexpected
from serve_apps.settings.streaming import StreamingConfig
from serve_apps.streaming.metrics import StreamingMetrics

logger = logging.getLogger(__name__)

TOLD_REJECTIONS: Final = 100
"""So many are in the answer; all are in the quarantine."""
_RETRY_AFTER_S: Final = 0.5
_VALUE_REASONS: Final[tuple[Reason, ...]] = (
    "non_finite", "percent_not_ratio", "out_of_range", "future", "stale", "clock_went_back",
)  # fmt: skip
_REPEATS: Final[tuple[Reason, ...]] = ("duplicate", "conflicting_duplicate")


@dataclass(slots=True)
class _Waiting:
    table: str
    samples: Sequence[Any]
    future: asyncio.Future[Ingested]

    @property
    def n_rows(self) -> int:
        return len(self.samples)


class SampleIntake:
    """The queue in front of the store; its methods run on one event loop.

    Args:
        store: Where samples go; its calls run in a worker thread.
        config: Sizes.
        metrics: Where samples are counted.
    """

    def __init__(
        self, store: SampleStore, config: StreamingConfig, metrics: StreamingMetrics
    ) -> None:
        self.store = store
        self._config = config
        self._metrics = metrics
        self._queue: deque[_Waiting] = deque()
        self._waiting_rows = 0
        self._runner: asyncio.Task[None] | None = None
        self.is_healthy = True
        """Whether the last batch could be written."""

    async def take(self, document: Any) -> dict[str, Any]:
        """Take `{"table": ..., "samples": [...]}` and tell what became of each sample.

        Raises:
            SchemaError: The document is no such batch, or every sample of it is bad in form.
            OutOfRangeError: Every sample is bad, the first by its value or time.
            PayloadTooLargeError: More samples than the limit.
            OverloadedError: Too many wait already.
            NotReadyError: The log cannot be written.
        """
        table, samples = self._read(document)
        ingested = await self._submit(table, samples)
        reasons = Counter[str](one.reason for one in ingested.rejected)
        self._metrics.count(table, ingested.accepted, reasons)
        if not ingested.accepted and not any(reason in reasons for reason in _REPEATS):
            raise _refusal(ingested.rejected[0])
        told = [_describe(one) for one in ingested.rejected[:TOLD_REJECTIONS]]
        return {
            "table": table,
            "received": len(samples),
            "accepted": ingested.accepted,
            "rejected": len(ingested.rejected),
            "reasons": dict(reasons),
            "rejections": told,
            "rejections_not_told": len(ingested.rejected) - len(told),
        }

    async def tick(self) -> None:
        """Bring what was taken to the disk and show what is held; call it about once a second."""
        try:
            await asyncio.to_thread(self.store.flush)
            self._metrics.show(await asyncio.to_thread(self.store.status))
        except OSError:
            logger.exception("the log of samples cannot be flushed")

    async def close(self) -> None:
        """Write what waits, and close the store."""
        if self._runner is not None:
            await self._runner
        await asyncio.to_thread(self.store.close)

    def _read(self, document: Any) -> tuple[str, list[Any]]:
        if not isinstance(document, dict):
            raise unexpected("body", document, "a JSON object")
        for name in document:
            if name not in ("table", "samples"):
                raise SchemaError(
                    field=name[:100], got="a field of this name", expected="table, samples"
                )
        table, samples = document.get("table"), document.get("samples")
        if not isinstance(table, str) or table not in self.store.config.metrics:
            known = ", ".join(self.store.config.metrics)
            raise unexpected("table", table, f"one of {known}")
        if not isinstance(samples, list) or not samples:
            raise unexpected("samples", samples, "a list with at least one sample")
        if len(samples) > self._config.max_batch_rows:
            raise PayloadTooLargeError(
                field="samples",
                got=f"{len(samples)} samples",
                expected=f"at most {self._config.max_batch_rows} samples",
                remedy="Send them in several requests.",
            )
        return table, samples

    async def _submit(self, table: str, samples: Sequence[Any]) -> Ingested:
        n_rows = len(samples)
        if self._queue and self._waiting_rows + n_rows > self._config.max_waiting_rows:
            raise OverloadedError(
                f"{self._waiting_rows} samples wait to be written already.",
                retry_after_s=_RETRY_AFTER_S,
            )
        loop = asyncio.get_running_loop()
        waiting = _Waiting(table, samples, loop.create_future())
        self._queue.append(waiting)
        self._waiting_rows += n_rows
        if self._runner is None:
            self._runner = loop.create_task(self._run())
        # Shielded: a caller that leaves does not take back what is about to be written.
        return await asyncio.shield(waiting.future)

    async def _run(self) -> None:
        try:
            while self._queue:
                batch = self._next()
                try:
                    await self._write(batch)
                    self.is_healthy = True
                except Exception as error:  # noqa: BLE001  no caller may wait for ever
                    self.is_healthy = False
                    _fail(batch, error)
        finally:
            self._runner = None

    def _next(self) -> list[_Waiting]:
        """Take what waits for one table, up to a batch."""
        batch = [self._queue.popleft()]
        rows = batch[0].n_rows
        while self._queue and self._queue[0].table == batch[0].table:
            rows += self._queue[0].n_rows
            if rows > self._config.max_batch_rows:
                break
            batch.append(self._queue.popleft())
        self._waiting_rows -= sum(one.n_rows for one in batch)
        return batch

    async def _write(self, batch: Sequence[_Waiting]) -> None:
        ingested = await asyncio.to_thread(_ingest, self.store, batch)
        rows = [one.row for one in ingested.rejected]
        first = 0
        for one in batch:
            start, stop = bisect_left(rows, first + 1), bisect_left(rows, first + one.n_rows + 1)
            own = tuple(_moved(bad, first) for bad in ingested.rejected[start:stop])
            first += one.n_rows
            if not one.future.done():
                one.future.set_result(Ingested(one.n_rows - len(own), own))


def _ingest(store: SampleStore, batch: Sequence[_Waiting]) -> Ingested:
    """Write the samples as lines, as files of samples are, and hand them over."""
    lines = [
        orjson.dumps(sample, option=orjson.OPT_APPEND_NEWLINE)
        for one in batch
        for sample in one.samples
    ]
    return store.ingest(batch[0].table, b"".join(lines))


def _fail(batch: Sequence[_Waiting], error: Exception) -> None:
    if not isinstance(error, NovacronError):
        logger.error("a batch of samples failed", exc_info=error)
        error = NovacronError("The samples could not be taken.", remedy="See the replica's log.")
    for one in batch:
        if not one.future.done():
            one.future.set_exception(error)


def _moved(rejection: Rejection, first: int) -> Rejection:
    """Number a rejection within its own request, from 0."""
    fields = {name: getattr(rejection, name) for name in rejection.__slots__}
    return Rejection(**fields | {"row": rejection.row - first - 1})


def _describe(rejection: Rejection) -> dict[str, Any]:
    told = ("row", "reason", "column", "got", "expected", "hint")
    return {name: getattr(rejection, name) for name in told}


def _refusal(rejection: Rejection) -> InvalidInputError:
    kind = OutOfRangeError if rejection.reason in _VALUE_REASONS else SchemaError
    column = f".{rejection.column}" if rejection.column else ""
    return kind(
        field=f"samples[{rejection.row}]{column}",
        got=rejection.got or rejection.reason,
        expected=rejection.expected or REASONS[rejection.reason],
        remedy=rejection.hint or f"No sample was kept: {REASONS[rejection.reason]}.",
    )


def table_fields() -> Mapping[str, Mapping[str, Any]]:
    """Return the JSON schema of a sample of each table."""
    found = {}
    for table, schema in SCHEMAS.items():
        fields: dict[str, Any] = {}
        for column in schema:
            numeric = column.kind in ("float", "int")
            one: dict[str, Any] = {
                "type": "number" if numeric else "string",
                "description": f"{column.doc} [{column.unit}]",
            }
            if numeric:
                one |= {"minimum": column.low, "maximum": column.high}
            if column.choices:
                one["enum"] = list(column.choices)
            fields[column.name] = one
        found[table] = {
            "type": "object",
            "properties": fields,
            "required": list(schema.required),
            "additionalProperties": False,
        }
    return found
