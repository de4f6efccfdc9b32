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

CIRCUIT_STATE: Final = MetricSpec(
    name="novacron_circuit_state",
    kind="gauge",
    labels=("model", "version"),
    doc="circuit breaker of a version: 0 closed, 1 half open, 2 open",
)
CIRCUIT_TRIPS: Final = MetricSpec(
    name="novacron_circuit_trips",
    kind="counter",
    labels=("model", "version"),
    doc="times a version's circuit opened",
)
CIRCUIT_FAILURES: Final = MetricSpec(
    name="novacron_circuit_failures",
    kind="counter",
    labels=("model", "version", "cause"),
    doc="requests that a version failed, by the error's name; callers' mistakes are not among them",
)
CIRCUIT_REFUSALS: Final = MetricSpec(
    name="novacron_circuit_refusals",
    kind="counter",
    labels=("model", "version"),
    doc="requests that an open circuit kept from the version",
)
STOOD_IN_REQUESTS: Final = MetricSpec(
    name="novacron_stood_in_requests",
    kind="counter",
    labels=("model", "version", "baseline", "cause"),
    doc="requests that a named baseline answered because the version could not",
)
CACHE_LOOKUPS: Final = MetricSpec(
    name="novacron_answer_cache_lookups",
    kind="counter",
    labels=("model", "result"),
    doc="looks into the answer cache: hit, miss or joined",
)
CACHE_EVICTIONS: Final = MetricSpec(
    name="novacron_answer_cache_evictions",
    kind="counter",
    doc="kept answers dropped for want of room or for their age",
)
CACHE_BYTES: Final = MetricSpec(
    name="novacron_answer_cache_bytes", kind="gauge", doc="bytes of the answers kept in a replica"
)
ACCESS_REFUSALS: Final = MetricSpec(
    name="novacron_access_refusals",
    kind="counter",
    labels=("caller", "reason"),
    doc="requests refused before they were read: token, role, rate or size",
)
AUDIT_LOST: Final = MetricSpec(
    name="novacron_audit_lost",
    kind="counter",
    doc="audit lines that could not be written; the answers were not held up for them",
)
STREAM_SAMPLES: Final = MetricSpec(
    name="novacron_stream_samples",
    kind="counter",
    labels=("table", "outcome"),
    doc="live samples by what became of them: accepted, or the reason of the rejection",
)
STREAM_ENTITIES: Final = MetricSpec(
    name="novacron_stream_entities",
    kind="gauge",
    labels=("table",),
    doc="links or nodes whose newest samples are held",
)
STREAM_EVICTIONS: Final = MetricSpec(
    name="novacron_stream_evictions",
    kind="gauge",
    labels=("table",),
    doc="entities that made room for others since the log began",
)
STREAM_LOST: Final = MetricSpec(
    name="novacron_stream_lost",
    kind="gauge",
    labels=("kind",),
    doc="rows, bytes and snapshots of the log of samples that were damaged or cut off",
)
PREDICTIONS_LOGGED: Final = MetricSpec(
    name="novacron_predictions_logged",
    kind="gauge",
    labels=("state",),
    doc="rows of the prediction log: recorded, written, waiting, refused, failed, lost",
)
PREDICTION_LOG_HEALTHY: Final = MetricSpec(
    name="novacron_prediction_log_healthy",
    kind="gauge",
    doc="1 while blocks of the prediction log can be written, else 0",
)
ACTUALS: Final = MetricSpec(
    name="novacron_actuals",
    kind="counter",
    labels=("outcome",),
    doc="outcomes told for predictions: kept, or refused because the prediction is unknown",
)
ROLLOUT_REQUESTS: Final = MetricSpec(
    name="novacron_rollout_requests",
    kind="counter",
    labels=("model", "version", "role", "result"),
    doc="requests of a running rollout by version, its role (stable, tried) and result "
    "(answered, failed)",
)
ROLLOUT_COMPARED: Final = MetricSpec(
    name="novacron_rollout_compared",
    kind="counter",
    labels=("model", "version", "result"),
    doc="answers compared with the stable version's: same, differs, or dropped because too many "
    "waited",
)
ROLLOUT_SHARE: Final = MetricSpec(
    name="novacron_rollout_share",
    kind="gauge",
    labels=("model", "version"),
    doc="share of callers that a version gets, 0..1",
)
ROLLOUT_DECISIONS: Final = MetricSpec(
    name="novacron_rollout_decisions",
    kind="counter",
    labels=("model", "decision"),
    doc="decisions of rollouts: stage, hold, promote, roll_back, abort and others",
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
    CIRCUIT_STATE,
    CIRCUIT_TRIPS,
    CIRCUIT_FAILURES,
    CIRCUIT_REFUSALS,
    STOOD_IN_REQUESTS,
    CACHE_LOOKUPS,
    CACHE_EVICTIONS,
    CACHE_BYTES,
    ACCESS_REFUSALS,
    AUDIT_LOST,
    STREAM_SAMPLES,
    STREAM_ENTITIES,
    STREAM_EVICTIONS,
    STREAM_LOST,
    PREDICTIONS_LOGGED,
    PREDICTION_LOG_HEALTHY,
    ACTUALS,
    ROLLOUT_REQUESTS,
    ROLLOUT_COMPARED,
    ROLLOUT_SHARE,
    ROLLOUT_DECISIONS,
)
