"""The one list of the platform's own metrics. Jobs, endpoint, dashboards and docs read it here."""

from dataclasses import dataclass
from typing import Any, Final, Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricSpec:
    """One exported time series family; Ray prefixes `ray_` and appends `_total` to counters."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    doc: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    def create(self, metrics_module: Any) -> Any:
        """Create the series in a metrics library shaped like `ray.util.metrics`."""
        if self.kind == "histogram":
            return metrics_module.Histogram(
                self.name,
                description=self.doc,
                boundaries=list(self.buckets),
                tag_keys=self.labels,
            )
        cls = metrics_module.Counter if self.kind == "counter" else metrics_module.Gauge
        return cls(self.name, description=self.doc, tag_keys=self.labels)


ROWS_READ: Final = MetricSpec(
    name="novacron_rows_read", kind="counter", labels=("schema",), doc="telemetry rows read"
)
ROWS_REJECTED: Final = MetricSpec(
    name="novacron_rows_rejected",
    kind="counter",
    labels=("schema", "reason"),
    doc="telemetry rows sent to quarantine",
)
TRAINING_LOSS: Final = MetricSpec(
    name="novacron_training_loss",
    kind="gauge",
    labels=("model", "set", "seed", "split"),
    doc="last loss of a running training",
)
TRAINING_ROWS: Final = MetricSpec(
    name="novacron_training_rows",
    kind="counter",
    labels=("model", "set"),
    doc="rows a training has stepped over",
)
JOB_ERRORS: Final = MetricSpec(
    name="novacron_job_errors", kind="counter", labels=("job", "code"), doc="jobs that failed"
)
SERVED_REQUESTS: Final = MetricSpec(
    name="novacron_served_requests",
    kind="counter",
    labels=("model", "version", "status"),
    doc="inference requests answered, by HTTP status",
)
SERVED_ROWS: Final = MetricSpec(
    name="novacron_served_rows",
    kind="counter",
    labels=("model", "version"),
    doc="rows answered",
)
SERVED_FALLBACKS: Final = MetricSpec(
    name="novacron_served_fallbacks",
    kind="counter",
    labels=("model", "version", "fallback"),
    doc="rows answered by a named fallback instead of the model",
)
SERVED_LATENCY_S: Final = MetricSpec(
    name="novacron_served_latency_seconds",
    kind="histogram",
    labels=("model", "version"),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
    doc="time from the last byte of a request to the first byte of its answer",
)
SERVED_STAGE_S: Final = MetricSpec(
    name="novacron_served_stage_seconds",
    kind="counter",
    labels=("model", "stage"),
    doc="seconds requests spent in each stage: decode, queue, predict, encode",
)
BATCH_ROWS: Final = MetricSpec(
    name="novacron_batch_rows",
    kind="histogram",
    labels=("model",),
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
    doc="rows that one model call answered",
)

ALL_METRICS: Final = (
    ROWS_READ,
    ROWS_REJECTED,
    TRAINING_LOSS,
    TRAINING_ROWS,
    JOB_ERRORS,
    SERVED_REQUESTS,
    SERVED_ROWS,
    SERVED_FALLBACKS,
    SERVED_LATENCY_S,
    SERVED_STAGE_S,
    BATCH_ROWS,
)
