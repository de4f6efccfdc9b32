"""Simulated traffic of a rollout, fed to the very code that decides in the replicas.

Latencies are log-normal, their level wanders with the load that both versions share, and each version
has stalls of its own that make many answers slow at once: what a real process does to its neighbours.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.monitoring.rollouts.counts import UNITS, ArmCounts, latency_bin
from novacron.monitoring.rollouts.machine import advance
from novacron.monitoring.rollouts.plan import RolloutPlan
from novacron.monitoring.rollouts.state import Rollout

STABLE: Final = "1"
TRIED: Final = "2"
LOOK_S: Final = 2.0
LONGEST_S: Final = 3_600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """What the traffic and the two versions are like."""

    requests_per_s: float = 50.0
    median_s: float = 0.010
    spread: float = 0.6
    """Standard deviation of the logarithm of a latency."""
    load_spread: float = 0.15
    """Of the load that both share, from look to look."""
    stall_ratio: float = 0.02
    """Share of looks at which a version stalls, each for itself."""
    stall_times: float = 5.0
    stable_error_rate: float = 0.001
    tried_error_rate: float = 0.001
    tried_times: float = 1.0
    """How many times the stable version's latency the tried one takes."""
    differing_ratio: float = 0.01
    loss_ratio: float = 1.0
    """Mean loss of the tried version over the stable one's, in an A/B test."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """How a simulated rollout ended."""

    status: str
    winner: str
    windows: int
    exposed_ratio: float
    seconds: float
    looks_at_rollback: int
    why: str


def arm_counts(
    n: int, world: World, rng: np.random.Generator, level: float, *, tried: bool
) -> ArmCounts:
    """Return what one version would have counted in one look."""
    rate = world.tried_error_rate if tried else world.stable_error_rate
    errors = int(rng.binomial(n, rate))
    median_s = world.median_s * level * (world.tried_times if tried else 1.0)
    latency_s = median_s * np.exp(world.spread * rng.standard_normal(n - errors))
    if rng.random() < world.stall_ratio:
        hit = rng.random(n - errors) < rng.random()
        latency_s[hit] *= world.stall_times
    counts = ArmCounts(requests=n, errors=errors, rows=n)
    for seconds in latency_s.tolist():
        place = latency_bin(seconds)
        counts.latency[place] = counts.latency.get(place, 0) + 1
    return counts


def run_canary(plan: RolloutPlan, world: World, rng: np.random.Generator) -> Ending:
    """Run one rollout to its end."""
    rollout = Rollout(
        id="simulated",
        model="m",
        stable=STABLE,
        tried=(TRIED,),
        plan=plan,
        started_at_s=0.0,
        who="simulation",
        window_began_s=1e-9,
    )
    totals: dict[int, dict[str, ArmCounts]] = {}
    now_s, load, owed = 0.0, 0.0, 0.0
    while rollout.status == "running" and now_s < LONGEST_S:
        now_s += LOOK_S
        load = 0.8 * load + world.load_spread * rng.standard_normal()
        n = int(rng.poisson(world.requests_per_s * LOOK_S))
        owed += n * rollout.split.share(TRIED)
        tried_n = int(rng.binomial(n, rollout.split.share(TRIED)))
        # Requests without a key: at random, and never above the share.
        tried_n = min(tried_n, int(owed))
        owed -= tried_n
        level = float(np.exp(load))
        arms = totals.setdefault(rollout.stage, {})
        tried = arm_counts(tried_n, world, rng, level, tried=True)
        tried.compared = int(rng.binomial(n, plan.compare_share))
        tried.differing = int(rng.binomial(tried.compared, world.differing_ratio))
        arms.setdefault(TRIED, ArmCounts()).add(tried)
        stable = arm_counts(n - tried_n, world, rng, level, tried=False)
        arms.setdefault(STABLE, ArmCounts()).add(stable)
        advance(rollout, {"replica": totals}, now_s)
    return Ending(
        status=rollout.status,
        winner=rollout.winner,
        windows=rollout.window,
        exposed_ratio=rollout.exposed_ratio,
        seconds=now_s,
        looks_at_rollback=round(now_s / LOOK_S),
        why=rollout.decisions[-1].why if rollout.decisions else "",
    )


def run_test(plan: RolloutPlan, world: World, rng: np.random.Generator, looks: int) -> Ending:
    """Run one A/B test, looked at again and again, to its end or for a number of looks.

    The losses of one key hang together: each key has a level of its own, so that a test which took
    requests for independent would find winners that are none.
    """
    rollout = Rollout(
        id="simulated",
        model="m",
        stable=STABLE,
        tried=(TRIED,),
        plan=plan,
        started_at_s=0.0,
        who="simulation",
        window_began_s=1e-9,
    )
    totals: dict[int, dict[str, ArmCounts]] = {0: {STABLE: ArmCounts(), TRIED: ArmCounts()}}
    keys = 400
    is_tried = rng.random(keys) < plan.weights[TRIED]
    level = np.exp(0.5 * rng.standard_normal(keys))
    group = rng.integers(0, UNITS, keys)
    for look in range(looks):
        asked = rng.integers(0, keys, int(rng.poisson(world.requests_per_s * LOOK_S)))
        loss = level[asked] * rng.exponential(1.0, len(asked))
        loss[is_tried[asked]] *= world.loss_ratio
        for version, mask in ((TRIED, is_tried[asked]), (STABLE, ~is_tried[asked])):
            _add_losses(totals[0][version], group[asked[mask]], loss[mask])
        advance(rollout, {"replica": totals}, (look + 1) * LOOK_S)
        if rollout.status != "running":
            break
    return Ending(
        status=rollout.status,
        winner=rollout.winner,
        windows=0,
        exposed_ratio=rollout.exposed_ratio,
        seconds=(look + 1) * LOOK_S,
        looks_at_rollback=look + 1,
        why=rollout.decisions[-1].why if rollout.decisions else "",
    )


def _add_losses(counts: ArmCounts, groups: NDArray[np.int64], loss: NDArray[np.float64]) -> None:
    counts.requests += len(loss)
    counts.rows += len(loss)
    n = np.bincount(groups, minlength=UNITS)
    sums = np.bincount(groups, weights=loss, minlength=UNITS)
    for unit in np.flatnonzero(n).tolist():
        counts.unit_n[unit] = counts.unit_n.get(unit, 0) + int(n[unit])
        counts.unit_sum[unit] = counts.unit_sum.get(unit, 0.0) + float(sums[unit])
    counts.latency[0] = counts.latency.get(0, 0) + len(loss)


def with_changes(world: World, **changes: float) -> World:
    """Return a world that differs in some respect."""
    return replace(world, **changes)
