"""What is left of the start of connections: windows that begin far above or below their place.

Where random loss limits a stream, slow start overshoots the window that it can keep, and the rest
melts away. Where a short buffer ends slow start early, the window has to climb to the pipe.
Both take tens of seconds on long paths.
"""

import numpy as np

from rl_envs.physics.quantities import BBR, MSS_BYTES, RENO, FloatArray
from rl_envs.physics.tcp_coefficients import DEFAULT_COEFFICIENTS, TcpCoefficients
from rl_envs.physics.tcp_link import Flow, Link, Sender
from rl_envs.physics.tcp_response import CUBIC_BETA, CUBIC_C, FRIENDLY_GROWTH_PKTS, RENO_BETA


def surplus_pkts(
    window_pkts: FloatArray,
    first_pkts: FloatArray,
    melt_per_pkt: FloatArray,
    rtt_ms: FloatArray,
    from_s: FloatArray,
    to_s: FloatArray,
) -> FloatArray:
    """Return the packets that a stream sends beyond its steady window between two ages.

    In the mean a window grows by a, and every packet takes p (1 - beta) w off it:
    dw/dt = k (w*^2 - w^2) / R with k = p (1 - beta). From w0 the solution is
    w* (1 + A e^-ct) / (1 - A e^-ct), A = (w0 - w*) / (w0 + w*), c = 2 k w* / R, and its surplus
    over w* is ln((1 - A e^-ct2) / (1 - A e^-ct1)) / k packets.
    Source: the mean-field equation of additive increase and multiplicative decrease (Misra, Gong
    and Towsley 2000), solved by separation.

    Args:
        window_pkts: Steady window w*.
        first_pkts: Window w0 at which slow start ended.
        melt_per_pkt: k.
        rtt_ms: Round trip.
        from_s: Age of the stream where counting begins.
        to_s: Age where it ends.

    >>> one = lambda value: np.array([value])
    >>> whole = surplus_pkts(one(50.0), one(450.0), one(1e-3), one(100.0), one(0.0), one(1e4))
    >>> round(float(whole[0]), 1)  # ln((w0 + w*) / (2 w*)) / k
    1609.4
    """
    start = np.maximum(first_pkts - window_pkts, 0.0) / (first_pkts + window_pkts)
    pace = 2.0 * melt_per_pkt * window_pkts / (rtt_ms * 1e-3)
    left = 1.0 - start * np.exp(-np.minimum(pace * to_s, 700.0))
    begun = 1.0 - start * np.exp(-np.minimum(pace * from_s, 700.0))
    packets: FloatArray = np.log(left / begun) / melt_per_pkt
    return packets


