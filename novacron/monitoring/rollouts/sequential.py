"""Tests that may be looked at after every request without inflating their error.

Each keeps an e-process: a bet against "this version is fine" whose expected gain is at most 1 while
that is true, so that by Ville's inequality it ever reaches 1/alpha with probability at most alpha,
however often one looks (Ramdas, Gruenwald, Vovk and Shafer, Statistical Science 2023,
"Game-theoretic statistics and safe anytime-valid inference"). The bets are mixtures of likelihood
ratios, as in the mixture SPRT of Robbins (1970) and of Johari, Koomen, Pekelis and Walsh,
"Always valid inference: continuous monitoring of A/B tests", Operations Research 2022.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

MULTIPLES: Final = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0, 180.0)
"""How many times worse the version may be in each bet of a mixture."""
_ALMOST_ALL: Final = 0.95
_LOG_MAX: Final = 700.0


def _mixture(logs: Sequence[float]) -> float:
    """Return the logarithm of the mean of bets, given by their logarithms."""
    top = max(logs)
    return top + math.log(math.fsum(math.exp(one - top) for one in logs) / len(logs))


@dataclass(slots=True)
class Excess:
    """Evidence that events happen more often than a limit; null: rate <= limit.

    For q > limit the likelihood ratio of q to the limit is a supermartingale at every rate below
    the limit, so the mixture over q is one for the whole null.
    """

    limit: float
    """Rate that is still fine, in (0, 1)."""
    logs: list[float] = field(default_factory=list)

    def add(self, events: int, trials: int) -> None:
        """Add events among trials."""
        rates = _rates(self.limit)
        self.logs = self.logs or [0.0] * len(rates)
        for place, rate in enumerate(rates):
            self.logs[place] += events * math.log(rate / self.limit)
            self.logs[place] += (trials - events) * math.log1p(
                (self.limit - rate) / (1 - self.limit)
            )

    @property
    def log_value(self) -> float:
        """The logarithm of the evidence; 0 at the start."""
        return _mixture(self.logs) if self.logs else 0.0


def _rates(limit: float) -> tuple[float, ...]:
    return (*(limit * by for by in MULTIPLES if limit * by < _ALMOST_ALL), _ALMOST_ALL)


@dataclass(slots=True)
class Contrast:
    """Evidence that events happen more often in one arm than in the other; null: not more often.

    Given an event, it came from the tried arm with the arm's share of the trials or less, if the
    null is true (the conditional test of two rates). Events that come in clumps, such as slow
    answers during a stall, are not independent. Where `tempers` is set, no look counts for more than
    a few events, and the logarithm of the evidence is divided by the clumping measured so far. Both
    only take away from gains, so neither can raise an alarm that was not there.
    """

    logs: list[float] = field(default_factory=list)
    tried_events: int = 0
    events: int = 0
    clump_sum: float = 0.0
    clump_n: int = 0
    tempers: bool = False

    def add(self, tried: tuple[int, int], other: tuple[int, int]) -> None:
        """Add (events, trials) of both arms, counted over the same time."""
        trials = tried[1] + other[1]
        events = tried[0] + other[0]
        if not tried[1] or not other[1] or not events:
            return
        share = tried[1] / trials
        weight = min(1.0, _EVENTS_A_LOOK / max(tried[0], 1)) if self.tempers else 1.0
        self.logs = self.logs or [0.0] * len(MULTIPLES)
        for place, by in enumerate(MULTIPLES):
            bet = by * share / (by * share + 1 - share)
            gain = tried[0] * math.log(bet / share) + other[0] * math.log((1 - bet) / (1 - share))
            self.logs[place] += weight * gain if gain > 0 else gain
        self._learn_clumping(tried[0], events)

    def _learn_clumping(self, tried_events: int, events: int) -> None:
        if self.events:
            expected = (self.tried_events + 0.5) / (self.events + 1)
            surprise = (tried_events - events * expected) ** 2
            self.clump_sum += min(surprise / (events * expected * (1 - expected)), _MOST_CLUMPED)
            self.clump_n += 1
        self.tried_events += tried_events
        self.events += events

    @property
    def clumping(self) -> float:
        """How many times the variance of independent events was seen; at least 1."""
        if not self.tempers:
            return 1.0
        seen = (self.clump_sum + _UNCLUMPED) / (self.clump_n + _UNCLUMPED)
        return max(1.0, seen)

    @property
    def log_value(self) -> float:
        """The logarithm of the evidence; 0 at the start."""
        return _mixture(self.logs) / self.clumping if self.logs else 0.0


_EVENTS_A_LOOK: Final = 2.0
"""Slow answers of the tried version for which one look counts at most: one stall is one event."""
_UNCLUMPED: Final = 5
"""Looks without clumping that are assumed before the first one."""
_MOST_CLUMPED: Final = 50.0


def mean_evidence(difference: float, variance: float, effect: float) -> float:
    """Return the log evidence of the mixture SPRT that a mean is not 0.

    Args:
        difference: The estimate.
        variance: Of the estimate.
        effect: Standard deviation of the effects that are thought likely, fixed beforehand.
    """
    if variance <= 0:
        return 0.0
    spread = effect * effect
    gain = spread * difference * difference / (2 * variance * (variance + spread))
    return min(0.5 * math.log(variance / (variance + spread)) + gain, _LOG_MAX)


def always_valid_interval(
    difference: float, variance: float, effect: float, alpha: float
) -> tuple[float, float]:
    """Return the confidence sequence that belongs to `mean_evidence`: all its values at once hold
    the true mean with probability 1 - alpha.
    """  # noqa: D205  one sentence
    if variance <= 0 or effect <= 0:
        return (-math.inf, math.inf)
    spread = effect * effect
    inside = math.log((variance + spread) / variance) - 2 * math.log(alpha)
    half = math.sqrt(variance * (variance + spread) / spread * inside)
    return difference - half, difference + half


def grouped_mean(counts: dict[int, int], sums: dict[int, float]) -> tuple[float, float]:
    """Return a mean and its variance when only groups, not single values, are independent.

    Args:
        counts: Values in each group.
        sums: Their sums.

    Returns:
        The mean of all values, and the linearised variance of that ratio over the groups; infinite
        where there are fewer than two groups.
    """
    total = sum(counts.values())
    if not total:
        return 0.0, math.inf
    mean = math.fsum(sums.values()) / total
    groups = len(counts)
    if groups < 2:
        return mean, math.inf
    squares = math.fsum((sums.get(one, 0.0) - mean * n) ** 2 for one, n in counts.items())
    return mean, squares * groups / (groups - 1) / total**2
