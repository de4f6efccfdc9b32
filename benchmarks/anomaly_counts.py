"""What all parts of the anomaly benchmark share: scores by method, alerts, counts, metrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.anomaly_sets import Labelled
from benchmarks.results_format import Metric
from benchmarks.score_cache import cached
from novacron.models.anomaly.baselines import baseline_surprise
from novacron.models.anomaly.combine import combined
from novacron.models.anomaly.config import AnomalyConfig
from novacron.models.anomaly.episodes import EpisodeGrouper
from novacron.models.anomaly.measures import EventCounts, count_events, summarise
from novacron.models.anomaly.scorer import MetricScorer

Floats = NDArray[np.float64]

OURS: Final = "ours"
_OUR_FILES: Final = (*("forest", "scorer", "signals", "stuck", "subspace", "tails", "warmup"),)
_BASELINE_FILES: Final = ("baselines", "cut_forest", "signals", "tails")
_THRESHOLDS: Final = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """How much is measured."""

    seeds: tuple[int, ...]
    baselines: tuple[str, ...]
    nab_series: int | None = None
    days: int = 14
    nodes: int = 6
    pods: int | None = None


def surprise(method: str, value_T: Floats, day: int, seed: int) -> Floats:
    """Return the surprise of each sample by a method."""
    if method == OURS:
        return MetricScorer(AnomalyConfig(seed=seed), day).push(value_T).surprise_T
    return baseline_surprise(method, value_T, day, seed)


def kept_surprise(method: str, value_T: Floats, day: int, seed: int) -> Floats:
    """Return the surprise of each sample, from disk where it was made before."""
    settings = f"{method} {day} {seed}"
    if method != OURS:
        return cached(
            _BASELINE_FILES, settings, value_T, lambda: surprise(method, value_T, day, seed)
        )
    # What the components say together is cheap, so they are kept and it is not.
    config = AnomalyConfig(seed=seed)
    deciding = config.model_dump_json(include={"seed", "forest", "tail_history"})
    table = cached(
        _OUR_FILES, f"{OURS} {day} {deciding}", value_T, lambda: _components(value_T, day, config)
    )
    warm_T = table[:, 1] > 0
    return np.where(warm_T, combined(table[:, 2:], 0, day), table[:, 0])


def _components(value_T: Floats, day: int, config: AnomalyConfig) -> Floats:
    found = MetricScorer(config, day).push(value_T)
    return np.column_stack([found.surprise_T, found.warm_T, found.component_TC])


def alert_rows(ts_s: Floats, score_T: Floats, threshold: float) -> list[int]:
    """Return the samples at which the default grouping raises alerts."""
    grouper = EpisodeGrouper(AnomalyConfig().episodes)
    return [raised.row for raised in grouper.push(ts_s, score_T, threshold)]


def thresholds_of(scores: Sequence[Floats]) -> Floats:
    """Return thresholds at even steps of the logarithm of the share of samples above."""
    every = np.concatenate(list(scores))
    return np.unique(np.quantile(every, 1 - np.logspace(-4.6, -1.3, _THRESHOLDS)))


def counts_at(
    series: Sequence[Labelled], scores: Sequence[Floats], threshold: float, grace_s: float
) -> list[EventCounts]:
    """Count events and false episodes of every series at one threshold."""
    counted = []
    for one, score_T in zip(series, scores, strict=True):
        judged_T = np.where(one.ts_s >= one.judged[0], score_T, -np.inf)
        rows = alert_rows(one.ts_s, judged_T, threshold)
        counted.append(
            count_events(one.ts_s[rows].tolist(), one.judged, one.events, grace_s=grace_s)
        )
    return counted


def to_metrics(
    counts: Sequence[EventCounts], set_name: str, baseline: str, rng: np.random.Generator
) -> list[Metric]:
    """Return the measures of a set as metrics."""
    return [
        Metric(
            name=name,
            set=set_name,
            value=one.value,
            lo=one.lo,
            hi=one.hi,
            n=len(counts),
            baseline=baseline,
        )
        for name, one in summarise(counts, rng).items()
    ]
