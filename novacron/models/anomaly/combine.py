"""What the components of a score say together: one surprise a sample.

Legend: T samples, C components.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MOST_OF_ONE: Final = 8.0
AGREEMENT: Final = 0.9
"""Exponent of the mean: 1 is the plain one, less leans towards what all components say."""
STUCK_SHARE: Final = 0.5
YOUNG_SHARE: Final = 0.75
_YOUNG_DAYS: Final = 2
_MOST_YOUNG: Final = 1024


def combined(component_TC: Floats, first: int, day_samples: int) -> Floats:
    """Return the surprise of each sample: a mean of the components but the last, each cut at 8.

    It is the power mean with exponent `AGREEMENT`, a little below the plain mean where components
    disagree. The cut keeps one component that is beside itself from alerting alone, which costs little where
    several agree. The last component, a run of equal samples, leaves the others calm, so half of it
    counts where that is more. While the metric has not been seen for two days, at most 1024
    samples, much is new that is not unusual: three quarters of the surprise count.

    A cut p-value is still one, e times the geometric mean of p-values is a bound whatever their
    dependence (Vovk and Wang 2020), the power mean is no larger than the plain one, and the sum of
    two bounds is a bound: the chance of a surprise of s or more is at most (e + 1) 10^-s.

    Args:
        component_TC: -log10 of tail probabilities, each in [0, 12].
        first: Number of the first sample in its series, from 0.
        day_samples: Samples of a day.
    """
    others_TC, stuck_T = component_TC[:, :-1], component_TC[:, -1]
    powers_TC = np.minimum(others_TC, MOST_OF_ONE) ** AGREEMENT
    mean_T = powers_TC.mean(axis=1) ** (1 / AGREEMENT)
    surprise_T = np.maximum(mean_T, STUCK_SHARE * stuck_T)
    age_T = first + np.arange(len(component_TC))
    young_T = age_T < min(_YOUNG_DAYS * day_samples, _MOST_YOUNG)
    return np.asarray(np.where(young_T, YOUNG_SHARE * surprise_T, surprise_T))
