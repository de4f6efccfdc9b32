"""Simulated fleets in which placements have outcomes: nodes, residents, and their factors.

Sizes of nodes and requests are real where public traces are given (Alibaba GPU 2023, Azure V1),
drawn from round sizes where not. Everything that no public trace tells of them, usage first of all,
is drawn here and simulated. Legend: H nodes, N workloads.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.models.placement.contention import Demand, NodeState, queueing
from novacron.models.placement.factors import FACTORS, PLACE
from novacron.telemetry.datasets.placement import adapt_gpu_nodes, adapt_gpu_pods

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

REFERENCE_MHZ: Final = 2600.0
_ASKED: Final = (
    *("busy_cores", "asked_memory_mbps", "asked_iops", "asked_network_mbps"),
    *("promised_cores", "promised_memory_gb"),
)
"""What residents ask of a node; nothing where there are none."""
REGIONS: Final = ("north", "south", "east", "west")
_ROUND_NODES: Final = ((32, 256), (64, 256), (96, 384), (96, 512), (104, 512), (128, 1024))
_ROUND_REQUESTS: Final = ((1, 2), (2, 4), (4, 8), (4, 16), (8, 16), (8, 32), (12, 48), (16, 64))
# Mean share of time on CPU, memory, disk, network of each class of workload.
_CLASSES: Final = np.array(
    [
        [0.8, 0.1, 0.05, 0.05],
        [0.25, 0.65, 0.05, 0.05],
        [0.2, 0.1, 0.6, 0.1],
        [0.2, 0.1, 0.1, 0.6],
        [0.4, 0.3, 0.15, 0.15],
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """Sizes that nodes and requests are drawn from."""

    node_H2: Floats
    """Cores and GB."""
    request_N2: Floats
    source: str

    @classmethod
    def round(cls) -> "Sizes":
        """Return round sizes, for machines without the public traces."""
        return cls(
            node_H2=np.array(_ROUND_NODES, dtype=float),
            request_N2=np.array(_ROUND_REQUESTS, dtype=float),
            source="round sizes",
        )

    @classmethod
    def read(cls, data_dir: Path) -> "Sizes":
        """Return the sizes of the Alibaba GPU 2023 nodes and pods."""
        nodes = adapt_gpu_nodes(data_dir).table.to_pandas()
        pods = adapt_gpu_pods(data_dir).table.to_pandas()
        return cls(
            node_H2=np.column_stack([nodes.cpu_milli / 1000, nodes.mem_mib / 1024]),
            request_N2=np.column_stack([pods.cpu_milli / 1000, pods.mem_mib / 1024]),
            source="Alibaba GPU 2023 nodes and requests",
        )


def draw_demand(
    sizes: Sizes, count: int, rng: np.random.Generator, intensity: float = 1.0
) -> Demand:
    """Draw workloads: real or round sizes, simulated usage.

    CPU use is a Beta(3, 2) share of the request, 0.6 on average. A busy core moves 2.5 GB/s on average if its
    class is bound by memory and a fifth of that if not, and so on; `intensity` multiplies what is
    asked of memory, disk and network.
    """
    cores, memory_gb = sizes.request_N2[rng.integers(len(sizes.request_N2), size=count)].T
    kind = rng.choice(len(_CLASSES), size=count, p=[0.3, 0.2, 0.15, 0.15, 0.2])
    share_N4 = _CLASSES[kind] * rng.gamma(6, 1 / 6, size=(count, 4))
    share_N4 /= share_N4.sum(axis=1, keepdims=True)
    busy = cores * rng.beta(3, 2, count)
    return Demand(
        cores=cores,
        memory_gb=memory_gb,
        busy_cores=busy,
        memory_mbps=intensity * busy * 4000 * share_N4[:, 1] * rng.gamma(4, 1 / 4, count),
        iops=intensity * busy * 2500 * share_N4[:, 2] * rng.gamma(4, 1 / 4, count),
        network_mbps=intensity * busy * 400 * share_N4[:, 3] * rng.gamma(4, 1 / 4, count),
        cpu_share=share_N4[:, 0],
        memory_share=share_N4[:, 1],
        disk_share=share_N4[:, 2],
        network_share=share_N4[:, 3],
        burstability=1 + rng.gamma(2, 1, count),
        fault_tolerance=rng.integers(1, 6, count).astype(float),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Hardware:
    """Nodes without residents, and the factors that do not follow from their state."""

    state: NodeState
    total_H2: Floats
    generation: Floats
    mhz: Floats
    mtbf_h: Floats
    cost_per_hour: Floats
    region_H: NDArray[np.object_]
    distance_km: Floats
    hops: Floats
    physical_security: Floats
    network_security: Floats


def draw_hardware(sizes: Sizes, count: int, rng: np.random.Generator) -> Hardware:
    """Draw nodes: real or round sizes, four generations, everything else simulated."""
    total_H2 = sizes.node_H2[rng.integers(len(sizes.node_H2), size=count)]
    cores = total_H2[:, 0]
    generation = rng.integers(1, 5, count).astype(float)
    age = np.maximum(5.5 - 1.3 * generation + rng.normal(0, 0.6, count), 0.05)
    mhz = rng.normal(2300 + 150 * generation, 120)
    region = rng.integers(len(REGIONS), size=count)
    distance = np.array([150.0, 900.0, 2600.0, 6000.0])[region] * rng.uniform(0.7, 1.3, count)
    state = NodeState(
        cores=cores,
        core_score=mhz / REFERENCE_MHZ * (0.85 + 0.06 * generation),
        memory_gb=total_H2[:, 1],
        memory_mbps=cores * rng.normal(900 + 250 * generation, 80),
        iops=rng.choice([20_000.0, 90_000.0, 400_000.0], count, p=[0.2, 0.3, 0.5]),
        network_mbps=rng.choice([10_000.0, 25_000.0, 100_000.0], count, p=[0.4, 0.4, 0.2]),
        cache_mb=cores * rng.choice([0.75, 1.0, 1.5, 2.0], count),
        overhead_ratio=rng.choice([0.0, 0.02, 0.05, 0.08], count),
        isolation=rng.choice([0.0, 0.25, 0.5, 1.0], count),
        **dict.fromkeys(_ASKED, np.zeros(count)),
        failures_per_year=rng.gamma(0.8, 1.0, count),
        age_years=age,
        inlet_c=rng.normal(25, 4, count),
        redundancy=rng.integers(1, 4, count).astype(float),
        maintenance_h=rng.uniform(0, 4000, count),
        pue=rng.normal(1.15 + 0.1 * region, 0.04),
        thrift_ratio=np.clip(1.2 - 0.08 * generation + rng.normal(0, 0.04, count), 0.6, 1.4),
        rtt_ms=distance / 100 + rng.gamma(2, 0.4, count),
        loss_ratio=10 ** rng.normal(-4.5, 0.6, count),
        jitter_ms2=rng.gamma(1.0, 2.0, count),
        cached_ratio=rng.beta(1, 4, count),
        local_memory_ratio=rng.beta(5, 1.5, count),
    )
    return Hardware(
        state=state,
        total_H2=total_H2,
        generation=generation,
        mhz=mhz,
        mtbf_h=rng.lognormal(np.log(60_000), 0.3, count),
        cost_per_hour=cores * (0.03 + 0.006 * generation) * rng.uniform(0.9, 1.1, count),
        region_H=np.array(REGIONS, dtype=object)[region],
        distance_km=distance,
        hops=np.round(4 + distance / 500 + rng.gamma(2, 1, count)),
        physical_security=rng.integers(1, 6, count).astype(float),
        network_security=rng.integers(1, 6, count).astype(float),
    )


def with_residents(hardware: Hardware, node_N: Ints, work: Demand) -> NodeState:
    """Return the nodes with workloads on them; `node_N` says where, -1 is nowhere."""
    state = hardware.state
    here_N = node_N >= 0
    count = len(state.cores)

    def summed(value_N: Floats) -> Floats:
        summed_H = np.bincount(node_N[here_N], weights=value_N[here_N], minlength=count)
        return np.asarray(summed_H, dtype=np.float64)

    values = {name: getattr(state, name) for name in state.__dataclass_fields__}
    values |= {
        "busy_cores": summed(work.busy_cores),
        "asked_memory_mbps": summed(work.memory_mbps),
        "asked_iops": summed(work.iops),
        "asked_network_mbps": summed(work.network_mbps),
        "promised_cores": summed(work.cores),
        "promised_memory_gb": summed(work.memory_gb),
    }
    return NodeState(**values)


def node_factors(hardware: Hardware, state: NodeState, overcommit: float) -> Floats:
    """Return what an operator would know of the nodes, as factors; NaN where nothing is known.

    `overcommit` is how many cores may be promised for each that is there.
    """
    matrix_HF = np.full((len(state.cores), len(FACTORS)), np.nan)
    free_cores = np.maximum(state.cores * overcommit - state.promised_cores, 0)
    free_gb = np.maximum(state.memory_gb - state.promised_memory_gb, 0)
    values = _observed(state)
    values |= {
        "cpu_cores_available": free_cores,
        "memory_available": free_gb,
        "cpu_frequency": hardware.mhz,
        "memory_bandwidth": state.memory_mbps,
        "storage_iops": state.iops,
        "network_bandwidth": np.maximum(state.network_mbps - state.asked_network_mbps, 0),
        "network_latency": state.rtt_ms,
        "hardware_generation": hardware.generation,
        "resource_overcommit_ratio": state.promised_cores / state.cores,
        "resource_fragmentation": np.abs(
            free_cores / (state.cores * overcommit) - free_gb / state.memory_gb
        ),
        "benchmark_scores": state.core_score,
        "cache_locality": state.cached_ratio,
        "cpu_cache_size": state.cache_mb,
        "memory_locality": state.local_memory_ratio,
        "virtualization_overhead": state.overhead_ratio,
        "performance_isolation": state.isolation,
        "power_efficiency": np.clip(1 - 0.4 * state.thrift_ratio, 0, 1),
        "temperature": state.inlet_c,
        "power_usage_effectiveness": np.maximum(state.pue, 1.0),
        "redundancy_level": state.redundancy,
        "hardware_age": state.age_years,
        "maintenance_schedule": state.maintenance_h,
        "failure_history": state.failures_per_year,
        "mtbf_rating": hardware.mtbf_h,
        "network_distance": hardware.distance_km,
        "hop_count": hardware.hops,
        "network_congestion": np.clip(state.asked_network_mbps / state.network_mbps, 0, 1),
        "packet_loss_rate": state.loss_ratio,
        "jitter_variance": state.jitter_ms2,
        "current_load": state.busy_cores / state.cores,
        "capacity_utilization": np.clip(state.promised_cores / (state.cores * overcommit), 0, 1),
        "operational_cost": hardware.cost_per_hour,
        "physical_security_level": hardware.physical_security,
        "network_security": hardware.network_security,
    }
    for name, value_H in values.items():
        matrix_HF[:, PLACE[name]] = value_H
    place = PLACE["datacenter_location"]
    matrix_HF[:, place] = [FACTORS[place].encode(name) for name in hardware.region_H]
    return matrix_HF


def _observed(state: NodeState) -> dict[str, Floats]:
    """Return what was got of each resource over what was asked of it."""
    got: dict[str, tuple[Floats, Floats, Floats | float]] = {
        "cpu": (state.busy_cores, state.cores * (1 - state.overhead_ratio), state.cores),
        "memory": (state.asked_memory_mbps, state.memory_mbps, 8.0),
        "disk": (state.asked_iops, state.iops, 8.0),
        "network": (state.asked_network_mbps, state.network_mbps, 2.0),
    }
    return {
        f"historical_{name}_performance": np.clip(
            np.minimum(1, has / np.maximum(asked, 1e-9)) / (1 + queueing(asked / has, servers)),
            0,
            1,
        )
        for name, (asked, has, servers) in got.items()
    }


def pair_factors(state: NodeState, work: Demand) -> dict[str, Floats]:
    """Return what follows from a profiled workload and a node's load, pair by pair.

    Similarity is the cosine between where the workload's time goes and what is busy on the node.
    """
    share_N4 = np.column_stack(
        [work.cpu_share, work.memory_share, work.disk_share, work.network_share]
    )
    busy_N4 = np.column_stack(
        [
            state.busy_cores / state.cores,
            state.asked_memory_mbps / state.memory_mbps,
            state.asked_iops / state.iops,
            state.asked_network_mbps / state.network_mbps,
        ]
    )
    length_N = np.linalg.norm(share_N4, axis=1) * np.linalg.norm(busy_N4, axis=1)
    cosine_N = (share_N4 * busy_N4).sum(axis=1) / np.maximum(length_N, 1e-12)
    return {"workload_similarity": np.clip(cosine_N, 0, 1)}


def workload_factors(work: Demand) -> dict[str, Floats]:
    """Return what a caller would know of the workloads, as factors."""
    return {
        "throughput_requirements": work.network_mbps,
        "burstability": work.burstability,
        "fault_tolerance_level": work.fault_tolerance,
    }
