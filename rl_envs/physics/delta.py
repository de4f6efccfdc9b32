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


def repair_s(
    chain: FloatArray,
    loss_events_per_s: FloatArray,
    chunk_bytes: FloatArray,
    decompress_mb_s: FloatArray,
    rtt_ms: FloatArray,
) -> FloatArray:
    """Return the seconds a second in which decoding waits for chains broken by a lost page.

    A loss at a random place of a chain of k makes (k + 1) / 2 pages decode again after one round
    trip in which the sender replays them.

    >>> zero = repair_s(np.array(10.0), np.array(0.0), np.array(4e3), np.array(1e3),
    ...     np.array(50.0))
    >>> float(zero)
    0.0
    """
    again_s = (chain + 1.0) / 2.0 * chunk_bytes / (decompress_mb_s * 1e6)
    waiting: FloatArray = loss_events_per_s * (again_s + rtt_ms * 1e-3)
    return waiting