def climb_deficit_ratio(
    algorithm: FloatArray,
    full_pkts: FloatArray,
    first_pkts: FloatArray,
    rtt_ms: FloatArray,
    from_s: FloatArray,
    to_s: FloatArray,
) -> FloatArray:
    """Return the share of the pipe that a climbing window leaves empty between two ages.

    After a loss at `first_pkts`, Reno grows by a packet a round trip from half of it, CUBIC by
    C (t - K)^3 + w from 0.7 of it, K = cbrt(0.3 w / C), or by 0.53 packets a round trip where that
    is quicker. Counted until the window is `full_pkts`.
    Source: RFC 5681; RFC 9438, sections 4.2 and 4.3.

    Args:
        algorithm: Of each row.
        full_pkts: The stream's part of the pipe.
        first_pkts: Window at the loss that ended slow start.
        rtt_ms: Round trip.
        from_s: Age of the stream where counting begins.
        to_s: Age where it ends, later.

    >>> one = lambda value: np.array([value])
    >>> ratio = climb_deficit_ratio(one(RENO), one(200.0), one(200.0), one(100.0), one(0.0), one(10.0))
    >>> float(ratio[0])  # from 100 to 200 packets in 100 round trips
    0.25
    """
    is_reno = algorithm == RENO
    pause_s = np.cbrt((1.0 - CUBIC_BETA) * first_pkts / CUBIC_C)
    cubic_s = pause_s + np.cbrt((full_pkts - first_pkts) / CUBIC_C)
    missing = full_pkts - np.where(is_reno, RENO_BETA, CUBIC_BETA) * first_pkts
    growth = np.where(is_reno, 1.0, FRIENDLY_GROWTH_PKTS) / (rtt_ms * 1e-3)
    linear_s = missing / growth
    is_linear = is_reno | (linear_s < cubic_s)
    climbed_s = np.maximum(np.where(is_linear, linear_s, cubic_s), 0.0)
    begin, end = np.minimum(from_s, climbed_s), np.minimum(to_s, climbed_s)
    # Areas between the full window and the climbing one.
    linear = missing * (end - begin) - 0.5 * growth * (end**2 - begin**2)
    quartic = ((end - pause_s) ** 2) ** 2 - ((begin - pause_s) ** 2) ** 2
    cubic = (full_pkts - first_pkts) * (end - begin) - 0.25 * CUBIC_C * quartic
    area = np.where(is_linear, linear, cubic)
    ratio: FloatArray = np.clip(area / (full_pkts * (to_s - from_s)), 0.0, 1.0)
    return ratio


def goodput_between(
    flow: Flow,
    link: Link,
    sender: Sender,
    from_s: FloatArray,
    to_s: FloatArray,
    coefficients: TcpCoefficients = DEFAULT_COEFFICIENTS,
) -> FloatArray:
    """Return the mean goodput of streams between two ages, arrays [N]; bbr is in its steady state.

    Handshakes and the doublings of slow start are not in it, see `ramp`.

    >>> import numpy as np
    >>> from rl_envs.physics.tcp_link import steady_flow
    >>> one = lambda value: np.array([value])
    >>> link = Link(capacity_mbps=one(100.0), rtt_ms=one(200.0), loss_ratio=one(0.001),
    ...     burst_pkts=one(1.0), buffer_bdp=one(1.0), cross_flows=one(0.0), window_bytes=one(6e7))
    >>> sender = Sender(streams=one(1.0), algorithm=one(0.0), pacing_mbps=one(np.inf))
    >>> flow = steady_flow(link, sender)
    >>> young, old = (float(goodput_between(flow, link, sender, one(age), one(age + 40.0))[0])
    ...     for age in (0.0, 400.0))
    >>> young > 1.3 * old
    True
    """
    beta = np.where(sender.algorithm == RENO, RENO_BETA, CUBIC_BETA)
    total = sender.streams + link.cross_flows
    part = flow.bdp_pkts / total
    is_bbr = sender.algorithm == BBR
    extra = surplus_pkts(
        np.where(is_bbr, part, flow.stream_window_pkts),
        np.minimum(coefficients.slow_start_end_ratio / flow.event_ratio, part),
        flow.event_ratio * (1.0 - beta),
        link.rtt_ms,
        from_s,
        to_s,
    )
    surplus = sender.streams * extra * (MSS_BYTES * 8e-6) / (to_s - from_s)
    full = np.minimum(np.minimum(part, link.window_bytes / MSS_BYTES), flow.stream_window_pkts)
    paced = sender.pacing_mbps * link.rtt_ms / (8e-3 * MSS_BYTES * sender.streams)
    deficit = climb_deficit_ratio(
        sender.algorithm,
        np.minimum(full, paced),
        part
        * np.minimum(coefficients.overflow_window_ratio * link.buffer_bdp, 1.0 + link.buffer_bdp),
        link.rtt_ms,
        from_s,
        to_s,
    )
    goodput = np.minimum(flow.goodput_mbps + surplus, flow.room_mbps) * (1.0 - deficit)
    between: FloatArray = np.where(is_bbr, flow.goodput_mbps, goodput)
    return between
