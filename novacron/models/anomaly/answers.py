"""What the detector says: every alert with its reasons and provenance, every sample with its score.

Legend: T samples, M metrics.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from novacron.errors import OutOfRangeError
from novacron.models.anomaly.config import Severity

AlertKind = Literal[
    "latency_spike",
    "throughput_drop",
    "error_burst",
    "resource_exhaustion",
    "compression_failure",
    "prediction_error",
    "consensus_delay",
    "network_anomaly",
    "unknown",
]
Shape = Literal["spike", "level_shift", "volatility", "stuck", "pattern"]
Suppression = Literal["", "maintenance", "duplicate"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Contribution:
    """A feature's part in one alert: `share` of all parts, and the feature's value, normalised."""

    feature: str
    share: float
    value: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Alert:
    """One alert about one metric of one entity."""

    alert_id: str
    """The same for the same entity, metric and time."""
    entity_id: str
    episode: int
    """Alerts of one episode share it; the first opens it, the others say that it grew."""
    escalation: bool
    at_s: float
    """Time of the sample, seconds as in the input."""
    metric: str
    kind: AlertKind
    shape: Shape
    severity: Severity
    value: float
    lower: float
    upper: float
    """The metric was within [lower, upper] in the share `coverage` of the day before."""
    coverage: float
    score: float
    """Mean -log10 of the tail probabilities, largest over the metrics."""
    p_value: float
    """Bound on the probability of so high a score under the history, see `combine.combined`, times
    the number of metrics."""
    threshold: float
    components: tuple[tuple[str, float], ...]
    """Each tail's -log10 probability; empty while the fallback answers."""
    top_features: tuple[Contribution, ...]
    """The five that contributed most to this alert, largest first."""
    recommended_action: str
    suppressed: Suppression
    """Why it is not to be delivered, or empty."""
    fallback: str
    """While history is too short for the model `fleet_reference`, or `student_t` where the fleet
    says nothing of the metric; else empty."""
    model_name: str
    model_version: str
    made_at: datetime
    horizon_s: float
    """0: it says what is, not what will be."""
    valid_until: datetime
    """The episode is over by then unless another sample exceeds the threshold."""
    features_hash: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Detection:
    """The answer about the samples of one entity."""

    entity_id: str
    metrics: tuple[str, ...]
    ts_s: NDArray[np.float64]
    surprise_TM: NDArray[np.float64]
    """Score of each metric, -log10 of a probability."""
    score_T: NDArray[np.float64]
    """Largest over the metrics."""
    alerting_T: NDArray[np.float64]
    """`score_T` without samples that moved less than `least_change`; what the threshold is for."""
    p_value_T: NDArray[np.float64]
    threshold: float
    fallback_T: NDArray[np.object_]
    """While history is too short for the model `fleet_reference`, or `student_t` where the fleet
    says nothing of the metric; else empty."""
    gap_T: NDArray[np.bool_]
    """First sample after a pause: what comes is compared with what was before the pause."""
    missing_TM: NDArray[np.bool_]
    """Samples that were missing and took the value before: their score says nothing new."""
    constant_metrics: tuple[str, ...]
    """Metrics that never moved: they cannot alert until they do."""
    alerts: tuple[Alert, ...]
    model_name: str
    model_version: str
    features_hash: str

    @property
    def delivered(self) -> tuple[Alert, ...]:
        """The alerts that nothing suppressed."""
        return tuple(alert for alert in self.alerts if not alert.suppressed)


@dataclass(frozen=True, kw_only=True, slots=True)
class MaintenanceWindow:
    """A span of time whose alerts are recorded and not delivered; ends are inclusive."""

    start_s: float
    end_s: float
    entity_id: str = ""
    """Empty: every entity."""

    def __post_init__(self) -> None:
        if not self.start_s <= self.end_s:
            raise OutOfRangeError(
                field="end_s", got=self.end_s, expected=f"no time before start_s, {self.start_s}"
            )

    def covers(self, entity_id: str, at_s: float) -> bool:
        """Tell whether a sample lies in the window."""
        return self.entity_id in ("", entity_id) and self.start_s <= at_s <= self.end_s
