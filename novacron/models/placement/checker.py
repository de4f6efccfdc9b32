"""Checks placements over again, one node at a time, from its own books: no numpy, no masks.

Shares no code with `constraints.py` or `fleet.py`, so that one may find what the other got wrong.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from novacron.models.placement.workload import Workload

_ROUNDING: Final = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeFacts:
    """What a node is: what it has in all, and what its owner says of it; None where not said."""

    node_id: str
    cpu_cores: float
    memory_gb: float
    storage_gb: float | None = None
    network_mbps: float | None = None
    gpu_devices: tuple[float, ...] = ()
    """Share of each device that may be promised, 1 for a whole one."""
    region: str = ""
    physical_security_level: float | None = None
    network_security: float | None = None
    network_latency_ms: float | None = None
    operational_cost: float | None = None


@dataclass
class _Book:
    facts: NodeFacts
    placed: dict[str, Workload] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)
    """Workloads by group that were there before the ledger began."""


class Ledger:
    """Books of a fleet: who is where, and what was violated when."""

    def __init__(
        self,
        nodes: Iterable[NodeFacts],
        groups: Mapping[str, Mapping[str, int]] | None = None,
    ) -> None:
        before = groups or {}
        self._books = {
            facts.node_id: _Book(facts, groups=dict(before.get(facts.node_id, {})))
            for facts in nodes
        }
        self._where: dict[str, str] = {}
        self.placements = 0
        self.infeasible: list[tuple[str, str, tuple[str, ...]]] = []
        """Workload, node and violated constraints of every placement that should not have been."""

    def place(self, workload: Workload, node_id: str) -> tuple[str, ...]:
        """Book a placement and return the constraints that it violates."""
        book = self._books[node_id]
        found = violations(workload, book.facts, tuple(book.placed.values()), book.groups)
        if workload.workload_id in self._where:
            found = (*found, "placed_twice")
        self.placements += 1
        if found:
            self.infeasible.append((workload.workload_id, node_id, found))
        book.placed[workload.workload_id] = workload
        self._where[workload.workload_id] = node_id
        return found

    def release(self, workload_id: str) -> None:
        """Take a workload out of the books."""
        del self._books[self._where.pop(workload_id)].placed[workload_id]


def violations(
    workload: Workload,
    facts: NodeFacts,
    residents: tuple[Workload, ...] = (),
    groups: Mapping[str, int] | None = None,
) -> tuple[str, ...]:
    """Name every hard constraint that placing a workload beside `residents` would violate."""
    found = []
    everyone = (*residents, workload)
    amounts = {
        "cpu": (facts.cpu_cores, [each.cpu_cores for each in everyone]),
        "memory": (facts.memory_gb, [each.memory_gb for each in everyone]),
        "storage": (facts.storage_gb, [each.storage_gb for each in everyone]),
        "network": (facts.network_mbps, [each.network_mbps for each in everyone]),
    }
    for name, (has, asked) in amounts.items():
        if asked[-1] > 0 and (has is None or math.fsum(asked) > has + _ROUNDING):
            found.append(name)
    if workload.gpus and not _devices_fit(facts.gpu_devices, everyone):
        found.append("gpu")
    hosted = dict(groups or {})
    for each in residents:
        hosted[each.group] = hosted.get(each.group, 0) + 1
    found += _by_name(workload, facts, hosted)
    return tuple(found + _by_bound(workload, facts))


def _by_name(workload: Workload, facts: NodeFacts, hosted: Mapping[str, int]) -> list[str]:
    asked, found = workload.constraints, []
    if asked.allowed_nodes and facts.node_id not in asked.allowed_nodes:
        found.append("allowed_nodes")
    if facts.node_id in asked.excluded_nodes:
        found.append("excluded_nodes")
    if any(hosted.get(group, 0) == 0 for group in asked.affinity_groups):
        found.append("affinity")
    if any(hosted.get(group, 0) > 0 for group in asked.anti_affinity_groups):
        found.append("anti_affinity")
    limit = asked.max_per_node
    if limit is not None and workload.group and hosted.get(workload.group, 0) + 1 > limit:
        found.append("max_per_node")
    wrong_region = asked.allowed_regions and facts.region not in asked.allowed_regions
    barred = asked.excluded_regions and facts.region in ("", *asked.excluded_regions)
    if wrong_region or barred:
        found.append("region")
    return found


def _by_bound(workload: Workload, facts: NodeFacts) -> list[str]:
    asked, found = workload.constraints, []
    floor = asked.min_security_level
    if floor is not None:
        levels = (facts.physical_security_level, facts.network_security)
        if any(level is None or level < floor for level in levels):
            found.append("security")
    for name, bound, value in (
        ("latency", asked.max_latency_ms, facts.network_latency_ms),
        ("cost", asked.max_cost_per_hour, facts.operational_cost),
    ):
        if bound is not None and (value is None or value > bound + _ROUNDING):
            found.append(name)
    need = asked.min_bandwidth_mbps
    if need is not None and (facts.network_mbps is None or facts.network_mbps < need - _ROUNDING):
        found.append("bandwidth")
    return found


def _devices_fit(devices: tuple[float, ...], everyone: tuple[Workload, ...]) -> bool:
    """Tell whether some assignment of shares to devices exists, by first fit in falling order.

    Shares of one device each are packed after the whole devices; first fit decreasing may fail
    where an assignment exists, so an exact search over the shares follows where it does.
    """
    whole = sum(each.gpus for each in everyone if each.gpus and each.gpu_share >= 1 - _ROUNDING)
    parts = sorted(
        (each.gpu_share for each in everyone if each.gpus and each.gpu_share < 1 - _ROUNDING),
        reverse=True,
    )
    free = sorted(devices, reverse=True)
    if whole > len(free) or any(share < 1 - _ROUNDING for share in free[:whole]):
        return False
    return _pack(parts, free[whole:])


def _pack(parts: list[float], free: list[float]) -> bool:
    if not parts:
        return True
    tried = set()
    for place, share in enumerate(free):
        if share + _ROUNDING < parts[0] or round(share, 6) in tried:
            continue
        tried.add(round(share, 6))
        left = [*free[:place], share - parts[0], *free[place + 1 :]]
        if _pack(parts[1:], left):
            return True
    return False
