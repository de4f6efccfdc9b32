"""What the pattern benchmark measures of one model on one set of windows.

Legend: N windows, F pieces of evidence, K types.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.results_format import Metric
from novacron.models.classification import bootstrap, calibration_error, macro_f1
from novacron.models.metrics import Interval
from novacron.models.patterns.calibration import period_bounds
from novacron.models.patterns.definitions import NAMES
from novacron.models.patterns.examples import Examples
from novacron.models.patterns.fit import PERIOD_TOLERANCE_RATIO
from novacron.models.patterns.model import PatternModel
from novacron.models.patterns.rules import by_rules

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

GOAL_PERIOD: Final = 0.95
GOAL_ECE: Final = 0.05
PERIODIC: Final = NAMES.index("periodic")
STEADY: Final = NAMES.index("steady_state")


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """Examples with what a model answered."""

    examples: Examples
    answered: Ints
    confidence: NDArray[np.float64]
    interval: Bools
    """Whether the period's interval holds the true one, where there is one."""


def judge(model: PatternModel, examples: Examples) -> Judged:
    """Answer every example."""
    p_NK = model.probabilities(model.forest.probabilities(examples.x_NF))
    lower_N, upper_N = period_bounds(
        examples.found_period_N, examples.error_ratio_N, model.calibration.period_width
    )
    true_N = examples.true_period_N
    return Judged(
        examples=examples,
        answered=p_NK.argmax(axis=1),
        confidence=p_NK.max(axis=1),
        interval=(lower_N <= true_N) & (true_N <= upper_N),
    )


def join(parts: Sequence[Judged]) -> Judged:
    """Put the answers of several seeds together."""
    fields = ("x_NF", "type_N", "true_period_N", "found_period_N", "error_ratio_N")
    examples = Examples(
        **{
            name: np.concatenate([getattr(part.examples, name) for part in parts])
            for name in fields
        }
    )
    return Judged(
        examples=examples,
        answered=np.concatenate([part.answered for part in parts]),
        confidence=np.concatenate([part.confidence for part in parts]),
        interval=np.concatenate([part.interval for part in parts]),
    )


class Meter:
    """Collects metrics; every interval resamples whole windows."""

    def __init__(self) -> None:
        self.metrics: list[Metric] = []
        self._rng = np.random.default_rng(1)

    def add(
        self, name: str, on: str, score: Callable[[Ints], float], rows: int, beside: str
    ) -> float:
        """Measure a score of row numbers with its interval and return its value."""
        found: Interval = bootstrap(score, rows, self._rng)
        self.metrics.append(
            Metric(
                name=name, set=on, value=found.value, lo=found.lo, hi=found.hi, n=rows,
                baseline=beside,
            )
        )  # fmt: skip
        return found.value

    def share(self, name: str, on: str, hit_N: Bools, beside: str) -> float:
        """Measure a share of windows."""
        return self.add(name, on, lambda row_N: float(hit_N[row_N].mean()), hit_N.size, beside)

    def f1(self, name: str, on: str, actual_N: Ints, answered_N: Ints, beside: str) -> float:
        """Measure the macro F1 of answers."""

        def score(row_N: Ints) -> float:
            return macro_f1(actual_N[row_N], answered_N[row_N], len(NAMES))

        return self.add(name, on, score, actual_N.size, beside)

    def periods(self, on: str, judged: Judged) -> None:
        """Measure the periods of the periodic windows of a set."""
        actual_N = judged.examples.type_N
        own_N = actual_N == PERIODIC
        off_N = judged.examples.found_period_N / judged.examples.true_period_N - 1
        close_N = np.abs(off_N[own_N]) < PERIOD_TOLERANCE_RATIO
        told_N = close_N & (judged.answered[own_N] == PERIODIC)
        beside = f"goal {GOAL_PERIOD}"
        self.share("period_within_2_percent", on, told_N, beside)
        self.share("period_found_within_2_percent", on, close_N, beside)
        self.share("period_interval_coverage", on, judged.interval[own_N], "nominal 0.9")

    def types(self, on: str, judged: Judged) -> float:
        """Measure one model on one set: types and their confidence."""
        actual_N = judged.examples.type_N
        right_N = judged.answered == actual_N
        rules = macro_f1(actual_N, by_rules(judged.examples.x_NF), len(NAMES))
        value = self.f1("macro_f1", on, actual_N, judged.answered, f"rules {rules:.3f}")
        self.add(
            "ece",
            on,
            lambda row_N: calibration_error(judged.confidence[row_N], right_N[row_N]),
            right_N.size,
            f"goal below {GOAL_ECE}",
        )
        others_N = actual_N != STEADY
        called_N = judged.answered[others_N] == STEADY
        self.share("other_types_called_steady_ratio", on, called_N, "0 is none")
        return value
