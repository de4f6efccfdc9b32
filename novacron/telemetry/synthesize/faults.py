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

LINK_FAULTS: Final[Mapping[str, tuple[str, ...]]] = {
    "link_flap": ("bandwidth_mbps", "loss_ratio"),
    "congestion": ("rtt_ms", "jitter_ms", "queue_depth_pkts"),
    "loss_burst": ("loss_ratio", "retransmits"),
    "reroute": ("rtt_ms",),
    "telemetry_gap": (),
}
NODE_FAULTS: Final[Mapping[str, tuple[str, ...]]] = {
    "cpu_hog": ("cpu_ratio",),
    "memory_leak": ("mem_ratio",),
    "disk_full": ("disk_ratio", "error_ratio"),
    "noisy_neighbour": ("cpu_ratio", "latency_mean_ms"),
    "error_burst": ("error_ratio",),
    "telemetry_gap": (),
}
"""Each kind of fault with the metrics in which it shows; a telemetry gap shows as missing rows."""

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


def intensity(faults: Iterable[Fault], kind: str, n: int) -> Series:
    """Return the severity of one kind in each interval [T], 0 where there is none."""
    strength = np.zeros(n)
    for fault in faults:
        if fault.kind == kind:
            strength[fault.first : fault.stop] = fault.severity_ratio
    return strength


def ramp(faults: Iterable[Fault], kind: str, n: int) -> Series:
    """Return the severity of one kind growing evenly from 0 over each fault [T]."""
    strength = np.zeros(n)
    for fault in faults:
        if fault.kind == kind:
            length = fault.stop - fault.first
            grown = (np.arange(length) + 1) / length * fault.severity_ratio
            inside = strength[fault.first : fault.stop]
            inside[:] = grown[: inside.size]
    return strength


def label_table(faults: Mapping[EntityKind, Iterable[Fault]], clock: Clock) -> pa.Table:
    """Return the labels: a sample with start < ts <= end was taken under the fault."""
    shows = {"link": LINK_FAULTS, "node": NODE_FAULTS}
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
            "shows_in": list(shows[entity_kind][fault.kind]),
        }
        for entity_kind, fault in members
    ]
    return pa.Table.from_pylist(rows, schema=LABEL_SCHEMA)
