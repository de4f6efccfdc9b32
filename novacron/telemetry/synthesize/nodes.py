"""One hypervisor: requests in, CPU, memory, disk and latency out, and the DWCP metrics on top.

The order of causes, per interval:

    arrivals    r = nominal x activity(site) x exp(OU)
    cores       k = nominal x (1 - 0.5 noisy neighbour): stolen cores are not there
    CPU         u = r c / k + background + hog; reported up to 1
    wait        Sakasegawa at u: mean latency; sojourn times are taken as exponential, so
                p95 = 3.0 and p99 = 4.6 of the mean
    errors      base + exp(-timeout / mean) + shed load + disk-full + error-burst faults
    memory      base + working set (slow mean of load) + OU + leak, which a restart ends
    disk        share of time busy: requests + nightly backup + disk-full fault
    HDE         1 / (dirty x entropy x codec + overhead): entropy is a state of the data, the codec
                follows the mode of the node's first link
    PBA         an EWMA forecaster run on the measured bandwidth of that link, one interval ahead
    ACP         the slowest answer of the fastest majority of voters (retransmissions included),
                times the rounds of the mode, plus log write and CPU wait on the node

Shape legend: T intervals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.telemetry.synthesize.faults import Fault, effect, growing_effect
from novacron.telemetry.synthesize.links import DATACENTER, INTERNET, LinkState
from novacron.telemetry.synthesize.processes import (
    ewma,
    lagged,
    ornstein_uhlenbeck,
    regimes,
)
from novacron.telemetry.synthesize.queueing import waiting_ratio
from novacron.telemetry.synthesize.streams import Clock, Series, Streams

P95_OF_MEAN: Final = -float(np.log(0.05))
P99_OF_MEAN: Final = -float(np.log(0.01))
TIMEOUT_MS: Final = 2000.0
PBA_ALPHA: Final = 0.3
PBA_FLOOR_MBPS: Final = 1.0
"""Errors are relative to the actual rate, but to no less than this: a dead link divides by 0."""

RETRANSMIT_MS: Final = 200.0
"""Least retransmission timeout of Linux TCP."""
ELECTION_MS: Final = 5000.0
"""What a commit waits for a voter that does not answer."""

ENTROPY_LEVELS: Final = (0.18, 0.25, 0.4)
"""Compressed size of the pages of typical, mixed and media-heavy guests; 1 is incompressible."""
_CODEC_SIZE: Final = {DATACENTER: 1.25, INTERNET: 0.9}
"""Output of lz4 and of the highest zstd level relative to zstd level 3."""
_ROUNDS: Final = {INTERNET: 1.5}
"""Three one-way phases of PBFT; Raft needs one round trip."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeProfile:
    """What does not change about a node."""

    node_id: str
    site: str
    lon_deg: float
    cores: float
    service_ms: float
    load_ratio: float
    """Share of the cores busy at activity 1."""
    mem_base_ratio: float
    line_mbps: float = 10_000.0
    response_kib: float = 24.0


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeState:
    """The node over the span, each [T], named as in the node table."""

    metrics: Mapping[str, Series]
    reported: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Service:
    cpu_ratio: Series
    throughput_rps: Series
    latency_ms: Series
    error_ratio: Series
    disk_ratio: Series


def simulate_node(
    profile: NodeProfile,
    clock: Clock,
    streams: Streams,
    *,
    activity: Series,
    voter_links: Sequence[LinkState],
    answers_needed: int,
    faults: Sequence[Fault] = (),
) -> NodeState:
    """Run one node over the clock.

    Args:
        profile: The node; its id names its random streams.
        clock: The grid.
        streams: The seed's streams.
        activity: How busy the node's site is [T], around 1.
        voter_links: Links from the node's site to the other voting sites, at least one; the first
            is the one whose bandwidth the node forecasts.
        answers_needed: Of those links, how many a commit waits for.
        faults: Those of this node.
    """
    service = _service(profile, clock, streams, activity, faults)
    first = voter_links[0]
    net_mbps = service.throughput_rps * profile.response_kib * 8192 / 1e6
    net_mbps = net_mbps + first.bandwidth_mbps / 8
    rounds = np.array([_ROUNDS.get(mode, 1.0) for mode in range(3)])[first.mode]
    local_ms = _local_commit_ms(profile, clock, streams, service)
    metrics = {
        "cpu_ratio": service.cpu_ratio,
        "mem_ratio": _memory(profile, clock, streams, activity, faults),
        "disk_ratio": service.disk_ratio,
        "net_ratio": np.clip(net_mbps / profile.line_mbps, 0.0, 1.0),
        "latency_mean_ms": service.latency_ms,
        "latency_p95_ms": service.latency_ms * P95_OF_MEAN,
        "latency_p99_ms": service.latency_ms * P99_OF_MEAN,
        "throughput_rps": service.throughput_rps,
        "error_ratio": service.error_ratio,
        "hde_ratio": _hde(profile, clock, streams, activity, first),
        "pba_abs_err_ratio": pba_error(first.bandwidth_mbps),
        "acp_commit_ms": quorum_ms(voter_links, answers_needed) * rounds + local_ms,
    }
    reported = effect(faults, "telemetry_gap", clock.n) == 0
    return NodeState(metrics=metrics, reported=reported)


