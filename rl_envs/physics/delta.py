"""Delta encoding against earlier page versions: how often there is one, and what chains cost."""

import numpy as np

from rl_envs.physics.quantities import FloatArray

LOCALITY_POWER = 0.4
"""Hit ratio grows as memory to this power: 1 - alpha of a Zipf law with alpha = 0.6."""


def baseline_hit_ratio(
    memory_mib: FloatArray, working_set_mib: FloatArray, power: float = LOCALITY_POWER
) -> FloatArray:
    """Return the share of dirty pages whose last version is still held.

    Pages are dirtied with Zipf popularity, for which the most popular share x of them draws
    x^(1 - alpha) of the writes. Source: Breslau et al. 1999, section 4.

    >>> float(baseline_hit_ratio(np.array(512.0), np.array(256.0)))
    1.0
    >>> round(float(baseline_hit_ratio(np.array(32.0), np.array(1024.0))), 3)
    0.25
    """
    hit: FloatArray = np.minimum(memory_mib / working_set_mib, 1.0) ** power
    return hit


def whole_page_ratio(hit_ratio: FloatArray, chain: FloatArray) -> FloatArray:
    """Return the share of pages sent whole: no baseline held, or the chain is at its end.

    >>> float(whole_page_ratio(np.array(1.0), np.array(4.0)))
    0.25
    """
    whole: FloatArray = 1.0 - hit_ratio * (1.0 - 1.0 / chain)
    return whole


def mixed(whole: FloatArray, plain: FloatArray, delta: FloatArray) -> FloatArray:
    """Return ratio or speed of a stream of bytes of which the share `whole` is not a delta.

    Bytes out, and seconds, add up; so ratios and speeds mix harmonically.

    >>> round(float(mixed(np.array(0.5), np.array(2.0), np.array(4.0))), 4)
    2.6667
    """
    value: FloatArray = 1.0 / (whole / plain + (1.0 - whole) / delta)
    return value


def recovery_s(
    chain: FloatArray, working_set_mb: FloatArray, decode_mb_s: FloatArray
) -> FloatArray:
    """Return the time in which a replica that restarts rebuilds its working set.

    Every page decodes its last whole version and, on average, half a chain of deltas after it.

    >>> float(recovery_s(np.array(9.0), np.array(1000.0), np.array(500.0)))
    10.0
    """
    seconds: FloatArray = working_set_mb * (chain + 1.0) / 2.0 / decode_mb_s
    return seconds


def mean_outage_s(restarts_per_s: FloatArray, recovery_s: FloatArray) -> FloatArray:
    """Return the mean wait that restarts add: the share of time in recovery, times half of one.

    >>> float(mean_outage_s(np.array(0.001), np.array(0.0)))
    0.0
    """
    down = restarts_per_s * recovery_s
    wait: FloatArray = down / (1.0 + down) * 0.5 * recovery_s
    return wait
