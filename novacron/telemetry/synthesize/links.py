"""One directed WAN link: capacity, cross traffic and our own demand in, what a sender sees out.

The order of causes, per interval (symbols as in the code; sources beside each law in
`queueing.py`):

    capacity    C = nominal x regime {1, 0.7, 0.4} x exp(OU)
    cross       x = clip(mean x activity(dst) + OU + bursts + periodic + congestion fault, 0, 0.97)
    available   A = max(1 - x, 0.03) C
    path        base = propagation x reroute fault + access; p0 = random loss + loss fault
    streams     N = clip(previous bandwidth-delay product / chunk, min, max of the mode)
    demand      D = mean x activity(src) x exp(OU) + bulk transfers, or without end if greedy
    transport   R = Mathis(N, rtt, p) outside internet mode, A x BBR(p) in it
    offered     o = min(D, R, 1.02 A): load = x + o/C, solved in two passes
    queue       M/M/1/K at that load: wait -> rtt, spread -> jitter, blocked -> loss
    goodput     min(o (1 - p), A)

Shape legend: T intervals.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.contracts.telemetry import DWCP_MODES
from novacron.telemetry.synthesize.faults import Fault, effect
from novacron.telemetry.synthesize.processes import (
    bursts,
    lagged,
    ornstein_uhlenbeck,
    periodic_bursts,
    regimes,
    trailing_mean,
)
from novacron.telemetry.synthesize.queueing import (
    MSS_BITS,
    bbr_share,
    finite_queue,
    mathis_limit_mbps,
    poisson_counts,
)
from novacron.telemetry.synthesize.streams import Clock, Series, Streams

DATACENTER, INTERNET, HYBRID = (DWCP_MODES.index(m) for m in ("datacenter", "internet", "hybrid"))
STREAM_BOUNDS: Final = {DATACENTER: (32, 512), INTERNET: (4, 16), HYBRID: (4, 64)}
MODE_WINDOW: Final = 10
REGIME_SHARES: Final = (1.0, 0.7, 0.4)
OVERSHOOT: Final = 1.02
CWND_GAIN: Final = 2.0
"""BBR keeps at most two bandwidth-delay products in flight (cwnd_gain)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkProfile:
    """What does not change about a link."""

    link_id: str
    src: str
    dst: str
    capacity_mbps: float
    propagation_ms: float
    base_loss_ratio: float
    demand_mbps: float
    greedy: bool = False
    cross_mean_ratio: float = 0.25
    cross_period_s: float = 900.0
    cross_swing_ratio: float = 0.15
    cross_wander: float = 0.05
    mood_s: float = 900.0
    """Relaxation time of demand and cross traffic."""
    regime_stay_s: float = 6 * 3600.0
    burst_on_s: float = 600.0
    burst_off_s: float = 5400.0
    chunk_kib: float = 256.0
    buffer_chunks: int = 48
    access_ms: float = 0.4


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkState:
    """The link over the span, each [T]. NaN where a link that is down answers nothing."""

    available_mbps: Series
    load: Series
    bandwidth_mbps: Series
    rtt_ms: Series
    loss_ratio: Series
    jitter_ms: Series
    cwnd_pkts: Series
    queue_depth_pkts: Series
    retransmits: NDArray[np.int64]
    streams: NDArray[np.int64]
    mode: NDArray[np.int64]
    reported: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Causes:
    capacity_mbps: Series
    cross_ratio: Series
    demand_mbps: Series
    base_rtt_ms: Series
    path_loss_ratio: Series
    up: NDArray[np.bool_]
    reported: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Load:
    mode: NDArray[np.int64]
    streams: Series
    goodput_mbps: Series
    load: Series
    loss_ratio: Series
    queue_jobs: Series
    queue_sd_jobs: Series
    service_ms: Series


def simulate_link(
    profile: LinkProfile,
    clock: Clock,
    streams: Streams,
    *,
    src_activity: Series,
    dst_activity: Series,
    faults: Sequence[Fault] = (),
) -> LinkState:
    """Run one link over the clock.

    Args:
        profile: The link; its id names its random streams.
        clock: The grid.
        streams: The seed's streams.
        src_activity: How busy the sending site is [T], around 1: drives demand.
        dst_activity: How busy the receiving site is [T]: drives cross traffic.
        faults: Those of this link.
    """
    causes = _causes(profile, clock, streams, src_activity, dst_activity, faults)
    mode = _mode(causes)
    n_streams = _streams(profile, causes, mode)
    load = _equilibrium(profile, causes, mode, n_streams)
    return _measured(profile, clock, streams, causes, load)


