"""Rollouts on a real endpoint: bad versions are taken back, a good one becomes champion."""

import asyncio
import time
from typing import Final

from benchmarks.results_format import Metric
from benchmarks.rollout.callers import Callers, Load, run_with
from benchmarks.rollout.endpoint import Endpoint, endpoint, until
from benchmarks.rollout.parts import Bench, PartResult
from benchmarks.rollout.trial_model import Behaviour
from novacron.monitoring.rollouts.plan import RolloutPlan
from novacron.monitoring.rollouts.state import Rollout

FACTOR: Final = 2.0
DELAY_S: Final = 0.004
WINDOW_S: Final = 10.0
PLAN: Final = RolloutPlan(window_s=WINDOW_S, min_requests=100)
BAD: Final = {
    "errors_10_pct": Behaviour(factor=FACTOR, delay_s=DELAY_S, failing_ratio=0.1),
    "errors_2_pct": Behaviour(factor=FACTOR, delay_s=DELAY_S, failing_ratio=0.02),
    # Of the model's call; with the queue and the endpoint's own time the callers see about three.
    "latency_3x": Behaviour(factor=FACTOR, delay_s=3.5 * DELAY_S),
    "answers_wrong": Behaviour(factor=1.3 * FACTOR, delay_s=DELAY_S),
}
SAME: Final = Behaviour(factor=FACTOR, delay_s=DELAY_S)
LONGEST_S: Final = 150.0
SETTLED_S: Final = 2.0


def measure(bench: Bench) -> PartResult:
    """Try bad versions and a good one on two replicas."""
    metrics: list[Metric] = []
    with endpoint(bench.work, replicas=2, first=SAME) as served:
        for name, behaviour in BAD.items():
            rollout, load = asyncio.run(_roll_out(served, behaviour))
            metrics += _bad_rows(name, rollout, load, served)
            bench.say(f"{name}: {rollout.status} after {rollout.window} windows, {_why(rollout)}")
        rollout, load = asyncio.run(_roll_out(served, SAME))
        metrics += _good_rows(rollout, load, served)
        bench.say(f"same version: {rollout.status}, {_why(rollout)}")
        metrics += _kill_rows(served, bench)
    notes = (
        f"2 replicas, 8 callers without retries, windows of {WINDOW_S:g} s with at least "
        f"{PLAN.min_requests} requests of the tried version, stages 10, 50 and 100 %. Exposed is the "
        "share of all requests, from the start of the rollout to its end, that the tried version "
        "answered or failed, as the callers saw it. The window that was open counts as one.",
    )
    return PartResult(metrics=tuple(metrics), notes=notes)


async def _roll_out(served: Endpoint, behaviour: Behaviour) -> tuple[Rollout, Load]:
    version = served.register(behaviour)
    found: list[Rollout] = []
    times: list[float] = []

    def events(callers: Callers) -> None:
        time.sleep(2.0)
        served.start(version, PLAN)
        times.append(callers.now_s)
        until(lambda: not served.folder.get("trial").is_live, "the end of the rollout", LONGEST_S)
        found.append(served.folder.get("trial"))
        times.append(callers.now_s)
        time.sleep(SETTLED_S)

    load = await run_with(served.callers(), events)
    during = load.between(times[0], times[1] + SETTLED_S)
    return found[0], during


def _bad_rows(name: str, rollout: Rollout, load: Load, served: Endpoint) -> list[Metric]:
    n = len(load.seen)
    tried = rollout.tried[0]
    version_kept = served.champion() == rollout.stable
    newest = load.seen[-50:]
    agrees = version_kept and all(one.version == rollout.stable for one in newest)

    def row(what: str, value: float, beside: str, count: int = n) -> Metric:
        return Metric(name=what, set=name, value=value, n=count, baseline=beside)

    return [
        row("canary_rolled_back", rollout.status == "rolled_back", "1", 1),
        row("canary_gate_windows", rollout.window + 1, "at most 2", 1),
        row("canary_seconds", load.seconds - SETTLED_S, f"windows of {WINDOW_S:g}", 1),
        row("canary_exposed_ratio", rollout.exposed_ratio, "at most 0.10"),
        row("canary_exposed_ratio_as_callers_saw", load.share_of(tried), "at most 0.10"),
        row("canary_failed_requests", len(load.failed), "those of the tried version alone"),
        row("canary_alias_agrees", agrees, "1", 1),
    ]


def _good_rows(rollout: Rollout, load: Load, served: Endpoint) -> list[Metric]:
    n = len(load.seen)
    tried = rollout.tried[0]
    newest = load.seen[-50:]
    agrees = served.champion() == tried and all(one.version == tried for one in newest)

    def row(what: str, value: float, beside: str, count: int = n) -> Metric:
        where = "same_version"
        return Metric(name=what, set=where, value=value, n=count, baseline=beside)

    return [
        row("canary_promoted", rollout.status == "promoted", "1", 1),
        row("canary_seconds", load.seconds - SETTLED_S, f"3 windows of {WINDOW_S:g}", 1),
        row("canary_failed_requests", len(load.failed), "0"),
        row("canary_longest_gap_s", load.longest_gap_s(), "below 0.5"),
        row("canary_alias_agrees", agrees, "1", 1),
    ]


def _kill_rows(served: Endpoint, bench: Bench) -> list[Metric]:
    """Pull the kill switch in the middle of a rollout, with the registry's database locked."""
    version = served.register(SAME)
    seconds: list[float] = []

    def events(callers: Callers) -> None:
        served.start(version, PLAN.model_copy(update={"stages": (0.5, 1.0), "window_s": 600.0}))
        until(lambda: any(one.version == version for one in callers.load.seen), "a try", 60.0)
        time.sleep(1.0)
        with served.registry_down():
            pulled_s = callers.now_s
            served.kill()
            time.sleep(4.0)
            late = [
                one.done_s
                for one in callers.load.seen
                if one.version == version and one.done_s > pulled_s
            ]
            seconds.append(max(late, default=pulled_s) - pulled_s)
        served.lift()

    load = asyncio.run(run_with(served.callers(), events))
    bench.say(f"kill switch: {seconds[0]:.2f} s, {len(load.failed)} failed")
    where = "kill_switch_registry_locked"
    n = len(load.seen)
    return [
        Metric(
            name="kill_switch_seconds",
            set=where,
            value=seconds[0],
            n=1,
            baseline="looks every 0.5 s",
        ),
        Metric(
            name="canary_failed_requests", set=where, value=len(load.failed), n=n, baseline="0"
        ),
    ]


def _why(rollout: Rollout) -> str:
    return rollout.decisions[-1].why[:160]
