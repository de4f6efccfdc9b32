"""What placement could reach at most under contention: a search over whole histories in hindsight.

The greedy oracle of `placement_contention` decides job by job. Here every arrival, end and demand is
known beforehand and jobs are moved between nodes, one at a time, as long as the mean slowdown over
all jobs falls. No job moves while it runs: as with the rules, one node for its whole stay. The end
of the search is a placement that no move of a single job improves, not a proof. What no placement
can pass is told beside it: every job alone on the free node that suits it best.

`python -m benchmarks.placement_hindsight` writes `results/placement_hindsight.json` and its `.md`;
finished worlds are kept in `runs/`.

Legend: N jobs, H nodes, L looks (a job's slowdown is taken at every arrival), M pairs of a look and
a running job.
"""

import argparse
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.placement_contention import OVERCOMMIT, World, draw_world, lived
from benchmarks.results_format import (
    RESULTS_DIR,
    BenchmarkResult,
    Metric,
    describe_machine,
    describe_versions,
    render_markdown,
    write_result,
)
from benchmarks.stages import Stages, stage_key
from novacron.models.metrics import group_ratio
from novacron.models.placement.contention import NodeState, slowdown
from novacron.models.placement.training import sizes_of
from novacron.models.placement.worlds import Sizes
from novacron.telemetry.datasets.placement import GPU_NODES_FILE, GPU_PODS_FILE
from novacron.telemetry.digest import data_sha256

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_DEMANDS: Final = {
    "busy_cores": "busy_cores",
    "asked_memory_mbps": "memory_mbps",
    "asked_iops": "iops",
    "asked_network_mbps": "network_mbps",
    "promised_cores": "cores",
}
_ROUNDING: Final = 1e-9
ROOT: Final = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Amounts:
    """How much is searched."""

    intensities: tuple[float, ...]
    seeds: tuple[int, ...]
    jobs: int
    starts: tuple[str, ...]
    """Rules whose placements the search begins with; the best end counts."""
    sweeps: int


