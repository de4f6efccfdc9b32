"""What a transfer costs in money: bytes that leave a site, and processor time."""

import numpy as np

from rl_envs.physics.quantities import FloatArray

TCP_CPU_S_PER_GBIT = (0.025, 0.047)
"""CPU seconds per Gbit, both ends, for one stream and for many. Own measurement over veth pairs;
flat in the number of streams from four on, so streams have no per-stream CPU price."""


def transport_cpu_s(wire_mb: FloatArray, streams: FloatArray) -> FloatArray:
    """Return the CPU seconds that TCP needs for the bytes on the wire, both ends together.

    >>> float(transport_cpu_s(np.array(125.0), np.array(1.0)))
    0.025
    """
    one, many = TCP_CPU_S_PER_GBIT
    per_gbit = many - (many - one) / np.maximum(streams, 1.0)
    seconds: FloatArray = wire_mb * 8e-3 * per_gbit
    return seconds


def money_usd(
    wire_mb: FloatArray,
    cpu_s: FloatArray,
    egress_usd_per_gb: FloatArray,
    cpu_usd_per_core_h: FloatArray,
) -> FloatArray:
    """Return the price of bytes on the wire (retransmits included by the caller) and CPU time.

    >>> round(float(money_usd(np.array(1000.0), np.array(3600.0), np.array(0.05), np.array(0.04))),
    ...     6)
    0.09
    """
    usd: FloatArray = wire_mb * 1e-3 * egress_usd_per_gb + cpu_s / 3600.0 * cpu_usd_per_core_h
    return usd
