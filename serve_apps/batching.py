"""Joins the rows of waiting requests into one model call, without ever waiting for a timer.

Work-conserving: an idle model runs whatever waits; while it runs, the next batch gathers. Large
requests are cut to the batch limit and put together again, a request that makes the model fail
fails alone, and the queue is bounded by rows, by bytes and by the wait it predicts.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from novacron.errors import (
    DeadlineExceededError,
    NotReadyError,
    NovacronError,
    OverloadedError,
)
from novacron.models.base import Tensors
from serve_apps.config import BatchingConfig
from serve_apps.cost import CostModel

Predict = Callable[[Tensors], Mapping[str, NDArray[np.generic]]]
Answers = dict[str, NDArray[np.generic]]

KNOWN_CALLS: Final = 16
"""Calls seen before the expected time of one is trusted enough to make it on the event loop."""

WARM_S: Final = 1.0
"""Longest time that a new version is warmed for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchedAnswer:
    """A caller's own rows, and where their time went.

    `queue_s` runs from submission to the first model call with a row of it, `predict_s` sums the
    model calls that its rows took part in.
    """

    tensors: Answers
    queue_s: float
    predict_s: float


@dataclass(slots=True)
class _Waiting:
    """One request in the queue: its rows, how many were taken, and what came back so far."""

    rows: Tensors
    n_rows: int
    row_bytes: int
    future: asyncio.Future[BatchedAnswer]
    submitted_s: float
    deadline_s: float = math.inf
    taken: int = 0
    queue_s: float = 0.0
    predict_s: float = 0.0
    parts: list[Mapping[str, NDArray[np.generic]]] = field(default_factory=list)

    @property
    def left(self) -> int:
        return self.n_rows - self.taken


@dataclass(frozen=True, slots=True)
class _Slice:
    """Rows [start, stop) of one request, its share of a batch."""

    waiting: _Waiting
    start: int
    stop: int

    def rows(self) -> dict[str, NDArray[np.generic]]:
        return {name: array[self.start : self.stop] for name, array in self.waiting.rows.items()}


