"""What a workload would get on a node: contention, speed, latency, reliability, power. Simulated.

Legend: N pairs of a workload and a node. Every array is [N]. No public trace tells what placements
led to, so outcomes come from these laws: a workload's time is the sum of its time on CPU, memory,
disk and network (Amdahl 1967; Williams, Waterman and Patterson 2009), each stretched by what the
node's residents ask of the same resource.
"""

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.models.placement.power import IDLE_W_PER_CORE, LINEAR_SHARE, PEAK_W_PER_CORE

Floats = NDArray[np.float64]

REFERENCE_SCORE: Final = 1.0
SERVICE_MS: Final = 10.0
"""Time of one answer on a free reference node."""
RELIABILITY_H: Final = 720.0
"""Reliability is the probability of no outage in 30 days."""
_HOURS_PER_YEAR: Final = 8766.0
_FULL: Final = 0.97
"""Queues are computed up to this load; beyond 1, shares fall in proportion."""
_MSS_BITS: Final = 1460 * 8


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeState:
    """A node: what it is, and what its residents ask of it now."""

    cores: Floats
    core_score: Floats
    """Speed of a core over the reference."""
    memory_gb: Floats
    memory_mbps: Floats
    """Memory bandwidth in MB/s."""
    iops: Floats
    network_mbps: Floats
    cache_mb: Floats
    overhead_ratio: Floats
    isolation: Floats
    busy_cores: Floats
    asked_memory_mbps: Floats
    asked_iops: Floats
    asked_network_mbps: Floats
    promised_cores: Floats
    promised_memory_gb: Floats
    failures_per_year: Floats
    age_years: Floats
    inlet_c: Floats
    redundancy: Floats
    maintenance_h: Floats
    pue: Floats
    thrift_ratio: Floats
    """Its power over that of a node of the same size of the reference generation."""
    rtt_ms: Floats
    loss_ratio: Floats
    jitter_ms2: Floats
    cached_ratio: Floats
    local_memory_ratio: Floats

    def take(self, rows: NDArray[np.generic]) -> "NodeState":
        """Return some of them."""
        return NodeState(**{one.name: getattr(self, one.name)[rows] for one in fields(self)})


@dataclass(frozen=True, kw_only=True, slots=True)
class Demand:
    """A workload: what it is promised, what it uses, where its time goes on a free node."""

    cores: Floats
    memory_gb: Floats
    busy_cores: Floats
    memory_mbps: Floats
    iops: Floats
    network_mbps: Floats
    cpu_share: Floats
    memory_share: Floats
    disk_share: Floats
    network_share: Floats
    """The four shares sum to 1."""
    burstability: Floats
    fault_tolerance: Floats

    def take(self, rows: NDArray[np.generic]) -> "Demand":
        """Return some of them."""
        return Demand(**{one.name: getattr(self, one.name)[rows] for one in fields(self)})


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What came of it."""

    slowdown: Floats
    """Time over the time on a free reference node."""
    throughput: Floats
    """1 over the slowdown: 1 is a free reference node."""
    latency_ms: Floats
    reliability: Floats
    efficiency: Floats
    """Useful share of what is held: work is slower by the slowdown and holds its resources as much
    longer, and the difference of the promised shares of CPU and memory is of use to nobody."""
    power_w: Floats
    """That it adds, at the facility's meter."""


def queueing(load: Floats, servers: Floats | float) -> Floats:
    """Return the wait over the service time at a load (Sakasegawa 1977, for M/M/c)."""
    rho = np.clip(load, 0.0, _FULL)
    exponent = np.sqrt(2 * (np.asarray(servers) + 1)) - 1
    return np.asarray(rho**exponent / (servers * (1 - rho)))


def stretch(asked: Floats, has: Floats, servers: Floats | float, isolation: Floats) -> Floats:
    """Return by how much work on one resource is stretched: queueing, and a share beyond full.

    Isolation 1 halves the queueing part: cores and cache are the workload's own, the rest is not.
    """
    load = asked / np.maximum(has, 1e-9)
    return np.asarray(np.maximum(1.0, load) * (1 + queueing(load, servers) * (1 - isolation / 2)))


