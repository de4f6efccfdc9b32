"""The anomaly detector as people call it: `AnomalyDetector().detect(data)`.

It learns every series from that series' own past, so it answers from the first sample on; `fit`
counts, on normal series of the same fleet, how many episodes each threshold would raise, and learns
how far its metrics stray, for series whose own past is still short.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from novacron.errors import NotReadyError, SchemaError
from novacron.models.anomaly.answers import Detection, MaintenanceWindow
from novacron.models.anomaly.budget import DEFAULT_CURVE, AlertBudget, AlertCurve
from novacron.models.anomaly.bundle_files import read_bundle, write_bundle
from novacron.models.anomaly.config import AnomalyConfig
from novacron.models.anomaly.episodes import EpisodeGrouper
from novacron.models.anomaly.inputs import ANY_VALUE, Data, MetricSeries, read_series
from novacron.models.anomaly.reference import MetricReference, fit_metric
from novacron.models.anomaly.scorer import FIRST_FIT
from novacron.models.anomaly.signals import features_hash
from novacron.models.anomaly.stream import DAY_S, EntityStream, Provenance

Floats = NDArray[np.float64]
Clock = Callable[[], datetime]
Verdict = Literal["confirmed", "false_alarm"]

CURVE_THRESHOLDS: Final = tuple(np.round(np.arange(0.6, 6.01, 0.1), 2).tolist())
WARM_DAYS: Final = 3
"""Days of a series on which nothing is counted: the daily features look that far back."""
_NEVER_TRAINED: Final = "untrained"


def _utc_now() -> datetime:
    return datetime.now(UTC)


class AnomalyDetector:
    """Finds what is unusual in the metrics of nodes, links or anything measured at even steps.

    Args:
        config: Settings; None takes the defaults.
        curve: Episodes a day at each threshold; None takes the one counted on generated nodes.
        references: What a fleet says of metrics whose own history is short, by name; from `fit`.
        name: Model name in the answers.
        version: Model version in the answers.
        clock: Gives the time that alerts are stamped with.
    """

    def __init__(
        self,
        config: AnomalyConfig | None = None,
        *,
        curve: AlertCurve | None = None,
        references: Mapping[str, MetricReference] = MappingProxyType({}),
        name: str = "anomaly",
        version: str = _NEVER_TRAINED,
        clock: Clock = _utc_now,
    ) -> None:
        self.config = config or AnomalyConfig()
        self.budget = AlertBudget(self.config.budget, curve or DEFAULT_CURVE)
        self.provenance = Provenance(name=name, version=version)
        self.features_hash = features_hash()
        self.clock = clock
        self.references = references
        self._fitted = curve is not None

    @property
    def threshold(self) -> float:
        """The score from which a sample alerts, as the alert budget stands; see `threshold_at`."""
        return self.budget.threshold

    def threshold_at(self, step_s: float) -> float:
        """Return the threshold for samples `step_s` seconds apart."""
        return self.budget.threshold_at(step_s)

    def detect(
        self,
        data: Data,
        *,
        entity_id: str = "",
        step_s: float | None = None,
        maintenance: Sequence[MaintenanceWindow] = (),
    ) -> Detection:
        """Score every sample of one entity and return its alerts.

        Args:
            data: A frame or a mapping of columns; see `inputs.read_series`.
            entity_id: Named in the alerts.
            step_s: Seconds between samples, where `data` has no times.
            maintenance: Windows whose alerts are recorded and not delivered.

        Raises:
            SchemaError: No sample, no metric, an unknown metric, or text in place of numbers.
            OutOfRangeError: Times repeat or run backwards, or a sample is infinite.
            PayloadTooLargeError: More samples than the config allows.
        """
        series = read_series(data, self.config, step_s=step_s)
        return self.open_entity(entity_id, series.metrics, series.step_s, maintenance).push(
            series, threshold=self.threshold_at(series.step_s), made_at=self.clock()
        )

    def stream(
        self,
        metrics: Sequence[str],
        *,
        step_s: float,
        entity_id: str = "",
        maintenance: Sequence[MaintenanceWindow] = (),
    ) -> "DetectorStream":
        """Open a stream for one entity; its scores are those `detect` gives to the same samples."""
        return DetectorStream(
            self, self.open_entity(entity_id, metrics, step_s, maintenance), step_s
        )

    def open_entity(
        self,
        entity_id: str,
        metrics: Sequence[str],
        step_s: float,
        maintenance: Sequence[MaintenanceWindow] = (),
    ) -> EntityStream:
        """Open the state of one entity, whose `push` takes the threshold and time to use."""
        return EntityStream(
            self.config,
            entity_id=entity_id,
            metrics=metrics,
            step_s=step_s,
            provenance=self.provenance,
            maintenance=maintenance,
            references=self.references,
        )

    def fit(self, normal: Mapping[str, Data], *, step_s: float | None = None) -> "AnomalyDetector":
        """Return a detector that knows these series: a warm start for those that come after.

        Its threshold spends the alert budget on them, and while a metric's own history is short it
        is judged by how far the metric strays in these as well. Such a reference is in the
        metric's unit; `value`, which names none, gets no reference.

        Args:
            normal: Samples by entity, of normal operation: an anomaly among them is counted as a
                false episode. The first three days, or half of a shorter series, only warm up.
            step_s: Seconds between samples, where the data have no times.

        Raises:
            SchemaError: There is no series, or one is not usable; see `detect`.
        """
        if not normal:
            raise SchemaError(field="normal", got="no series", expected="at least one")
        cold = AnomalyDetector(self.config, curve=self.budget.curve, clock=self.clock)
        answers = []
        for entity_id, data in normal.items():
            series = read_series(data, self.config, step_s=step_s)
            answer = cold.open_entity(entity_id, series.metrics, series.step_s).push(
                series, threshold=self.threshold, made_at=self.clock()
            )
            answers.append((series, answer))
        curve = count_curve([(one, answer.alerting_T) for one, answer in answers], self.config)
        references = fit_references(answers)
        return AnomalyDetector(
            self.config,
            curve=curve,
            references=references,
            name=self.provenance.name,
            version=f"fitted-{fit_digest(curve, references)}",
            clock=self.clock,
        )

    def feedback(self, verdict: Verdict) -> float:
        """Move the alert budget by an operator's verdict and return the threshold now in force."""
        return self.budget.confirm() if verdict == "confirmed" else self.budget.false_alarm()

    def save(self, directory: Path) -> None:
        """Write the bundle into an empty or missing directory: one JSON file.

        Raises:
            NotReadyError: Nothing was fitted: there is nothing to keep but the defaults.
        """
        if not self._fitted:
            raise NotReadyError(
                "This detector was never fitted.",
                remedy="Call fit with normal series first; without, AnomalyDetector() is enough.",
            )
        write_bundle(directory, self.config, self.budget, self.references, self.provenance)

    @classmethod
    def load(cls, directory: Path, *, clock: Clock = _utc_now) -> "AnomalyDetector":
        """Read a saved detector with its alert budget as verdicts had moved it.

        Raises:
            ArtifactError: The bundle is missing, changed or unreadable.
            FeatureMismatchError: It was fitted on other features than this code computes.
        """
        saved = read_bundle(directory)
        detector = cls(
            saved.config,
            curve=saved.curve,
            references=saved.references,
            name=saved.provenance.name,
            version=saved.provenance.version,
            clock=clock,
        )
        detector.budget.restore(saved.budget)
        return detector


