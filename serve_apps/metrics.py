"""What the endpoint counts, in the series that `novacron.monitoring.metric_names` lists."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from novacron.monitoring.metric_names import (
    BATCH_ROWS,
    SERVED_FALLBACKS,
    SERVED_LATENCY_S,
    SERVED_REQUESTS,
    SERVED_ROWS,
    SERVED_STAGE_S,
    MetricSpec,
)


class MetricsLibrary(Protocol):
    """A library shaped like `ray.util.metrics`: three constructors."""

    Counter: Any
    Gauge: Any
    Histogram: Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """Where the seconds of one request went, from its last byte in to its first byte out."""

    decode_s: float
    queue_s: float
    predict_s: float
    encode_s: float

    def to_header(self) -> str:
        """Return the value of a `Server-Timing` header (W3C), durations in ms."""
        return ", ".join(f"{name};dur={value * 1e3:.3f}" for name, value in self.stages().items())

    def stages(self) -> dict[str, float]:
        """Return the seconds by the name of the stage."""
        return {
            "decode": self.decode_s,
            "queue": self.queue_s,
            "predict": self.predict_s,
            "encode": self.encode_s,
        }


class ServingMetrics:
    """The endpoint's series in one library: `ray.util.metrics` inside Serve.

    Args:
        library: Where they go.
        flush_s: Counters are added up here and handed over so often: a call into Ray costs a
            microsecond or three, six for each request, as much as decoding it. 0: at once.
    """

    def __init__(self, library: MetricsLibrary, flush_s: float = 0.0) -> None:
        self._library = library
        self._requests = SERVED_REQUESTS.create(library)
        self._rows = SERVED_ROWS.create(library)
        self._fallbacks = SERVED_FALLBACKS.create(library)
        self._latency_s = SERVED_LATENCY_S.create(library)
        self._stage_s = SERVED_STAGE_S.create(library)
        self._batch_rows = BATCH_ROWS.create(library)
        self._flush_s = flush_s
        self._pending: dict[tuple[Any, tuple[str, ...], tuple[str, ...]], float] = {}

    def count_request(self, model: str, version: str, status: int) -> None:
        """Count one finished request; refused ones too."""
        self._add(self._requests, 1, ("model", "version", "status"), (model, version, str(status)))

    def count_answer(
        self,
        model: str,
        version: str,
        *,
        n_rows: int,
        fallbacks: Mapping[str, int],
        timing: Timing,
        latency_s: float,
    ) -> None:
        """Count the rows of one answer, the fallbacks among them, and its time."""
        self._add(self._rows, n_rows, _OF_MODEL, (model, version))
        for fallback, count in fallbacks.items():
            labels = (*_OF_MODEL, "fallback")
            self._add(self._fallbacks, count, labels, (model, version, fallback))
        self._latency_s.observe(latency_s, tags={"model": model, "version": version})
        for stage, seconds in timing.stages().items():
            if seconds > 0:
                self._add(self._stage_s, seconds, ("model", "stage"), (model, stage))

    def observe_batch(self, model: str, n_rows: int) -> None:
        """Record the rows that one model call answered."""
        self._batch_rows.observe(n_rows, tags={"model": model})

    def counter(self, spec: MetricSpec) -> Callable[[float, tuple[str, ...]], None]:
        """Return what adds to a further series: called with the amount and the label values."""
        series = spec.create(self._library)
        return lambda value, values: self._add(series, value, spec.labels, values)

    def gauge(self, spec: MetricSpec) -> Any:
        """Return a further series of the kind that is set."""
        return spec.create(self._library)

    def flush(self) -> None:
        """Hand over what was added up."""
        pending, self._pending = self._pending, {}
        for (series, labels, values), total in pending.items():
            series.inc(total, tags=dict(zip(labels, values, strict=True)))

    def _add(
        self, series: Any, value: float, labels: tuple[str, ...], values: tuple[str, ...]
    ) -> None:
        if not self._flush_s:
            series.inc(value, tags=dict(zip(labels, values, strict=True)))
            return
        if not self._pending:
            asyncio.get_running_loop().call_later(self._flush_s, self.flush)
        key = (series, labels, values)
        self._pending[key] = self._pending.get(key, 0.0) + value


_OF_MODEL: Final = ("model", "version")


class _MemorySeries:
    def __init__(self, store: dict[tuple[str, ...], list[float]], name: str) -> None:
        self._store = store
        self._name = name

    def record(self, value: float, tags: Mapping[str, str] | None = None) -> None:
        key = (self._name, *(tags or {}).values())
        self._store.setdefault(key, []).append(value)

    inc = observe = set = record


class MemoryMetrics:
    """A metrics library that keeps every value in `values`, where no Ray is running.

    Keys are the series' name followed by its label values in the order of its spec.
    """

    def __init__(self) -> None:
        self.values: dict[tuple[str, ...], list[float]] = {}
        self.Counter = self.Gauge = self.Histogram = self._create

    def total(self, name: str, *labels: str) -> float:
        """Return the sum of everything recorded under a name and its labels."""
        return sum(self.values.get((name, *labels), ()))

    def _create(self, name: str, **_: object) -> _MemorySeries:
        return _MemorySeries(self.values, name)
