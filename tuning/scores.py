"""Scores of a trial as sums per group, so that two trials can be compared pair by pair.

A metric is a ratio of two sums: absolute errors over actual values (WAPE), hits over cases, nats
over worlds. The sums are kept for each independent group (trace, VM, series, world), and a paired
difference between two settings is resampled over the groups that both were scored on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from novacron.errors import OutOfRangeError, SchemaError
from novacron.models.metrics import Interval

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupScores:
    """One metric of one trial: sum(upper) / sum(lower) over groups.

    Raises:
        SchemaError: The three differ in length, are empty, or a group comes twice.
        OutOfRangeError: A sum is not finite, or the lower ones do not sum to more than 0.
    """

    groups: tuple[str, ...]
    """Names of independent groups, the same in every trial on the same block."""
    upper: tuple[float, ...]
    """Sum of the losses, or of the hits, of each group."""
    lower: tuple[float, ...]
    """What they are divided by: sum of the actual values, or number of cases; not negative."""

    def __post_init__(self) -> None:
        """Refuse what gives no number."""
        lengths = (len(self.groups), len(self.upper), len(self.lower))
        if len(set(lengths)) != 1 or not self.groups or len(set(self.groups)) != lengths[0]:
            raise SchemaError(
                field="scores",
                got=lengths,
                expected="groups, upper and lower of one length, at least 1, each group once",
            )
        for name, sums in (("upper", self.upper), ("lower", self.lower)):
            if not np.isfinite(sums).all():
                raise OutOfRangeError(
                    field=f"scores.{name}",
                    got=sums,
                    expected="finite sums",
                    remedy="The metric is not a number: look at the objective and its data.",
                )
        if min(self.lower) < 0 or sum(self.lower) <= 0:
            raise OutOfRangeError(
                field="scores.lower", got=self.lower, expected="sums of at least 0, not all 0"
            )

    @property
    def value(self) -> float:
        """The metric."""
        return float(np.sum(self.upper) / np.sum(self.lower))

    @classmethod
    def of_one(cls, value: float) -> Self:
        """Return a metric without groups, such as a size in bytes or a time in ms."""
        return cls(groups=("all",), upper=(float(value),), lower=(1.0,))

    @classmethod
    def of_rows(
        cls,
        group_N: Sequence[str] | NDArray[Any],
        upper_N: Floats,
        lower_N: Floats | None = None,
    ) -> Self:
        """Sum rows by group.

        Args:
            group_N: Name of the group of each row.
            upper_N: Loss or hit of each row.
            lower_N: What it is divided by; None: 1 a row, which makes the metric a mean.
        """
        names, place_N = np.unique(np.asarray(group_N).astype(str), return_inverse=True)
        weight_N = np.ones(len(place_N)) if lower_N is None else np.asarray(lower_N, np.float64)
        upper = np.bincount(place_N, weights=np.asarray(upper_N, np.float64))
        lower = np.bincount(place_N, weights=weight_N)
        return cls(
            groups=tuple(map(str, names)),
            upper=tuple(map(float, upper)),
            lower=tuple(map(float, lower)),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able fields."""
        return {
            "groups": list(self.groups),
            "upper": list(self.upper),
            "lower": list(self.lower),
        }

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        return cls(
            groups=tuple(found["groups"]),
            upper=tuple(found["upper"]),
            lower=tuple(found["lower"]),
        )


Scores = Mapping[str, GroupScores]
"""Metric name -> its sums."""


def over_seeds(runs: Sequence[GroupScores]) -> GroupScores:
    """Add up the sums of one setting's runs with several seeds.

    Raises:
        SchemaError: The runs were scored on different groups.
    """
    first = runs[0]
    by_name = [_by_name(one, first.groups) for one in runs]
    upper_SG = np.array([upper for upper, _ in by_name])
    lower_SG = np.array([lower for _, lower in by_name])
    return GroupScores(
        groups=first.groups,
        upper=tuple(map(float, upper_SG.sum(axis=0))),
        lower=tuple(map(float, lower_SG.sum(axis=0))),
    )


def paired_difference(
    one: GroupScores,
    other: GroupScores,
    rng: np.random.Generator,
    *,
    resamples: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Return value(one) - value(other) with its interval, drawing the same groups for both.

    With a single group there is nothing to resample: the interval is then the value itself and
    `n` is 1, which `tuning.choice` never takes for a gain.

    Source: Efron and Tibshirani 1993, chapters 8 and 13.

    Raises:
        SchemaError: The two were scored on different groups.
    """
    count = len(one.groups)
    draws_BG = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
    gaps_B = resampled_differences(one, other, draws_BG, groups=one.groups)
    tail = (1 - level) / 2
    lo, hi = np.quantile(gaps_B, [tail, 1 - tail])
    value = one.value - other.value
    return Interval(value=value, lo=float(lo), hi=float(hi), n=count)


def resampled_differences(
    one: GroupScores,
    other: GroupScores,
    draws_BG: NDArray[np.int64],
    *,
    groups: tuple[str, ...],
) -> Floats:
    """Return value(one) - value(other) for each resample of groups.

    A resample in which a metric has nothing to divide by counts as the difference over all groups.

    Args:
        one: Scores.
        other: Scores on the same groups.
        draws_BG: How often each resample holds each group.
        groups: Their names, in the order of `draws_BG`.

    Raises:
        SchemaError: One of the two was scored on other groups.
    """
    upper_G, lower_G = _by_name(one, groups)
    other_upper_G, other_lower_G = _by_name(other, groups)
    below_B, other_below_B = draws_BG @ lower_G, draws_BG @ other_lower_G
    is_fine_B = (below_B > 0) & (other_below_B > 0)
    gaps_B = np.full(len(draws_BG), one.value - other.value)
    gaps_B[is_fine_B] = (draws_BG @ upper_G)[is_fine_B] / below_B[is_fine_B]
    gaps_B[is_fine_B] -= (draws_BG @ other_upper_G)[is_fine_B] / other_below_B[is_fine_B]
    return gaps_B


def _by_name(scores: GroupScores, groups: tuple[str, ...]) -> tuple[Floats, Floats]:
    places = {name: place for place, name in enumerate(scores.groups)}
    if set(places) != set(groups):
        raise SchemaError(
            field="scores.groups",
            got=f"{len(places)} groups",
            expected=f"the same {len(groups)} groups that the other was scored on",
        )
    order = [places[name] for name in groups]
    return np.array(scores.upper)[order], np.array(scores.lower)[order]