class DetectorStream:
    """One entity's samples as they come; made by `AnomalyDetector.stream`."""

    def __init__(self, detector: AnomalyDetector, entity: EntityStream, step_s: float) -> None:
        self._detector = detector
        self._entity = entity
        self._step_s = step_s

    def push(self, data: Mapping[str, Any]) -> Detection:
        """Score the next samples: `ts` and one column for each metric, none of it all missing.

        Raises:
            SchemaError: Metrics differ from those of the stream, or the data are not usable.
            OutOfRangeError: The samples do not come after those pushed before.
        """
        series = read_series(data, self._detector.config, step_s=self._step_s)
        order = [series.metrics.index(m) for m in self._entity.metrics if m in series.metrics]
        if len(order) == len(series.metrics):
            series = replace(
                series,
                metrics=tuple(series.metrics[at] for at in order),
                value_TM=series.value_TM[:, order],
                missing_TM=series.missing_TM[:, order],
            )
        return self._entity.push(
            series,
            threshold=self._detector.threshold_at(self._step_s),
            made_at=self._detector.clock(),
        )


def count_curve(
    scored: Sequence[tuple[MetricSeries, Floats]], config: AnomalyConfig
) -> AlertCurve:
    """Count the episodes that thresholds raise on scored normal series."""
    days = 0.0
    count_G = np.zeros(len(CURVE_THRESHOLDS))
    for series, score_T in scored:
        first = min(round(WARM_DAYS * DAY_S / series.step_s), len(series) // 2)
        days += (len(series) - first) * series.step_s / DAY_S
        for place, threshold in enumerate(CURVE_THRESHOLDS):
            grouper = EpisodeGrouper(config.episodes)
            count_G[place] += len(grouper.push(series.ts_s[first:], score_T[first:], threshold))
    # Half an episode more, so that a threshold that raised none is not taken to raise none ever;
    # grouping can make a lower threshold raise fewer, which the running maximum undoes.
    rate_G = np.maximum.accumulate((count_G[::-1] + 0.5) / days)[::-1]
    kept = [0]
    for place in range(1, len(rate_G)):
        if rate_G[place] < rate_G[kept[-1]]:
            kept.append(place)
    if len(kept) == 1:
        kept.append(len(rate_G) - 1)
        rate_G[-1] = rate_G[0] / 2
    return AlertCurve(
        thresholds=tuple(CURVE_THRESHOLDS[place] for place in kept),
        episodes_per_series_day=tuple(float(rate_G[place]) for place in kept),
        source=f"{len(scored)} series, {days:.1f} series-days",
        step_s=float(np.median([series.step_s for series, _ in scored])),
    )


def fit_references(
    answers: Sequence[tuple[MetricSeries, Detection]],
) -> dict[str, MetricReference]:
    """Fit what scored series say of each named metric; too few of one are left out."""
    found: dict[str, list[tuple[Floats, Floats]]] = {}
    for series, answer in answers:
        warm_T = answer.fallback_T == ""
        for number, name in enumerate(series.metrics):
            if name != ANY_VALUE:
                score_T = np.where(warm_T, answer.surprise_TM[:, number], np.nan)
                found.setdefault(name, []).append((series.value_TM[:, number], score_T))
    fitted = {name: fit_metric(pairs, FIRST_FIT) for name, pairs in found.items()}
    return {name: one for name, one in fitted.items() if one is not None}


def fit_digest(curve: AlertCurve, references: Mapping[str, MetricReference]) -> str:
    """Return eight hex digits that name what was fitted."""
    laws = {name: one.content() for name, one in sorted(references.items())}
    text = repr((curve.thresholds, curve.episodes_per_series_day, curve.step_s, laws))
    return hashlib.sha256(text.encode()).hexdigest()[:8]