def _causes(
    profile: LinkProfile,
    clock: Clock,
    streams: Streams,
    src_activity: Series,
    dst_activity: Series,
    faults: Sequence[Fault],
) -> _Causes:
    def rng(process: str) -> np.random.Generator:
        return streams.of(profile.link_id, process)

    stays_s = (profile.regime_stay_s, profile.regime_stay_s / 3, profile.regime_stay_s / 6)
    regime = np.array(REGIME_SHARES)[regimes(rng("regime"), clock, mean_stay_s=stays_s)]
    wobble = ornstein_uhlenbeck(rng("capacity"), clock, sd=0.04, relaxation_s=4 * profile.mood_s)
    cross = _cross_traffic(profile, clock, streams, dst_activity)
    cross = cross + effect(faults, "congestion", clock.n)
    detour = 1 + effect(faults, "reroute", clock.n)
    burst_loss = effect(faults, "loss_burst", clock.n)
    flap = effect(faults, "link_flap", clock.n)
    return _Causes(
        capacity_mbps=profile.capacity_mbps * regime * np.exp(wobble),
        cross_ratio=np.clip(cross, 0.0, 0.97),
        demand_mbps=_demand(profile, clock, streams, src_activity),
        base_rtt_ms=profile.propagation_ms * detour + profile.access_ms,
        path_loss_ratio=profile.base_loss_ratio + burst_loss,
        # A flapping link is down for the more intervals the harder the fault.
        up=rng("flap").random(clock.n) >= flap,
        reported=effect(faults, "telemetry_gap", clock.n) == 0,
    )


def _cross_traffic(
    profile: LinkProfile, clock: Clock, streams: Streams, dst_activity: Series
) -> Series:
    """Return the share of the capacity that strangers ask for [T], not yet cut at its bounds."""

    def rng(process: str) -> np.random.Generator:
        return streams.of(profile.link_id, process)

    mood = ornstein_uhlenbeck(rng("cross"), clock, sd=0.08, relaxation_s=profile.mood_s)
    on_off = bursts(
        rng("cross bursts"),
        clock,
        mean_on_s=profile.burst_on_s,
        mean_off_s=profile.burst_off_s,
    )
    chunks = periodic_bursts(
        rng("cross chunks"),
        clock,
        period_s=profile.cross_period_s,
        duty_ratio=0.4,
        wander=profile.cross_wander,
    )
    steady = profile.cross_mean_ratio * dst_activity + mood
    return np.asarray(steady + 0.25 * on_off + profile.cross_swing_ratio * chunks)


def _demand(profile: LinkProfile, clock: Clock, streams: Streams, src_activity: Series) -> Series:
    """Return what we want to send [T]: without end on a greedy link."""
    if profile.greedy:
        return np.full(clock.n, np.inf)
    wish = ornstein_uhlenbeck(
        streams.of(profile.link_id, "demand"), clock, sd=0.2, relaxation_s=profile.mood_s
    )
    bulk = bursts(
        streams.of(profile.link_id, "bulk transfers"),
        clock,
        mean_on_s=profile.burst_on_s,
        mean_off_s=4 * profile.burst_off_s,
    )
    return np.asarray(profile.demand_mbps * (src_activity * np.exp(wish) + 1.5 * bulk))


def _mode(causes: _Causes) -> NDArray[np.int64]:
    """Apply the protocol's mode rule to the means of the last ten intervals."""
    rtt_ms = trailing_mean(causes.base_rtt_ms, MODE_WINDOW)
    speed_mbps = trailing_mean(causes.capacity_mbps, MODE_WINDOW)
    near = (rtt_ms < 10) & (speed_mbps >= 1000)
    far = (rtt_ms > 50) | (speed_mbps < 1000)
    return np.where(near, DATACENTER, np.where(far, INTERNET, HYBRID)).astype(np.int64)


def _available(causes: _Causes) -> Series:
    return np.asarray(np.maximum(1 - causes.cross_ratio, 0.03) * causes.capacity_mbps)


