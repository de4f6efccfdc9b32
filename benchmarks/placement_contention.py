"""Job slowdown under simulated contention, by placement rule, on paired fleets and jobs.

Legend: H nodes, N jobs. Jobs arrive as a Poisson process and stay for exponential times; sizes of
nodes and jobs are real where the traces are given. A job's slowdown is the mean over its stay of
its time over that on a free reference node, taken at every arrival. Every rule sees the same fleets,
jobs and times.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.models.placement.contention import Demand, NodeState, slowdown
from novacron.models.placement.factors import NAMES
from novacron.models.placement.fleet import Fleet
from novacron.models.placement.optimizer import WorkloadOptimizer
from novacron.models.placement.workload import Workload
from novacron.models.placement.worlds import (
    Hardware,
    Sizes,
    draw_demand,
    draw_hardware,
    node_factors,
    pair_factors,
    with_residents,
    workload_factors,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

RULES: Final = ("random", "first_fit", "best_fit", "worst_fit", "least_loaded", "oracle")
"""`oracle` knows the laws and every demand, and takes the node where the slowdown of the job and what
it adds to the slowdown of the residents are least: greedy, job by job, so not quite a bound."""
LOAD: Final = 0.8
"""Busy cores over cores, once a fleet has filled."""
OVERCOMMIT: Final = 2.0
NODES: Final = 16
_DEMANDS: Final = {
    "busy_cores": "busy_cores",
    "asked_memory_mbps": "memory_mbps",
    "asked_iops": "iops",
    "asked_network_mbps": "network_mbps",
    "promised_cores": "cores",
}
_STAY_S: Final = 10_000.0


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """One fleet and its jobs."""

    hardware: Hardware
    work: Demand
    arrived_N: Floats
    end_N: Floats


def draw_world(sizes: Sizes, intensity: float, jobs: int, seed: int) -> World:
    """Draw a fleet and jobs that keep `LOAD` of its cores busy on average.

    `intensity` multiplies what jobs ask of memory, disk and network for each busy core.
    """
    rng = np.random.default_rng([seed, 77])
    hardware = draw_hardware(sizes, NODES, rng)
    work = draw_demand(sizes, jobs, rng, intensity)
    at_once = LOAD * float(hardware.state.cores.sum()) / float(work.busy_cores.mean())
    # The fleet begins as full as it stays.
    arrived_N = np.sort(rng.uniform(0, _STAY_S * jobs / at_once, jobs))
    early = int(at_once)
    if early >= jobs:
        raise ValueError(f"{jobs} jobs cannot keep {early} running")
    arrived_N[:early] = 0.0
    return World(
        hardware=hardware,
        work=work,
        arrived_N=np.sort(arrived_N),
        end_N=np.sort(arrived_N) + rng.exponential(_STAY_S, jobs),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """What became of the jobs of one world under one rule."""

    slowdown: float
    """Mean over jobs."""
    p95: float
    refused: int
    jobs: int


def run(world: World, rule: str, optimizer: WorkloadOptimizer | None, seed: int) -> Ran:
    """Live through a world under one rule."""
    return lived(world, rule, optimizer, seed)[0]


def lived(
    world: World, rule: str, optimizer: WorkloadOptimizer | None, seed: int
) -> tuple[Ran, Ints]:
    """Live through a world under one rule; return also the node of each job, -1 if refused."""
    work, rng = world.work, np.random.default_rng(seed)
    jobs = len(work.cores)
    node_N, chosen_N = np.full(jobs, -1), np.full(jobs, -1)
    total_N, looks_N = np.zeros(jobs), np.zeros(jobs)
    ends: list[tuple[float, int]] = []
    refused = 0
    for job in range(jobs):
        while ends and ends[0][0] <= world.arrived_N[job]:
            node_N[heapq.heappop(ends)[1]] = -1
        state = with_residents(world.hardware, node_N, work)
        free_cores = state.cores * OVERCOMMIT - state.promised_cores
        free_gb = state.memory_gb - state.promised_memory_gb
        fits = np.flatnonzero((free_cores >= work.cores[job]) & (free_gb >= work.memory_gb[job]))
        if not len(fits):
            refused += 1
            continue
        if optimizer is None:
            node_N[job] = (
                _least_harm(world, fits, state, job, node_N)
                if rule == "oracle"
                else _choose(rule, fits, state, free_cores, free_gb, rng)
            )
        else:
            node_N[job] = _ask(optimizer, world, state, job)
        chosen_N[job] = node_N[job]
        heapq.heappush(ends, (float(world.end_N[job]), job))
        _look(world, node_N, total_N, looks_N)
    each_N = total_N[looks_N > 0] / looks_N[looks_N > 0]
    ran = Ran(
        slowdown=float(each_N.mean()),
        p95=float(np.quantile(each_N, 0.95)),
        refused=refused,
        jobs=jobs,
    )
    return ran, chosen_N


def _look(world: World, node_N: Ints, total_N: Floats, looks_N: Floats) -> None:
    """Add the slowdown that each job has now; its own demand counts once."""
    here_N = np.flatnonzero(node_N >= 0)
    state = with_residents(world.hardware, node_N, world.work)
    own = world.work.take(here_N)
    at = state.take(node_N[here_N])
    total_N[here_N] += slowdown(_changed(at, None, own), own)
    looks_N[here_N] += 1


def _least_harm(world: World, fits: Ints, state: NodeState, job: int, node_N: Ints) -> int:
    same = world.work.take(np.full(len(fits), job))
    here_N = np.flatnonzero(node_N >= 0)
    own, at = world.work.take(here_N), state.take(node_N[here_N])
    added = world.work.take(np.full(len(here_N), job))
    harm_N = slowdown(_changed(at, added, own), own) - slowdown(_changed(at, None, own), own)
    harm_H = np.bincount(node_N[here_N], weights=harm_N, minlength=len(state.cores))
    return int(fits[(slowdown(state.take(fits), same) + harm_H[fits]).argmin()])


def _changed(at: NodeState, added: Demand | None, own: Demand) -> NodeState:
    """Return nodes without a resident's own demand, and with what is added."""
    values = {name: getattr(at, name) for name in NodeState.__dataclass_fields__}
    for name, asked in _DEMANDS.items():
        more = 0.0 if added is None else getattr(added, asked)
        values[name] = values[name] - getattr(own, asked) + more
    return NodeState(**values)