FULL: Final = Amounts(
    intensities=(1.0, 2.0),
    seeds=(1, 2, 3, 4),
    jobs=360,
    starts=("oracle",),
    sweeps=4,
)
QUICK: Final = Amounts(intensities=(1.0,), seeds=(1,), jobs=300, starts=("oracle",), sweeps=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Searched:
    """What the search ended with."""

    slowdown: float
    """Mean over jobs."""
    sweeps: int
    moves: int


class Timeline:
    """All looks of one world, for any placement of its jobs; refused jobs have node -1."""

    def __init__(self, world: World, node_N: Ints) -> None:
        self._world = world
        self._node_N = node_N.copy()
        placed_N = node_N >= 0
        looks = np.flatnonzero(placed_N)  # one at every arrival that found a node
        arrived_N, end_N = world.arrived_N, world.end_N
        look_s = arrived_N[looks]
        order_N = np.arange(len(node_N))
        # A job is seen from its own look on, by its place in the order of arrival, until it ends.
        self._here_LN = (
            placed_N[None, :]
            & (order_N[None, :] <= looks[:, None])
            & (end_N[None, :] > look_s[:, None])
        )
        self._looks_N = self._here_LN.sum(axis=0)
        self._hosts = len(world.hardware.state.cores)

    @property
    def placement(self) -> Ints:
        """The node of each job, -1 if it was refused."""
        return self._node_N.copy()

    @property
    def jobs(self) -> Ints:
        """The jobs that have a node."""
        return np.flatnonzero(self._node_N >= 0)

    def mean(self) -> float:
        """Return the mean slowdown over jobs."""
        total_N = np.zeros(len(self._node_N))
        for host in range(self._hosts):
            on_N = np.flatnonzero(self._node_N == host)
            total_N[on_N] += self._totals(host, on_N, np.arange(len(self._here_LN)))
        jobs = self.jobs
        return float((total_N[jobs] / self._looks_N[jobs]).mean())

    def improve(self, job: int) -> bool:
        """Move a job to the node where the sum over all jobs is least; return whether it moved."""
        looks_L = np.flatnonzero(self._here_LN[:, job])
        old = int(self._node_N[job])
        with_job = self._cost(old, looks_L, job, present=True)
        without = self._cost(old, looks_L, job, present=False)
        best, gain = old, _ROUNDING
        for host in range(self._hosts):
            if host == old or not self._fits(host, looks_L, job):
                continue
            saved = with_job - without
            spent = self._cost(host, looks_L, job, present=True)
            spent -= self._cost(host, looks_L, job, present=False)
            if saved - spent > gain:
                best, gain = host, saved - spent
        self._node_N[job] = best
        return best != old

    def _cost(self, host: int, looks_L: Ints, job: int, *, present: bool) -> float:
        """Return what a node's jobs add to the sum of mean slowdowns during some looks."""
        on_N = np.flatnonzero(self._node_N == host)
        on_N = on_N[on_N != job]
        if present:
            on_N = np.append(on_N, job)
        return float((self._totals(host, on_N, looks_L) / self._looks_N[on_N]).sum())

    def _totals(self, host: int, on_N: Ints, looks_L: Ints) -> Floats:
        here_LN = self._here_LN[np.ix_(looks_L, on_N)]
        work = self._world.work
        look_M, place_M = np.nonzero(here_LN)
        own = work.take(on_N[place_M])
        state = self._world.hardware.state.take(np.full(len(look_M), host))
        values = {name: getattr(state, name) for name in NodeState.__dataclass_fields__}
        for name, asked in _DEMANDS.items():
            asked_N = getattr(work, asked)[on_N]
            values[name] = (here_LN @ asked_N)[look_M] - asked_N[place_M]
        slow_M = slowdown(NodeState(**values), own)
        total_N = np.bincount(place_M, weights=slow_M, minlength=len(on_N))
        return np.asarray(total_N, dtype=np.float64)

    def _fits(self, host: int, looks_L: Ints, job: int) -> bool:
        on_N = np.flatnonzero(self._node_N == host)
        here_LN = self._here_LN[np.ix_(looks_L, on_N)]
        work, state = self._world.work, self._world.hardware.state
        cores_L = here_LN @ work.cores[on_N] + work.cores[job]
        memory_L = here_LN @ work.memory_gb[on_N] + work.memory_gb[job]
        return bool(
            (cores_L <= state.cores[host] * OVERCOMMIT + _ROUNDING).all()
            and (memory_L <= state.memory_gb[host] + _ROUNDING).all()
        )


def search(world: World, node_N: Ints, most_sweeps: int, seed: int) -> Searched:
    """Improve a placement until no move of one job does, or for so many sweeps over all jobs."""
    timeline = Timeline(world, node_N)
    rng = np.random.default_rng(seed)
    sweeps, moves, moved = 0, 0, 1
    while moved and sweeps < most_sweeps:
        moved = sum(timeline.improve(int(job)) for job in rng.permutation(timeline.jobs))
        sweeps, moves = sweeps + 1, moves + moved
    return Searched(slowdown=timeline.mean(), sweeps=sweeps, moves=moves)


def alone(world: World, placed_N: Ints) -> float:
    """Return the mean slowdown if every placed job were alone on the node that suits it best."""
    state, work = world.hardware.state, world.work
    best = []
    for job in np.flatnonzero(placed_N >= 0):
        same = work.take(np.full(len(state.cores), job))
        fits = (state.cores * OVERCOMMIT >= work.cores[job]) & (
            state.memory_gb >= work.memory_gb[job]
        )
        best.append(slowdown(state, same)[fits].min())
    return float(np.mean(best))


def measure_world(sizes: Sizes, amounts: Amounts, intensity: float, seed: int) -> dict[str, Any]:
    """Return the mean slowdowns of one world: random, greedy oracle, search, alone."""
    world = draw_world(sizes, intensity, amounts.jobs, seed)
    placed = {
        rule: lived(world, rule, None, seed) for rule in {"random", "oracle", *amounts.starts}
    }
    ends = [search(world, placed[rule][1], amounts.sweeps, seed) for rule in amounts.starts]
    best = min(ends, key=lambda end: end.slowdown)
    return {
        "random": placed["random"][0].slowdown,
        "oracle": placed["oracle"][0].slowdown,
        "hindsight": best.slowdown,
        "alone": alone(world, placed["oracle"][1]),
        "sweeps": max(end.sweeps for end in ends),
        "moves": best.moves,
    }


def hindsight_metrics(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Metric]:
    """Compare with random placement, paired by world."""
    rng = np.random.default_rng(0)
    metrics = []
    for intensity, worlds in found.items():
        random_N = np.array([one["random"] for one in worlds])
        for rule in ("oracle", "hindsight", "alone"):
            slow_N = np.array([one[rule] for one in worlds])
            speed = group_ratio(random_N, slow_N, np.arange(len(worlds)), rng)
            metrics.append(
                Metric(
                    name=f"speed_over_random_{rule}", set=f"contention_intensity_{intensity}",
                    value=speed.value, lo=speed.lo, hi=speed.hi, n=len(worlds),
                    baseline=f"random placement is 1, mean slowdown {random_N.mean():.3f}",
                )
            )  # fmt: skip
    return metrics


NOTES: Final = (
    "The worlds are those of benchmarks/results/placement.json: the slowdowns of random placement "
    "and of the greedy oracle are the same figures.",
    "`hindsight` knows every arrival, end and demand. It begins with the greedy oracle's placement and "
    "moves single jobs wherever that lowers the mean over all jobs, four times over all of them. No "
    "rule that decides at arrival can be expected to reach it.",
    "`alone` is no placement at all: each job by itself on the free node that suits it best. No "
    "placement of these jobs on these nodes is faster.",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Search, write, print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.placement_hindsight", description=__doc__
    )
    parser.add_argument("--quick", action="store_true", help="one small world, one sweep")
    parser.add_argument("--out", type=Path, default=None, help="default: benchmarks/results")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs", help="where worlds are kept")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")  # noqa: TID251 - entry point
    amounts = QUICK if given.quick else FULL
    out = given.out or (given.runs / "bench-placement-quick" if given.quick else RESULTS_DIR)
    named = os.environ.get("NOVACRON_DATA_DIR")
    data_dir = Path(named) if named else None
    files = [data_dir / name for name in (GPU_NODES_FILE, GPU_PODS_FILE)] if data_dir else []
    present = [path for path in files if path.is_file()]
    sha256 = data_sha256(present) if present else "generated:0"
    sizes = sizes_of(data_dir)
    room, own = ROOT / "novacron" / "models" / "placement", ROOT / "benchmarks"
    code = [room / "contention.py", room / "worlds.py", Path(__file__)]
    code.append(own / "placement_contention.py")
    stages = Stages(
        given.runs / "bench-placement-hindsight", stage_key(amounts, sha256, code), fresh=False
    )
    found = {
        f"{intensity:g}": [
            stages.get(
                f"{intensity:g}-{seed}",
                lambda i=intensity, s=seed: measure_world(sizes, amounts, i, s),  # type: ignore[misc]
            )
            for seed in amounts.seeds
        ]
        for intensity in amounts.intensities
    }
    result = BenchmarkResult(
        theme="placement_hindsight",
        command="python -m benchmarks.placement_hindsight" + (" --quick" if given.quick else ""),
        seeds=amounts.seeds,
        data_sha256=sha256,
        machine=describe_machine(),
        versions=describe_versions(("numpy",)),
        metrics=tuple(hindsight_metrics(found)),
        notes=NOTES,
    )
    out.mkdir(parents=True, exist_ok=True)
    write_result(result, out)
    print(render_markdown(result))  # noqa: T201 - what the command is for


if __name__ == "__main__":
    main()
