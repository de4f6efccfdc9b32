"""How large a congestion window is under a given rate of loss events, and the inverse.

Loss is counted in events: packets lost in one round trip halve the window once.
"""

from typing import Final

import numpy as np

from rl_envs.physics.quantities import BBR, RENO, FloatArray

CUBIC_C: Final = 0.4
CUBIC_BETA: Final = 0.7
RENO_BETA: Final = 0.5
FRIENDLY_GROWTH_PKTS: Final = 3.0 * (1.0 - CUBIC_BETA) / (1.0 + CUBIC_BETA)
"""Growth of CUBIC's window per round trip in its Reno-friendly region, RFC 9438 section 4.3."""
MIN_RTO_MS: Final = 200.0
"""Linux's floor of the retransmission timeout above the round trip."""
DELAYED_ACK_MS: Final = 100.0
"""Longest that a receiver holds an acknowledgement back here; Linux adapts it between 40 and 200."""

_CUBIC_SCALE = (CUBIC_C * (3 + CUBIC_BETA) / (4 * (1 - CUBIC_BETA))) ** 0.25
SMALL_WINDOW_PKTS2: Final = 13.0
"""Bounds the inverse law where windows are a few packets and streams live from timeout to timeout:
a link shared by ever more flows tends to a loss of 0.12, as measured with a packet for each."""


def loss_events(loss_ratio: FloatArray, burst_pkts: FloatArray) -> FloatArray:
    """Return loss events per packet of a Gilbert-Elliott channel with bursts of a mean length.

    A window reacts once to a burst that falls into one round trip (RFC 6582), so only the start of
    a burst counts. Source: Gilbert 1960; Elliott 1963.

    >>> float(loss_events(np.array(0.01), np.array(4.0)))
    0.0025
    """
    events: FloatArray = loss_ratio / np.maximum(burst_pkts, 1.0)
    return events


def reno_window_pkts(event_ratio: FloatArray) -> FloatArray:
    """Return Reno's mean window, sqrt(3 / 2p). Source: Mathis et al. 1997.

    >>> round(float(reno_window_pkts(np.array(0.015))), 3)
    10.0
    """
    window: FloatArray = np.sqrt(1.5 / np.maximum(event_ratio, 1e-12))
    return window


def cubic_window_pkts(event_ratio: FloatArray, rtt_ms: FloatArray) -> FloatArray:
    """Return CUBIC's mean window, never below what Reno would have (its Reno-friendly region).

    Source: RFC 9438, equation 5 with C = 0.4, beta = 0.7, and section 4.3.

    >>> round(float(cubic_window_pkts(np.array(1e-4), np.array(100.0)) / 1e3), 3)
    0.187
    >>> round(float(cubic_window_pkts(np.array(1e-2), np.array(20.0))), 2)  # Reno-friendly
    12.25
    """
    p = np.maximum(event_ratio, 1e-12)
    root = np.sqrt(rtt_ms * 1e-3 / p)
    cubic = _CUBIC_SCALE * root * np.sqrt(root)
    window: FloatArray = np.maximum(cubic, reno_window_pkts(p))
    return window


def random_loss_window_pkts(
    algorithm: FloatArray, event_ratio: FloatArray, rtt_ms: FloatArray
) -> FloatArray:
    """Return the mean window where losses come at random, not whenever a window is full.

    Windows then differ in size when they are hit, and the mean is larger than under the periodic
    losses of `reno_window_pkts` and `cubic_window_pkts`: 1.31 / sqrt(p) for Reno (Ott, Kemperman
    and Mathis 1996). The constants of CUBIC, 1.19 and 1.29, and the packet that a round trip of
    recovery costs, come from the same windows stepped round by round, see `tests/oracles`.
    Infinite for bbr.

    >>> one = lambda value: np.array([value])
    >>> round(float(random_loss_window_pkts(one(RENO), one(1e-4), one(50.0))[0]), 1)
    130.1
    >>> window = random_loss_window_pkts(one(0.0), one(1e-4), one(200.0))
    >>> round(float((window / cubic_window_pkts(one(1e-4), one(200.0)))[0]), 2)
    1.13
    """
    p = np.maximum(event_ratio, 1e-12)
    root = np.sqrt(1.0 / p)
    reno = 1.31 * root - 0.9
    stretch = np.sqrt(rtt_ms * 1e-3 / p)
    own = (1.19 * stretch * np.sqrt(stretch)) ** 2
    friendly = (1.29 * root) ** 2
    # The eighth-power mean turns from one region into the other as the stepped windows do.
    own, friendly = own * own, friendly * friendly
    cubic = np.sqrt(np.sqrt(np.sqrt(own * own + friendly * friendly))) - 0.8
    window = np.where(algorithm == RENO, reno, cubic)
    bounded: FloatArray = np.where(algorithm == BBR, np.inf, np.maximum(window, 1.0))
    return bounded