def _choose(
    rule: str,
    fits: Ints,
    state: NodeState,
    free_cores: Floats,
    free_gb: Floats,
    rng: np.random.Generator,
) -> int:
    cpu = free_cores[fits] / (state.cores[fits] * OVERCOMMIT)
    left = cpu + free_gb[fits] / state.memory_gb[fits]
    rules: dict[str, Callable[[], int]] = {
        "random": lambda: int(rng.integers(len(fits))),
        "first_fit": lambda: 0,
        "best_fit": lambda: int(left.argmin()),
        "worst_fit": lambda: int(left.argmax()),
        "least_loaded": lambda: int((state.busy_cores[fits] / state.cores[fits]).argmin()),
    }
    return int(fits[rules[rule]()])


def fleet_of(hardware: Hardware, state: NodeState) -> Fleet:
    """Return what an operator knows of a world's nodes."""
    factor_HF = node_factors(hardware, state, OVERCOMMIT)
    count = len(state.cores)
    free_HR = np.full((count, 5), np.nan)
    free_HR[:, 0] = state.cores * OVERCOMMIT - state.promised_cores
    free_HR[:, 1] = state.memory_gb - state.promised_memory_gb
    free_HR[:, 3] = factor_HF[:, NAMES.index("network_bandwidth")]
    total_HR = np.full((count, 5), np.nan)
    total_HR[:, 0], total_HR[:, 1] = state.cores * OVERCOMMIT, state.memory_gb
    names = [f"n{number}" for number in range(count)]
    fleet = Fleet(names, np.maximum(free_HR, 0), total_HR=total_HR, factor_HF=factor_HF)
    fleet.region_H[:] = hardware.region_H
    fleet.count_H[:] = state.promised_cores > 0
    return fleet


def workload_of(work: Demand, job: int) -> Workload:
    """Return a job as a caller would ask for it."""
    factors = {name: float(value_N[job]) for name, value_N in workload_factors(work).items()}
    return Workload(
        workload_id=f"j{job}",
        cpu_cores=float(work.cores[job]),
        memory_gb=float(work.memory_gb[job]),
        factors=factors,
    )


def _ask(optimizer: WorkloadOptimizer, world: World, state: NodeState, job: int) -> int:
    fleet = fleet_of(world.hardware, state)
    same = world.work.take(np.full(len(fleet), job))
    for name, value_H in pair_factors(state, same).items():
        fleet.set_factor(name, value_H)
    return int(optimizer.rank(workload_of(world.work, job), fleet)[0][1:])
