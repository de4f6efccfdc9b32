"""Pre-copy live migration: rounds of copying what was dirtied meanwhile, then a pause."""

from dataclasses import dataclass

import numpy as np

from rl_envs.physics.quantities import FloatArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Migration:
    """One migration a row, arrays [N]: total time with the pause, pause, bytes, rounds."""

    total_s: FloatArray
    downtime_s: FloatArray
    sent_mb: FloatArray
    rounds: FloatArray


def precopy(
    memory_mb: FloatArray,
    dirty_mb_s: FloatArray,
    working_set_mb: FloatArray,
    rate_mb_s: FloatArray,
    *,
    stop_s: float = 0.03,
    max_rounds: int = 30,
) -> Migration:
    """Copy memory, then what each round left dirty, until the rest takes less than `stop_s`.

    v_0 = M, v_{i+1} = min(W, D v_i / G): converges if the dirty rate D stays below the rate G, and
    otherwise ends after `max_rounds` with the writable working set W as its pause. All rates count
    user data. Source: Clark et al. 2005; Akoush et al. 2010.

    >>> one = lambda value: np.array([value])
    >>> slow = precopy(one(4096.0), one(80.0), one(400.0), one(50.0))
    >>> float(slow.rounds[0]), round(float(slow.total_s[0])), float(slow.downtime_s[0])
    (30.0, 322, 8.0)
    >>> fast = precopy(one(4096.0), one(80.0), one(400.0), one(150.0))
    >>> float(fast.rounds[0]), round(float(fast.total_s[0])), round(float(fast.downtime_s[0]), 3)
    (9.0, 33, 0.017)
    """
    volume = memory_mb + 0.0
    total_s = np.zeros_like(volume)
    sent_mb = np.zeros_like(volume)
    rounds = np.zeros_like(volume)
    copying = np.ones_like(volume, dtype=bool)
    for _ in range(max_rounds):
        took_s = np.where(copying, volume / rate_mb_s, 0.0)
        total_s += took_s
        sent_mb += np.where(copying, volume, 0.0)
        rounds += copying
        volume = np.where(copying, np.minimum(working_set_mb, dirty_mb_s * took_s), volume)
        copying = copying & (volume / rate_mb_s >= stop_s)
        if not copying.any():
            break
    downtime_s = volume / rate_mb_s
    return Migration(
        total_s=total_s + downtime_s,
        downtime_s=downtime_s,
        sent_mb=sent_mb + volume,
        rounds=rounds,
    )
