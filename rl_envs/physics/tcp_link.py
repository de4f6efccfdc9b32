"""n parallel TCP streams on one bottleneck: goodput, queue, loss, and what is left for others.

Steady state of an interval; `ramp` adds what the start of connections costs.
"""

from dataclasses import dataclass

import numpy as np

from rl_envs.physics.quantities import (
    BBR,
    CUBIC,
    MSS_BYTES,
    MTU_BYTES,
    RENO,
    FloatArray,
    packets_in_flight,
    window_rate_mbps,
)
from rl_envs.physics.tcp_coefficients import DEFAULT_COEFFICIENTS, TcpCoefficients
from rl_envs.physics.tcp_response import (
    CUBIC_BETA,
    RENO_BETA,
    acknowledged_rtt_ms,
    burst_events,
    events_for_window,
    loss_events,
    probed_timeout_ms,
    random_loss_window_pkts,
    timeout_factor,
    window_pkts,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """A bottleneck and what runs over it, arrays [N]. `buffer_bdp` is in bandwidth-delay products.

    `cross_flows` others run CUBIC over the same round trip. `window_bytes` is the receive window
    of one of our streams.
    """

    capacity_mbps: FloatArray
    rtt_ms: FloatArray
    loss_ratio: FloatArray
    burst_pkts: FloatArray
    buffer_bdp: FloatArray
    cross_flows: FloatArray
    window_bytes: FloatArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Sender:
    """Our side, arrays [N]: number of streams, congestion control, cap on the summed rate."""

    streams: FloatArray
    algorithm: FloatArray
    pacing_mbps: FloatArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Flow:
    """What the streams get, arrays [N]. Ratios are in 0..1; `queue_ms` is the mean wait.

    `payload_mbps` is what the link carries without us, `cross_demand_mbps` what others would take.
    """

    goodput_mbps: FloatArray
    cross_mbps: FloatArray
    cross_demand_mbps: FloatArray
    payload_mbps: FloatArray
    queue_ms: FloatArray
    retransmit_ratio: FloatArray
    saturation: FloatArray
    """Near 1 where windows fill pipe and buffer, near 0 below: drives the loss they make."""
    window_limited_ratio: FloatArray
    bdp_pkts: FloatArray
    room_mbps: FloatArray
    """What window, pacing and the others leave us, whatever random loss does."""
    event_ratio: FloatArray
    """Loss events per packet that the link's random losses amount to."""
    stream_window_pkts: FloatArray
    """Mean window of a stream that nothing but those limits; infinite for bbr."""
    ack_wait_ms: FloatArray
    """Mean wait of acknowledgements at the receiver, part of the smoothed round trip."""


def steady_flow(
    link: Link, sender: Sender, coefficients: TcpCoefficients = DEFAULT_COEFFICIENTS
) -> Flow:
    """Return the steady state of `sender` over `link`.

    The streams get the least of what loss, window and pacing let them send and what the bottleneck
    leaves them. Loss and bottleneck are joined by a minimum that is sharp but not hard, as measured.

    >>> one = lambda value: np.array([value])
    >>> link = Link(capacity_mbps=one(100.0), rtt_ms=one(200.0), loss_ratio=one(0.01),
    ...     burst_pkts=one(1.0), buffer_bdp=one(1.0), cross_flows=one(0.0), window_bytes=one(6e7))
    >>> goodput = lambda n, algorithm: round(float(steady_flow(link, Sender(streams=one(n),
    ...     algorithm=one(algorithm), pacing_mbps=one(np.inf))).goodput_mbps[0]), 1)
    >>> [goodput(n, CUBIC) for n in (1.0, 64.0)]  # loss-limited: gain linear in n
    [0.7, 44.8]
    >>> goodput(1.0, BBR)  # bbr fills the link
    92.6
    """
    bdp = packets_in_flight(link.capacity_mbps, link.rtt_ms)
    payload = link.capacity_mbps * (MSS_BYTES / MTU_BYTES) * (1.0 - link.loss_ratio)
    window_bound = sender.streams * window_rate_mbps(link.window_bytes / MSS_BYTES, link.rtt_ms)
    alone = stream_under_loss(sender.algorithm, link, coefficients)
    other = stream_under_loss(np.full_like(bdp, CUBIC), link, coefficients)
    cross_demand = link.cross_flows * other.rate_mbps

    loss_bound = sender.streams * alone.rate_mbps
    windows = np.minimum(np.where(sender.algorithm == BBR, np.inf, loss_bound), window_bound)
    wish = np.minimum(windows, sender.pacing_mbps)
    usable, kept = _room(link, sender, bdp, payload, coefficients)
    room = np.maximum(kept, usable - cross_demand)
    ours = np.minimum(wish, _joined(loss_bound, room, coefficients.saturation_power))
    cross = np.minimum(cross_demand, np.maximum(usable - ours, 0.0))

    # Windows in units of the pipe: what exceeds it queues, what exceeds pipe and buffer is lost.
    # A pacer above the link's rate only fills what the windows allow.
    held = np.where(sender.pacing_mbps < usable, wish, windows)
    load = (held + cross_demand) / payload
    saturation = np.minimum(load / (1.0 + link.buffer_bdp), 1.0) ** coefficients.saturation_power
    queue_share, made_loss = _self_made(link, sender, bdp, coefficients)
    queue_bdp = np.minimum(queue_share * link.buffer_bdp, np.maximum(load - 1.0, 0.0))
    retransmit = 1.0 - (1.0 - link.loss_ratio) * (1.0 - saturation * made_loss)
    return Flow(
        goodput_mbps=ours,
        cross_mbps=cross,
        cross_demand_mbps=cross_demand,
        payload_mbps=payload,
        queue_ms=queue_bdp * link.rtt_ms,
        retransmit_ratio=retransmit,
        saturation=saturation,
        window_limited_ratio=np.where(wish == window_bound, np.minimum(ours / wish, 1.0), 0.0),
        bdp_pkts=bdp,
        room_mbps=np.minimum(room, np.minimum(window_bound, sender.pacing_mbps)),
        event_ratio=alone.event_ratio,
        stream_window_pkts=alone.window_pkts,
        ack_wait_ms=alone.ack_wait_ms,
    )


def _joined(demand: FloatArray, room: FloatArray, power: float) -> FloatArray:
    """Join what loss lets streams send and what the link has room for.

    Windows vary, so the link is neither always full nor never just below the corner.
    """
    lower = np.minimum(demand, room)
    corner = (lower / np.maximum(demand, room)) ** power
    joined: FloatArray = lower * (1.0 + corner) ** (-1.0 / power)
    return joined


def _room(
    link: Link,
    sender: Sender,
    bdp: FloatArray,
    payload: FloatArray,
    coefficients: TcpCoefficients,
) -> tuple[FloatArray, FloatArray]:
    """Return what the bottleneck carries in all, and what of it is ours against full demand."""
    is_bbr = sender.algorithm == BBR
    total = sender.streams + link.cross_flows
    usable = np.where(
        is_bbr,
        _bbr_ceiling(payload, link, coefficients),
        payload * buffer_utilisation(link.buffer_bdp, total, sender.algorithm),
    )
    share = np.where(
        is_bbr,
        _bbr_share(link, sender.streams, coefficients),
        _fair_share(link, sender, bdp, total),
    )
    return usable, usable * share


@dataclass(frozen=True, kw_only=True, slots=True)
class LossyStream:
    """One stream that only random loss limits, arrays [N]."""

    rate_mbps: FloatArray
    window_pkts: FloatArray
    event_ratio: FloatArray
    ack_wait_ms: FloatArray


def stream_under_loss(
    algorithm: FloatArray, link: Link, coefficients: TcpCoefficients
) -> LossyStream:
    """Return what random loss lets one stream send; infinite for bbr."""
    events = loss_events(link.loss_ratio, link.burst_pkts)
    window = random_loss_window_pkts(algorithm, events, link.rtt_ms)
    events = burst_events(events, link.burst_pkts, window, coefficients.burst_damage)
    window = random_loss_window_pkts(algorithm, events, link.rtt_ms)
    rtt_ms = acknowledged_rtt_ms(window, link.rtt_ms, coefficients.ack_delay_ratio)
    rate = window_rate_mbps(window, rtt_ms) * timeout_factor(
        events, link.rtt_ms, probed_timeout_ms(link.rtt_ms, coefficients.probe_rounds)
    )
    return LossyStream(
        rate_mbps=rate,
        window_pkts=window,
        event_ratio=events,
        ack_wait_ms=rtt_ms - link.rtt_ms,
    )


def buffer_utilisation(
    buffer_bdp: FloatArray, flows: FloatArray, algorithm: FloatArray
) -> FloatArray:
    """Return the share of a bottleneck that loss-based flows keep busy with a given buffer.

    A back-off by beta empties the pipe unless the buffer holds (1 / beta - 1) BDP; with none,
    N flows reach 1 - 1 / (1 + c N), c = (1 + beta) / (1 - beta). Linear in between.
    Source: Altman, Barman, Tuffin, Vojnovic 2006.

    >>> one = lambda value: np.array([value])
    >>> float(buffer_utilisation(one(0.0), one(1.0), one(RENO))[0])
    0.75
    >>> float(buffer_utilisation(one(1.0), one(1.0), one(RENO))[0])
    1.0
    """
    beta = np.where(algorithm == RENO, RENO_BETA, CUBIC_BETA)
    missing = np.maximum(1.0 - buffer_bdp / (1.0 / beta - 1.0), 0.0)
    utilisation: FloatArray = 1.0 - missing / (1.0 + (1.0 + beta) / (1.0 - beta) * flows)
    return utilisation


def _fair_share(link: Link, sender: Sender, bdp: FloatArray, total: FloatArray) -> FloatArray:
    """Our share of a saturated link among loss-based flows: windows at the loss they all see.

    Reno against CUBIC gets less than one flow's part where windows are large; equal otherwise.
    """
    window = bdp * (1.0 + link.buffer_bdp) / total
    rtt_ms = link.rtt_ms * (1.0 + link.buffer_bdp)
    seen = events_for_window(np.full_like(window, CUBIC), window, rtt_ms)
    cubic = np.full_like(window, CUBIC)
    ratio = window_pkts(np.where(sender.algorithm == BBR, CUBIC, sender.algorithm), seen, rtt_ms)
    weight = np.minimum(ratio / window_pkts(cubic, seen, rtt_ms), 1.0) * sender.streams
    share: FloatArray = weight / (weight + link.cross_flows)
    return share


def _bbr_ceiling(payload: FloatArray, link: Link, coefficients: TcpCoefficients) -> FloatArray:
    """What bbr keeps of the link under random loss.

    A probe at 1.25 times the estimate renews the estimate only if 1.25 (1 - p) >= 1; beyond p = 0.2
    it decays at each of the eight-round-trip cycles (Cardwell 2016), here over ten of them.
    """
    renewal = np.minimum(1.25 * (1.0 - link.loss_ratio), 1.0)
    ceiling: FloatArray = payload * coefficients.bbr_utilisation_ratio * renewal**10
    return ceiling


def _bbr_share(link: Link, streams: FloatArray, coefficients: TcpCoefficients) -> FloatArray:
    """Share of a link that bbr takes from loss-based flows.

    Written as odds of the loss-based ones. In a buffer of up to a BDP bbr's two BDP in flight
    overflow it: what is left to each other flow falls with the square of the number of bbr
    streams, down to what a few packets a round trip are. Buffer beyond the bbr streams' bound is
    filled by the others alone. Structure after Ware et al. 2019 and Hock et al. 2017.
    """
    short = np.minimum(link.buffer_bdp, 1.0) * coefficients.loss_based_odds / streams**2
    deep = coefficients.loss_based_deep_odds * np.maximum(link.buffer_bdp - 1.0, 0.0)
    odds = link.cross_flows * (short + coefficients.loss_based_floor_odds) + np.where(
        link.cross_flows > 0, deep / np.sqrt(streams), 0.0
    )
    share: FloatArray = 1.0 / (1.0 + odds)
    return share


def _self_made(
    link: Link, sender: Sender, bdp: FloatArray, coefficients: TcpCoefficients
) -> tuple[FloatArray, FloatArray]:
    """Return the share of the buffer that is filled and the packets dropped at a full link."""
    is_bbr = sender.algorithm == BBR
    total = sender.streams + link.cross_flows
    pipe = 1.0 + link.buffer_bdp
    # Flows that share a droptail buffer lose together, the fewer they are the more so: the sum
    # falls below pipe and buffer by more than one flow's part of it.
    lost_fill = np.where(sender.algorithm == RENO, 1.0 - RENO_BETA, 1.0 - CUBIC_BETA)
    lost_fill = coefficients.synchronised_fill_ratio * lost_fill / (1.0 + total / 16.0)
    mean_sum = pipe * (1.0 - lost_fill)
    filled = np.maximum(mean_sum - 1.0, 0.0)
    window = bdp * mean_sum / total
    made = events_for_window(np.where(is_bbr, CUBIC, sender.algorithm), window, link.rtt_ms * pipe)
    # bbr keeps two estimated BDP in flight: what exceeds pipe and buffer is dropped, at most the
    # excess of its pacing rates.
    excess = (
        1.0
        + coefficients.bbr_overestimate_per_ln_stream * np.log(sender.streams)
        + coefficients.bbr_overestimate_pkts * (sender.streams - 1.0) / (bdp + sender.streams)
    )
    in_flight = 2.0 * excess
    bbr_made = np.minimum(
        np.maximum(1.0 - pipe / in_flight, 0.0),
        1.0 - 1.0 / excess + coefficients.bbr_probe_loss_ratio,
    )
    bbr_fill = np.minimum(in_flight - 1.0, link.buffer_bdp) * (
        1.0 - (1.0 - coefficients.bbr_single_queue_ratio) * sender.streams**-1.5
    )
    bbr_fill = np.where(link.cross_flows > 0, np.maximum(bbr_fill, filled), bbr_fill)
    fill = np.where(is_bbr, bbr_fill, filled)
    share: FloatArray = np.clip(fill / np.maximum(link.buffer_bdp, 1e-6), 0.0, 1.0)
    loss: FloatArray = np.where(is_bbr, bbr_made, made)
    return share, loss
