"""Array type and the few constants that several laws share."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

MTU_BYTES: Final = 1500.0
"""Packet on the wire; what a link's rate and buffer are counted in."""

MSS_BYTES: Final = 1448.0
"""Payload of such a packet under IPv4 and TCP with timestamps."""

INITIAL_WINDOW_PKTS: Final = 10.0
"""Congestion window of a new connection. Source: RFC 6928."""

CUBIC, BBR, RENO = 0.0, 1.0, 2.0
"""Index of each congestion control in `novacron.params.groups.ALGORITHMS`."""


def packets_in_flight(capacity_mbps: FloatArray, rtt_ms: FloatArray) -> FloatArray:
    """Return the bandwidth-delay product in packets.

    >>> float(packets_in_flight(np.array(120.0), np.array(100.0)))
    1000.0
    """
    packets: FloatArray = capacity_mbps * rtt_ms * 1e3 / (8.0 * MTU_BYTES)
    return packets


def window_rate_mbps(window_pkts: FloatArray, rtt_ms: FloatArray) -> FloatArray:
    """Return the payload rate of a window sent once a round trip.

    >>> round(float(window_rate_mbps(np.array(1000.0), np.array(100.0))), 2)
    115.84
    """
    rate: FloatArray = window_pkts * MSS_BYTES * 8.0 / (rtt_ms * 1e3)
    return rate
