"""Demand of a service over months, with the causes that capacity planning has to cope with.

log demand = level + growth + week + day + year + slow wander + noise, and at times a lasting step.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pandas as pd
from scipy.signal import lfilter

START: Final = datetime(2024, 1, 1, tzinfo=UTC)
"""A Monday."""
_DAY_S: Final = 86_400


@dataclass(frozen=True, kw_only=True, slots=True)
class DemandKind:
    """Strengths, all on the logarithmic scale; the draw of a series lies around them."""

    growth_per_year: float = 0.2
    weekly: float = 0.15
    daily: float = 0.3
    yearly: float = 0.1
    wander: float = 0.12
    """Standard deviation of the slow part, which forgets within a month."""
    noise: float = 0.05
    shift_probability: float = 0.2
    """That the level makes one lasting step somewhere."""


def generate_demand(
    seed: int, *, series: int, days: int, step_s: int = _DAY_S, kind: DemandKind | None = None
) -> "pd.DataFrame":
    """Draw demand series, one column `demand_<n>` each, on a UTC DatetimeIndex.

    Same arguments, same bytes; series n does not depend on how many there are.

    Args:
        seed: Decides everything.
        series: Number of columns.
        days: Length.
        step_s: 86400 or 3600.
        kind: Strengths.
    """
    steps = days * _DAY_S // step_s
    index = pd.date_range(START, periods=steps, freq=pd.Timedelta(seconds=step_s))
    chosen = kind or DemandKind()
    columns: dict[str, Any] = {
        f"demand_{n}": _one(np.random.default_rng([seed, n]), steps, step_s, chosen)
        for n in range(series)
    }
    return pd.DataFrame(columns, index=index)


def _one(rng: np.random.Generator, steps: int, step_s: int, kind: DemandKind) -> Any:
    day = np.arange(steps) * step_s / _DAY_S
    strength = rng.lognormal(0.0, 0.5, 6)
    week = rng.normal(0.0, kind.weekly, 7)
    week[5:] -= 2 * kind.weekly  # fewer people at work
    log_demand = rng.normal(3.0, 1.0) + np.zeros(steps)
    log_demand += rng.normal(0.5, 1.0) * kind.growth_per_year * day / 365.25
    log_demand += strength[0] * week[day.astype(int) % 7]
    log_demand += strength[1] * kind.yearly * np.sin(2 * np.pi * (day / 365.25 + rng.random()))
    if step_s < _DAY_S:
        log_demand += strength[2] * kind.daily * np.sin(2 * np.pi * (day + rng.random()))
    log_demand += strength[3] * kind.wander * _wander(rng, steps, step_s)
    log_demand += strength[4] * kind.noise * rng.standard_normal(steps)
    if rng.random() < kind.shift_probability:
        log_demand[rng.integers(steps) :] += rng.normal(0.0, 0.4)
    return np.exp(log_demand)


def _wander(rng: np.random.Generator, steps: int, step_s: int) -> Any:
    keep = float(np.exp(-step_s / (15 * _DAY_S)))
    shocks = rng.standard_normal(steps) * np.sqrt(1 - keep**2)
    shocks[0] /= np.sqrt(1 - keep**2)
    return lfilter([1.0], [1.0, -keep], shocks)
