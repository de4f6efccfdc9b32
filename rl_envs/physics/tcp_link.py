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
from rl_envs.physics.tcp_response import (
    CUBIC_BETA,
    RENO_BETA,
    events_for_window,
    loss_events,
    timeout_factor,
    window_pkts,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class TcpCoefficients:
    """The numbers no closed form gives. First estimates; a testbed table is what replaces them."""

    bbr_utilisation_ratio: float = 0.97
    """Share of the bottleneck that one bbr flow keeps over its probing cycle (Cardwell 2016)."""
    bbr_overestimate_per_ln_stream: float = 0.06
    """Growth of the summed bandwidth estimates of n bbr flows with ln n (Hock 2017, figure 6)."""
    bbr_probe_loss_ratio: float = 0.03
    """Loss of the 1.25 pacing phase, one round trip in eight, when there is no buffer."""
    bbr_single_queue_ratio: float = 0.1
    """Share of its queue bound that a single bbr flow fills."""
    loss_based_floor_ratio: float = 0.17
    """Least share that loss-based flows keep against one bbr flow."""
    loss_based_floor_power: float = 2.5
    """How quickly that share falls with the number of bbr flows."""
    saturation_power: float = 20.0
    """Sharpness with which own loss sets in as windows reach pipe and buffer."""


DEFAULT_COEFFICIENTS = TcpCoefficients()


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


def steady_flow(
    link: Link, sender: Sender, coefficients: TcpCoefficients = DEFAULT_COEFFICIENTS
) -> Flow:
    """Return the steady state of `sender` over `link`.

    The streams get the least of what loss, window and pacing let them send and what the bottleneck
    leaves them; the two are joined by a hard minimum because measured transitions are sharp.

    >>> one = lambda value: np.array([value])
    >>> link = Link(capacity_mbps=one(100.0), rtt_ms=one(200.0), loss_ratio=one(0.01),
    ...     burst_pkts=one(1.0), buffer_bdp=one(1.0), cross_flows=one(0.0), window_bytes=one(6e7))
    >>> goodput = lambda n, algorithm: round(float(steady_flow(link, Sender(streams=one(n),
    ...     algorithm=one(algorithm), pacing_mbps=one(np.inf))).goodput_mbps[0]), 1)
    >>> [goodput(n, CUBIC) for n in (1.0, 64.0)]  # loss-limited: gain linear in n
    [0.7, 43.4]
    >>> goodput(1.0, BBR)  # bbr fills the link
    92.7
    """
    events = loss_events(link.loss_ratio, link.burst_pkts)
    bdp = packets_in_flight(link.capacity_mbps, link.rtt_ms)
    payload = link.capacity_mbps * (MSS_BYTES / MTU_BYTES) * (1.0 - link.loss_ratio)
    window_bound = sender.streams * window_rate_mbps(link.window_bytes / MSS_BYTES, link.rtt_ms)
    cross_demand = link.cross_flows * _stream_demand(np.full_like(bdp, CUBIC), events, link)

    loss_bound = sender.streams * _stream_demand(sender.algorithm, events, link)
    windows = np.minimum(np.where(sender.algorithm == BBR, np.inf, loss_bound), window_bound)
    wish = np.minimum(windows, sender.pacing_mbps)
    usable, kept = _room(link, sender, bdp, payload, coefficients)
    ours = np.minimum(wish, np.maximum(kept, usable - cross_demand))
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
    )


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
        _bbr_share(link, sender.streams, bdp, coefficients),
        _fair_share(link, sender, bdp, total),
    )
    return usable, usable * share


def _stream_demand(algorithm: FloatArray, events: FloatArray, link: Link) -> FloatArray:
    """Payload rate of one stream under random loss alone; infinite for bbr."""
    window = window_pkts(algorithm, events, link.rtt_ms)
    demand: FloatArray = window_rate_mbps(window, link.rtt_ms) * timeout_factor(
        events, link.rtt_ms
    )
    return demand


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


def _bbr_share(
    link: Link, streams: FloatArray, bdp: FloatArray, coefficients: TcpCoefficients
) -> FloatArray:
    """Share of a link that bbr takes from loss-based flows, whatever their number.

    Loss-based flows together keep 1/2 - 1/(2X) - 4N/q of it, X the buffer in BDP and q in packets
    (Ware et al. 2019, equation 5), or a small floor.
    """
    buffer = np.maximum(link.buffer_bdp, 1e-6)
    left = 0.5 - 0.5 / buffer - 4.0 * streams / (buffer * bdp)
    floor = coefficients.loss_based_floor_ratio * streams**-coefficients.loss_based_floor_power
    share: FloatArray = 1.0 - np.where(link.cross_flows > 0, np.maximum(left, floor), 0.0)
    return share


def _self_made(
    link: Link, sender: Sender, bdp: FloatArray, coefficients: TcpCoefficients
) -> tuple[FloatArray, FloatArray]:
    """Return the share of the buffer that is filled and the packets dropped at a full link."""
    is_bbr = sender.algorithm == BBR
    total = sender.streams + link.cross_flows
    pipe = 1.0 + link.buffer_bdp
    # A back-off of one among many flows barely moves their sum: mean fill is 1 - (1 - mean) / n.
    beta = np.where(sender.algorithm == RENO, RENO_BETA, CUBIC_BETA)
    mean_window = np.where(sender.algorithm == RENO, (1.0 + beta) / 2.0, (3.0 + beta) / 4.0)
    mean_sum = pipe * (1.0 - (1.0 - mean_window) / total)
    filled = mean_sum - 1.0
    window = bdp * mean_sum / total
    made = events_for_window(np.where(is_bbr, CUBIC, sender.algorithm), window, link.rtt_ms * pipe)
    # bbr keeps two estimated BDP in flight: what exceeds pipe and buffer is dropped, at most the
    # excess of its pacing rates.
    excess = 1.0 + coefficients.bbr_overestimate_per_ln_stream * np.log(sender.streams)
    in_flight = 2.0 * excess
    bbr_made = np.minimum(
        np.maximum(1.0 - pipe / in_flight, 0.0),
        1.0 - 1.0 / excess + coefficients.bbr_probe_loss_ratio,
    )
    bbr_fill = np.minimum(in_flight - 1.0, link.buffer_bdp) * (
        1.0 - (1.0 - coefficients.bbr_single_queue_ratio) * sender.streams**-1.5
    )
    fill = np.where(is_bbr, bbr_fill, filled)
    share: FloatArray = np.clip(fill / np.maximum(link.buffer_bdp, 1e-6), 0.0, 1.0)
    loss: FloatArray = np.where(is_bbr, bbr_made, made)
    return share, loss
