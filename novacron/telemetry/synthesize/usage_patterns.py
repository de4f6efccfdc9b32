"""Windows of resource usage with a known type and period, for training and testing recognition.

The label is the process that made the window, never a threshold on its samples. `SEEN` holds the
ranges for training, `UNSEEN` ranges, waveforms and noise kinds that training never draws.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from novacron.errors import ConfigError
from novacron.telemetry.synthesize.usage_shapes import SHAPES, WAVEFORMS, Shape, periodic

Series = NDArray[np.float64]
NoiseKind = Literal["gauss", "laplace", "gamma", "ar1", "student_t", "quantised", "proportional"]

STEPS_S: Final = (1.0, 5.0, 15.0, 60.0, 300.0, 600.0, 3600.0, 86_400.0)
"""Sampling steps; nothing but the period in seconds depends on them."""

NOISE_AT_ONE: Final[dict[str, float]] = {
    "periodic": 1.0,
    "cyclic": 0.5,
    "bursty": 0.2,
    "spike": 0.125,
    "valley": 0.33,
    "plateau": 0.33,
    "level_shift": 0.33,
    "linear_growth": 0.25,
    "linear_decline": 0.25,
    "exponential_growth": 0.08,
    "exponential_decay": 0.08,
    "irregular": 0.4,
    "steady_state": 1.0,
}
"""Standard deviation of the noise at noise level 1, as a share of the size of the shape: its
standard deviation where it oscillates or wanders, its height or its whole rise elsewhere."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PatternRanges:
    """From what the parameters of a window are drawn, evenly or evenly in the logarithm.

    `noise_level` scales `NOISE_AT_ONE`; `clean_ratio` of the windows have no noise at all (never
    those of `steady_state`, which is nothing but noise). `cycles` is the least number of periods.
    """

    samples: tuple[int, int] = (96, 2048)
    noise_level: tuple[float, float] = (0.08, 1.0)
    noise_kinds: tuple[NoiseKind, ...] = ("gauss", "laplace", "gamma", "ar1")
    waveforms: tuple[str, ...] = (
        "sine",
        "harmonics",
        "square",
        "sawtooth",
        "pulse",
        "working_day",
    )
    missing_ratio: tuple[float, float] = (0.0, 0.2)
    clean_ratio: float = 0.05
    cycles: float = 3.0

    def __post_init__(self) -> None:
        if self.samples[0] < 96 or self.samples[1] < self.samples[0]:
            raise ConfigError(
                field="samples", got=self.samples, expected="lowest <= highest, from 96 up"
            )
        unknown = set(self.waveforms) - set(WAVEFORMS)
        if unknown:
            raise ConfigError(
                field="waveforms", got=sorted(unknown), expected=", ".join(WAVEFORMS)
            )


