"""The Nezha part of the anomaly benchmark: chosen on the pods of one day, measured on the other."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.anomaly_counts import OURS, Scale, alert_rows, to_metrics
from benchmarks.anomaly_sets import Pod
from benchmarks.results_format import Metric
from novacron.models.anomaly.baselines import baseline_surprise
from novacron.models.anomaly.config import AnomalyConfig
from novacron.models.anomaly.detector import AnomalyDetector
from novacron.models.anomaly.measures import EventCounts, count_events

Floats = NDArray[np.float64]

_MOST_FALSE: Final = 0.15
_CHOICES: Final = (("cpu_ratio",), ("cpu_ratio", "mem_ratio"))
_THRESHOLDS: Final = tuple(np.arange(1.0, 12.01, 0.5).tolist())
_LEAST: Final = (0.0, 0.1, 0.2, 0.3)


def nezha_scores(
    pods: Sequence[Pod], metrics: tuple[str, ...], least: float, seed: int
) -> list[tuple[Floats, Floats]]:
    """Return times and alerting scores of every pod."""
    config = AnomalyConfig(
        seed=seed, least_change={name: least for name in metrics if least and "ratio" in name}
    )
    detector = AnomalyDetector(config)
    answers = [detector.detect(pod.frame[["ts", *metrics]]) for pod in pods]
    return [(answer.ts_s, answer.alerting_T) for answer in answers]


def nezha_baseline_scores(
    pods: Sequence[Pod], method: str, seed: int
) -> list[tuple[Floats, Floats]]:
    """Return times and surprises of every pod's CPU by a baseline."""
    found = []
    for pod in pods:
        ts_s = AnomalyDetector().detect(pod.frame[["ts", "cpu_ratio"]].head(2)).ts_s
        ts_s = ts_s[0] + 60.0 * np.arange(len(pod.frame))
        value_T = pod.frame.cpu_ratio.ffill().bfill().to_numpy(np.float64)
        found.append((ts_s, baseline_surprise(method, value_T, 1440, seed)))
    return found


def nezha_counts(
    pods: Sequence[Pod], scored: Sequence[tuple[Floats, Floats]], threshold: float
) -> list[EventCounts]:
    """Count what a threshold finds on pods."""
    return [
        count_events(
            ts_s[alert_rows(ts_s, score_T, threshold)].tolist(),
            (float(ts_s[0]), float(ts_s[-1])),
            pod.events,
            pod.masked,
            grace_s=1800.0,
        )
        for pod, (ts_s, score_T) in zip(pods, scored, strict=True)
    ]


def choose(
    pods: Sequence[Pod], variants: Mapping[str, list[tuple[Floats, Floats]]]
) -> tuple[str, float]:
    """Return the variant and threshold with the highest recall within the budget on these pods.

    Among equals the last variant wins, the strictest, and of its thresholds the middle one: the
    other day has pods that this one says nothing about.
    """
    good: dict[tuple[float, int], list[float]] = {}
    for place, scored in enumerate(variants.values()):
        for threshold in _THRESHOLDS:
            counts = nezha_counts(pods, scored, float(threshold))
            false = sum(one.false_alerts for one in counts) / sum(one.days for one in counts)
            if false <= _MOST_FALSE:
                found, events = sum(c.found for c in counts), sum(c.events for c in counts)
                good.setdefault((found / max(events, 1), place), []).append(float(threshold))
    if not good:  # nothing keeps the budget: what alerts least
        return list(variants)[-1], _THRESHOLDS[-1]
    best = max(good)
    return list(variants)[best[1]], good[best][len(good[best]) // 2]


def nezha_metrics(pods: list[Pod], scale: Scale) -> list[Metric]:
    """Choose on one day and measure on the other, both ways."""
    seed = scale.seeds[0]
    rng = np.random.default_rng(seed)
    methods: dict[str, dict[str, list[tuple[Floats, Floats]]]] = {OURS: {}}
    for least in _LEAST:
        for names in _CHOICES:
            label = f"{'+'.join(names)} least change {least:g}"
            methods[OURS][label] = nezha_scores(pods, names, least, seed)
    for method in scale.baselines:
        methods[method] = {"cpu_ratio": nezha_baseline_scores(pods, method, seed)}
    days = sorted({pod.day for pod in pods})
    metrics = []
    for train_day in days:
        train = [place for place, pod in enumerate(pods) if pod.day == train_day]
        test = [place for place, pod in enumerate(pods) if pod.day != train_day]
        for method, variants in methods.items():
            name, threshold = choose(
                [pods[at] for at in train],
                {name: [scored[at] for at in train] for name, scored in variants.items()},
            )
            counts = nezha_counts(
                [pods[at] for at in test], [variants[name][at] for at in test], threshold
            )
            label = f"{method}, chosen on {train_day}, tested on the other day"
            found = to_metrics(counts, label, f"{name}, threshold {threshold:.2f}", rng)
            metrics += [m.model_copy(update={"name": f"nezha_{m.name}"}) for m in found]
    return metrics