def _streams(profile: LinkProfile, causes: _Causes, mode: NDArray[np.int64]) -> Series:
    rate_mbps = lagged(np.minimum(causes.demand_mbps, _available(causes)))
    in_flight_kib = rate_mbps * lagged(causes.base_rtt_ms) * 1e3 / 8192
    wanted = np.ceil(in_flight_kib / profile.chunk_kib)
    low, high = (np.array([STREAM_BOUNDS[m][side] for m in range(3)])[mode] for side in (0, 1))
    return np.asarray(np.clip(wanted, low, high).astype(np.float64))


def _equilibrium(
    profile: LinkProfile, causes: _Causes, mode: NDArray[np.int64], n_streams: Series
) -> _Load:
    available = _available(causes)
    service_ms = profile.chunk_kib * 8192 / (causes.capacity_mbps * 1e3)
    limit = available
    for _ in range(2):
        # Pass one assumes an unlimited transport; pass two knows the queue that this makes.
        offered = np.minimum(np.minimum(causes.demand_mbps, limit), OVERSHOOT * available)
        load = causes.cross_ratio + offered / causes.capacity_mbps
        queue = finite_queue(load, profile.buffer_chunks)
        loss = 1 - (1 - causes.path_loss_ratio) * (1 - queue.blocked_ratio)
        rtt_ms = causes.base_rtt_ms + queue.mean_jobs * service_ms
        loss_based = mathis_limit_mbps(n_streams, rtt_ms, loss)
        limit = np.where(mode == INTERNET, available * bbr_share(loss), loss_based)
    return _Load(
        mode=mode,
        streams=n_streams,
        goodput_mbps=np.minimum(offered * (1 - loss), available),
        load=load,
        loss_ratio=loss,
        queue_jobs=queue.mean_jobs,
        queue_sd_jobs=queue.sd_jobs,
        service_ms=service_ms,
    )


def _measured(
    profile: LinkProfile, clock: Clock, streams: Streams, causes: _Causes, load: _Load
) -> LinkState:
    """Add what a finite sample adds to the truth, and silence what is down."""

    def noise(process: str) -> Series:
        return streams.of(profile.link_id, process).standard_normal(clock.n)

    up = causes.up
    rtt_true_ms = causes.base_rtt_ms + load.queue_jobs * load.service_ms
    spread_ms = np.hypot(load.queue_sd_jobs * load.service_ms, 0.02 * causes.base_rtt_ms)
    samples = max(clock.step_s, 1.0)
    rtt_ms = np.maximum(
        rtt_true_ms + spread_ms * noise("rtt") / np.sqrt(samples), causes.base_rtt_ms
    )
    jitter_ms = spread_ms * np.exp(0.5 * noise("jitter") / np.sqrt(2 * samples))
    goodput = load.goodput_mbps * np.exp(0.015 * noise("goodput"))
    goodput = np.where(up, goodput, 0.0)
    sent_pkts = goodput * clock.step_s * 1e6 / MSS_BITS / (1 - load.loss_ratio)
    uniform = streams.of(profile.link_id, "losses").random(clock.n)
    resent = np.minimum(poisson_counts(uniform, sent_pkts * load.loss_ratio), sent_pkts)
    loss_ratio = np.where(up, resent / np.maximum(sent_pkts, 1.0), 1.0)
    in_flight_pkts = goodput * rtt_ms * 1e3 / MSS_BITS
    queue_pkts = load.queue_jobs * profile.chunk_kib * 8192 / MSS_BITS
    return LinkState(
        available_mbps=np.where(up, _available(causes), 0.0),
        load=load.load,
        bandwidth_mbps=goodput,
        rtt_ms=np.where(up, rtt_ms, np.nan),
        loss_ratio=loss_ratio,
        jitter_ms=np.where(up, jitter_ms, np.nan),
        cwnd_pkts=np.where(up, np.maximum(CWND_GAIN * in_flight_pkts, 4 * load.streams), np.nan),
        queue_depth_pkts=np.where(up, queue_pkts, np.nan),
        retransmits=np.rint(resent).astype(np.int64),
        streams=np.where(up, load.streams, 0.0).astype(np.int64),
        mode=load.mode,
        reported=causes.reported,
    )
