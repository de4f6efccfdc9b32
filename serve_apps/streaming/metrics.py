"""What is counted of live samples."""

from collections.abc import Mapping
from typing import Any

from novacron.monitoring.metric_names import (
    STREAM_ENTITIES,
    STREAM_EVICTIONS,
    STREAM_LOST,
    STREAM_SAMPLES,
)
from serve_apps.metrics import MetricsLibrary


class StreamingMetrics:
    """The series of live samples in one library.

    Args:
        library: `ray.util.metrics` inside Serve.
    """

    def __init__(self, library: MetricsLibrary) -> None:
        self._samples = STREAM_SAMPLES.create(library)
        self._entities = STREAM_ENTITIES.create(library)
        self._evictions = STREAM_EVICTIONS.create(library)
        self._lost = STREAM_LOST.create(library)

    def count(self, table: str, accepted: int, reasons: Mapping[str, int]) -> None:
        """Count the samples of one request."""
        if accepted:
            self._samples.inc(accepted, tags={"table": table, "outcome": "accepted"})
        for reason, rows in reasons.items():
            self._samples.inc(rows, tags={"table": table, "outcome": reason})

    def show(self, status: Mapping[str, Any]) -> None:
        """Show what the store holds and lost."""
        for table, held in status["tables"].items():
            self._entities.set(held["entities"], tags={"table": table})
            self._evictions.set(held["evictions"], tags={"table": table})
        for kind, lost in status["lost"].items():
            self._lost.set(lost, tags={"kind": kind})
