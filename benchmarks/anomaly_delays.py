"""How many of Nezha's network delays their pods' own metrics show at all, with labels to help.

Every rule reads one metric of the pod: its distance from the median of the last samples, in the
metric's unit or in robust deviations, over one to four samples, up, down or both. Each rule's
threshold is set on the very faults it is asked for, so the best of them bounds what one metric tells.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.anomaly_sets import Pod
from benchmarks.results_format import Metric
from novacron.models.anomaly.config import EpisodeConfig
from novacron.models.anomaly.episodes import EpisodeGrouper
from novacron.models.anomaly.measures import count_events

Floats = NDArray[np.float64]

KIND: Final = "network_delay"
_NAMES: Final = (
    *("cpu_ratio", "mem_mib", "latency_p95_ms", "latency_p99_ms", "server_latency_p95_ms"),
    *("throughput_rps", "read_syscalls", "write_syscalls", "net_rx_bytes_s", "net_tx_bytes_s"),
)
_HISTORIES: Final = (30, 120)
_SPANS: Final = (1, 2, 4)
_SIGNS: Final = {"rise": (1.0, 0.0), "fall": (0.0, 1.0), "change": (1.0, 1.0)}
_THRESHOLDS: Final = 40
_MOST_FALSE: Final = 0.15
_QUIET_H: Final = 0.5
_LEAST_PAST: Final = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One rule's scores of every pod."""

    label: str
    score_PT: list[Floats]


def delay_metrics(pods: Sequence[Pod]) -> list[Metric]:
    """Return the network delays that the best rule finds within the budget, for each day."""
    metrics = []
    for day in sorted({pod.day for pod in pods}):
        tested = [pod for pod in pods if pod.day == day]
        delays = sum(kind == KIND for pod in tested for kind in pod.kinds)
        if not delays:
            continue
        tried, best, label = 0, 0, "none"
        for rule in _rules(tested):
            tried += 1
            found = _most_found(tested, rule)
            if found > best:
                best, label = found, rule.label
        beside = (
            f"network delays, not a rate; best of {tried} rules on one metric of the pod, each "
            f"with its threshold set on these faults: {label}"
        )
        metrics.append(
            Metric(
                name="delays_found_by_best_rule",
                set=f"labels_known/{day}",
                value=best,
                n=delays,
                baseline=beside,
            )
        )
    return metrics


def _rules(pods: Sequence[Pod]) -> Iterator[Rule]:
    for name, logged, history, span, scaled in product(
        _NAMES, (False, True), _HISTORIES, _SPANS, (False, True)
    ):
        moved = [_moved(pod, name, logged, history, span, scaled) for pod in pods]
        for sign, (up, down) in _SIGNS.items():
            label = (
                f"{sign} of {'the logarithm of ' if logged else ''}{name} over {span} samples from "
                f"the median of {history}" + (", in robust deviations" if scaled else "")
            )
            yield Rule(
                label=label,
                score_PT=[np.maximum(up * one_T, -down * one_T) for one_T in moved],
            )


def _moved(pod: Pod, name: str, logged: bool, history: int, span: int, scaled: bool) -> Floats:
    value = pod.frame[name].astype(np.float64).reset_index(drop=True).ffill()
    if logged:
        value = pd.Series(np.log(np.asarray(value) + 0.05 * value.median() + 1e-9))
    usual = value.shift(span).rolling(history, min_periods=_LEAST_PAST).median()
    moved_T = np.asarray((value - usual).rolling(span).mean())
    if scaled:
        away = (value - usual).abs().shift(span)
        deviation = 1.4826 * away.rolling(history, min_periods=_LEAST_PAST).median()
        moved_T = moved_T / np.asarray(deviation + 1e-3 * value.abs().median() + 1e-9)
    return np.asarray(np.nan_to_num(moved_T), dtype=np.float64)


def _most_found(pods: Sequence[Pod], rule: Rule) -> int:
    """Return the most delays that a threshold finds within the budget of false episodes."""
    every = np.concatenate(rule.score_PT)
    grid = np.unique(np.quantile(every, 1 - np.logspace(-4, -1.5, _THRESHOLDS)))
    best = 0
    for threshold in grid[grid > 0]:
        found, false, days = 0, 0, 0.0
        for pod, score_T in zip(pods, rule.score_PT, strict=True):
            above_s = pod.ts_s[score_T >= threshold]
            found += sum(
                kind == KIND and bool(((above_s >= start) & (above_s <= end)).any())
                for (start, end), kind in zip(pod.events, pod.kinds, strict=True)
            )
        if found <= best:
            continue
        for pod, score_T in zip(pods, rule.score_PT, strict=True):
            grouper = EpisodeGrouper(EpisodeConfig(quiet_h=_QUIET_H))
            rows = [one.row for one in grouper.push(pod.ts_s, score_T, float(threshold))]
            span = (float(pod.ts_s[0]), float(pod.ts_s[-1]))
            counts = count_events(
                pod.ts_s[rows].tolist(), span, pod.events, pod.masked, grace_s=1800.0
            )
            false, days = false + counts.false_alerts, days + counts.days
        if false <= _MOST_FALSE * days:
            best = found
    return best
