"""Hard constraints over all nodes at once: which nodes are left, and why the others are not.

Legend: H nodes. A constraint whose factor is absent on a node is not satisfied there, and counted
as unknown. None of this is a score.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.models.placement.factors import PLACE
from novacron.models.placement.fleet import Fleet
from novacron.models.placement.workload import RESOURCES, Workload

Mask = NDArray[np.bool_]

SLACK: Final = 1e-9
_CAPACITY: Final = dict(
    zip(RESOURCES, ("cpu", "memory", "storage", "network", "gpu"), strict=True)
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """How many nodes one constraint rules out, and on how many of these it could not be told."""

    constraint: str
    failed: int
    unknown: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Filtered:
    """The nodes that satisfy every constraint, and the count of the others by constraint."""

    feasible_H: Mask
    verdicts: tuple[Verdict, ...]

    @property
    def because(self) -> str:
        """Say in words why no node is left; empty where one is."""
        if self.feasible_H.any():
            return ""
        total = len(self.feasible_H)
        parts = [
            f"{verdict.constraint} fails on {verdict.failed}"
            + (f" (unknown on {verdict.unknown})" if verdict.unknown else "")
            for verdict in sorted(self.verdicts, key=lambda each: -each.failed)
            if verdict.failed
        ]
        alone = " No node fails all; they exclude each other." if len(parts) > 1 else ""
        return f"none of {total} nodes is feasible: {', '.join(parts)}.{alone}"


def satisfied(fleet: Fleet, workload: Workload) -> Iterator[tuple[str, Mask, Mask]]:
    """Yield each constraint that the workload has: its name, where it holds, where it is known."""
    yield from _capacity(fleet, workload)
    asked = workload.constraints
    always_H = np.ones(len(fleet), dtype=bool)
    if asked.allowed_nodes:
        yield "allowed_nodes", _among(fleet, asked.allowed_nodes), always_H
    if asked.excluded_nodes:
        yield "excluded_nodes", ~_among(fleet, asked.excluded_nodes), always_H
    for group in sorted(asked.affinity_groups):
        yield "affinity", fleet.groups_of(group) > 0, always_H
    for group in sorted(asked.anti_affinity_groups):
        yield "anti_affinity", fleet.groups_of(group) == 0, always_H
    if asked.max_per_node is not None and workload.group:
        yield "max_per_node", fleet.groups_of(workload.group) < asked.max_per_node, always_H
    known_H = fleet.region_H != ""
    if asked.allowed_regions:
        yield "region", np.isin(fleet.region_H, list(asked.allowed_regions)), known_H
    if asked.excluded_regions:
        yield "region", ~np.isin(fleet.region_H, list(asked.excluded_regions)), known_H
    yield from _bounds(fleet, workload)


def filter_nodes(fleet: Fleet, workload: Workload) -> Filtered:
    """Return the nodes on which every constraint is known to hold."""
    feasible_H = np.ones(len(fleet), dtype=bool)
    failed: dict[str, Mask] = {}
    unknown: dict[str, Mask] = {}
    for name, holds_H, known_H in satisfied(fleet, workload):
        ok_H = holds_H & known_H
        feasible_H &= ok_H
        failed[name] = failed[name] | ~ok_H if name in failed else ~ok_H
        unknown[name] = unknown[name] | ~known_H if name in unknown else ~known_H
    verdicts = tuple(
        Verdict(
            constraint=name,
            failed=int(np.count_nonzero(failed[name])),
            unknown=int(np.count_nonzero(unknown[name])),
        )
        for name in failed
    )
    return Filtered(feasible_H=feasible_H, verdicts=verdicts)


def _capacity(fleet: Fleet, workload: Workload) -> Iterator[tuple[str, Mask, Mask]]:
    for place, (name, amount) in enumerate(zip(RESOURCES, workload.amounts, strict=True)):
        if amount <= 0:
            continue
        free_H = fleet.free_HR[:, place]
        holds_H = free_H >= amount - SLACK
        if name == "gpus":
            fits_HD = fleet.device_HD >= workload.gpu_share - SLACK
            holds_H = holds_H & (fits_HD.sum(axis=1) >= workload.gpus)
        yield _CAPACITY[name], holds_H, np.isfinite(free_H)


def _bounds(fleet: Fleet, workload: Workload) -> Iterator[tuple[str, Mask, Mask]]:
    asked = workload.constraints
    bounds: Mapping[str, tuple[float | None, tuple[str, ...], bool]] = {
        "security": (
            asked.min_security_level,
            ("physical_security_level", "network_security"),
            True,
        ),
        "latency": (asked.max_latency_ms, ("network_latency",), False),
        "bandwidth": (asked.min_bandwidth_mbps, ("network_bandwidth",), True),
        "cost": (asked.max_cost_per_hour, ("operational_cost",), False),
    }
    for name, (bound, columns, is_floor) in bounds.items():
        if bound is None:
            continue
        for column in columns:
            value_H = fleet.factor_HF[:, PLACE[column]]
            holds_H = value_H >= bound - SLACK if is_floor else value_H <= bound + SLACK
            yield name, holds_H, np.isfinite(value_H)


def _among(fleet: Fleet, names: frozenset[str]) -> Mask:
    mask_H = np.zeros(len(fleet), dtype=bool)
    mask_H[[fleet.place[name] for name in names if name in fleet.place]] = True
    return mask_H
