"""The clean shape of each type of usage pattern, before noise, gaps and units.

A shape has size 1: standard deviation 1 where it oscillates or wanders, height or whole rise 1
elsewhere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

Series = NDArray[np.float64]

SHORTEST_PERIOD_STEPS: Final = 4.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """A clean window and, where it is periodic, its period in steps (else NaN)."""

    signal: Series
    period_steps: float = float("nan")


def _harmonics(phase: Series, rng: np.random.Generator) -> Series:
    wave = np.cos(2 * np.pi * phase)
    for number in (2, 3):
        angle = 2 * np.pi * (number * phase + rng.random())
        wave = wave + rng.uniform(0.1, 0.7) * np.cos(angle)
    return wave


def _working_day(phase: Series, rng: np.random.Generator) -> Series:
    # Up in the morning, a dip at noon, down at night, in proportions that vary.
    place = phase % 1
    width = rng.uniform(0.06, 0.1)
    peaks = (0.38, 1.0), (0.62, rng.uniform(0.6, 1.0))
    return np.asarray(sum(h * np.exp(-0.5 * ((place - at) / width) ** 2) for at, h in peaks))


def _pulse(phase: Series, rng: np.random.Generator, steps: float) -> Series:
    duty = max(rng.uniform(0.08, 0.2), 1.3 / steps)
    return np.asarray((phase % 1 < duty).astype(np.float64))


def _bumps(phase: Series, rng: np.random.Generator) -> Series:
    return np.asarray(np.exp(rng.uniform(2, 6) * (np.cos(2 * np.pi * phase) - 1)))


WAVEFORMS: Final[dict[str, Callable[[Series, np.random.Generator, float], Series]]] = {
    "sine": lambda phase, _rng, _steps: np.sin(2 * np.pi * phase),
    "harmonics": lambda phase, rng, _steps: _harmonics(phase, rng),
    "square": lambda phase, rng, _steps: (phase % 1 < rng.uniform(0.3, 0.7)).astype(float),
    "sawtooth": lambda phase, _rng, _steps: phase % 1,
    "pulse": _pulse,
    "working_day": lambda phase, rng, _steps: _working_day(phase, rng),
    "triangle": lambda phase, _rng, _steps: np.abs(phase % 1 - 0.5),
    "rectified": lambda phase, _rng, _steps: np.maximum(np.sin(2 * np.pi * phase), 0),
    "bumps": lambda phase, rng, _steps: _bumps(phase, rng),
}
"""What one cycle looks like, as a function of the phase in cycles and the period in steps."""


def periodic(
    rng: np.random.Generator, samples: int, *, waveform: str, least_cycles: float
) -> Shape:
    """Repeat a waveform with one fixed period, as loads do: not quite alike, on a moving level.

    Heights of cycles vary by up to a fifth; in one window of four, two of every seven cycles are
    lower. In half of the windows each, the level lies on a line, and it wanders: an AR(1) process
    that forgets itself within a period.
    """
    longest = samples / least_cycles
    steps = float(np.exp(rng.uniform(np.log(SHORTEST_PERIOD_STEPS), np.log(longest))))
    phase = np.arange(samples) / steps + rng.random()
    wave = WAVEFORMS[waveform](phase, rng, steps)
    wave = wave - wave.mean()
    cycle = np.floor(phase).astype(np.intp)
    height = np.clip(rng.normal(1.0, rng.uniform(0.02, 0.2), size=cycle[-1] + 1), 0.5, 1.5)
    if rng.random() < 0.25:
        height[np.arange(height.size) % 7 >= 5] *= rng.uniform(0.5, 0.9)
    wave = rng.choice((-1.0, 1.0)) * wave * height[cycle]
    wave = wave / wave.std()
    if rng.random() < 0.5:
        wave = wave + rng.uniform(-1.5, 1.5) * np.linspace(-0.5, 0.5, samples)
    if rng.random() < 0.5:
        relaxation = np.exp(rng.uniform(np.log(2.0), np.log(max(3.0, steps))))
        wave = wave + rng.uniform(0.2, 0.8) * _wander(rng, samples, relaxation)
    return Shape(signal=wave, period_steps=steps)


def _wander(rng: np.random.Generator, samples: int, relaxation: float) -> Series:
    """Return an AR(1) process of standard deviation 1 that forgets itself in `relaxation` steps."""
    burn_in = round(8 * relaxation)
    shocks = rng.standard_normal(samples + burn_in)
    path = np.asarray(lfilter([1.0], [1.0, -np.exp(-1 / relaxation)], shocks))[burn_in:]
    return np.asarray(path / path.std())


def cyclic(rng: np.random.Generator, samples: int) -> Shape:
    """Swing without a fixed period: an AR(2) process that forgets its phase in 0.7 to 2 cycles.

    x_t = 2 r cos(2 pi / p) x_{t-1} - r^2 x_{t-2} + e_t, whose autocorrelation falls like r^lag;
    Box and Jenkins 1970, section 3.2.4.
    """
    steps = float(np.exp(rng.uniform(np.log(6.0), np.log(max(8.0, samples / 12)))))
    damping = np.exp(-1 / (rng.uniform(0.7, 2.0) * steps))
    poles = [1.0, -2 * damping * np.cos(2 * np.pi / steps), damping**2]
    burn_in = round(20 * steps)
    path = np.asarray(lfilter([1.0], poles, rng.standard_normal(samples + burn_in)))[burn_in:]
    return Shape(signal=path / path.std())


def bursty(rng: np.random.Generator, samples: int) -> Shape:
    """Rise from a floor 4 to 24 times, at random moments, briefly and to varied heights.

    Moments are those of a Poisson process of which that many fell into the window; stays are
    exponential with a mean, drawn for the window, from one sample to 2 percent of it.
    """
    count = int(rng.integers(4, 25))
    starts = np.sort(rng.uniform(0.02, 0.96, size=count)) * samples
    mean = np.exp(rng.uniform(0.0, np.log(0.02 * samples)))
    lengths = np.clip(rng.exponential(mean, size=count), 1, max(1.0, 0.04 * samples))
    heights = rng.uniform(0.6, 1.4, size=count)
    signal = np.zeros(samples)
    for start, length, height in zip(starts, lengths, heights, strict=True):
        first = int(start)
        stop = first + max(1, round(float(length)))
        signal[first:stop] = np.maximum(signal[first:stop], height)
    return Shape(signal=signal)


def spike(rng: np.random.Generator, samples: int) -> Shape:
    """Rise once, for at most a hundredth of the window (at least one sample)."""
    width = int(rng.integers(1, max(1, samples // 100) + 1))
    signal = np.zeros(samples)
    start = int(rng.integers(round(0.03 * samples), round(0.97 * samples) - width))
    signal[start : start + width] = 1.0
    return Shape(signal=signal)


def _excursion(rng: np.random.Generator, samples: int, low: float, high: float) -> Series:
    """Return a rise to 1 and back that lasts a share of the window, with edges of its tenth."""
    width = rng.uniform(low, high)
    start = rng.uniform(0.06, 0.94 - width)
    place = np.arange(samples) / samples
    edge = max(rng.uniform(0.0, 0.1) * width, 1e-9)
    up = np.clip((place - start) / edge, 0, 1)
    down = np.clip((start + width - place) / edge, 0, 1)
    return np.minimum(up, down)


def valley(rng: np.random.Generator, samples: int) -> Shape:
    """Fall once below the level for 5 to 40 percent of the window and come back."""
    hold = _excursion(rng, samples, 0.05, 0.4)
    if rng.random() < 0.4:
        # A rounded valley: the same span as half a cosine.
        inside = np.flatnonzero(hold > 0)
        hold[inside] = np.sin(np.linspace(0, np.pi, inside.size))
    return Shape(signal=-hold)


def plateau(rng: np.random.Generator, samples: int) -> Shape:
    """Rise once to a higher level, stay for 8 to 45 percent of the window, and come back."""
    return Shape(signal=_excursion(rng, samples, 0.08, 0.45))


def level_shift(rng: np.random.Generator, samples: int) -> Shape:
    """Move once to another level, within a fiftieth of the window, and stay."""
    place = np.arange(samples) / samples
    start = rng.uniform(0.15, 0.85)
    edge = max(rng.uniform(0.0, 0.02), 1e-9)
    return Shape(signal=rng.choice((-1.0, 1.0)) * np.clip((place - start) / edge, 0, 1))


def _exponential(rng: np.random.Generator, samples: int) -> Series:
    """Return exp(rate t) from 0 to 1 over the window: it grows 12 to 3000-fold."""
    rate = rng.uniform(2.5, 8.0)
    return np.asarray(np.expm1(rate * np.linspace(0, 1, samples)) / np.expm1(rate))


def irregular(rng: np.random.Generator, samples: int) -> Shape:
    """Wander, jump or walk at random.

    An AR(1) process that forgets itself within 1 to 6 percent of the window, levels that stay that
    long, or, three times in ten, a random walk.
    """
    relaxation = max(4.0, rng.uniform(0.01, 0.06) * samples)
    kind = rng.random()
    if kind < 0.45:
        return Shape(signal=_wander(rng, samples, relaxation))
    shocks = rng.standard_normal(samples)
    path = (
        np.cumsum(shocks)
        if kind < 0.75
        else shocks[np.cumsum(rng.random(samples) < 1 / relaxation)]
    )
    spread = path.std()
    return Shape(signal=path / spread if spread > 0 else shocks)


SHAPES: Final[dict[str, Callable[[np.random.Generator, int], Shape]]] = {
    "cyclic": cyclic,
    "bursty": bursty,
    "spike": spike,
    "valley": valley,
    "plateau": plateau,
    "level_shift": level_shift,
    "linear_growth": lambda _rng, samples: Shape(signal=np.linspace(0, 1, samples)),
    "linear_decline": lambda _rng, samples: Shape(signal=np.linspace(1, 0, samples)),
    "exponential_growth": lambda rng, samples: Shape(signal=_exponential(rng, samples)),
    "exponential_decay": lambda rng, samples: Shape(signal=_exponential(rng, samples)[::-1]),
    "irregular": irregular,
    "steady_state": lambda _rng, samples: Shape(signal=np.zeros(samples)),
}
"""Every type but `periodic`, which also takes a waveform."""
