"""A new version takes over under load: swapped in the replica, beside Serve's own redeploy."""

import asyncio
import time
from itertools import pairwise
from typing import Any, Final

from benchmarks.results_format import Metric
from benchmarks.rollout.callers import Callers, Load, run_with
from benchmarks.rollout.endpoint import Endpoint, endpoint, serve_config, until
from benchmarks.rollout.parts import Bench, PartResult
from benchmarks.rollout.trial_model import NAME, Behaviour
from ray_jobs import serving

UPDATES: Final = 5
CALM_S: Final = 5.0
BETWEEN_S: Final = 4.0


def measure(bench: Bench) -> PartResult:
    """Update with one replica and with two, in both ways."""
    metrics: list[Metric] = []
    for replicas in (1, 2):
        with endpoint(bench.work / f"{replicas}", replicas=replicas) as served:
            load, times = asyncio.run(_swap(served))
            metrics += _rows(f"swap_{replicas}_replicas", load, times, UPDATES)
            bench.say(f"swaps, {replicas} replicas: {_shown(load)}")
            for surge, name in ((100, "surge_100"), (0, "default_surge")):
                load, times = asyncio.run(_redeploy(served, replicas, surge))
                where = f"redeploy_{name}_{replicas}_replicas"
                metrics += _rows(where, load, times, 1)
                bench.say(f"{where}: {_shown(load)}")
    notes = (
        f"8 callers in a closed loop, every answer checked against the version it names; {UPDATES} "
        "updates of a model that holds 32 MiB and takes 2 ms a call. The gap is the longest time in "
        "which nobody got an answer; that of the calm seconds before is the machine's own.",
    )
    return PartResult(metrics=tuple(metrics), notes=notes)


async def _swap(served: Endpoint) -> tuple[Load, tuple[float, float]]:
    times: list[float] = []
    # Before the load: registering is work of this process, which the callers would wait for.
    versions = [
        served.register(Behaviour(factor=3.0 + place, ballast_mib=32)) for place in range(UPDATES)
    ]

    def events(callers: Callers) -> None:
        time.sleep(CALM_S)
        times.append(callers.now_s)
        for version in versions:
            served.appoint(version)
            _until_answers(callers, version)
            time.sleep(BETWEEN_S / UPDATES)
        times.append(callers.now_s)

    load = await run_with(served.callers(), events)
    return load, (times[0], times[1])


async def _redeploy(
    served: Endpoint, replicas: int, surge: int
) -> tuple[Load, tuple[float, float]]:
    version = served.register(Behaviour(factor=20.0 + surge / 100))
    config = serve_config(served.work, served.port, replicas=replicas, models=f"{NAME}@{version}")
    config["applications"][0]["deployments"] = [{"name": "Endpoint", "max_surge_percent": surge}]
    times: list[float] = []

    def events(callers: Callers) -> None:
        time.sleep(2.0)
        times.append(callers.now_s)
        serving.deploy(served.cluster.state, config, timeout_s=300)
        _until_answers(callers, version)
        time.sleep(2.0)
        times.append(callers.now_s)

    load = await run_with(served.callers(), events)
    return load, (times[0], times[1])


def _until_answers(callers: Callers, version: str) -> None:
    """Wait until only the version answers."""

    def has_taken_over() -> bool:
        newest = callers.load.seen[-20:]
        return len(newest) == 20 and all(one.version == version for one in newest)

    until(has_taken_over, f"version {version} answering", 120.0)


def _rows(where: str, load: Load, times: tuple[float, float], updates: int) -> list[Metric]:
    from_s, to_s = times
    during, calm = load.between(from_s, to_s), load.between(0.5, from_s)
    calm_gap_s = _gap_s(calm)
    n = len(during.seen)

    def row(name: str, value: float, beside: str) -> Metric:
        return Metric(name=name, set=where, value=value, n=n, baseline=beside)

    return [
        row("update_failed_requests", len(during.failed), f"0; {updates} updates"),
        row("update_wrong_answers", during.wrong, "0"),
        row("update_longest_gap_s", _gap_s(during), f"below 0.5; calm {calm_gap_s:.3f}"),
        row(
            "update_p99_ms",
            1e3 * during.quantile_s(0.99),
            f"calm {1e3 * calm.quantile_s(0.99):.1f}",
        ),
        row("update_slowest_answer_s", during.quantile_s(1.0), f"calm {calm.quantile_s(1.0):.3f}"),
    ]


def _gap_s(load: Load) -> float:
    times = [one.done_s for one in load.seen if one.answered]
    return max((b - a for a, b in pairwise(times)), default=0.0)


def _shown(load: Load) -> dict[str, Any]:
    return {
        "requests": len(load.seen),
        "failed": len(load.failed),
        "gap_s": round(_gap_s(load), 3),
    }
