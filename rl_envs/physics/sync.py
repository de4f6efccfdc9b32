"""State synchronisation to replicas: how stale they are, what it sends, what collides."""

import numpy as np

from rl_envs.physics.quantities import FloatArray

DIGEST_BYTES = 4096.0
"""What one exchange costs before any state is sent: framing, and 256 digests of key ranges.

Source: anti-entropy over hash trees, Demers et al. 1987; DeCandia et al. 2007.
"""


def distinct_keys(writes: FloatArray, keys: FloatArray) -> FloatArray:
    """Return how many of `keys` equally likely keys a number of writes touches.

    Later writes to a key replace earlier ones, so a longer interval sends less.
    Source: the occupancy problem, Feller 1968, section IV.2.

    >>> round(float(distinct_keys(np.array(1000.0), np.array(1000.0))), 1)
    632.1
    """
    touched: FloatArray = -keys * np.expm1(-writes / keys)
    return touched


def staleness_ms(interval_ms: FloatArray, spread_ms: FloatArray) -> FloatArray:
    """Return the mean age of replica state: half an interval, then the way to the last replica.

    >>> float(staleness_ms(np.array(1000.0), np.array(80.0)))
    580.0
    """
    age: FloatArray = 0.5 * interval_ms + spread_ms
    return age


def sync_mbps(
    interval_ms: FloatArray,
    write_ops: FloatArray,
    keys: FloatArray,
    key_bytes: FloatArray,
    replicas: FloatArray,
) -> FloatArray:
    """Return the rate at which state leaves the leader: keys touched, and the digests to compare.

    >>> args = (np.array(100.0), np.array(500.0), np.array(64.0), np.array(2.0))
    >>> often, seldom = sync_mbps(np.array(100.0), *args), sync_mbps(np.array(10_000.0), *args)
    >>> bool(often > seldom)
    True
    """
    touched = distinct_keys(write_ops * interval_ms * 1e-3, keys)
    rate: FloatArray = replicas * (touched * key_bytes + DIGEST_BYTES) * 8e-3 / interval_ms
    return rate


def conflict_ratio(age_ms: FloatArray, write_ops: FloatArray, keys: FloatArray) -> FloatArray:
    """Return the share of writes that meet another write the replica has not seen yet.

    >>> float(conflict_ratio(np.array(0.0), np.array(100.0), np.array(1000.0)))
    0.0
    """
    ratio: FloatArray = -np.expm1(-write_ops * age_ms * 1e-3 / keys)
    return ratio
