"""A schedule of faults under load: how many requests were answered all the same."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from scipy import stats

from benchmarks.results_format import Metric
from benchmarks.rollout.callers import RETRIES, Callers, Load, run_with
from benchmarks.rollout.endpoint import Endpoint, endpoint, until
from benchmarks.rollout.parts import Bench, PartResult
from benchmarks.rollout.trial_model import Behaviour
from novacron.monitoring.rollouts.plan import RolloutPlan

CALLERS: Final = 8
CALM_S: Final = 5.0
STALL_S: Final = 3.0
REGISTRY_DOWN_S: Final = 8.0
ROUNDS: Final = 2
STABLE: Final = Behaviour(factor=2.0, stands_in=True)
BAD: Final = Behaviour(factor=2.0, failing_ratio=0.3, stands_in=True)
SLOW: Final = Behaviour(factor=2.0, delay_s=0.05, stands_in=True)
PLAN: Final = RolloutPlan(window_s=10.0, min_requests=100)


@dataclass
class _Log:
    """When each fault began and ended."""

    spans: list[tuple[str, float, float]] = field(default_factory=list)

    def run(self, name: str, callers: Callers, fault: Callable[[], None]) -> None:
        began_s = callers.now_s
        fault()
        self.spans.append((name, began_s, callers.now_s))


def measure(bench: Bench) -> PartResult:
    """Run the schedule, twice over, with callers who retry, and count first attempts apart."""
    log = _Log()
    with endpoint(bench.work, replicas=2, first=STABLE) as served:
        load = asyncio.run(_run(served, log, bench))
    metrics = _total_rows(load)
    for name in dict.fromkeys(span[0] for span in log.spans):
        parts = [load.between(a, b) for one, a, b in log.spans if one == name]
        metrics += _fault_rows(name, parts)
    calm = sum(b - a for _, a, b in log.spans)
    notes = (
        f"2 replicas, {CALLERS} callers in a closed loop; {ROUNDS} rounds of: a replica killed with "
        f"SIGKILL, a replica stopped for {STALL_S:g} s, a canary 25 times slower, a canary that fails "
        f"30 % of its requests, the registry's database locked for {REGISTRY_DOWN_S:g} s while every "
        f"replica asks it each second. {load.seconds:.0f} s in all, {calm:.0f} s of them in a fault.",
        "Answered means a right answer after the callers' retries, flagged or not; answers of the "
        "named baseline are counted apart. A fault lasts until the endpoint is whole again.",
    )
    return PartResult(metrics=tuple(metrics), notes=notes)


async def _run(served: Endpoint, log: _Log, bench: Bench) -> Load:
    def events(callers: Callers) -> None:
        time.sleep(CALM_S)
        for _ in range(ROUNDS):
            for name, fault in _faults(served).items():
                log.run(name, callers, fault)
                bench.say(f"{name}: {len(callers.load.failed)} failed so far")
                time.sleep(CALM_S)

    return await run_with(served.callers(callers=CALLERS, retries=RETRIES), events)


def _faults(served: Endpoint) -> dict[str, Callable[[], None]]:
    return {
        "replica_killed": lambda: _kill(served),
        "replica_stalled": lambda: _stall(served),
        "slow_version": lambda: _try(served, SLOW),
        "bad_version": lambda: _try(served, BAD),
        "registry_down": lambda: _registry_down(served),
    }


def _kill(served: Endpoint) -> None:
    served.kill_replica()


def _stall(served: Endpoint) -> None:
    victim = served.replica_pids()[0]
    os.kill(victim, signal.SIGSTOP)
    try:
        time.sleep(STALL_S)
    finally:
        os.kill(victim, signal.SIGCONT)
    time.sleep(1.0)


def _try(served: Endpoint, behaviour: Behaviour) -> None:
    served.start(served.register(behaviour), PLAN)
    until(lambda: not served.folder.get("trial").is_live, "the end of the rollout", 150.0)
    time.sleep(1.0)


def _registry_down(served: Endpoint) -> None:
    with served.registry_down():
        time.sleep(REGISTRY_DOWN_S)


def _total_rows(load: Load) -> list[Metric]:
    n = len(load.seen)
    where = "fault_schedule"
    flagged = sum(one.baseline for one in load.seen)
    return [
        _ratio("answered_ratio", where, n - len(load.failed), n, "at least 0.999"),
        _ratio(
            "answered_at_first_attempt_ratio",
            where,
            n - len(load.failed_at_first),
            n,
            "without client retries",
        ),
        _ratio("flagged_fallback_ratio", where, flagged, n, "counted apart"),
        Metric(name="fault_wrong_answers", set=where, value=load.wrong, n=n, baseline="0"),
        Metric(
            name="fault_longest_gap_s", set=where, value=load.longest_gap_s(), n=n, baseline="-"
        ),
    ]


def _fault_rows(name: str, parts: list[Load]) -> list[Metric]:
    n = sum(len(one.seen) for one in parts)
    failed = sum(len(one.failed) for one in parts)
    first = sum(len(one.failed_at_first) for one in parts)
    where = name
    return [
        Metric(name="fault_failed_requests", set=where, value=failed, n=n, baseline="0"),
        Metric(name="fault_failed_at_first_attempt", set=where, value=first, n=n, baseline="-"),
    ]


def _ratio(name: str, where: str, count: int, n: int, beside: str) -> Metric:
    low, high = stats.binomtest(count, n).proportion_ci(0.95, "exact")
    return Metric(
        name=name, set=where, value=count / n, lo=float(low), hi=float(high), n=n, baseline=beside
    )
