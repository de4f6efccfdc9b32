"""Injected faults and their labels: when, where, what and how hard.

A fault acts on a cause (cross traffic, path, CPU, memory), never on a metric: the metrics follow.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pyarrow as pa

from novacron.telemetry.synthesize.streams import Clock, Series, Streams

EntityKind = Literal["link", "node"]


@dataclass(frozen=True, kw_only=True, slots=True)
class FaultKind:
    """What a kind of fault does: `strength` is what it adds to its cause at severity 1."""

    acts_on: str
    strength: float
    shows_in: tuple[str, ...]


LINK_FAULTS: Final[Mapping[str, FaultKind]] = {
    "link_flap": FaultKind(
        acts_on="share of intervals in which the link is down",
        strength=1.0,
        shows_in=("bandwidth_mbps", "loss_ratio"),
    ),
    "congestion": FaultKind(
        acts_on="cross traffic as a share of capacity",
        strength=0.8,
        shows_in=("rtt_ms", "jitter_ms", "queue_depth_pkts"),
    ),
    "loss_burst": FaultKind(
        acts_on="random loss ratio", strength=0.08, shows_in=("loss_ratio", "retransmits")
    ),
    "reroute": FaultKind(
        acts_on="length of the path, as a share of it", strength=1.5, shows_in=("rtt_ms",)
    ),
    "telemetry_gap": FaultKind(acts_on="reporting", strength=1.0, shows_in=()),
}
NODE_FAULTS: Final[Mapping[str, FaultKind]] = {
    "cpu_hog": FaultKind(acts_on="CPU taken by a stranger", strength=0.8, shows_in=("cpu_ratio",)),
    "memory_leak": FaultKind(
        acts_on="free memory that is gone at the end", strength=1.0, shows_in=("mem_ratio",)
    ),
    "disk_full": FaultKind(
        acts_on="share of time the disk retries",
        strength=0.6,
        shows_in=("disk_ratio", "error_ratio"),
    ),
    "noisy_neighbour": FaultKind(
        acts_on="share of the cores stolen",
        strength=0.5,
        shows_in=("cpu_ratio", "latency_mean_ms"),
    ),
    "error_burst": FaultKind(
        acts_on="share of requests that fail", strength=0.3, shows_in=("error_ratio",)
    ),
    "telemetry_gap": FaultKind(acts_on="reporting", strength=1.0, shows_in=()),
}
"""The metrics of `shows_in` are the ones to look at; a telemetry gap shows as missing rows."""

_ALL: Final[Mapping[str, FaultKind]] = {**LINK_FAULTS, **NODE_FAULTS}

QUIET_LEAD_S: Final = 3600.0
"""No fault starts this soon after the start or after the one before: detectors need a normal."""

LABEL_SCHEMA: Final = pa.schema(
    [
        ("entity_kind", pa.string()),
        ("entity_id", pa.string()),
        ("kind", pa.string()),
        ("start", pa.timestamp("us", tz="UTC")),
        ("end", pa.timestamp("us", tz="UTC")),
        ("severity_ratio", pa.float64()),
        ("shows_in", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One injected fault: intervals `first` <= i < `stop` of the clock, severity in [0.4, 1].

    `stop` may lie beyond the end of the span.
    """

    entity_id: str
    kind: str
    first: int
    stop: int
    severity_ratio: float


def schedule(
    streams: Streams,
    clock: Clock,
    *,
    entity_id: str,
    kinds: Sequence[str],
    per_day: float,
) -> tuple[Fault, ...]:
    """Return the faults of one entity that start within the span, in order, never overlapping.

    Gaps are `QUIET_LEAD_S` plus an exponential time, durations log-normal around 15 minutes
    (at least four intervals), kinds and severities uniform.
    """
    if per_day <= 0:
        return ()
    rng = streams.of(entity_id, "faults")
    mean_gap_s = max(86_400 / per_day - QUIET_LEAD_S, 60.0)
    faults: list[Fault] = []
    at_s = 0.0
    while True:
        gap_s, spread = rng.exponential(mean_gap_s), rng.standard_normal()
        kind, severity = kinds[int(rng.random() * len(kinds))], 0.4 + 0.6 * rng.random()
        first = int((at_s + QUIET_LEAD_S + gap_s) // clock.step_s)
        if first >= clock.n:
            return tuple(faults)
        length = max(4, round(900 * float(np.exp(0.5 * spread)) / clock.step_s))
        fault = Fault(
            entity_id=entity_id,
            kind=kind,
            first=first,
            stop=first + length,
            severity_ratio=severity,
        )
        faults.append(fault)
        at_s = fault.stop * clock.step_s


def effect(faults: Iterable[Fault], kind: str, n: int) -> Series:
    """Return what one kind adds to its cause in each interval [T]: strength x severity, else 0."""
    added = np.zeros(n)
    for fault in faults:
        if fault.kind == kind:
            added[fault.first : fault.stop] = _ALL[kind].strength * fault.severity_ratio
    return added


def growing_effect(faults: Iterable[Fault], kind: str, n: int) -> Series:
    """Return an effect that grows evenly from 0 over each fault and ends with it [T]."""
    added = np.zeros(n)
    for fault in faults:
        if fault.kind == kind:
            share = (np.arange(fault.stop - fault.first) + 1) / (fault.stop - fault.first)
            inside = added[fault.first : fault.stop]
            inside[:] = _ALL[kind].strength * fault.severity_ratio * share[: inside.size]
    return added


def label_table(faults: Mapping[EntityKind, Iterable[Fault]], clock: Clock) -> pa.Table:
    """Return the labels: a sample with start < ts <= end was taken under the fault."""
    members = [(kind, fault) for kind, group in faults.items() for fault in group]
    members.sort(key=lambda item: (item[1].first, item[1].entity_id))
    rows = [
        {
            "entity_kind": entity_kind,
            "entity_id": fault.entity_id,
            "kind": fault.kind,
            "start": clock.time_of(fault.first),
            "end": clock.time_of(fault.stop),
            "severity_ratio": fault.severity_ratio,
            "shows_in": list(_ALL[fault.kind].shows_in),
        }
        for entity_kind, fault in members
    ]
    return pa.Table.from_pylist(rows, schema=LABEL_SCHEMA)