def _service(
    profile: NodeProfile,
    clock: Clock,
    streams: Streams,
    activity: Series,
    faults: Sequence[Fault],
) -> _Service:
    def rng(process: str) -> np.random.Generator:
        return streams.of(profile.node_id, process)

    mood = ornstein_uhlenbeck(rng("arrivals"), clock, sd=0.15, relaxation_s=1800)
    nominal_rps = profile.load_ratio * profile.cores * 1e3 / profile.service_ms
    arrivals_rps = nominal_rps * activity * np.exp(mood)
    cores = profile.cores * (1 - effect(faults, "noisy_neighbour", clock.n))
    background = 0.03 + np.abs(ornstein_uhlenbeck(rng("cpu"), clock, sd=0.01, relaxation_s=300))
    wanted = arrivals_rps * profile.service_ms / 1e3 / cores
    busy = wanted + background + effect(faults, "cpu_hog", clock.n)
    served = np.minimum(1.0, np.maximum(1 - (busy - wanted), 0.05) / np.maximum(wanted, 1e-9))
    retries = effect(faults, "disk_full", clock.n)
    wait = waiting_ratio(busy, profile.cores)
    spread = np.exp(0.03 * rng("latency").standard_normal(clock.n))
    latency_ms = profile.service_ms * (1 + np.minimum(wait, 100.0)) * (1 + 3 * retries) * spread
    jump = np.abs(rng("errors").standard_normal(clock.n))
    errors = 2e-4 * (1 + jump) + np.exp(-TIMEOUT_MS / latency_ms) + (1 - served)
    errors = errors + 0.7 * retries + effect(faults, "error_burst", clock.n)
    backup = (np.mod(clock.week_hours(profile.lon_deg), 24) // 1) == 2
    disk = 0.05 + 0.25 * profile.load_ratio * activity + 0.3 * backup + retries
    disk = disk + 0.02 * rng("disk").standard_normal(clock.n)
    return _Service(
        cpu_ratio=np.clip(busy, 0.0, 1.0),
        throughput_rps=arrivals_rps * served,
        latency_ms=latency_ms,
        error_ratio=np.clip(errors, 0.0, 1.0),
        disk_ratio=np.clip(disk, 0.0, 1.0),
    )


def _memory(
    profile: NodeProfile,
    clock: Clock,
    streams: Streams,
    activity: Series,
    faults: Sequence[Fault],
) -> Series:
    alpha = 1 - float(np.exp(-clock.step_s / 3600))
    working_set = 0.2 * profile.load_ratio * ewma(activity, alpha)
    wobble = ornstein_uhlenbeck(
        streams.of(profile.node_id, "memory"), clock, sd=0.01, relaxation_s=3600
    )
    rest = profile.mem_base_ratio + working_set + wobble
    leak = np.maximum(0.98 - rest, 0.0) * growing_effect(faults, "memory_leak", clock.n)
    return np.asarray(np.clip(rest + leak, 0.0, 1.0))


def _hde(
    profile: NodeProfile, clock: Clock, streams: Streams, activity: Series, link: LinkState
) -> Series:
    stays_s = (24 * 3600.0, 12 * 3600.0, 6 * 3600.0)
    kind = regimes(streams.of(profile.node_id, "guests"), clock, mean_stay_s=stays_s)
    mood = ornstein_uhlenbeck(
        streams.of(profile.node_id, "entropy"), clock, sd=0.06, relaxation_s=3600
    )
    entropy = np.clip(np.array(ENTROPY_LEVELS)[kind] * np.exp(mood), 0.05, 1.0)
    dirty = np.clip(0.28 * activity**0.5, 0.05, 1.0)
    codec = np.array([_CODEC_SIZE.get(mode, 1.0) for mode in range(3)])[link.mode]
    return np.asarray(1 / (dirty * np.minimum(entropy * codec, 1.0) + 0.002))


def pba_error(bandwidth_mbps: Series) -> Series:
    """Return |forecast - actual| / actual [T] of an EWMA forecaster, one interval ahead.

    The forecast for an interval has seen the intervals before it; the first one has no error.
    """
    forecast = lagged(ewma(bandwidth_mbps, PBA_ALPHA))
    actual = np.maximum(bandwidth_mbps, PBA_FLOOR_MBPS)
    return np.asarray(np.minimum(np.abs(forecast - bandwidth_mbps) / actual, 1e3))


def quorum_ms(voter_links: Sequence[LinkState], answers_needed: int) -> Series:
    """Return the wait for the `answers_needed`-th fastest voter [T]: an order statistic.

    A lost segment costs a retransmission timeout, a voter that is down an election.
    """
    answers_ms = np.sort([_answer_ms(link) for link in voter_links], axis=0)
    return np.asarray(answers_ms[answers_needed - 1], dtype=np.float64)


def _answer_ms(link: LinkState) -> Series:
    resend_ms = link.loss_ratio * (RETRANSMIT_MS + np.nan_to_num(link.rtt_ms))
    return np.where(np.isnan(link.rtt_ms), ELECTION_MS, link.rtt_ms + resend_ms)


def _local_commit_ms(
    profile: NodeProfile, clock: Clock, streams: Streams, service: _Service
) -> Series:
    """Return what a commit costs on the node itself [T]: the log write and a turn on the CPU."""
    write_ms = 0.8 / np.maximum(1 - service.disk_ratio, 0.02)
    cpu_ms = 0.05 * service.latency_ms
    spread = np.exp(0.02 * streams.of(profile.node_id, "commit").standard_normal(clock.n))
    return np.asarray((write_ms + cpu_ms) * spread)