class Batcher:
    """The queue in front of one model version. All methods run on one event loop.

    Args:
        predict: Answers joined rows; called one call at a time, in the batcher's own thread or,
            where calls are known to be short, on the event loop.
        config: Limits of batch and queue.
        name: Named in errors.
        observe: Called with the rows of every model call.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        predict: Predict,
        config: BatchingConfig,
        *,
        name: str,
        observe: Callable[[int], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._predict = predict
        self._config = config
        self._name = name
        self._observe = observe
        self._clock = clock
        self._cost = CostModel()
        self._queue: deque[_Waiting] = deque()
        self._queued_rows = 0
        self._queued_bytes = 0
        self._running_rows = 0
        self._call_began_s: float | None = None
        self._runner: asyncio.Task[None] | None = None
        self._full = asyncio.Event()
        self._closed = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"predict-{name}")

    @property
    def queued_rows(self) -> int:
        """Rows that wait for a model call, without those in one."""
        return self._queued_rows

    @property
    def running_s(self) -> float:
        """Seconds that the model call in progress has taken so far; 0 when idle."""
        return 0.0 if self._call_began_s is None else self._clock() - self._call_began_s

    def predict_wait_s(self) -> float:
        """Return the expected seconds until everything now here is answered."""
        full, rest = divmod(self._queued_rows, self._config.max_batch_rows)
        wait_s = full * self._cost.predict_s(self._config.max_batch_rows)
        for n_rows in (rest, self._running_rows):
            wait_s += self._cost.predict_s(n_rows) if n_rows else 0.0
        return wait_s

    async def submit(
        self, rows: Tensors, n_rows: int, deadline_s: float = math.inf
    ) -> BatchedAnswer:
        """Queue prepared rows and wait for their answers, in their order.

        Cancelling the call takes its rows out of the queue.

        Args:
            rows: As `prepare` made them.
            n_rows: Their number.
            deadline_s: By the batcher's clock; nobody reads an answer after it.

        Raises:
            OverloadedError: The queue is full or too slow.
            DeadlineExceededError: The answer was not there in time.
            NotReadyError: The batcher is draining.
            Exception: Whatever the model raised for these rows.
        """
        row_bytes = sum(array.nbytes for array in rows.values()) // n_rows
        self._admit(n_rows, row_bytes * n_rows, deadline_s)
        loop = asyncio.get_running_loop()
        waiting = _Waiting(
            rows, n_rows, row_bytes, loop.create_future(), self._clock(), deadline_s
        )
        self._queue.append(waiting)
        self._queued_rows += n_rows
        self._queued_bytes += n_rows * row_bytes
        if self._queued_rows >= self._config.max_batch_rows:
            self._full.set()
        if self._runner is None:
            self._runner = loop.create_task(self._run())
        try:
            if deadline_s == math.inf:
                return await waiting.future
            async with asyncio.timeout(deadline_s - self._clock()):
                return await waiting.future
        except TimeoutError:
            self._forget(waiting)
            raise DeadlineExceededError(
                f"{self._name} had no answer before the request's deadline.",
                remedy="Ask with a longer timeout, or for fewer rows.",
            ) from None
        except asyncio.CancelledError:
            self._forget(waiting)
            raise

    async def warm(self, rows: Tensors, n_rows: int) -> None:
        """Call the model with rows nobody waits for, so that its first callers wait no longer."""
        loop, until_s = asyncio.get_running_loop(), self._clock() + WARM_S
        for _ in range(KNOWN_CALLS):
            began_s = self._clock()
            await loop.run_in_executor(self._thread, self._predict, rows)
            self._cost.observe(n_rows, self._clock() - began_s)
            if self._clock() > until_s:
                return

    async def drain(self) -> None:
        """Refuse new requests, answer those that wait, and end the thread."""
        self._closed = True
        self._full.set()
        if self._runner is not None:
            await self._runner
        self._thread.shutdown(wait=False)

    def _admit(self, n_rows: int, n_bytes: int, deadline_s: float) -> None:
        if self._closed:
            raise NotReadyError(
                f"{self._name} is shutting down.", remedy="Retry: another replica will answer."
            )
        wait_s = self.predict_wait_s()
        for unit, queued, more, limit in (
            ("rows", self._queued_rows, n_rows, self._config.max_queued_rows),
            ("bytes", self._queued_bytes, n_bytes, self._config.max_queued_bytes),
        ):
            if queued and queued + more > limit:
                self._refuse(
                    f"{queued} {unit} wait already, {more} more exceed the limit of {limit}.",
                    wait_s,
                )
        max_wait_s = self._config.max_wait_s
        if wait_s > max_wait_s:
            self._refuse(
                f"the wait would be {wait_s:.2f} s, the limit is {max_wait_s:g} s.",
                wait_s - max_wait_s,
            )
        left_s = deadline_s - self._clock()
        if left_s <= 0:
            raise DeadlineExceededError(
                "The request's deadline had passed before it could be queued.",
                remedy="Ask with a longer timeout.",
            )
        if wait_s > left_s:
            self._refuse(
                f"the wait would be {wait_s:.2f} s, the request's deadline is in {left_s:.2f} s.",
                wait_s - left_s,
            )

    def _refuse(self, why: str, retry_after_s: float) -> NoReturn:
        raise OverloadedError(
            f"{self._name}: {why}",
            retry_after_s=max(retry_after_s, self._config.min_retry_after_s),
        )

    async def _run(self) -> None:
        """Run batches until nobody waits; at most one such task exists."""
        try:
            while self._queue:
                await self._linger()
                batch = self._take()
                if not batch:
                    continue
                try:
                    await self._answer(batch)
                except Exception as error:  # noqa: BLE001  no caller may wait for ever
                    for part in batch:
                        self._fail(part.waiting, error)
        finally:
            self._runner = None

    async def _linger(self) -> None:
        """Wait for more rows, only if a delay is configured and the batch is not full."""
        left_s = self._queue[0].submitted_s + self._config.max_delay_s - self._clock()
        if left_s <= 0 or self._closed or self._queued_rows >= self._config.max_batch_rows:
            return
        self._full.clear()
        try:
            await asyncio.wait_for(self._full.wait(), left_s)
        except TimeoutError:
            return

    def _take(self) -> list[_Slice]:
        """Take rows for one call, oldest request first, passing over those nobody waits for."""
        room, room_bytes = self._config.max_batch_rows, self._config.max_batch_bytes
        batch: list[_Slice] = []
        now_s = self._clock()
        while self._queue and room:
            waiting = self._queue[0]
            if waiting.deadline_s <= now_s or waiting.future.done():
                # Its caller is told by its own timer, or has left and not yet said so.
                self._forget(waiting)
            count = min(waiting.left, room)
            if count and waiting.row_bytes:
                # A row alone is never too large: it was admitted.
                count = min(count, max(room_bytes // waiting.row_bytes, 0 if batch else 1))
                if not count:
                    break
            if count:
                if waiting.taken == 0:
                    waiting.queue_s = now_s - waiting.submitted_s
                batch.append(_Slice(waiting, waiting.taken, waiting.taken + count))
                self._leave(waiting, count)
                room -= count
                room_bytes -= count * waiting.row_bytes
            if not waiting.left:
                self._queue.popleft()
        return batch

    def _leave(self, waiting: _Waiting, count: int) -> None:
        """Let some rows of a request leave the queue."""
        waiting.taken += count
        self._queued_rows -= count
        self._queued_bytes -= count * waiting.row_bytes

    async def _answer(self, batch: Sequence[_Slice]) -> None:
        """Call the model for a batch; if that fails, for each request of it alone."""
        error = await self._call(batch)
        if error is None:
            return
        if len(batch) == 1:
            await self._tell(batch[0].waiting, error)
            return
        for part in batch:
            if not part.waiting.future.done():
                alone = await self._call([part])
                if alone is not None:
                    await self._tell(part.waiting, alone)

    async def _call(self, batch: Sequence[_Slice]) -> Exception | None:
        """Call the model once and hand out the answers; return what it raised, if it did."""
        n_rows = sum(part.stop - part.start for part in batch)
        self._running_rows = n_rows
        self._call_began_s = self._clock()
        try:
            if self._is_short(n_rows):
                outputs, seconds = self._predict_joined(batch, n_rows)
            else:
                outputs, seconds = await asyncio.get_running_loop().run_in_executor(
                    self._thread, self._predict_joined, batch, n_rows
                )
            self._cost.observe(n_rows, seconds)
            self._observe(n_rows)
        except Exception as error:  # noqa: BLE001  a model may raise anything; its caller gets it
            return error
        finally:
            self._running_rows = 0
            self._call_began_s = None
        start = 0
        for part in batch:
            stop = start + part.stop - part.start
            self._deliver(part.waiting, {k: v[start:stop] for k, v in outputs.items()}, seconds)
            start = stop
        return None

    def _is_short(self, n_rows: int) -> bool:
        """Tell whether handing a call to the thread and back would cost more than it is worth."""
        limit_s = self._config.inline_below_s
        return self._cost.n_calls >= KNOWN_CALLS and self._cost.predict_s(n_rows) < limit_s

    def _predict_joined(self, batch: Sequence[_Slice], n_rows: int) -> tuple[Answers, float]:
        """Join, predict and check the row count."""
        started_s = self._clock()
        parts = [part.rows() for part in batch]
        rows = parts[0] if len(parts) == 1 else _join(parts)
        outputs = dict(self._predict(rows))
        answered = {name: len(array) for name, array in outputs.items()}
        if set(answered.values()) != {n_rows}:
            raise NovacronError(
                f"{self._name} answered {answered} for {n_rows} rows.",
                remedy="The model's predict must keep rows on axis 0.",
            )
        return outputs, self._clock() - started_s

    def _deliver(
        self, waiting: _Waiting, outputs: Mapping[str, NDArray[np.generic]], predict_s: float
    ) -> None:
        """Keep a request's share; once all its rows are there, answer it."""
        waiting.parts.append(outputs)
        waiting.predict_s += predict_s
        if sum(map(_rows_of, waiting.parts)) < waiting.n_rows or waiting.future.done():
            return
        tensors = dict(outputs) if len(waiting.parts) == 1 else _join(waiting.parts)
        waiting.future.set_result(
            BatchedAnswer(tensors=tensors, queue_s=waiting.queue_s, predict_s=waiting.predict_s)
        )

    async def _tell(self, waiting: _Waiting, error: Exception) -> None:
        """Fail a request and let its caller hear of it before the model is called again.

        Callers may know then that the next call is not worth making, and take theirs back.
        """
        self._fail(waiting, error)
        await asyncio.sleep(0)

    def _fail(self, waiting: _Waiting, error: Exception) -> None:
        self._forget(waiting)
        if not waiting.future.done():
            waiting.future.set_exception(error)

    def _forget(self, waiting: _Waiting) -> None:
        """Take what is left of a request out of the queue; its place is passed over later."""
        self._leave(waiting, waiting.left)


def _join(parts: Sequence[Tensors]) -> Answers:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _rows_of(tensors: Mapping[str, NDArray[np.generic]]) -> int:
    return len(next(iter(tensors.values())))
