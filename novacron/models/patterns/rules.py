"""The baseline to beat: thresholds on the same evidence, in a fixed order, without training.

Legend: N windows, F pieces of evidence.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from novacron.features.evidence.table import names
from novacron.models.patterns.definitions import NAMES

Floats = NDArray[np.float64]


def by_rules(x_NF: Floats) -> NDArray[np.int64]:
    """Return the number of the type of each window by the first rule that holds."""
    return np.array(
        [NAMES.index(_rule(dict(zip(names(), row_F.tolist(), strict=True)))) for row_F in x_NF]
    )


def _rule(found: Mapping[str, float]) -> str:
    if found["fisher_log10_p"] < -6 and found["far_period_rho"] > 0.4 * found["period_rho"] > 0.08:
        return "periodic"
    if found["exponential_r2_ratio"] > 0.6 or found["trend_r2_ratio"] > 0.6:
        return _trend_rule(found)
    return _level_rule(found)


def _trend_rule(found: Mapping[str, float]) -> str:
    if found["box_r2_ratio"] > max(found["exponential_r2_ratio"], found["trend_r2_ratio"]):
        return _level_rule(found)
    curved = found["exponential_gain_ratio"] > 0.08
    if found["trend_slope"] > 0:
        return "exponential_growth" if curved else "linear_growth"
    return "exponential_decay" if curved else "linear_decline"


def _level_rule(found: Mapping[str, float]) -> str:
    if found["step_r2_ratio"] > 0.5 and found["box_margin_ratio"] < 0.05:
        return "level_shift"
    if found["box_r2_ratio"] > 0.45:
        return "plateau" if found["box_height"] > 0 else "valley"
    if found["high_count"] >= 4 and found["high_share_ratio"] > 0.02:
        return "bursty"
    if found["high_peak"] > 6 and found["high_count"] <= 2:
        return "spike"
    if found["detrended_lag1"] > 0.6:
        return "cyclic" if found["lowest_rho"] < -0.35 else "irregular"
    return "steady_state"
