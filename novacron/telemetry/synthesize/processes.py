"""Latent processes: what drives a link or node before any law of queues applies.

Shape legend: T intervals of the clock. Each function is causal: value t uses draws up to t only.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from novacron.telemetry.synthesize.streams import Clock, Series


def ornstein_uhlenbeck(
    rng: np.random.Generator, clock: Clock, *, sd: float, relaxation_s: float
) -> Series:
    """Return a mean-reverting walk [T] around 0, stationary from its first value.

    x_0 = sd e_0; x_t = phi x_{t-1} + sd sqrt(1 - phi^2) e_t with phi = exp(-step/relaxation), the
    exact sampling of the Ornstein-Uhlenbeck process (Gillespie, Phys. Rev. E 54, 1996, eq. 1.9).
    """
    phi = float(np.exp(-clock.step_s / relaxation_s))
    shocks = rng.standard_normal(clock.n) * (sd * np.sqrt(1 - phi**2))
    shocks[0] /= np.sqrt(1 - phi**2)
    return np.asarray(lfilter([1.0], [1.0, -phi], shocks))


def regimes(
    rng: np.random.Generator, clock: Clock, *, mean_stay_s: Sequence[float]
) -> NDArray[np.int64]:
    """Return the state [T] of a Markov chain: it stays exponentially long, then jumps evenly.

    Two states make an interrupted Poisson (on/off) source; the share of time in a state is its
    mean stay over the sum of them.
    """
    stay_s = np.asarray(mean_stay_s, dtype=np.float64)
    leave = -np.expm1(-clock.step_s / stay_s)
    begun = np.searchsorted(np.cumsum(stay_s) / stay_s.sum(), rng.random())
    state = min(int(begun), stay_s.size - 1)
    path = []
    for leaves, target in rng.random((clock.n, 2)).tolist():
        path.append(state)
        if leaves < leave[state]:
            jump = int(target * (stay_s.size - 1))
            state = jump if jump < state else jump + 1
    return np.array(path, dtype=np.int64)


def bursts(
    rng: np.random.Generator, clock: Clock, *, mean_on_s: float, mean_off_s: float
) -> Series:
    """Return 0/1 [T]: an on/off source that begins in either state."""
    return regimes(rng, clock, mean_stay_s=(mean_off_s, mean_on_s)).astype(np.float64)


def periodic_bursts(
    rng: np.random.Generator, clock: Clock, *, period_s: float, duty_ratio: float, wander: float
) -> Series:
    """Return the share of each interval [T] in which a nearly periodic source is on.

    Its phase advances by step/period (1 + wander e_t), e_t standard normal: players that fetch a
    chunk every few seconds look like this. Intervals longer than a period see the mean duty.
    """
    noise = rng.standard_normal(clock.n)
    advance = clock.step_s / period_s * (1 + wander * noise)
    # A phase cannot run backwards, however large a draw.
    end = np.cumsum(np.maximum(advance, 0.0))
    begin = np.concatenate(([0.0], end[:-1]))
    width = np.maximum(end - begin, 1e-12)
    return np.asarray((_on_until(end, duty_ratio) - _on_until(begin, duty_ratio)) / width)


def _on_until(phase: Series, duty_ratio: float) -> Series:
    """Return how much of [0, phase] lies in the on part of each cycle."""
    whole = np.floor(phase)
    return np.asarray(whole * duty_ratio + np.minimum(phase - whole, duty_ratio))


def daily_cycle(
    clock: Clock, *, lon_deg: float, peak_h: float, swing: float, weekend: float
) -> Series:
    """Return the logarithm of a load [T] over the local day and week.

    swing cos(2 pi (h - peak)/24) + swing/3 cos(4 pi (h - peak)/24), less `weekend` from Saturday
    00:00 to Monday 00:00: a broad working day with a narrower peak.
    """
    week_h = clock.week_hours(lon_deg)
    angle = 2 * np.pi * (week_h - peak_h) / 24
    day = swing * np.cos(angle) + swing / 3 * np.cos(2 * angle)
    return np.asarray(day - weekend * (week_h >= 120))


def site_activity(
    rng: np.random.Generator, clock: Clock, *, lon_deg: float, peak_h: float
) -> Series:
    """Return how busy a site is [T], around 1: the cause that its links and nodes share."""
    cycle = daily_cycle(clock, lon_deg=lon_deg, peak_h=peak_h, swing=0.45, weekend=0.35)
    mood = ornstein_uhlenbeck(rng, clock, sd=0.12, relaxation_s=2 * 3600)
    return np.asarray(np.exp(cycle + mood))


def lagged(values: Series) -> Series:
    """Return the series one interval later [T]; the first value stands in for the one before it."""
    return np.concatenate((values[:1], values[:-1]))


def trailing_mean(values: Series, count: int) -> Series:
    """Return the mean of the last `count` values [T], of fewer at the start."""
    total = np.concatenate(([0.0], np.cumsum(values)))
    at = np.arange(1, values.size + 1)
    first = np.maximum(at - count, 0)
    return np.asarray((total[at] - total[first]) / (at - first))


def ewma(values: Series, alpha: float) -> Series:
    """Return the exponentially weighted mean up to and including each value [T]."""
    start = [(1 - alpha) * values[0]]
    return np.asarray(lfilter([alpha], [1.0, alpha - 1.0], values, zi=start)[0])
