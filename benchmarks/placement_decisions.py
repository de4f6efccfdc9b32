"""Single decisions: are they feasible, how long do they take, does every factor matter.

Fleets and workloads are simulated on real sizes where the traces are given; half of the workloads
state bounds on region, latency, cost and security.
"""

import time
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.placement_contention import OVERCOMMIT, fleet_of, workload_of
from benchmarks.results_format import Metric
from novacron.models.placement.checker import NodeFacts, violations
from novacron.models.placement.factors import FACTORS, NAMES
from novacron.models.placement.fleet import Fleet
from novacron.models.placement.optimizer import WorkloadOptimizer
from novacron.models.placement.workload import Constraints, Workload
from novacron.models.placement.worlds import (
    REGIONS,
    Hardware,
    Sizes,
    draw_demand,
    draw_hardware,
    with_residents,
)

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """A fleet, what is truly there, and workloads that ask for a place."""

    hardware: Hardware
    fleet: Fleet
    facts: tuple[NodeFacts, ...]
    """Read from the world, not from the fleet."""
    asked: tuple[Workload, ...]


def draw_scene(sizes: Sizes, nodes: int, workloads: int, seed: int) -> Scene:
    """Draw a fleet that is two thirds full, and workloads, every second one with bounds."""
    rng = np.random.default_rng([seed, 78])
    hardware = draw_hardware(sizes, nodes, rng)
    cores = float(hardware.state.cores.sum()) * OVERCOMMIT
    residents = int(0.66 * cores / float(sizes.request_N2[:, 0].mean()))
    work = draw_demand(sizes, residents, rng)
    node_N = rng.integers(nodes, size=residents)
    state = with_residents(hardware, node_N, work)
    demand = draw_demand(sizes, workloads, rng)
    facts = tuple(
        NodeFacts(
            node_id=f"n{row}",
            cpu_cores=float(max(state.cores[row] * OVERCOMMIT - state.promised_cores[row], 0)),
            memory_gb=float(max(state.memory_gb[row] - state.promised_memory_gb[row], 0)),
            network_mbps=float(max(state.network_mbps[row] - state.asked_network_mbps[row], 0)),
            region=str(hardware.region_H[row]),
            physical_security_level=float(hardware.physical_security[row]),
            network_security=float(hardware.network_security[row]),
            network_latency_ms=float(state.rtt_ms[row]),
            operational_cost=float(hardware.cost_per_hour[row]),
        )
        for row in range(nodes)
    )
    asked = tuple(
        _with_bounds(workload_of(demand, job), rng) if job % 2 else workload_of(demand, job)
        for job in range(workloads)
    )
    return Scene(hardware=hardware, fleet=fleet_of(hardware, state), facts=facts, asked=asked)


def _with_bounds(workload: Workload, rng: np.random.Generator) -> Workload:
    bounds = Constraints(
        allowed_regions=frozenset(rng.choice(REGIONS, 3, replace=False).tolist()),
        min_security_level=float(rng.integers(1, 3)),
        max_latency_ms=float(rng.uniform(5, 80)),
        max_cost_per_hour=float(rng.uniform(2, 8)),
        min_bandwidth_mbps=float(rng.uniform(0, 5000)),
    )
    return replace(workload, constraints=bounds)


def check_feasible(optimizer: WorkloadOptimizer, sizes: Sizes, counts: tuple[int, int]) -> Any:
    """Count candidates that the independent checker refuses, and answers that claim there is none.

    The checker reads the world, the optimizer reads the factors.
    """
    nodes, workloads = counts
    candidates = refused = none = none_wrong = 0
    for seed in range(3):
        scene = draw_scene(sizes, nodes, workloads, seed)
        by_name = {one.node_id: one for one in scene.facts}
        for asked in scene.asked:
            answer = optimizer.optimize(asked, scene.fleet)
            for one in answer.candidates:
                candidates += 1
                refused += bool(violations(asked, by_name[one.node_id]))
            if not answer.candidates:
                none += 1
                none_wrong += any(not violations(asked, facts) for facts in scene.facts)
    return {
        "candidates": candidates,
        "refused": refused,
        "none": none,
        "none_wrong": none_wrong,
    }


