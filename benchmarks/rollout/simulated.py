"""1,000 rollouts of a version as good as the stable one, and some of worse ones, by the real code.

The decisions are those of `novacron.monitoring.rollouts.machine`, fed with simulated counts on a
simulated clock. Beside them stands what looking at every count with a plain test at the same level
would have decided.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeVar

import numpy as np
from scipy import stats

from benchmarks.results_format import Metric
from benchmarks.rollout.parts import Bench, PartResult
from benchmarks.rollout.worlds import TRIED, Ending, World, run_canary, run_test
from novacron.monitoring.rollouts.plan import RolloutPlan

SEED: Final = 7
T = TypeVar("T")
CANARY: Final = RolloutPlan()
AB: Final = RolloutPlan(
    mode="ab",
    weights={"1": 0.5, "2": 0.5},
    compare_share=0.0,
    min_requests=500,
    max_requests=10**9,
)
AB_LOOKS: Final = 150
SAME: Final = {
    "same_version": World(),
    "same_version_with_stalls": World(stall_ratio=0.1),
    "same_version_both_fail_2_pct": World(stable_error_rate=0.02, tried_error_rate=0.02),
}
WORSE: Final = {
    "errors_5_pct": World(tried_error_rate=0.05),
    "errors_2_pct": World(tried_error_rate=0.02),
    "latency_3x": World(tried_times=3.0),
    "latency_1.5x": World(tried_times=1.5),
    "answers_wrong": World(differing_ratio=1.0),
    "answers_20_pct_wrong": World(differing_ratio=0.2),
}


def measure(bench: Bench) -> PartResult:
    """Run them all."""
    runs = 10 if bench.quick else 1_000
    metrics: list[Metric] = []
    for name, world in SAME.items():
        endings = _many(partial(_canary, world), runs)
        bad = sum(one.status == "rolled_back" for one in endings)
        stuck = sum(one.status == "running" for one in endings)
        metrics.append(_share("false_rollback_ratio", name, bad, runs, "at most the stated 0.05"))
        metrics.append(_share("undecided_in_an_hour_ratio", name, stuck, runs, "none"))
        bench.say(f"{name}: {bad} of {runs} rolled back, {stuck} undecided")
    for name, world in WORSE.items():
        n = max(5, runs // 5)
        metrics += _worse(name, _many(partial(_canary, world), n))
        bench.say(f"{name}: done")
    metrics += _tests(runs, bench)
    notes = (
        "Traffic of 50 requests/s with log-normal latencies whose level wanders with a load that both "
        "versions share, and stalls of each version for itself; windows of 60 s, at least 200 "
        "requests of the tried version, a look every 2 s.",
        "The stated error is that of the whole rollout: shared out among gates and stages, valid at "
        "every look. A/B tests: 400 keys whose losses differ, 150 looks.",
    )
    return PartResult(metrics=tuple(metrics), notes=notes)


def _worse(name: str, endings: Sequence[Ending]) -> list[Metric]:
    n = len(endings)
    caught = [one for one in endings if one.status == "rolled_back"]
    # The window that is open when it is taken back counts.
    windows = [one.windows + 1 for one in caught]
    within = sum(one <= 2 for one in windows)
    exposed = [one.exposed_ratio for one in caught]
    if not caught:
        return [_share("simulated_rolled_back_ratio", name, 0, n, "never promoted: 1")]
    return [
        _share("simulated_rolled_back_ratio", name, len(caught), n, "never promoted: 1"),
        _share("simulated_within_2_windows_ratio", name, within, n, "1"),
        _mean("simulated_exposed_ratio", name, exposed, "at most 0.10 before the first gate"),
        _mean(
            "simulated_seconds_to_rollback",
            name,
            [one.seconds for one in caught],
            "windows of 60 s",
        ),
    ]


def _tests(runs: int, bench: Bench) -> list[Metric]:
    looks = 30 if bench.quick else AB_LOOKS
    same = _many(partial(_test, World(), looks), runs)
    false = sum(bool(one[0].winner) for one in same)
    naive = sum(one[1] for one in same)
    better = _many(partial(_test, World(loss_ratio=0.7), looks), max(5, runs // 5))
    found = sum(one[0].winner == TRIED for one in better)
    bench.say(f"A/B tests: {false} of {runs} false winners, {naive} by a plain test at every look")
    where = "ab_same_version"
    return [
        _share("false_winner_ratio", where, false, runs, "at most the stated 0.05"),
        _share("false_winner_ratio_of_plain_z_test", where, naive, runs, "0.05"),
        _share(
            "true_winner_ratio",
            "ab_loss_0.7",
            found,
            len(better),
            "power, not a goal",
        ),
    ]


def _canary(world: World, run: int) -> Ending:
    return run_canary(CANARY, world, np.random.default_rng([SEED, run]))


def _test(world: World, looks: int, run: int) -> tuple[Ending, bool]:
    ending = run_test(AB, world, np.random.default_rng([SEED, 1, run]), looks)
    return ending, _plain_test_decides(world, looks, np.random.default_rng([SEED, 1, run]))


def _plain_test_decides(world: World, looks: int, rng: np.random.Generator) -> bool:
    """Tell whether a z-test on single requests, looked at every time, would have named a winner."""
    keys = 400
    is_tried = rng.random(keys) < AB.weights[TRIED]
    level = np.exp(0.5 * rng.standard_normal(keys))
    rng.integers(0, 64, keys)
    n, total, squares = np.zeros(2), np.zeros(2), np.zeros(2)
    for _ in range(looks):
        asked = rng.integers(0, keys, int(rng.poisson(world.requests_per_s * 2.0)))
        loss = level[asked] * rng.exponential(1.0, len(asked))
        for arm, mask in enumerate((~is_tried[asked], is_tried[asked])):
            n[arm] += mask.sum()
            total[arm] += loss[mask].sum()
            squares[arm] += (loss[mask] ** 2).sum()
        if (n < AB.min_requests).any():
            continue
        mean = total / n
        spread = squares / n - mean**2
        if abs(mean[1] - mean[0]) > 1.96 * math.sqrt((spread / n).sum()):
            return True
    return False


def _many(run: Callable[[int], T], runs: int) -> list[T]:
    return [run(one) for one in range(runs)]


def _share(name: str, where: str, count: int, n: int, beside: str) -> Metric:
    low, high = stats.binomtest(count, n).proportion_ci(0.95, "exact")
    return Metric(
        name=name, set=where, value=count / n, lo=float(low), hi=float(high), n=n, baseline=beside
    )


def _mean(name: str, where: str, values: Sequence[float], beside: str) -> Metric:
    low, high = np.quantile(values, [0.025, 0.975])
    return Metric(
        name=name,
        set=where,
        value=float(np.mean(values)),
        lo=float(low),
        hi=float(high),
        n=len(values),
        baseline=f"{beside}; the interval holds 95 % of the rollouts",
    )
