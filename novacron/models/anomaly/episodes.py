"""Groups alerting samples into episodes, so that one fault raises one alert, and more if it grows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from novacron.models.anomaly.config import EpisodeConfig, Severity

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Raised:
    """An alert is raised at a sample: number of the sample, and of the episode it belongs to."""

    row: int
    episode: int
    escalation: bool
    """True when the episode had raised an alert before."""


class EpisodeGrouper:
    """Decides, sample after sample, whether an alert is raised.

    A sample above the threshold, the last of `confirm_samples` such in a row, opens an episode when
    nothing was above it for `quiet_h`; inside an episode it raises again only at `escalation_ratio`
    times the score of the last alert, or after `calm_h` of peace at `calm_ratio` times.
    """

    def __init__(self, config: EpisodeConfig) -> None:
        self._config = config
        self._last_above_s = -np.inf
        self._reference = 0.0
        self._episode = 0
        self._seen = 0
        self._last_above = -2
        self._streak = 0

    def push(self, ts_s: Floats, score_T: Floats, threshold: float) -> list[Raised]:
        """Return the alerts that samples raise, in order of time."""
        raised = []
        for row in np.flatnonzero(score_T >= threshold):
            now_s, score = float(ts_s[row]), float(score_T[row])
            if not self._confirmed(self._seen + int(row)):
                continue
            peace_h = (now_s - self._last_above_s) / 3600
            fresh = peace_h > self._config.quiet_h
            calm = peace_h > self._config.calm_h
            ratio = self._config.calm_ratio if calm else self._config.escalation_ratio
            if fresh or score >= ratio * self._reference:
                self._episode += fresh
                self._reference = score
                raised.append(Raised(row=int(row), episode=self._episode, escalation=not fresh))
            self._last_above_s = now_s
        self._seen += len(score_T)
        return raised

    def _confirmed(self, number: int) -> bool:
        self._streak = self._streak + 1 if number == self._last_above + 1 else 1
        self._last_above = number
        return self._streak >= self._config.confirm_samples


def severity(score: float, threshold: float, config: EpisodeConfig) -> Severity:
    """Return how far a score is beyond the threshold, in words."""
    medium, high, critical = config.severity_ratios
    ratio = score / threshold
    if ratio >= critical:
        return "critical"
    if ratio >= high:
        return "high"
    return "medium" if ratio >= medium else "low"
