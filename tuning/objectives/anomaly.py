"""Searches the anomaly detector on generated nodes with injected anomalies; nodes as fidelity.

The public traces are no node telemetry of one fleet, so the series are generated with and without a
folder of them, from seeds that neither the training job nor the benchmark draws. Thresholds follow
from the alert budget as in training: they are counted on normal series of nodes that are not scored.

The loss weighs misses and false alarms at four budgets: the share of events that is missed, plus a
fifth of an event for each false episode beyond the budget, or minus that below it. A detector cannot
gain by raising more or fewer alerts than it was allowed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from novacron.models.anomaly.budget import AlertCurve
from novacron.models.anomaly.config import AnomalyConfig
from novacron.models.anomaly.detector import AnomalyDetector, count_curve
from novacron.models.anomaly.episodes import EpisodeGrouper
from novacron.models.anomaly.injections import INJECTION_KINDS, inject
from novacron.models.anomaly.inputs import MetricSeries, read_series
from novacron.models.anomaly.measures import Span, count_events
from novacron.models.anomaly.stream import day_samples
from novacron.models.anomaly.training import (
    GRACE_S,
    INJECTED_SIZE,
    QUIET_SHARE,
    generated_normal,
    with_times,
)
from tuning.objective import DataSource, Fidelity, Metric, Prepared, Progress, SchedulerKind, Trial
from tuning.objectives.files import arrays_sha256, block_of, with_values
from tuning.scores import GroupScores, Scores
from tuning.spaces import space_of

Floats = NDArray[np.float64]

METRIC: Final = "missed_and_excess_false_ratio"
BUDGETS: Final = (0.05, 0.1, 0.15, 0.3)
"""False episodes a series and day that are allowed."""
FALSE_COST_EVENTS: Final = 0.2
STEP_S: Final = 300.0
_DAYS: Final = 8
_NODES: Final = 18
_SMALL_NODES: Final = 4
_HELD: Final = 2
"""The untouched block has so many times as many nodes: its runs are few."""
_LEAST_NORMAL: Final = 2
"""Nodes on whose normal series thresholds are counted at first; later half as many as are scored."""
_OF_FLEET: Final = 6
_FIRST_SEED: Final = 90_001
"""Beyond the seeds of the training job (7, 8) and of the benchmark."""
_RUNGS: Final = (2, 6)
"""Nodes after which a trial reports: the ninth and the third of a whole one, as ASHA looks at."""
_METRICS_OF_NODE: Final = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Injected:
    """One series with an anomaly of each kind, where they are, and the node it belongs to."""

    node: str
    value_T: Floats
    judged: Span
    events: tuple[Span, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class AnomalyData:
    """What one trial gets: normal series to count thresholds on, and nodes to be scored on."""

    normal: tuple["Node", ...]
    nodes: tuple[tuple[Injected, ...], ...]


class AnomalyObjective:
    """Implements `tuning.objective.Objective`."""

    model = "anomaly"
    metrics = (Metric(name=METRIC),)
    fidelity = Fidelity(unit="nodes", low=_RUNGS[0], high=_NODES)
    scheduler: SchedulerKind = "asha"
    perturbed: tuple[str, ...] = ()

    def __init__(self) -> None:
        # Eight days cannot tell what a longer memory is worth.
        space = space_of(self.model)
        left_out = ("forest.history", "tail_history")
        self.space = space.only([name for name in space.names if name not in left_out])

    def prepare(self, source: DataSource) -> Prepared:
        """Generate the nodes and inject the anomalies."""
        count = _SMALL_NODES if source.small else _NODES
        days = 6 if source.small else _DAYS
        first = _FIRST_SEED + 100 * source.seed
        half = count // 2
        fleets = -(-(half + (2 + _HELD) * count) // _OF_FLEET)
        nodes = _nodes(range(first, first + fleets), days)
        counted, scored, confirming, held = _cut(nodes, (half, count, count, _HELD * count))
        blocks = {
            "search": f"{count} generated nodes to score on, {half} to count thresholds on",
            "finalists": f"{count} other nodes, the same thresholds",
            "untouched": f"{len(held)} other generated nodes",
        }
        return Prepared(
            search=AnomalyData(normal=counted, nodes=_injected(scored, first)),
            finalists=AnomalyData(normal=counted, nodes=_injected(confirming, first + 2)),
            untouched=AnomalyData(normal=counted, nodes=_injected(held, first + 1)),
            source=f"generator seeds {first} to {first + fleets - 1}",
            sha256=arrays_sha256(dict(series for _, own in nodes for series in own)),
            blocks=blocks,
        )

    def run(self, data: AnomalyData, trial: Trial, progress: Progress) -> Scores:
        """Count thresholds on a part of the nodes, score a part, and again on more of both."""
        config = AnomalyConfig.model_validate(
            block_of(self.space, trial.values) | {"seed": trial.seed}
        )
        full = trial.budget or _NODES
        # The untouched block is always scored whole.
        most = len(data.nodes) if trial.block == "untouched" else min(full, len(data.nodes))
        bench = _Bench(AnomalyDetector(config), data)
        for number in _RUNGS if progress.is_judged else ():
            if number < min(full, most):
                progress.report(number, bench.scores(number, max(_LEAST_NORMAL, number // 2)))
        found = bench.scores(most, len(data.normal))
        progress.report(full, found)
        return found

    def config(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the training file with these values."""
        return with_values("train/anomaly", self.space, values)


