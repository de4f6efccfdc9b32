"""Scores of classifiers and of their confidence, with intervals by resampling whole groups.

Legend: N rows, K classes, B resamples.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from novacron.errors import SchemaError
from novacron.models.metrics import Interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def confusion(actual_N: Ints, answered_N: Ints, classes: int) -> Ints:
    """Return counts_KK: rows are the actual class, columns the answered one.

    Raises:
        SchemaError: The vectors differ in length or are empty.
    """
    if actual_N.shape != answered_N.shape or actual_N.size == 0:
        raise SchemaError(
            field="answered", got=answered_N.shape, expected=f"the shape {actual_N.shape}, not 0"
        )
    flat = np.bincount(actual_N * classes + answered_N, minlength=classes * classes)
    return flat.reshape(classes, classes)


def f1_scores(counts_KK: Ints) -> Floats:
    """Return the F1 of each class, 0 where it is neither present nor answered."""
    right_K = np.diag(counts_KK).astype(np.float64)
    sum_K = counts_KK.sum(axis=0) + counts_KK.sum(axis=1)
    return np.asarray(2 * right_K / np.maximum(sum_K, 1))


def macro_f1(actual_N: Ints, answered_N: Ints, classes: int) -> float:
    """Return the mean F1 of the classes that are present: 1 is perfect."""
    counts_KK = confusion(actual_N, answered_N, classes)
    return float(f1_scores(counts_KK)[counts_KK.sum(axis=1) > 0].mean())


def reliability(
    confidence_N: Floats, right_N: NDArray[np.bool_], bins: int = 10
) -> tuple[Floats, Floats, Ints]:
    """Return mean confidence, share right and rows of `bins` groups of equal width in 0..1."""
    bin_N = np.minimum((confidence_N * bins).astype(np.int64), bins - 1)
    count_B = np.bincount(bin_N, minlength=bins)
    held_B = np.maximum(count_B, 1)
    mean_B = np.bincount(bin_N, weights=confidence_N, minlength=bins) / held_B
    right_B = np.bincount(bin_N, weights=right_N.astype(float), minlength=bins) / held_B
    return mean_B, right_B, count_B


def calibration_error(confidence_N: Floats, right_N: NDArray[np.bool_], bins: int = 10) -> float:
    """Expected calibration error: mean |confidence - share right| over bins, by their rows.

    Source: Naeini, Cooper and Hauskrecht 2015; Guo et al. 2017, eq. 3.
    """
    mean_B, right_B, count_B = reliability(confidence_N, right_N, bins)
    return float(np.abs(mean_B - right_B) @ count_B / max(1, confidence_N.size))


def bootstrap(
    score: Callable[[Ints], float], rows: int, rng: np.random.Generator, *, resamples: int = 500
) -> Interval:
    """Return a score with its 95 % percentile interval, drawing independent rows again.

    Args:
        score: Takes row numbers, returns the score of those rows.
        rows: Number of rows, each independent of the others.
        rng: Draws them.
        resamples: How often.
    """
    all_N = np.arange(rows)
    drawn_B = [score(rng.integers(rows, size=rows)) for _ in range(resamples)]
    lo, hi = np.quantile(drawn_B, [0.025, 0.975])
    value = score(all_N)
    # A score that grows with scatter, as a calibration error does, may lie below its resamples.
    return Interval(value=value, lo=min(float(lo), value), hi=max(float(hi), value), n=rows)
