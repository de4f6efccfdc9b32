"""What starting connections costs: handshakes, slow start, and its overshoot."""

import numpy as np

from rl_envs.physics.quantities import INITIAL_WINDOW_PKTS, FloatArray


def slow_start_rounds(window_pkts: FloatArray) -> FloatArray:
    """Return the round trips in which a window doubles from ten packets to `window_pkts`.

    Source: RFC 5681, RFC 6928.

    >>> float(slow_start_rounds(np.array(640.0)))
    6.0
    >>> float(slow_start_rounds(np.array(2.0)))
    0.0
    """
    rounds: FloatArray = np.log2(np.maximum(window_pkts / INITIAL_WINDOW_PKTS, 1.0))
    return rounds


def ramp_lost_s(
    window_pkts: FloatArray, rtt_ms: FloatArray, handshake_rounds: float = 2.0
) -> FloatArray:
    """Return the seconds of steady transfer that starting a stream costs.

    Handshakes send nothing (one round trip for TCP, one for TLS 1.3). Slow start lasts
    log2(w / 10) round trips and sends w - 10 packets, worth (w - 10) / w round trips of the
    steady rate.

    >>> round(float(ramp_lost_s(np.array(640.0), np.array(100.0))), 3)  # 2 + 6 - 63/64 rounds
    0.702
    """
    sent_rounds = 1.0 - np.minimum(INITIAL_WINDOW_PKTS / np.maximum(window_pkts, 1e-9), 1.0)
    rounds = handshake_rounds + slow_start_rounds(window_pkts) - sent_rounds
    lost: FloatArray = rounds * rtt_ms * 1e-3
    return lost


def overshoot_ratio(
    pipe_pkts: FloatArray, sent_pkts: FloatArray, saturation: FloatArray
) -> FloatArray:
    """Return the share of the packets of an interval that the end of slow start drops.

    The last doubling puts up to twice the pipe and its buffer in flight; one pipe of it is lost,
    at most as much as was delivered before it.
    Source: Allman et al., RFC 5681 section 3.1; Jacobson 1988.

    >>> float(overshoot_ratio(np.array(1000.0), np.array(99000.0), np.array(1.0)))
    0.01
    """
    lost = np.minimum(pipe_pkts * saturation, sent_pkts)
    share: FloatArray = lost / np.maximum(lost + sent_pkts, 1e-9)
    return share


def transfer_time_s(
    size_bytes: FloatArray, rate_mbps: FloatArray, rtt_ms: FloatArray, window_pkts: FloatArray
) -> FloatArray:
    """Return the time of one transfer over fresh connections of a summed window.

    Never less than the handshakes and the doublings that its own packets need.

    >>> big = transfer_time_s(np.array(1e9), np.array(80.0), np.array(10.0), np.array(67.0))
    >>> bool(abs(big - 100.0) < 0.1)
    True
    """
    steady = size_bytes * 8e-6 / np.maximum(rate_mbps, 1e-9) + ramp_lost_s(window_pkts, rtt_ms)
    packets = size_bytes / 1448.0
    rounds = 2.0 + np.log2(packets / INITIAL_WINDOW_PKTS + 1.0)
    short: FloatArray = np.where(packets < window_pkts, rounds * rtt_ms * 1e-3, steady)
    return np.minimum(short, steady)