SEEN: Final = PatternRanges()
UNSEEN: Final = PatternRanges(
    samples=(2100, 3200),
    noise_level=(1.0, 1.3),
    noise_kinds=("student_t", "quantised", "proportional"),
    waveforms=("triangle", "rectified", "bumps"),
    missing_ratio=(0.2, 0.35),
    clean_ratio=0.0,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class PatternWindow:
    """One labelled window: `usage` from 0 up, a sample every `step_s` seconds, NaN where missing.

    `period_s` is NaN unless the type is `periodic`.
    """

    type: str
    usage: Series
    step_s: float
    period_s: float
    noise_level: float
    noise_kind: str


def draw_windows(
    types: tuple[str, ...], each: int, seed: int, ranges: PatternRanges = SEEN
) -> list[PatternWindow]:
    """Draw `each` windows of every type; window k of a type depends on seed, type and k alone."""
    return [
        draw_window(name, np.random.default_rng([seed, _number(name), place]), ranges)
        for name in types
        for place in range(each)
    ]


def draw_window(
    name: str, rng: np.random.Generator, ranges: PatternRanges = SEEN
) -> PatternWindow:
    """Draw one window of a type.

    Raises:
        ConfigError: There is no such type.
    """
    _number(name)
    samples = round(_log_even(rng, *ranges.samples))
    shape = _shape(name, rng, samples, ranges)
    level = _log_even(rng, *ranges.noise_level)
    if rng.random() < ranges.clean_ratio and name != "steady_state":
        level = 0.0
    kind: NoiseKind = rng.choice(np.array(ranges.noise_kinds, dtype=object))
    clean = shape.signal
    noise = NOISE_AT_ONE[name] * level * _noise(kind, rng, clean)
    usage = _scaled(clean + noise, rng)
    if kind == "quantised":
        # A counter that knows few values: a fortieth of the range each.
        grain = np.ptp(usage) / 40
        usage = np.round(usage / grain) * grain
    lost = _gaps(rng, samples, rng.uniform(*ranges.missing_ratio))
    if name == "spike":
        # A spike in a gap would leave a window that shows something else.
        lost &= shape.signal < 0.5
    step_s = float(rng.choice(STEPS_S))
    return PatternWindow(
        type=name,
        usage=np.where(lost, np.nan, usage),
        step_s=step_s,
        period_s=shape.period_steps * step_s,
        noise_level=level,
        noise_kind=kind,
    )


def at_noise(ranges: PatternRanges, level: float) -> PatternRanges:
    """Return the ranges with the noise level fixed, for a curve over it."""
    return replace(ranges, noise_level=(level, level), clean_ratio=0.0)


def _number(name: str) -> int:
    if name not in NOISE_AT_ONE:
        raise ConfigError(field="type", got=name, expected=", ".join(NOISE_AT_ONE))
    return tuple(NOISE_AT_ONE).index(name)


def _shape(name: str, rng: np.random.Generator, samples: int, ranges: PatternRanges) -> Shape:
    if name == "periodic":
        waveform = str(rng.choice(ranges.waveforms))
        return periodic(rng, samples, waveform=waveform, least_cycles=ranges.cycles)
    return SHAPES[name](rng, samples)


def _log_even(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _noise(kind: NoiseKind, rng: np.random.Generator, clean: Series) -> Series:
    """Return noise of standard deviation 1 around 0."""
    count = clean.size
    if kind == "proportional":
        span = np.ptp(clean)
        weight = 0.4 + 1.2 * (clean - clean.min()) / span if span > 0 else np.ones(count)
        return np.asarray(weight * rng.standard_normal(count))
    return _STATIONARY[kind](rng, count)


def _ar1(rng: np.random.Generator, count: int) -> Series:
    phi = rng.uniform(0.1, 0.5)
    shocks = rng.standard_normal(count + 50)
    path: Series = np.asarray(lfilter([np.sqrt(1 - phi**2)], [1.0, -phi], shocks))
    return path[50:]


def _gamma(rng: np.random.Generator, count: int) -> Series:
    # From nearly symmetric to exponential, as rates of disks and networks are.
    form = _log_even(rng, 1.0, 6.0)
    return np.asarray((rng.gamma(form, size=count) - form) / np.sqrt(form))


_STATIONARY: Final[dict[str, Callable[[np.random.Generator, int], Series]]] = {
    "gauss": lambda rng, count: rng.standard_normal(count),
    "laplace": lambda rng, count: rng.laplace(size=count) / np.sqrt(2),
    "gamma": _gamma,
    "ar1": _ar1,
    "student_t": lambda rng, count: rng.standard_t(5, size=count) / np.sqrt(5 / 3),
    "quantised": lambda rng, count: rng.standard_normal(count),
}


def _scaled(usage: Series, rng: np.random.Generator) -> Series:
    """Bring a window to some unit: any scale, above 0."""
    scale = _log_even(rng, 1e-3, 1e4)
    floor = rng.uniform(0, 2) * np.ptp(usage)
    return np.asarray(scale * (usage - usage.min() + floor))


def _gaps(rng: np.random.Generator, count: int, missing_ratio: float) -> NDArray[np.bool_]:
    """Lose single samples and, in half of the windows, one stretch; both ends stay."""
    lost = np.zeros(count, dtype=bool)
    stretch = round(count * missing_ratio / 4) if rng.random() < 0.5 else 0
    start = int(rng.integers(1, count - stretch - 1))
    lost[start : start + stretch] = True
    singles = max(0, round(count * missing_ratio) - stretch)
    lost[rng.choice(np.arange(1, count - 1), size=singles, replace=False)] = True
    return lost
