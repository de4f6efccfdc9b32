"""How large a congestion window is under a given rate of loss events, and the inverse.

Loss is counted in events: packets lost in one round trip halve the window once.
"""

from typing import Final

import numpy as np

from rl_envs.physics.quantities import BBR, RENO, FloatArray

CUBIC_C: Final = 0.4
CUBIC_BETA: Final = 0.7
RENO_BETA: Final = 0.5
MIN_RTO_MS: Final = 200.0
"""Linux's floor of the retransmission timeout above the round trip."""

_CUBIC_SCALE = (CUBIC_C * (3 + CUBIC_BETA) / (4 * (1 - CUBIC_BETA))) ** 0.25
SMALL_WINDOW_PKTS2: Final = 5.0
"""Bounds the inverse law where windows are a few packets and streams live from timeout to timeout:
a link shared by ever more flows tends to a loss of 0.3. First estimate, see `TcpCoefficients`."""


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


def window_pkts(algorithm: FloatArray, event_ratio: FloatArray, rtt_ms: FloatArray) -> FloatArray:
    """Return the mean loss-limited window of `algorithm`; unlimited for bbr."""
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


def timeout_factor(event_ratio: FloatArray, rtt_ms: FloatArray) -> FloatArray:
    """Return the share of the square-root rate that is left after retransmission timeouts.

    Source: Padhye et al. 1998, equation 32 with one packet per acknowledgement, divided by its own
    first term.

    >>> bool(timeout_factor(np.array(1e-6), np.array(50.0)) > 0.999)
    True
    >>> round(float(timeout_factor(np.array(0.05), np.array(50.0))), 2)
    0.62
    """
    p = np.clip(event_ratio, 1e-12, 1.0)
    root = np.sqrt(p)
    rto_ms = rtt_ms + MIN_RTO_MS
    square = rtt_ms * np.sqrt(2.0 / 3.0) * root
    wait = rto_ms * np.minimum(1.0, 3.0 * np.sqrt(0.375) * root) * p * (1.0 + 32.0 * p * p)
    factor: FloatArray = square / (square + wait)
    return factor
