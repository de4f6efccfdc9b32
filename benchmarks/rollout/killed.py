"""One of two replicas is killed with SIGKILL under load."""

import asyncio
import time
from typing import Final

from benchmarks.results_format import Metric
from benchmarks.rollout.callers import RETRIES, Callers, Load, run_with
from benchmarks.rollout.endpoint import Endpoint, endpoint
from benchmarks.rollout.parts import Bench, PartResult

CALLERS: Final = 8
KILLS: Final = 3


def measure(bench: Bench) -> PartResult:
    """Kill without and with client retries, several times each."""
    metrics: list[Metric] = []
    with endpoint(bench.work, replicas=2) as served:
        for retries, name in ((0, "no_client_retry"), (RETRIES, "client_retries")):
            loads = [asyncio.run(_kill(served, retries)) for _ in range(KILLS)]
            failed = sum(len(one.failed) for one in loads)
            first = sum(len(one.failed_at_first) for one in loads)
            n = sum(len(one.seen) for one in loads)
            where = f"sigkill_{name}"
            most = f"at most {CALLERS * KILLS}: those in flight" if not retries else "0"
            metrics += [
                Metric(name="kill_failed_requests", set=where, value=failed, n=n, baseline=most),
                Metric(
                    name="kill_failed_at_first_attempt", set=where, value=first, n=n, baseline="-"
                ),
                Metric(
                    name="kill_wrong_answers",
                    set=where,
                    value=sum(one.wrong for one in loads),
                    n=n,
                    baseline="0",
                ),
                Metric(
                    name="kill_longest_gap_s",
                    set=where,
                    value=max(one.longest_gap_s() for one in loads),
                    n=n,
                    baseline="-",
                ),
            ]
            bench.say(f"{where}: {failed} of {n} failed, {first} at first")
    notes = (
        f"{CALLERS} callers in a closed loop; after each kill the load goes on until Serve has started "
        f"a new replica. Retries: up to {RETRIES}, after 0.1, 0.2, 0.4 s and so on.",
    )
    return PartResult(metrics=tuple(metrics), notes=notes)


async def _kill(served: Endpoint, retries: int) -> Load:
    def events(_callers: Callers) -> None:
        time.sleep(2.0)
        served.kill_replica()
        time.sleep(2.0)

    return await run_with(served.callers(callers=CALLERS, retries=retries), events)
