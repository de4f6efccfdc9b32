"""What a node draws: idle power, and a convex rise with load."""

from typing import Final

IDLE_W_PER_CORE: Final = 2.2
PEAK_W_PER_CORE: Final = 6.0
LINEAR_SHARE: Final = 0.65
"""The rest rises with the cube of the load: clock and voltage go up together."""


def node_power_w(load_ratio: float, cores: float, *, efficiency_ratio: float = 1.0) -> float:
    """Return the power of one node in W.

    P = idle + (peak - idle) (a u + (1 - a) u^3), a = `LINEAR_SHARE`. Convex, as the reported
    SPECpower curves of servers are above half load (Barroso, Hoelzle and Ranganathan 2018, ch. 5);
    the constants are those of a two-socket server of about 2019, rounded.

    Args:
        load_ratio: CPU load, clipped to [0, 1].
        cores: Cores of the node.
        efficiency_ratio: Multiplies everything; below 1 is a thriftier node.
    """
    load = min(max(load_ratio, 0.0), 1.0)
    rise = LINEAR_SHARE * load + (1 - LINEAR_SHARE) * load**3
    per_core = IDLE_W_PER_CORE + (PEAK_W_PER_CORE - IDLE_W_PER_CORE) * rise
    return cores * efficiency_ratio * per_core
