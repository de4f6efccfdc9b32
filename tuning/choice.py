"""The honest choice: finalists over several seeds, the winner on a block the search never saw."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from novacron.errors import NovacronError
from novacron.models.metrics import Interval
from tuning.journal import Record
from tuning.objective import Metric
from tuning.scores import GroupScores, Scores, over_seeds, paired_difference

LEVEL = 0.95
_LEAST_GROUPS = 2


def is_better(one: float, other: float, metric: Metric) -> bool:
    """Say whether one value of a metric beats another."""
    return one < other if metric.better == "lower" else one > other


def ranked(records: Sequence[Record], metric: Metric) -> list[Record]:
    """Return the search trials that ran to their end, best first; ties keep their order."""
    sign = metric.sign
    whole = [one for one in records if one.spec.phase == "search" and one.state == "finished"]
    return sorted(whole, key=lambda one: sign * one.metrics[metric.name])


def finalists(records: Sequence[Record], metric: Metric, most: int) -> list[Record]:
    """Return the best settings other than the default, each setting once."""
    found: list[Record] = []
    seen = [one.values for one in records if one.spec.number == 0][:1]
    for record in ranked(records, metric):
        if record.spec.number and record.values not in seen and len(found) < most:
            found.append(record)
            seen.append(record.values)
    return found


def pareto_numbers(records: Sequence[Record], metrics: Sequence[Metric]) -> list[int]:
    """Return the settings that no other finished one beats or equals on every metric."""
    whole = ranked(records, metrics[0])
    signs = np.array([one.sign for one in metrics])
    points_NM = [signs * [record.metrics[one.name] for one in metrics] for record in whole]
    front = [
        record.spec.number
        for place, record in enumerate(whole)
        if not any(
            (other <= points_NM[place]).all() and (other < points_NM[place]).any()
            for other in points_NM
        )
    ]
    return sorted(front)


def scores_of(records: Sequence[Record], number: int) -> Scores | None:
    """Add a setting's runs up over its seeds; None where one of them has no scores."""
    runs = [one for one in records if one.spec.number == number]
    if not runs or any(one.state != "finished" for one in runs):
        return None
    return {name: over_seeds([one.scores[name] for one in runs]) for name in runs[0].scores}


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """Which setting is chosen, and why."""

    number: int
    """Of the chosen setting; 0: the default stays."""
    reason: str
    """In a sentence, for the report."""
    winner: int | None = None
    """Best finalist on the finalists' block, whether it then held or not; 0: the default."""
    difference: Mapping[str, Interval] | None = None
    """Winner minus default on the untouched block, each metric."""
    winner_scores: Mapping[str, float] | None = None
    default_scores: Mapping[str, float] | None = None
    """On the untouched block, over all seeds."""

    @property
    def is_gain(self) -> bool:
        """Whether another setting than the default was chosen."""
        return self.number != 0

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able fields."""
        return {
            "number": self.number,
            "is_gain": self.is_gain,
            "reason": self.reason,
            "winner": self.winner,
            "level": LEVEL,
            "difference": {
                name: {"value": one.value, "lo": one.lo, "hi": one.hi, "n": one.n}
                for name, one in (self.difference or {}).items()
            },
            "winner_scores": dict(self.winner_scores or {}),
            "default_scores": dict(self.default_scores or {}),
        }


def best_finalist(records: Sequence[Record], numbers: Sequence[int], metric: Metric) -> int:
    """Return the setting that is best over its seeds on the finalists' block; 0 is the default.

    Raises:
        NovacronError: The default could not be scored, so there is nothing to compare with.
    """
    default = scores_of(records, 0)
    if default is None:
        raise _default_failed(records)
    best, value = 0, default[metric.name].value
    for number in numbers:
        scores = scores_of(records, number)
        if scores is not None and is_better(scores[metric.name].value, value, metric):
            best, value = number, scores[metric.name].value
    return best


def decide(
    records: Sequence[Record], winner: int, metrics: Sequence[Metric], rng: np.random.Generator
) -> Decision:
    """Compare the winner with the default on the untouched block, pair by pair.

    Raises:
        NovacronError: The default could not be scored.
    """
    default = scores_of(records, 0)
    if default is None:
        raise _default_failed(records)
    found = scores_of(records, winner)
    if found is None:
        return Decision(
            number=0, winner=winner, reason=f"Setting {winner} failed on the untouched block."
        )
    difference = {
        one.name: paired_difference(found[one.name], default[one.name], rng, level=LEVEL)
        for one in metrics
    }
    target = metrics[0]
    gap = difference[target.name]
    is_sure = gap.n >= _LEAST_GROUPS and (gap.hi < 0 if target.better == "lower" else gap.lo > 0)
    shown = (
        f"{target.name} {_value(found, target)} against the default's {_value(default, target)}, "
        f"difference {gap.value:.4g} ({gap.lo:.4g} .. {gap.hi:.4g}, n={gap.n})"
    )
    reason = (
        f"Setting {winner} holds on the untouched block: {shown}."
        if is_sure
        else f"No gain is shown on the untouched block, the default stays: {shown}."
    )
    return Decision(
        number=winner if is_sure else 0,
        reason=reason,
        winner=winner,
        difference=difference,
        winner_scores=_values(found),
        default_scores=_values(default),
    )


def _value(scores: Scores, metric: Metric) -> str:
    return f"{scores[metric.name].value:.4g}"


def _values(scores: Mapping[str, GroupScores]) -> dict[str, float]:
    return {name: one.value for name, one in scores.items()}


def _default_failed(records: Sequence[Record]) -> NovacronError:
    errors = [one.error for one in records if one.spec.number == 0 and one.error]
    return NovacronError(
        f"The default settings could not be scored: {errors[0] if errors else 'no run of them'}.",
        remedy="A search needs them to compare with; mend the objective or its data.",
    )
