"""Fits the recogniser on generated windows: forest on one part, calibration on another."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from novacron.models.classification import bootstrap, calibration_error, macro_f1
from novacron.models.metrics import Interval
from novacron.models.patterns.calibration import (
    fit_period_width,
    fit_temperature,
    period_bounds,
)
from novacron.models.patterns.config import PatternsConfig
from novacron.models.patterns.definitions import NAMES
from novacron.models.patterns.examples import Examples, draw_examples
from novacron.models.patterns.forest import grow
from novacron.models.patterns.model import Calibration, PatternModel
from novacron.models.patterns.rules import by_rules

Progress = Callable[[str, Mapping[str, float]], None]
"""Gets the name of a finished stage and losses measured then, by split."""
STAGES = ("train windows", "forest", "calibration")

Ints = NDArray[np.int64]

PERIOD_TOLERANCE_RATIO = 0.02


def _silent(_stage: str, _losses: Mapping[str, float]) -> None:
    return


def fit_patterns(config: PatternsConfig, progress: Progress = _silent) -> PatternModel:
    """Generate windows, grow the forest, calibrate it; the same config gives the same model.

    Args:
        config: Seed and sizes.
        progress: Told of each finished stage of `STAGES`.
    """
    train = draw_examples(config.train_each, config.seed_of("train"))
    progress("train windows", {})
    return fit_on(train, config, progress)


def fit_on(train: Examples, config: PatternsConfig, progress: Progress = _silent) -> PatternModel:
    """Grow the forest on given examples and calibrate it on generated validation windows."""
    forest = grow(
        train.x_NF,
        train.type_N,
        classes=len(NAMES),
        trees=config.trees,
        leaf_rows=config.leaf_windows,
        feature_ratio=config.feature_ratio,
        seed=config.seed,
    )
    progress("forest", {})
    check = draw_examples(config.validation_each, config.seed_of("validation"))
    periodic_N = check.type_N == NAMES.index("periodic")
    calibration = Calibration(
        temperature=fit_temperature(forest.probabilities(check.x_NF), check.type_N),
        period_width=fit_period_width(
            check.found_period_N[periodic_N],
            check.true_period_N[periodic_N],
            check.error_ratio_N[periodic_N],
            coverage=config.coverage,
        ),
    )
    model = PatternModel(config, forest, calibration)
    true_N = model.probabilities(forest.probabilities(check.x_NF))[
        np.arange(len(check)), check.type_N
    ]
    progress("calibration", {"validation": float(-np.log(true_N).mean())})
    return model


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """One figure with its interval over independent windows, and what stands beside it."""

    name: str
    value: Interval
    baseline: str


def score_examples(
    model: PatternModel, examples: Examples, rng: np.random.Generator
) -> list[Score]:
    """Score a model on labelled windows of all types, beside rules and the majority type."""
    p_NK = model.probabilities(model.forest.probabilities(examples.x_NF))
    answered_N, confidence_N = p_NK.argmax(axis=1), p_NK.max(axis=1)
    right_N = answered_N == examples.type_N
    rows = len(examples)

    def f1(other_N: Ints, row_N: Ints) -> float:
        return macro_f1(examples.type_N[row_N], other_N[row_N], len(NAMES))

    rules_N = by_rules(examples.x_NF)
    scores = [
        Score(
            name="macro_f1",
            value=bootstrap(partial(f1, answered_N), rows, rng),
            baseline=f"rules {f1(rules_N, np.arange(rows)):.3f}, "
            f"majority {f1(np.zeros_like(answered_N), np.arange(rows)):.3f}",
        ),
        Score(
            name="macro_f1_rules",
            value=bootstrap(partial(f1, rules_N), rows, rng),
            baseline="majority",
        ),
        Score(
            name="ece",
            value=bootstrap(
                lambda row_N: calibration_error(confidence_N[row_N], right_N[row_N]), rows, rng
            ),
            baseline="0 is exact",
        ),
    ]
    return scores + period_scores(model, examples, answered_N, rng)


def period_scores(
    model: PatternModel, examples: Examples, answered_N: Ints, rng: np.random.Generator
) -> list[Score]:
    """Score the periods of the periodic windows; a window not answered periodic is a miss too."""
    number = NAMES.index("periodic")
    own_N = np.flatnonzero(examples.type_N == number)
    if own_N.size == 0:
        return []
    error_N = np.abs(examples.found_period_N[own_N] / examples.true_period_N[own_N] - 1)
    close_N = error_N < PERIOD_TOLERANCE_RATIO
    told_N = close_N & (answered_N[own_N] == number)
    lower_N, upper_N = period_bounds(
        examples.found_period_N[own_N],
        examples.error_ratio_N[own_N],
        model.calibration.period_width,
    )
    true_N = examples.true_period_N[own_N]
    inside_N = (lower_N <= true_N) & (true_N <= upper_N)
    named = {
        "period_within_2_percent": told_N,
        "period_found_within_2_percent": close_N,
        "period_interval_coverage": inside_N,
    }
    return [
        Score(
            name=name,
            value=bootstrap(partial(_share, hit_N), own_N.size, rng),
            baseline=f"nominal {model.config.coverage}" if "coverage" in name else "goal 0.95",
        )
        for name, hit_N in named.items()
    ]


def _share(hit_N: NDArray[np.bool_], row_N: Ints) -> float:
    return float(hit_N[row_N].mean())
