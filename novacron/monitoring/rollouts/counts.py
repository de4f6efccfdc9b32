"""What a replica counts of each version in a rollout; counts of replicas add up."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Final, Self

FASTEST_S: Final = 1e-5
BINS_PER_MARGIN: Final = 8
BIN_MARGIN: Final = 1.2
"""Eight bins make a factor of 1.2: a latency is known to 2.3 %, and a fifth more is a shift."""
_LOG_BIN: Final = math.log(BIN_MARGIN) / BINS_PER_MARGIN
UNITS: Final = 64
"""Groups of keys whose sums are kept apart: keys of a group may hang together, groups do not."""


def latency_bin(seconds: float) -> int:
    """Return the bin of a latency; bin b holds FASTEST_S * 1.2**(b/8) up to the next."""
    return max(0, int(math.log(max(seconds, FASTEST_S) / FASTEST_S) / _LOG_BIN))


def bins_of_ratio(ratio: float) -> int:
    """Return by how many bins a latency lies above another, `ratio` times smaller one."""
    return round(math.log(ratio) / _LOG_BIN)


def bin_upper_s(place: int) -> float:
    """Return the upper edge of a bin in seconds."""
    return FASTEST_S * math.exp((place + 1) * _LOG_BIN)


@dataclass(slots=True)
class ArmCounts:
    """One version's counts. All only grow, so that a reader may take differences."""

    requests: int = 0
    errors: int = 0
    """Requests that the version failed: HTTP 5xx, a full queue, or a baseline in its place."""
    rows: int = 0
    fallback_rows: int = 0
    """Rows that a named fallback of the model itself answered."""
    compared: int = 0
    differing: int = 0
    """Answers compared with the stable version's, and those beyond the tolerance."""
    dropped: int = 0
    """Comparisons that were not made because too many waited."""
    outcomes: int = 0
    loss_sum: float = 0.0
    loss_squares: float = 0.0
    """Losses of answers whose actual outcome was fed back; lower is better."""
    latency: dict[int, int] = field(default_factory=dict)
    """Answered requests by bin of latency."""
    unit_n: dict[int, int] = field(default_factory=dict)
    unit_sum: dict[int, float] = field(default_factory=dict)
    """Count and sum of the measure of an A/B test, by group of keys."""

    def observe_latency(self, seconds: float) -> None:
        """Count one answer's latency."""
        place = latency_bin(seconds)
        self.latency[place] = self.latency.get(place, 0) + 1

    def observe_outcome(self, loss: float) -> None:
        """Count one answer whose loss became known."""
        self.outcomes += 1
        self.loss_sum += loss
        self.loss_squares += loss * loss

    def observe_unit(self, unit: int, value: float) -> None:
        """Count one value of an A/B test's measure."""
        self.unit_n[unit] = self.unit_n.get(unit, 0) + 1
        self.unit_sum[unit] = self.unit_sum.get(unit, 0.0) + value

    def add(self, other: Self) -> None:
        """Add another's counts to these."""
        for name in _NUMBERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in _MAPS:
            mine = getattr(self, name)
            for key, count in getattr(other, name).items():
                mine[key] = mine.get(key, 0) + count

    def since(self, earlier: Self | None) -> "ArmCounts":
        """Return what was counted after an earlier state of the same counts."""
        new = ArmCounts()
        new.add(self)
        if earlier is None:
            return new
        for name in _NUMBERS:
            setattr(new, name, getattr(new, name) - getattr(earlier, name))
        for name in _MAPS:
            mine = getattr(new, name)
            for key, count in getattr(earlier, name).items():
                mine[key] = mine.get(key, 0) - count
                if not mine[key]:
                    del mine[key]
        return new

    def copy(self) -> "ArmCounts":
        """Return an independent copy."""
        return self.since(None)

    @property
    def error_rate(self) -> float:
        """Return the share of requests that the version failed; 0 where there were none."""
        return self.errors / self.requests if self.requests else 0.0

    @property
    def fallback_ratio(self) -> float:
        """Return the share of rows that a fallback answered."""
        return self.fallback_rows / self.rows if self.rows else 0.0

    @property
    def differing_ratio(self) -> float:
        """Return the share of compared answers that differ."""
        return self.differing / self.compared if self.compared else 0.0

    def slower_than(self, place: int) -> tuple[int, int]:
        """Return how many answers lie above a bin, and how many there are."""
        slow = sum(count for at, count in self.latency.items() if at > place)
        return slow, sum(self.latency.values())

    def quantile_bin(self, share: float) -> int | None:
        """Return the bin of a quantile of the latency; None where nothing was answered."""
        total = sum(self.latency.values())
        seen = 0
        for place in sorted(self.latency):
            seen += self.latency[place]
            if seen >= share * total:
                return place
        return None

    def p95_s(self) -> float | None:
        """Return the 95th percentile of the latency in seconds, to the upper edge of its bin."""
        place = self.quantile_bin(0.95)
        return None if place is None else bin_upper_s(place)


_MAPS: Final = ("latency", "unit_n", "unit_sum")
_NUMBERS: Final = tuple(one.name for one in fields(ArmCounts) if one.name not in _MAPS)

StageCounts = Mapping[int, Mapping[str, ArmCounts]]
"""Stage to version to counts, from the start of a rollout, as one replica has them."""
