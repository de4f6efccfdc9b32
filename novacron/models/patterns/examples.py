"""Labelled windows turned into rows of evidence.

Legend: N windows, F pieces of evidence.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from novacron.features.evidence.table import gather
from novacron.models.patterns.definitions import NAMES
from novacron.telemetry.synthesize.usage_patterns import (
    SEEN,
    PatternRanges,
    PatternWindow,
    draw_windows,
)

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Examples:
    """Evidence x_NF with the number of the true type, and true and found periods in steps."""

    x_NF: Floats
    type_N: NDArray[np.int64]
    true_period_N: Floats
    found_period_N: Floats
    error_ratio_N: Floats

    def __len__(self) -> int:
        return len(self.type_N)


def to_examples(windows: Sequence[PatternWindow]) -> Examples:
    """Gather the evidence of every window."""
    found = [gather(window.usage) for window in windows]
    return Examples(
        x_NF=np.stack([each.row_F for each in found]),
        type_N=np.array([NAMES.index(window.type) for window in windows]),
        true_period_N=np.array([window.period_s / window.step_s for window in windows]),
        found_period_N=np.array([each.cycle.period_steps for each in found]),
        error_ratio_N=np.array([each.cycle.error_ratio for each in found]),
    )


def draw_examples(each: int, seed: int, ranges: PatternRanges = SEEN) -> Examples:
    """Generate `each` windows of every type and gather their evidence."""
    return to_examples(draw_windows(NAMES, each, seed, ranges))
