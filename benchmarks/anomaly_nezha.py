"""The Nezha part of the anomaly benchmark: chosen on the pods of one day, measured on the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.anomaly_counts import OURS, kept_surprise, to_metrics
from benchmarks.anomaly_sets import Pod
from benchmarks.results_format import Metric
from novacron.models.anomaly.config import EpisodeConfig
from novacron.models.anomaly.episodes import EpisodeGrouper
from novacron.models.anomaly.measures import EventCounts, Span, count_events
from novacron.models.anomaly.reference import MetricReference, fit_metric
from novacron.models.anomaly.scorer import FIRST_FIT
from novacron.models.anomaly.stream import material

Floats = NDArray[np.float64]

_MOST_FALSE: Final = 0.15
_DAY: Final = 1440
_QUIET_H: Final = 0.5
"""Half an hour of peace ends an episode, as half an hour after a fault is not counted."""
_PINNED: Final = 0.8
"""CPU from which an episode without a listed fault looks like the listed CPU faults."""
_CHOICES: Final = (("cpu_ratio",), ("cpu_ratio", "server_latency_p95_ms"))
_THRESHOLDS: Final = tuple(np.round(np.arange(0.5, 4.01, 0.1), 2).tolist())
_LEAST: Final = (0.0, 0.1, 0.2, 0.3)
_CONFIRM: Final = (1, 2)
_RULE_RISE: Final = 0.3
COLD: Final = f"{OURS}_cold_start"
References = dict[str, MetricReference]
"""By metric."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """Settings that are chosen on one day, with the scores they give every pod."""

    label: str
    confirm: int
    score_PT: list[Floats]


def references_of(train: Sequence[Pod], seed: int) -> References:
    """Return what the pods of a training day say of each metric, without its listed faults."""
    found: dict[str, list[tuple[Floats, Floats]]] = {}
    for pod in train:
        faulty_T = np.zeros(len(pod.ts_s), dtype=bool)
        for start, end in (*pod.events, *pod.masked):
            faulty_T |= (pod.ts_s >= start) & (pod.ts_s <= end)
        for name in _CHOICES[-1]:
            held = pod.frame[name].ffill().bfill()
            if held.isna().any():
                continue
            score_T = kept_surprise(OURS, held.to_numpy(np.float64), _DAY, seed)
            unknown_T = faulty_T | (np.arange(len(score_T)) < FIRST_FIT)
            value_T = held.mask(faulty_T).ffill().bfill().to_numpy(np.float64)
            found.setdefault(name, []).append((value_T, np.where(unknown_T, np.nan, score_T)))
    fitted = {name: fit_metric(pairs, FIRST_FIT) for name, pairs in found.items()}
    return {name: one for name, one in fitted.items() if one is not None}


def variants_of(
    pods: Sequence[Pod], references: References, method: str, seed: int
) -> list[Variant]:
    """Return the variants of a method, the strictest last."""
    ours = method in (OURS, COLD)
    known = references if method == OURS else {}
    scored = [
        (
            names,
            least,
            [_score(pod, names, least, OURS if ours else method, seed, known) for pod in pods],
        )
        for least, names in product(_LEAST, _CHOICES if ours else _CHOICES[:1])
    ]
    return [
        Variant(
            label=f"{'+'.join(names)}, least change {least:g}, {confirm} in a row",
            confirm=confirm,
            score_PT=score_PT,
        )
        for confirm, (names, least, score_PT) in product(_CONFIRM, scored)
    ]


def _score(
    pod: Pod,
    names: Sequence[str],
    least: float,
    method: str,
    seed: int,
    references: References,
) -> Floats:
    value_TM = pod.frame[list(names)].ffill().bfill().to_numpy(np.float64)
    known = [number for number in range(len(names)) if not np.isnan(value_TM[:, number]).any()]
    value_TM = value_TM[:, known]
    surprise_TM = np.column_stack(
        [
            kept_surprise(method, np.ascontiguousarray(value_T), _DAY, seed)
            for value_T in value_TM.T
        ]
    )
    for number, place in enumerate(known):
        if names[place] in references:
            young_H = value_TM[:FIRST_FIT, number]
            surprise_TM[:FIRST_FIT, number] = references[names[place]].surprise(young_H, 0)
    least_M = [least if names[number].endswith("ratio") else 0.0 for number in known]
    return np.asarray(material(surprise_TM, value_TM, least_M, _DAY).max(axis=1))


def alert_rows(
    pod: Pod, score_T: Floats, threshold: float, confirm: int, quiet_h: float = _QUIET_H
) -> list[int]:
    """Return the samples of a pod at which alerts are raised."""
    grouper = EpisodeGrouper(EpisodeConfig(quiet_h=quiet_h, confirm_samples=confirm))
    return [raised.row for raised in grouper.push(pod.ts_s, score_T, threshold)]


def nezha_counts(
    pods: Sequence[Pod],
    score_PT: Sequence[Floats],
    threshold: float,
    confirm: int,
    quiet_h: float = _QUIET_H,
) -> list[EventCounts]:
    """Count what a threshold finds on pods."""
    counted = []
    for pod, score_T in zip(pods, score_PT, strict=True):
        ts_s = pod.ts_s
        rows = alert_rows(pod, score_T, threshold, confirm, quiet_h)
        span = (float(ts_s[0]), float(ts_s[-1]))
        counted.append(
            count_events(ts_s[rows].tolist(), span, pod.events, pod.masked, grace_s=1800.0)
        )
    return counted


def choose(
    pods: Sequence[Pod], variants: Sequence[Variant], places: Sequence[int]
) -> tuple[Variant, float]:
    """Return the variant and threshold with the highest recall within the budget on these pods.

    Among equals the last variant wins, the strictest, and of its thresholds the middle one: the
    other day has pods that this one says nothing about.
    """
    good: dict[tuple[float, int], list[float]] = {}
    for number, variant in enumerate(variants):
        score_PT = [variant.score_PT[place] for place in places]
        for threshold in _THRESHOLDS:
            counts = nezha_counts(pods, score_PT, threshold, variant.confirm)
            false = sum(one.false_alerts for one in counts) / sum(one.days for one in counts)
            if false <= _MOST_FALSE:
                found, events = sum(c.found for c in counts), sum(c.events for c in counts)
                good.setdefault((found / max(events, 1), number), []).append(threshold)
    if not good:  # nothing keeps the budget: what alerts least
        return variants[-1], _THRESHOLDS[-1]
    best = max(good)
    return variants[best[1]], good[best][len(good[best]) // 2]


def nezha_metrics(pods: Sequence[Pod], method: str, seed: int) -> list[Metric]:
    """Choose on one day and measure on the other, both ways, and both test days together."""
    rng = np.random.default_rng(seed)
    metrics = []
    together: list[EventCounts] = []
    together_seen: list[EventCounts] = []
    for train_day in sorted({pod.day for pod in pods}):
        train = [place for place, pod in enumerate(pods) if pod.day == train_day]
        test = [place for place, pod in enumerate(pods) if pod.day != train_day]
        tested = [pods[at] for at in test]
        references = references_of([pods[at] for at in train], seed) if method == OURS else {}
        variants = variants_of(pods, references, method, seed)
        variant, threshold = choose([pods[at] for at in train], variants, train)
        score_PT = [variant.score_PT[at] for at in test]
        counts = nezha_counts(tested, score_PT, threshold, variant.confirm)
        seen = _seen(tested, score_PT, threshold, variant.confirm)
        together += counts
        together_seen += seen
        label = f"{method}/tested_on_{tested[0].day}"
        beside = f"chosen on {train_day}: {variant.label}, threshold {threshold:.2f}"
        metrics += to_metrics(counts, label, beside, rng)
        metrics += _window_recall(seen, label, beside, rng)
        metrics += _explained(tested, score_PT, variant, threshold, (label, beside), rng)
    label, beside = f"{method}/both_test_days", "each chosen on the other day"
    metrics += to_metrics(together, label, beside, rng)
    metrics += _window_recall(together_seen, label, beside, rng)
    return named(metrics)


def _seen(
    pods: Sequence[Pod], score_PT: Sequence[Floats], threshold: float, confirm: int
) -> list[EventCounts]:
    """Count faults with an alerting sample, also in an episode that is still open."""
    counted = []
    for pod, score_T in zip(pods, score_PT, strict=True):
        above_T = score_T >= threshold
        held_T = above_T.copy()
        for back in range(1, confirm):
            held_T[back:] &= above_T[:-back]
            held_T[:back] = False
        span: Span = (float(pod.ts_s[0]), float(pod.ts_s[-1]))
        counted.append(count_events(pod.ts_s[held_T].tolist(), span, pod.events, pod.masked))
    return counted


def _window_recall(
    seen: Sequence[EventCounts], label: str, beside: str, rng: np.random.Generator
) -> list[Metric]:
    recall = to_metrics(seen, label, beside, rng)[0]
    return [recall.model_copy(update={"name": "window_recall"})]


def rule_metrics(pods: Sequence[Pod], seed: int) -> list[Metric]:
    """Measure a rule made for these faults after a look at both days: what could be reached.

    CPU 30 points above the median of the last hour, two samples in a row; an episode ends after
    three minutes, so that faults of one pod eight minutes apart are told apart.
    """
    rng = np.random.default_rng(seed)
    metrics = []
    for day in sorted({pod.day for pod in pods}):
        tested = [pod for pod in pods if pod.day == day]
        score_PT = [_rise(pod.frame.cpu_ratio.to_numpy(np.float64)) for pod in tested]
        counts = nezha_counts(tested, score_PT, _RULE_RISE, 2, quiet_h=0.05)
        beside = "made after a look at both days"
        metrics += to_metrics(counts, f"cpu_rule/tested_on_{day}", beside, rng)
    return named(metrics)


def _rise(cpu_T: Floats) -> Floats:
    usual = pd.Series(cpu_T).shift(1).rolling(60, min_periods=3).median()
    return np.asarray((cpu_T - usual).fillna(0.0))


def named(metrics: Sequence[Metric]) -> list[Metric]:
    """Return the metrics under the names of this part."""
    return [one.model_copy(update={"name": f"nezha_{one.name}"}) for one in metrics]


def _explained(
    pods: Sequence[Pod],
    score_PT: Sequence[Floats],
    variant: Variant,
    threshold: float,
    words: tuple[str, str],
    rng: np.random.Generator,
) -> list[Metric]:
    """Say how many faults of each kind are found, and how many false ones look like CPU faults."""
    found: dict[str, list[int]] = {}
    pinned = 0
    for pod, score_T in zip(pods, score_PT, strict=True):
        ts_s = pod.ts_s
        rows = alert_rows(pod, score_T, threshold, variant.confirm)
        for (start, end), kind in zip(pod.events, pod.kinds, strict=True):
            hit = any(start <= ts_s[row] <= end for row in rows)
            found.setdefault(kind, []).append(int(hit))
        excused = [(a, b + 1800.0) for a, b in pod.events] + list(pod.masked)
        cpu_T = pod.frame.cpu_ratio.to_numpy()
        for row in rows:
            if not any(a <= ts_s[row] <= b for a, b in excused):
                pinned += bool(cpu_T[max(row - 1, 0) : row + 2].max() >= _PINNED)
    label, beside = words
    metrics = []
    for kind, hits in sorted(found.items()):
        share_B = rng.choice(hits, size=(2000, len(hits))).mean(axis=1)
        lo, hi = np.quantile(share_B, [0.025, 0.975])
        metrics.append(
            Metric(
                name=f"recall_{kind}",
                set=label,
                value=float(np.mean(hits)),
                lo=float(lo),
                hi=float(hi),
                n=len(hits),
                baseline=beside,
            )
        )
    metrics.append(
        Metric(
            name="false_episodes_with_cpu_above_0.8",
            set=label,
            value=pinned,
            n=len(pods),
            baseline="episodes, not a rate: CPU as in the listed faults, and no fault is listed",
        )
    )
    return metrics