def slowdown(node: NodeState, work: Demand) -> Floats:
    """Return the time of a workload on a node over that on a free reference node."""
    burst = 1 + 0.1 * np.log1p(np.maximum(work.burstability - 1, 0))
    # What the hypervisor takes, it takes of capacity and of every core's time.
    cores = node.cores * (1 - node.overhead_ratio)
    core_speed = node.core_score * (1 - node.overhead_ratio)
    busy = node.busy_cores + work.busy_cores * burst
    # A cache that is too small for all residents sends more to memory.
    residents = np.maximum(node.promised_cores + work.cores, 1.0)
    spilled = 1 + 0.5 * np.clip(1 - node.cache_mb / residents, 0, 1) * (1 - node.cached_ratio)
    remote = 1 + 0.4 * (1 - node.local_memory_ratio)
    memory = (node.asked_memory_mbps + work.memory_mbps) * spilled
    network = node.asked_network_mbps + work.network_mbps
    # A single flow cannot pass MSS / RTT * 1.22 / sqrt(loss) (Mathis et al. 1997).
    flow_mbps = 1.22 * _MSS_BITS / 1e3 / np.maximum(node.rtt_ms, 0.05)
    flow_mbps = flow_mbps / np.sqrt(np.maximum(node.loss_ratio, 1e-6))
    starved = np.maximum(1.0, np.minimum(work.network_mbps / 8, 1e4) / flow_mbps)
    own = node.isolation
    return np.asarray(
        work.cpu_share * stretch(busy, cores, node.cores, own) / core_speed
        + work.memory_share * stretch(memory, node.memory_mbps, 8.0, own) * remote * spilled
        + work.disk_share * stretch(node.asked_iops + work.iops, node.iops, 8.0, own * 0)
        + work.network_share * stretch(network, node.network_mbps, 2.0, own * 0) * starved
    )


def simulate(node: NodeState, work: Demand) -> Outcome:
    """Return what becomes of each workload on its node."""
    slow = slowdown(node, work)
    jitter_ms = np.sqrt(node.jitter_ms2)
    cpu_after = np.minimum((node.promised_cores + work.cores) / node.cores, 1.0)
    memory_after = (node.promised_memory_gb + work.memory_gb) / node.memory_gb
    return Outcome(
        slowdown=slow,
        throughput=1 / slow,
        latency_ms=node.rtt_ms + SERVICE_MS * slow + 2 * jitter_ms,
        reliability=reliability(node, work),
        efficiency=np.clip(1 - np.abs(cpu_after - memory_after), 0, 1) * np.minimum(1 / slow, 1),
        power_w=added_power_w(node, work),
    )


def reliability(node: NodeState, work: Demand) -> Floats:
    """Return the probability of no outage in 30 days.

    The observed rate is shrunk to the vendor's of one in two years, doubles every 10 C above 25
    (Arrhenius), rises with age beyond four years (wear-out) and in the first months (infant
    mortality); redundant parts and a tolerant workload hide failures. A planned stop within the
    time is an outage for workloads that tolerate none.
    """
    rate = (node.failures_per_year + 0.5) / 2
    heat = 2 ** (np.clip(node.inlet_c - 25, -5, 40) / 10)
    age = 1 + 0.25 * np.maximum(node.age_years - 4, 0) + 0.5 * np.exp(-4 * node.age_years)
    hidden = node.redundancy * work.fault_tolerance
    risk = rate * heat * age / hidden * RELIABILITY_H / _HOURS_PER_YEAR
    stops = (node.maintenance_h < RELIABILITY_H) & (work.fault_tolerance < 3)
    return np.asarray(np.exp(-risk - 0.1 * stops))


def added_power_w(node: NodeState, work: Demand) -> Floats:
    """Return the power that a workload adds, W, with idle power where the node was empty."""

    def draw(busy: Floats) -> Floats:
        load = np.clip(busy / node.cores, 0, 1)
        rise = LINEAR_SHARE * load + (1 - LINEAR_SHARE) * load**3
        return np.asarray((PEAK_W_PER_CORE - IDLE_W_PER_CORE) * rise * node.cores)

    added = draw(node.busy_cores + work.busy_cores) - draw(node.busy_cores)
    woken = np.where(node.promised_cores <= 0, IDLE_W_PER_CORE * node.cores, 0.0)
    return np.asarray((added + woken) * node.thrift_ratio * node.pue)