def time_decisions(
    optimizer: WorkloadOptimizer, sizes: Sizes, nodes: int, decisions: int
) -> dict[str, Any]:
    """Time whole decisions with reasons on a fleet that is held: CPU of the process, and wall."""
    scene = draw_scene(sizes, nodes, decisions + 5, 5)
    cpu_ms, wall_ms = [], []
    for number, asked in enumerate(scene.asked):
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        optimizer.optimize(asked, scene.fleet)
        if number >= 5:
            cpu_ms.append(1e3 * (time.process_time() - cpu_s))
            wall_ms.append(1e3 * (time.perf_counter() - wall_s))
    return {"nodes": nodes, "cpu_ms": cpu_ms, "wall_ms": wall_ms}


def ablate(optimizer: WorkloadOptimizer, sizes: Sizes, counts: tuple[int, int]) -> dict[str, Any]:
    """Take each factor that has data away, and count the decisions that change."""
    nodes, workloads = counts
    scene = draw_scene(sizes, nodes, workloads, 9)
    before = [_first(optimizer, asked, scene.fleet) for asked in scene.asked]
    changed = {}
    for place, factor in enumerate(FACTORS):
        given = any(factor.name in asked.factors for asked in scene.asked)
        has_data = np.isfinite(scene.fleet.factor_HF[:, place]).any()
        if factor.is_required or not (given or has_data):
            continue
        kept_H = scene.fleet.factor_HF[:, place].copy()
        region_H = scene.fleet.region_H.copy()
        scene.fleet.factor_HF[:, place] = np.nan
        if factor.name == "datacenter_location":
            scene.fleet.region_H[:] = ""
        after = [
            _first(optimizer, _without(asked, factor.name), scene.fleet) for asked in scene.asked
        ]
        scene.fleet.factor_HF[:, place] = kept_H
        scene.fleet.region_H[:] = region_H
        changed[factor.name] = sum(a != b for a, b in zip(before, after, strict=True))
    return {"changed": changed, "decisions": len(before)}


def _without(asked: Workload, name: str) -> Workload:
    factors = {key: value for key, value in asked.factors.items() if key != name}
    return replace(asked, factors=factors)


def _first(optimizer: WorkloadOptimizer, asked: Workload, fleet: Fleet) -> str:
    return (*optimizer.rank(asked, fleet), "")[0]


GOAL_MS: Final = {1000: 10, 10_000: 100}


def decision_metrics(
    feasible: dict[str, Any], timed: list[dict[str, Any]], ablated: dict[str, Any]
) -> list[Metric]:
    """Turn the three into figures."""
    metrics = [
        Metric(
            name="infeasible_candidates",
            set="simulated_requests",
            value=float(feasible["refused"]),
            n=feasible["candidates"],
            baseline="candidates that the independent checker refused; goal 0",
        ),
        Metric(
            name="wrongly_none_feasible",
            set="simulated_requests",
            value=float(feasible["none_wrong"]),
            n=max(feasible["none"], 1),
            baseline="answers without a candidate where the checker finds a node; goal 0",
        ),
    ]
    for one in timed:
        nodes = one["nodes"]
        for kind in ("cpu", "wall"):
            times = np.array(one[f"{kind}_ms"])
            for name, level in (("p50", 0.5), ("p99", 0.99)):
                goal = f"; goal {GOAL_MS[nodes]} ms" if nodes in GOAL_MS and kind == "cpu" else ""
                metrics.append(
                    Metric(
                        name=f"decision_{name}_{kind}_ms",
                        set=f"{nodes}_nodes",
                        value=float(np.quantile(times, level)),
                        n=len(times),
                        baseline=f"none: one core, machine below{goal}",
                    )
                )
    return metrics + _ablation(ablated)


def _ablation(ablated: dict[str, Any]) -> list[Metric]:
    changed = ablated["changed"]
    inert = sorted(name for name, count in changed.items() if count == 0)
    return [
        Metric(
            name="factors_with_data",
            set="factor_ablation",
            value=float(len(changed)),
            n=ablated["decisions"],
            baseline=f"of {len(NAMES)} factors; the rest is absent in every public set",
        ),
        Metric(
            name="factors_that_change_no_decision",
            set="factor_ablation",
            value=float(len(inert)),
            n=ablated["decisions"],
            baseline="goal 0" + (f"; these: {', '.join(inert)}" if inert else ""),
        ),
        Metric(
            name="least_changed_decisions_ratio",
            set="factor_ablation",
            value=min(changed.values(), default=0) / max(ablated["decisions"], 1),
            n=ablated["decisions"],
            baseline=f"by {min(changed, key=lambda name: changed[name], default='none')}",
        ),
    ]
