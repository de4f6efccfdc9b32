"""Anomalies injected on purpose into a normal series, with the truth of where and what.

Sizes are in standard deviations of the whole series, daily pattern and heavy tail included, so that
the same request is about as hard on any metric.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from novacron.errors import ConfigError

Floats = NDArray[np.float64]
InjectionKind = Literal["spike", "level", "noise", "flat", "ramp"]
INJECTION_KINDS: Final[tuple[InjectionKind, ...]] = get_args(InjectionKind)

_LONG_DAYS: Final = 0.25
_SPIKE_SAMPLES: Final = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Injection:
    """One injected anomaly: samples `start` to `end`, both touched, and its size."""

    kind: InjectionKind
    start: int
    end: int
    size: float


def inject(
    value_T: Floats,
    rng: np.random.Generator,
    *,
    day_samples: int,
    quiet_samples: int,
    kinds: Sequence[InjectionKind] = INJECTION_KINDS,
    size: float = 6.0,
) -> tuple[Floats, tuple[Injection, ...]]:
    """Return a copy with one anomaly of each kind, in random order and places.

    Args:
        value_T: A finite series without anomalies.
        rng: Source of order, places, signs and noise.
        day_samples: Samples of a day: all kinds but the spike last a quarter of one.
        quiet_samples: Samples at the start that stay as they are; half a day of peace, or what the
            series has room for, lies between two anomalies.
        kinds: What to inject.
        size: Standard deviations of the series by which spike, level and ramp leave it; half of
            it is the standard deviation of the added noise.

    Raises:
        ConfigError: The series is too short for that many.
    """
    long = max(8, round(_LONG_DAYS * day_samples))
    slot = (len(value_T) - quiet_samples) // max(len(kinds), 1)
    if slot < 2 * long:
        raise ConfigError(
            field="value_T",
            got=f"{len(value_T)} samples",
            expected=f"at least {quiet_samples + 2 * long * len(kinds)} for {len(kinds)} kinds",
        )
    out_T = value_T.copy()
    spread = float(np.std(value_T))
    made = []
    for place, which in enumerate(rng.permutation(len(kinds))):
        kind = kinds[which]
        length = _SPIKE_SAMPLES if kind == "spike" else long
        start = quiet_samples + place * slot + int(rng.integers(slot - 2 * long + 1))
        part = slice(start, start + length)
        out_T[part] = _changed(kind, value_T[part], spread * size, rng)
        made.append(Injection(kind=kind, start=start, end=start + length - 1, size=size))
    return out_T, tuple(made)


def _changed(
    kind: InjectionKind, value_T: Floats, height: float, rng: np.random.Generator
) -> Floats:
    sign = float(rng.choice([-1.0, 1.0]))
    if kind == "flat":
        return np.full(len(value_T), value_T[0])
    if kind == "noise":
        return value_T + rng.normal(0, height / 2, len(value_T))
    if kind == "ramp":
        return value_T + sign * height * np.linspace(0, 1, len(value_T))
    return value_T + sign * height