def acknowledged_rtt_ms(
    window_pkts: FloatArray, rtt_ms: FloatArray, ack_delay_ratio: float
) -> FloatArray:
    """Return the round trip of a loss-limited stream with its receiver's delayed acknowledgements.

    The odd last packet of a window waits for its acknowledgement, part of a round trip but not
    longer than the receiver's timer; spread over the packets of the window.
    Source: RFC 5681, section 4.2.

    >>> float(acknowledged_rtt_ms(np.array(10.0), np.array(50.0), 0.6))
    53.0
    """
    rtt: FloatArray = rtt_ms + ack_delay_ratio * np.minimum(rtt_ms, DELAYED_ACK_MS) / window_pkts
    return rtt


def burst_events(
    event_ratio: FloatArray,
    burst_pkts: FloatArray,
    window_pkts: FloatArray,
    damage: float,
) -> FloatArray:
    """Return the loss events that bursts amount to in a window they take a good part of.

    A burst inside a large window is one event. One that takes a good part of the window also takes
    retransmissions and the clock of acknowledgements with it.

    >>> float(burst_events(np.array(0.01), np.array(1.0), np.array(10.0), 5.0))
    0.01
    >>> round(float(burst_events(np.array(0.01), np.array(5.0), np.array(40.0), 5.0)), 4)
    0.015
    """
    share = np.minimum((burst_pkts - 1.0) / window_pkts, 0.5)
    events: FloatArray = event_ratio * (1.0 + damage * share)
    return events


def window_pkts(algorithm: FloatArray, event_ratio: FloatArray, rtt_ms: FloatArray) -> FloatArray:
    """Return the mean window of `algorithm` under periodic losses; unlimited for bbr."""
    window: FloatArray = np.where(
        algorithm == RENO, reno_window_pkts(event_ratio), cubic_window_pkts(event_ratio, rtt_ms)
    )
    unlimited: FloatArray = np.where(algorithm == BBR, np.inf, window)
    return unlimited


def events_for_window(
    algorithm: FloatArray, window_pkts: FloatArray, rtt_ms: FloatArray
) -> FloatArray:
    """Invert the response: the loss that streams must suffer to stay at a window.

    >>> p = events_for_window(np.array(0.0), np.array(200.0), np.array(100.0))
    >>> bool(abs(cubic_window_pkts(p, np.array(100.0)) - 200.0) < 1e-6)
    True
    """
    window = np.maximum(window_pkts, 1e-3)
    reno = 1.5 / (window**2 + SMALL_WINDOW_PKTS2 * np.exp(-window / 8.0))
    cubic = (_CUBIC_SCALE / window) ** (4.0 / 3.0) * rtt_ms * 1e-3
    events: FloatArray = np.where(algorithm == RENO, reno, np.maximum(reno, cubic))
    return np.minimum(events, 0.5)


def timeout_factor(
    event_ratio: FloatArray, rtt_ms: FloatArray, rto_ms: FloatArray | None = None
) -> FloatArray:
    """Return the share of the square-root rate that is left after retransmission timeouts.

    Args:
        event_ratio: Loss events per packet.
        rtt_ms: Round trip.
        rto_ms: Length of a timeout; by default a round trip and Linux's floor.

    Source: Padhye et al. 1998, equation 32 with one packet per acknowledgement, divided by its own
    first term.

    >>> bool(timeout_factor(np.array(1e-6), np.array(50.0)) > 0.999)
    True
    >>> round(float(timeout_factor(np.array(0.05), np.array(50.0))), 2)
    0.62
    """
    p = np.clip(event_ratio, 1e-12, 1.0)
    root = np.sqrt(p)
    wait_ms = rtt_ms + MIN_RTO_MS if rto_ms is None else rto_ms
    square = rtt_ms * np.sqrt(2.0 / 3.0) * root
    wait = wait_ms * np.minimum(1.0, 3.0 * np.sqrt(0.375) * root) * p * (1.0 + 32.0 * p * p)
    factor: FloatArray = square / (square + wait)
    return factor


def probed_timeout_ms(rtt_ms: FloatArray, probe_rounds: float) -> FloatArray:
    """Return how long a sender that probes for a lost tail pauses.

    The probe and the recovery it starts take some round trips; the retransmission timer's floor
    ends the wait on long paths. Source: RFC 8985, section 7; RFC 6298.

    >>> probed_timeout_ms(np.array([20.0, 400.0]), 3.0).tolist()
    [60.0, 200.0]
    """
    pause: FloatArray = np.minimum(rtt_ms * probe_rounds, MIN_RTO_MS)
    return pause
