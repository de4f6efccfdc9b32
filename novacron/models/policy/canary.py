"""Canaries as `AutoOptimizer` runs them: who measures, what comes back, and what it amounts to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from novacron.errors import OutOfRangeError
from novacron.params.spec import ParameterValue

Values = Mapping[str, ParameterValue]


@dataclass(frozen=True, kw_only=True, slots=True)
class CanaryResult:
    """What one canary measured against the shipped defaults, side by side."""

    gain_nats: float
    """Gain over the defaults, see `AutoOptimizer.gain_nats`."""
    cost_increase_ratio: float | None = None
    """Increase of the cost of a gigabyte: 0.1 is 10 % more. None: not measured."""


Measure = Callable[[str, Values, Values], float | CanaryResult]
"""Runs one canary: target, candidate, what is in force otherwise. Returns what it measured; a bare
number is the gain in nats, and then only the expected cost is held to the operator's limit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Canaries:
    """What several canaries of one candidate measured."""

    gains_nats: tuple[float, ...]
    cost_increase_ratio: float | None
    """Mean over those that measured it."""

    @property
    def gain_nats(self) -> float:
        """Mean gain."""
        return float(np.mean(self.gains_nats))


def run_canaries(
    measure: Measure, target: str, candidate: Values, in_force: Values, probes: int
) -> Canaries:
    """Run `probes` canaries one after another.

    Raises:
        OutOfRangeError: A gain is not finite, or a cost falls by more than all of it.
    """
    found = [measure(target, candidate, in_force) for _ in range(probes)]
    results = [
        each if isinstance(each, CanaryResult) else CanaryResult(gain_nats=float(each))
        for each in found
    ]
    gains = tuple(float(each.gain_nats) for each in results)
    if not np.isfinite(gains).all():
        raise OutOfRangeError(field="measure()", got=gains, expected="finite gains in nats")
    costs = [each.cost_increase_ratio for each in results if each.cost_increase_ratio is not None]
    for cost in costs:
        check_cost_increase(cost, "measure()")
    return Canaries(gains_nats=gains, cost_increase_ratio=float(np.mean(costs)) if costs else None)


def check_cost_increase(ratio: float | None, field: str) -> None:
    """Refuse an increase of a cost that cannot be.

    Raises:
        OutOfRangeError: It is not finite, or the cost would not be positive.
    """
    if ratio is not None and not (np.isfinite(ratio) and ratio > -1.0):
        raise OutOfRangeError(
            field=f"{field}.cost_increase_ratio", got=ratio, expected="a finite number above -1"
        )
