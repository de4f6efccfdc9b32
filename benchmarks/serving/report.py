"""Measurements to results: ratios to the calibrator beside each, and of those to each other."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from benchmarks.results_format import (
    BenchmarkResult,
    Metric,
    describe_machine,
    describe_versions,
)
from benchmarks.serving.bodies import SEED
from benchmarks.serving.load import Load

OURS: Final = "novacron"
GRPC: Final = "novacron_grpc"
LISTENER: Final = "raw_listener"
OWN: Final = (OURS, "gateway_uvicorn", LISTENER, GRPC)
"""The endpoint, its gateway under uvicorn, its data plane behind a plain socket, and gRPC."""
_MANY: Final = "1,000 rows, 4 connections"
_ONE: Final = "1 row, 64 connections"


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One server and the calibrator, one after the other, for one case."""

    server: str
    case: str
    load: Load
    cpu_s: float
    idle_ratio: float
    """Cores that the server burns while nobody asks."""
    beside: Load
    beside_cpu_s: float

    @property
    def cpu_us(self) -> float:
        """CPU of the whole process tree for each request, without what it burns when idle."""
        net_s = max(self.cpu_s - self.idle_ratio * self.load.seconds, 0.0)
        return 1e6 * net_s / self.load.requests

    @property
    def beside_cpu_us(self) -> float:
        """The calibrator's CPU for each request."""
        return 1e6 * self.beside_cpu_s / self.beside.requests

    @property
    def cpu_ratio(self) -> float:
        """Calibrator's CPU over the server's: above 1 the server is cheaper."""
        return self.beside_cpu_us / self.cpu_us

    @property
    def rate_ratio(self) -> float:
        """Server's requests per second over the calibrator's."""
        return (self.load.requests / self.load.seconds) / (
            self.beside.requests / self.beside.seconds
        )

    @property
    def p50_ratio(self) -> float:
        """Server's median latency over the calibrator's."""
        return self.load.quantile_ms(0.5) / self.beside.quantile_ms(0.5)

    @property
    def p99_ratio(self) -> float:
        """Server's 99th percentile of latency over the calibrator's."""
        return self.load.quantile_ms(0.99) / self.beside.quantile_ms(0.99)


_METHOD: Final = (
    "LightGBM, 300 trees over 24 features, one compute thread; requests rotate over 1,000 "
    "distinct rows; answers of every server were compared with the model's own before "
    "anything was timed.",
    "CPU is user and system time of the server's whole process tree. Of Ray's processes, "
    "what they burn without requests is taken off; `idle_cores` says how much that is.",
    "Every measurement has the same FastAPI measured just before it; `cpu_ratio`, "
    "`rate_ratio`, `p50_ratio` and `p99_ratio` are against that one. `cpu_times_cheaper` "
    "and its like divide two such ratios. The interval is the range over the rounds; of "
    "five rounds it covers the median 94 times in 100.",
    "The load comes from one Python process of the same machine, which takes CPU from "
    "every server alike.",
)


def to_result(
    measured: Sequence[Measured],
    in_process_s: Sequence[float],
    facts: Mapping[str, Any],
    missing: Sequence[str],
    *,
    command: str,
) -> BenchmarkResult:
    """Return the result of a run."""
    metrics: list[Metric] = []
    groups: dict[tuple[str, str], list[Measured]] = {}
    for one in measured:
        groups.setdefault((one.server, one.case), []).append(one)
    for (server, case), runs in groups.items():
        metrics += _of_group(server, case, runs)
    metrics += _against_peers(groups)
    metrics += _shares(groups, in_process_s)
    scaling = facts.get("scaling")
    if scaling is not None:
        most = scaling["most_replicas"]
        lost = f"{scaling['requests']} requests, 1 to {most} replicas and back"
        metrics += [
            _count("lost_requests_of_a_load_step", OURS, scaling["lost"], lost),
            _count("most_replicas", OURS, most, "1 replica before the step"),
            _count("replicas_after", OURS, scaling["replicas_after"], "the most in the step"),
        ]
    failed = sum(one.load.failed for one in measured)
    return BenchmarkResult(
        theme="serving",
        command=command,
        seeds=(SEED,),
        data_sha256=f"generated:{SEED}",
        machine=describe_machine(),
        versions=describe_versions(["ray", "lightgbm", "mlflow", "fastapi", "uvicorn", "grpcio"]),
        metrics=tuple(metrics),
        notes=(
            *_METHOD,
            f"{failed} counted requests failed.",
            *_priority(),
            *missing,
        ),
    )