class _Bench:
    """Scores series once, however often thresholds are counted anew."""

    def __init__(self, detector: AnomalyDetector, data: AnomalyData) -> None:
        self._detector, self._data = detector, data
        self._normal: list[tuple[MetricSeries, Floats]] = []
        self._scored: list[list[Floats]] = []

    def scores(self, nodes: int, normal: int) -> Scores:
        """Return the loss over the first nodes, with thresholds counted on the first normal ones."""
        for _, own in self._data.normal[len(self._normal) // _METRICS_OF_NODE : normal]:
            for name, one in with_times(dict(own), STEP_S).items():
                answer = self._detector.detect(one, entity_id=name)
                read = read_series(one, self._detector.config)
                self._normal.append((read, answer.alerting_T))
        for node in self._data.nodes[len(self._scored) : nodes]:
            self._scored.append([self._alerting(one) for one in node])
        curve = count_curve(self._normal, self._detector.config)
        rows = [
            (one.node, *_loss(self._detector, curve, one, score_T))
            for node, scored in zip(self._data.nodes[:nodes], self._scored, strict=True)
            for one, score_T in zip(node, scored, strict=True)
        ]
        names, lost, events = zip(*rows, strict=True)
        return {METRIC: GroupScores.of_rows(names, np.array(lost), np.array(events))}

    def _alerting(self, one: Injected) -> Floats:
        data = with_times({one.node: one.value_T}, STEP_S)[one.node]
        return self._detector.detect(data, entity_id=one.node).alerting_T


def _loss(
    detector: AnomalyDetector, curve: AlertCurve, one: Injected, score_T: Floats
) -> tuple[float, float]:
    """Return missed events with the weighed excess of false episodes, and events, over budgets."""
    data = with_times({one.node: one.value_T}, STEP_S)[one.node]
    ts_s = np.asarray(data["ts"], dtype=np.float64)
    lost, events = 0.0, 0.0
    for budget in BUDGETS:
        grouper = EpisodeGrouper(detector.config.episodes)
        raised = grouper.push(ts_s, score_T, curve.threshold(budget))
        at_s = [float(ts_s[each.row]) for each in raised]
        counts = count_events(at_s, one.judged, one.events, grace_s=GRACE_S)
        excess = counts.false_alerts - budget * counts.days
        lost += counts.events - counts.found + FALSE_COST_EVENTS * excess
        events += counts.events
    return lost, events


Node = tuple[str, list[tuple[str, Floats]]]


def _nodes(seeds: Sequence[int], days: int) -> list[Node]:
    """Generate fleets and keep two metrics of each node, in turns."""
    nodes: dict[str, list[tuple[str, Floats]]] = {}
    for seed in seeds:
        for name, value_T in generated_normal(
            seed, days=days, nodes=_OF_FLEET, step_s=STEP_S
        ).items():
            nodes.setdefault(name.rsplit("/", 1)[0], []).append((name, value_T))
    return [
        (name, [own[(place + shift) % len(own)] for shift in (0, 2)][:_METRICS_OF_NODE])
        for place, (name, own) in enumerate(nodes.items())
    ]


def _cut(nodes: Sequence[Node], counts: Sequence[int]) -> list[tuple[Node, ...]]:
    """Deal nodes out, so many to each part, in order."""
    ends = np.cumsum(counts)
    return [tuple(nodes[end - count : end]) for end, count in zip(ends, counts, strict=True)]


def _injected(nodes: Sequence[Node], seed: int) -> tuple[tuple[Injected, ...], ...]:
    return tuple(
        tuple(
            _inject_one(name, value_T, np.random.default_rng([seed, number, place]))
            for place, (_, value_T) in enumerate(own)
        )
        for number, (name, own) in enumerate(nodes)
    )


def _inject_one(node: str, value_T: Floats, rng: np.random.Generator) -> Injected:
    quiet = int(QUIET_SHARE * len(value_T))
    changed_T, made = inject(
        value_T, rng, day_samples=day_samples(STEP_S), quiet_samples=quiet,
        kinds=INJECTION_KINDS, size=INJECTED_SIZE,
    )  # fmt: skip
    last = len(value_T) - 1
    return Injected(
        node=node,
        value_T=changed_T,
        judged=(STEP_S * quiet, STEP_S * last),
        events=tuple((STEP_S * one.start, STEP_S * min(one.end + 1, last)) for one in made),
    )


OBJECTIVE: Final = AnomalyObjective()
