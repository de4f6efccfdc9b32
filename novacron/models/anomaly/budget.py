"""The alert budget: how many episodes a day people accept, and the threshold that spends it.

Verdicts move the budget and, through the curve, the threshold; they never touch a sample, a model
or the curve, so no verdict can teach the detector that a fault is normal.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from novacron.errors import ConfigError
from novacron.models.anomaly.config import BudgetConfig

_LEAST_STEP_RATIO: Final = 1 / 25
_MOST_STEP_RATIO: Final = 4.0
"""Beyond these the square root of `AlertBudget.threshold_at` is not trusted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AlertCurve:
    """Episodes a day and series at each threshold, as counted on normal series."""

    thresholds: tuple[float, ...]
    """Increasing."""
    episodes_per_series_day: tuple[float, ...]
    """Above 0 and falling."""
    source: str
    """What it was counted on."""
    step_s: float = 300.0
    """Seconds between the samples it was counted on."""

    def __post_init__(self) -> None:
        rising = np.all(np.diff(self.thresholds) > 0)
        falling = np.all(np.diff(self.episodes_per_series_day) < 0)
        fits = len(self.thresholds) == len(self.episodes_per_series_day) >= 2
        if not (rising and falling and fits and self.episodes_per_series_day[-1] > 0):
            raise ConfigError(
                field="curve",
                got=(self.thresholds[:3], self.episodes_per_series_day[:3]),
                expected="two or more rising thresholds with falling positive rates",
            )

    def threshold(self, episodes_per_series_day: float) -> float:
        """Return the threshold that spends a budget; the curve goes on as it ends on both sides.

        The logarithm of the rate is nearly straight in the threshold, since scores are logarithms
        of probabilities.
        """
        want = float(np.log(episodes_per_series_day))
        x = np.log(self.episodes_per_series_day)[::-1]
        y = np.array(self.thresholds)[::-1]
        if want < x[0]:
            return float(y[0] + (want - x[0]) * (y[-1] - y[0]) / (x[-1] - x[0]))
        if want > x[-1]:
            slope = (y[-1] - y[0]) / (x[-1] - x[0])
            return float(max(y[-1] + (want - x[-1]) * slope, min(0.5, y[-1])))
        return float(np.interp(want, x, y))


class AlertBudget:
    """The budget in force and the threshold that follows from it.

    A false alarm takes `step_ratio` off the budget, which raises the threshold; a confirmed alert
    adds to it, which lowers the threshold, by as much as leaves it where it is on average when the
    share of confirmed alerts is `target_precision`. So the threshold settles where alerts are
    right that often.
    """

    def __init__(self, config: BudgetConfig, curve: AlertCurve) -> None:
        self._config = config
        self.curve = curve
        self.episodes_per_series_day = config.episodes_per_series_day
        self.false_alarms = 0
        self.confirmed = 0

    @property
    def threshold(self) -> float:
        """The score from which a sample alerts, at the step that the curve was counted at."""
        return self.threshold_at(self.curve.step_s)

    def threshold_at(self, step_s: float) -> float:
        """Return the score from which a sample alerts, at another step.

        Faster samples raise more episodes at the same threshold, about with the square root of
        their number a day: neighbours are alike, so they do not count in full.
        """
        ratio = np.clip(step_s / self.curve.step_s, _LEAST_STEP_RATIO, _MOST_STEP_RATIO)
        return self.curve.threshold(self.episodes_per_series_day * float(np.sqrt(ratio)))

    def state(self) -> dict[str, float]:
        """Return what verdicts have moved; `restore` takes it back."""
        return {
            "episodes_per_series_day": self.episodes_per_series_day,
            "false_alarms": self.false_alarms,
            "confirmed": self.confirmed,
        }

    def restore(self, state: Mapping[str, float]) -> None:
        """Go on from a `state`."""
        self.episodes_per_series_day = float(state["episodes_per_series_day"])
        self.false_alarms = int(state["false_alarms"])
        self.confirmed = int(state["confirmed"])

    def false_alarm(self) -> float:
        """Count a false alarm and return the threshold, now higher or at its highest."""
        self.false_alarms += 1
        return self._move(np.log1p(-self._config.step_ratio))

    def confirm(self) -> float:
        """Count a confirmed alert and return the threshold, now lower or at its lowest."""
        self.confirmed += 1
        precision = self._config.target_precision
        return self._move(-np.log1p(-self._config.step_ratio) * (1 - precision) / precision)

    def _move(self, log_step: float) -> float:
        moved = self.episodes_per_series_day * float(np.exp(log_step))
        self.episodes_per_series_day = min(max(moved, self._config.lowest), self._config.highest)
        return self.threshold


DEFAULT_CURVE: Final = AlertCurve(
    thresholds=(1.0, 1.25, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0, 2.25, 2.5, 3.0, 3.5, 4.0),
    episodes_per_series_day=(
        *(0.7717, 0.5439, 0.3773, 0.2584, 0.1938, 0.136, 0.0952),
        *(0.0578, 0.051, 0.0374, 0.0238, 0.0204, 0.0068),
    ),
    source="python -m benchmarks.anomaly_curve: 20 generated node metrics without faults and 13 "
    "means of public fleets, every 300 s, 294 days after three days of each",
)
"""What holds until `fit` has seen the fleet's own series."""