def _priority() -> list[str]:
    """Say where the scheduler did not treat all servers alike."""
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    if not niceness:
        return []
    return [
        f"The benchmark and the servers that it started ran at niceness {niceness}, replicas of Ray "
        "at 0, as this project sets them: on a busy machine rates and latencies favour the servers "
        "on Ray, this project's and Serve's own. CPU is not affected. Run it at niceness 0 for the "
        "rest."
    ]


def _of_group(server: str, case: str, runs: Sequence[Measured]) -> list[Metric]:
    name = f"{server}: {case}"
    metrics = [
        _ratio("cpu_ratio", name, [one.cpu_ratio for one in runs], "FastAPI beside it"),
        _ratio("rate_ratio", name, [one.rate_ratio for one in runs], "FastAPI beside it"),
        _ratio("p50_ratio", name, [one.p50_ratio for one in runs], "FastAPI beside it"),
        _ratio("p99_ratio", name, [one.p99_ratio for one in runs], "FastAPI beside it"),
    ]
    beside_us = np.median([one.beside_cpu_us for one in runs])
    rate = np.median([one.beside.requests / one.beside.seconds for one in runs])
    metrics.append(
        _ratio("cpu_us", name, [one.cpu_us for one in runs], f"FastAPI {beside_us:.0f}")
    )
    metrics.append(
        _ratio(
            "requests_per_s",
            name,
            [one.load.requests / one.load.seconds for one in runs],
            f"FastAPI {rate:.0f}",
        )
    )
    if runs[0].idle_ratio:
        metrics.append(_count("idle_cores", name, runs[0].idle_ratio, "a server without requests"))
    return metrics


def _against_peers(groups: Mapping[tuple[str, str], Sequence[Measured]]) -> list[Metric]:
    metrics = []
    for (server, case), runs in groups.items():
        own = groups.get((OURS, case))
        # Of this project's own, the endpoint is compared with the bare listener alone.
        if own is not None and (server not in OWN or server == LISTENER):
            metrics += _pair(f"{OURS} against {server}: {case}", own, runs, server)
    for case in (_ONE, _MANY):
        own, over_grpc = groups.get((OURS, case)), groups.get((GRPC, case))
        if own and over_grpc:
            metrics.append(
                _quotient(
                    "grpc_cpu_times_binary",
                    f"{GRPC}: {case}",
                    [1 / x.cpu_ratio for x in over_grpc],
                    [1 / x.cpu_ratio for x in own],
                    "binary REST of the same replica",
                )
            )
    return metrics


def _pair(
    label: str, own: Sequence[Measured], other: Sequence[Measured], server: str
) -> list[Metric]:
    pairs = {
        "cpu_times_cheaper": ([x.cpu_ratio for x in own], [x.cpu_ratio for x in other]),
        "requests_times_more": ([x.rate_ratio for x in own], [x.rate_ratio for x in other]),
        "p99_times_lower": ([1 / x.p99_ratio for x in own], [1 / x.p99_ratio for x in other]),
    }
    return [_quotient(name, label, mine, theirs, server) for name, (mine, theirs) in pairs.items()]


def _shares(
    groups: Mapping[tuple[str, str], Sequence[Measured]], in_process_s: Sequence[float]
) -> list[Metric]:
    """Return the share of a 1,000-row request's CPU that is the prediction itself."""
    predict_us = 1e6 * float(np.median(in_process_s))
    return [
        _ratio(
            "share_of_in_process_predict",
            f"{server}: {case}",
            [predict_us / one.cpu_us for one in runs],
            f"LightGBM predicting 1,000 rows in process, {predict_us:.0f} us",
        )
        for (server, case), runs in groups.items()
        if case == _MANY
    ]


def _ratio(name: str, where: str, values: Sequence[float], baseline: str) -> Metric:
    return Metric(
        name=name,
        set=where,
        value=float(np.median(values)),
        lo=float(min(values)),
        hi=float(max(values)),
        n=len(values),
        baseline=baseline,
    )


def _quotient(
    name: str, where: str, mine: Sequence[float], theirs: Sequence[float], baseline: str
) -> Metric:
    """Divide two medians; the interval is as wide as the ranges allow."""
    return Metric(
        name=name,
        set=where,
        value=float(np.median(mine) / np.median(theirs)),
        lo=min(mine) / max(theirs),
        hi=max(mine) / min(theirs),
        n=min(len(mine), len(theirs)),
        baseline=baseline,
    )


def _count(name: str, where: str, value: float, baseline: str) -> Metric:
    return Metric(name=name, set=where, value=float(value), n=1, baseline=baseline)
