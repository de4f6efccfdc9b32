"""Scores the metrics of one entity as samples come, and raises its alerts.

Legend: T samples, M metrics, C components, F features.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.errors import OutOfRangeError, SchemaError
from novacron.models.anomaly.answers import Alert, Detection, MaintenanceWindow, Suppression
from novacron.models.anomaly.config import SEVERITIES, AnomalyConfig, Severity
from novacron.models.anomaly.episodes import EpisodeGrouper, Raised, severity
from novacron.models.anomaly.explain import (
    COVERAGE,
    action_for,
    kind_of,
    shape_of,
    top_features,
    usual_range,
)
from novacron.models.anomaly.inputs import MetricSeries
from novacron.models.anomaly.reference import REFERENCE, MetricReference
from novacron.models.anomaly.scorer import COMPONENTS, MetricScorer, Scored
from novacron.models.anomaly.signals import features_hash
from novacron.models.anomaly.warmup import FALLBACK

Floats = NDArray[np.float64]

DAY_S: Final = 86_400.0
_LEAST_THRESHOLD: Final = 0.5
"""No budget leads to a threshold below this; what scores less needs no second look."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """Which model speaks."""

    name: str
    version: str


def day_samples(step_s: float) -> int:
    """Return the samples of a day at a step."""
    return max(1, round(DAY_S / step_s))


def p_value(score_T: Floats, metrics: int) -> Floats:
    """Return the bound of `Alert.p_value` for scores that are the largest over the metrics."""
    return np.minimum(1.0, metrics * (np.e + 1.0) * 10.0**-score_T)


def material(surprise_TM: Floats, known_HM: Floats, least_M: Sequence[float], day: int) -> Floats:
    """Return the surprises with those of samples that hardly moved set to 0.

    Args:
        surprise_TM: Of the newest samples.
        known_HM: Samples up to the newest.
        least_M: Distance from the median of the day before, in the metric's unit, from which a
            sample matters.
        day: Samples of a day.
    """
    out_TM = surprise_TM.copy()
    before = len(known_HM) - len(surprise_TM)
    for number, least in enumerate(least_M):
        if least == 0:
            continue
        for row in np.flatnonzero(surprise_TM[:, number] >= _LEAST_THRESHOLD):
            at = before + int(row)
            past_H = known_HM[max(0, at - day) : max(at, 1), number]
            if abs(known_HM[at, number] - np.median(past_H)) < least:
                out_TM[row, number] = 0.0
    return out_TM


@dataclass(frozen=True, slots=True)
class _Push:
    """What is known while the alerts of one push are written; `known_HM` ends with its samples."""

    series: MetricSeries
    scored: tuple[Scored, ...]
    known_HM: Floats
    alerting_TM: Floats
    threshold: float
    made_at: datetime


class EntityStream:
    """The state of one entity: its scorers, its open episode, its newest samples.

    Args:
        config: Settings.
        entity_id: Name of the entity in its alerts.
        metrics: Names in the order of the columns that are pushed.
        step_s: Seconds between samples.
        provenance: Named in every alert.
        maintenance: Windows without delivery.
        references: What the fleet says of metrics, by name.
    """

    def __init__(
        self,
        config: AnomalyConfig,
        *,
        entity_id: str,
        metrics: Sequence[str],
        step_s: float,
        provenance: Provenance,
        maintenance: Sequence[MaintenanceWindow] = (),
        references: Mapping[str, MetricReference] = MappingProxyType({}),
    ) -> None:
        self.entity_id = entity_id
        self.metrics = tuple(metrics)
        self._config = config
        self._provenance = provenance
        self._maintenance = tuple(maintenance)
        self._day = day_samples(step_s)
        self._scorers = [
            MetricScorer(config, self._day, number, references.get(name))
            for number, name in enumerate(self.metrics)
        ]
        self._fallbacks = [REFERENCE if name in references else FALLBACK for name in self.metrics]
        self._grouper = EpisodeGrouper(config.episodes)
        self._silent = EpisodeGrouper(config.episodes)
        self._newest_HM = np.empty((0, len(self.metrics)))
        self._newest_s = -np.inf
        self._moved_M = np.zeros(len(self.metrics), dtype=bool)
        self._delivered: dict[str, tuple[float, Severity]] = {}

    def push(self, series: MetricSeries, *, threshold: float, made_at: datetime) -> Detection:
        """Score the next samples and raise their alerts.

        Args:
            series: Samples after those pushed before, of the same metrics.
            threshold: Score from which a sample alerts.
            made_at: Stamped on the alerts.

        Raises:
            SchemaError: The metrics are not those of this stream.
            OutOfRangeError: The samples do not come after those pushed before.
        """
        self._require_next(series)
        scored = [
            scorer.push(np.ascontiguousarray(series.value_TM[:, number]))
            for number, scorer in enumerate(self._scorers)
        ]
        surprise_TM = np.column_stack([one.surprise_T for one in scored])
        score_T = surprise_TM.max(axis=1)
        known_HM = np.concatenate([self._newest_HM, series.value_TM])
        self._moved_M |= (known_HM != known_HM[:1]).any(axis=0)
        least_M = [self._config.least_change.get(name, 0.0) for name in self.metrics]
        alerting_TM = material(surprise_TM, known_HM, least_M, self._day)
        alerting_T = alerting_TM.max(axis=1)
        push = _Push(series, tuple(scored), known_HM, alerting_TM, threshold, made_at)
        alerts = tuple(
            self._alert(raised, push) for raised in self._raise(series.ts_s, alerting_T, threshold)
        )
        self._newest_HM = known_HM[-self._day :].copy()
        self._newest_s = float(series.ts_s[-1])
        return Detection(
            entity_id=self.entity_id,
            metrics=self.metrics,
            ts_s=series.ts_s,
            surprise_TM=surprise_TM,
            score_T=score_T,
            alerting_T=alerting_T,
            p_value_T=p_value(score_T, len(self.metrics)),
            threshold=threshold,
            fallback_T=np.where(scored[0].warm_T, "", self._weakest_fallback()).astype(object),
            gap_T=series.gap_T,
            missing_TM=series.missing_TM,
            constant_metrics=tuple(
                name for name, moved in zip(self.metrics, self._moved_M, strict=True) if not moved
            ),
            alerts=alerts,
            model_name=self._provenance.name,
            model_version=self._provenance.version,
            features_hash=features_hash(),
        )

    def _weakest_fallback(self) -> str:
        """Return what answers a metric that the fleet says nothing about, if there is one."""
        return FALLBACK if FALLBACK in self._fallbacks else REFERENCE

    def _require_next(self, series: MetricSeries) -> None:
        if series.metrics != self.metrics:
            raise SchemaError(
                field="metrics",
                got=", ".join(series.metrics),
                expected=", ".join(self.metrics),
                remedy="A stream keeps the metrics it began with; open another for others.",
            )
        if series.ts_s[0] <= self._newest_s:
            raise OutOfRangeError(
                field="ts[0]",
                got=float(series.ts_s[0]),
                expected=f"a time after {self._newest_s:.3f}, the newest sample pushed",
            )

    def _raise(self, ts_s: Floats, score_T: Floats, threshold: float) -> list[Raised]:
        """Group in and outside maintenance apart, so that what lasts alerts when it is over."""
        kept_T = np.array([self._in_maintenance(at_s) for at_s in ts_s], dtype=bool)
        loud = self._grouper.push(ts_s, np.where(kept_T, -np.inf, score_T), threshold)
        silent = self._silent.push(ts_s, np.where(kept_T, score_T, -np.inf), threshold)
        return sorted([*loud, *silent], key=lambda raised: raised.row)

    def _in_maintenance(self, at_s: float) -> bool:
        return any(window.covers(self.entity_id, at_s) for window in self._maintenance)

    def _alert(self, raised: Raised, push: _Push) -> Alert:
        row, series, threshold = raised.row, push.series, push.threshold
        number = int(np.argmax(push.alerting_TM[row]))
        one, metric = push.scored[number], self.metrics[number]
        at = len(push.known_HM) - len(series) + row
        past_H = push.known_HM[max(0, at - self._day) : max(at, 1), number]
        lower, upper = usual_range(past_H)
        value, at_s = float(series.value_TM[row, number]), float(series.ts_s[row])
        kind = kind_of(metric, rising=value >= float(np.median(past_H)))
        shape = shape_of(one.component_TC[row], one.feature_TF[row])
        score = float(one.surprise_T[row])
        warm = bool(one.warm_T[row])
        level = severity(score, threshold, self._config.episodes)
        components = zip(COMPONENTS, one.component_TC[row].tolist(), strict=True)
        text = f"{self.entity_id}\0{metric}\0{at_s:.6f}"
        return Alert(
            alert_id=hashlib.sha256(text.encode()).hexdigest()[:16],
            entity_id=self.entity_id,
            episode=raised.episode,
            escalation=raised.escalation,
            at_s=at_s,
            metric=metric,
            kind=kind,
            shape=shape,
            severity=level,
            value=value,
            lower=lower,
            upper=upper,
            coverage=COVERAGE,
            score=score,
            p_value=float(p_value(np.array([score]), len(self.metrics))[0]),
            threshold=threshold,
            components=tuple(components) if warm else (),
            top_features=top_features(one.contribution_TF[row], one.feature_TF[row]),
            recommended_action=action_for(kind, shape),
            suppressed=self._suppression(f"{metric} {kind}", at_s, level),
            fallback="" if warm else self._fallbacks[number],
            model_name=self._provenance.name,
            model_version=self._provenance.version,
            made_at=push.made_at,
            horizon_s=0.0,
            valid_until=push.made_at + timedelta(hours=self._config.episodes.quiet_h),
            features_hash=features_hash(),
        )

    def _suppression(self, key: str, at_s: float, level: Severity) -> Suppression:
        if self._in_maintenance(at_s):
            return "maintenance"
        before_s, before = self._delivered.get(key, (-np.inf, SEVERITIES[0]))
        graver = SEVERITIES.index(level) > SEVERITIES.index(before)
        if at_s - before_s <= self._config.episodes.duplicate_s and not graver:
            return "duplicate"
        self._delivered[key] = (at_s, level)
        return ""
