"""The laws between load and what is measured: queues, TCP, many-core servers, counting.

Shape legend: T intervals. All functions work element by element.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from scipy.special import ndtri, pdtrik

from novacron.telemetry.synthesize.streams import Series

MSS_BITS: Final = 1460 * 8
"""Payload of one TCP segment on an Ethernet path."""

MATHIS_CONSTANT: Final = 1.22
"""sqrt(3/2): Mathis et al., CCR 27(3), 1997, for one acknowledgement per segment."""

BBR_LOSS_TOLERANCE: Final = 0.2
"""Loss at which BBR's throughput collapses: Cardwell et al., ACM Queue 14(5), 2016, figure 8."""

_LOADS: Final = np.linspace(0.0, 3.0, 3001)
_MANY: Final = 100.0


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueState:
    """Stationary M/M/1/K queue: mean and standard deviation of jobs in it, share turned away."""

    mean_jobs: Series
    sd_jobs: Series
    blocked_ratio: Series


@lru_cache(maxsize=16)
def _queue_table(places: int) -> tuple[Series, Series, Series]:
    jobs = np.arange(places + 1, dtype=np.float64)
    # p_n is proportional to load^n; in logs, so that load^K does not overflow.
    with np.errstate(divide="ignore"):
        log_load = np.log(_LOADS)[:, None]
    weight = np.where(jobs == 0, 0.0, jobs * np.where(np.isinf(log_load), -1e3, log_load))
    share = np.exp(weight - weight.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    mean = (share * jobs).sum(axis=1)
    variance = (share * jobs**2).sum(axis=1) - mean**2
    return mean, np.sqrt(np.maximum(variance, 0.0)), share[:, -1]


def finite_queue(load: Series, places: int) -> QueueState:
    """Return the state of an M/M/1/K queue at each load (offered / capacity), K = `places`.

    Below load 1 it nears load/(1 - load) jobs, above it fills up and turns away 1 - 1/load
    (Kleinrock, Queueing Systems I, 1975, section 3.6). Loads above 3 count as 3.
    """
    mean, sd, blocked = _queue_table(places)
    return QueueState(
        mean_jobs=np.interp(load, _LOADS, mean),
        sd_jobs=np.interp(load, _LOADS, sd),
        blocked_ratio=np.interp(load, _LOADS, blocked),
    )


def mathis_limit_mbps(streams: Series, rtt_ms: Series, loss_ratio: Series) -> Series:
    """Return what loss-based TCP carries at most: streams MSS/RTT 1.22/sqrt(loss)."""
    loss = np.maximum(loss_ratio, 1e-9)
    per_stream_mbps = MSS_BITS / (rtt_ms * 1e-3) * MATHIS_CONSTANT / np.sqrt(loss) / 1e6
    return np.asarray(streams * per_stream_mbps)


def bbr_share(loss_ratio: Series) -> Series:
    """Return the share of the available rate that BBR keeps: (1 - p) / (1 + (p/0.2)^4)."""
    return np.asarray((1 - loss_ratio) / (1 + (loss_ratio / BBR_LOSS_TOLERANCE) ** 4))


def waiting_ratio(load: Series, servers: float) -> Series:
    """Return mean wait / service time of a many-server queue, load = share of servers busy.

    load^(sqrt(2(c+1)) - 1) / (c (1 - load)): Sakasegawa, Annals of the Institute of Statistical
    Mathematics 29, 1977. Loads above 0.995 count as 0.995: beyond it callers give up.
    """
    busy = np.clip(load, 0.0, 0.995)
    return np.asarray(busy ** (np.sqrt(2 * (servers + 1)) - 1) / (servers * (1 - busy)))


def poisson_counts(uniform: Series, mean: Series) -> Series:
    """Return Poisson counts from one uniform draw each, by inversion.

    One draw per interval, whatever its mean: changing a mean changes no later draw. Means above
    100 use the normal approximation.
    """
    u = np.clip(uniform, 1e-12, 1 - 1e-12)
    small = np.minimum(mean, _MANY)
    with np.errstate(all="ignore"):
        exact = np.ceil(pdtrik(u, np.maximum(small, 1e-12)))
    exact = np.where(u <= np.exp(-small), 0.0, np.nan_to_num(exact))
    wide = np.rint(mean + np.sqrt(mean) * ndtri(u))
    return np.asarray(np.maximum(np.where(mean > _MANY, wide, exact), 0.0))
