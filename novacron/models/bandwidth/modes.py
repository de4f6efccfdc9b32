"""The mode of a path - datacenter, hybrid, internet - from measured round trip and bandwidth.

The rule is on means over the last ten samples. A mode is left only when its bounds are crossed by a
fifth, and not before a minute has passed: a path at a threshold does not flap.
"""

from collections import deque
from typing import Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from novacron.errors import OutOfRangeError

Mode = Literal["datacenter", "hybrid", "internet"]
MODES: Final[tuple[Mode, ...]] = ("datacenter", "hybrid", "internet")


class ModeConfig(BaseModel):
    """Bounds of the modes and how firmly they are kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    datacenter_rtt_ms: float = Field(default=10.0, gt=0)
    """Datacenter: mean round trip below this."""
    internet_rtt_ms: float = Field(default=50.0, gt=0)
    """Internet: mean round trip above this."""
    bandwidth_mbps: float = Field(default=1000.0, gt=0)
    """Datacenter from this up, internet below it."""
    history: int = Field(default=10, ge=1, le=1000)
    """Samples that are averaged; with fewer, the mode is hybrid."""
    hysteresis_ratio: float = Field(default=0.2, ge=0, lt=1)
    """How far a bound must be crossed before the mode is left."""
    dwell_s: float = Field(default=60.0, ge=0)
    """Least time in a mode."""


def mode_by_rule(rtt_ms: float, bandwidth_mbps: float, config: ModeConfig) -> Mode:
    """Return the mode of mean round trip and bandwidth, without memory."""
    if rtt_ms < config.datacenter_rtt_ms and bandwidth_mbps >= config.bandwidth_mbps:
        return "datacenter"
    if rtt_ms > config.internet_rtt_ms or bandwidth_mbps < config.bandwidth_mbps:
        return "internet"
    return "hybrid"


class ModeDetector:
    """Follows one path.

    Args:
        config: Bounds and firmness.
    """

    def __init__(self, config: ModeConfig | None = None) -> None:
        self.config = config or ModeConfig()
        self.mode: Mode = "hybrid"
        self.changes = 0
        self._is_decided = False
        self._since_s: float | None = None
        self._newest_s: float | None = None
        self._samples: deque[tuple[float, float]] = deque(maxlen=self.config.history)

    @property
    def is_known(self) -> bool:
        """Whether enough samples were seen to tell the mode; until then it is hybrid."""
        return len(self._samples) == self.config.history

    def observe(self, at_s: float, rtt_ms: float, bandwidth_mbps: float) -> Mode:
        """Take in one sample and return the mode.

        Args:
            at_s: Time of the sample in seconds, on any clock that does not run backwards.
            rtt_ms: Round trip, >= 0.
            bandwidth_mbps: Bandwidth, >= 0.

        Raises:
            OutOfRangeError: A value is negative or not finite, or time runs backwards.
        """
        for name, value in (("rtt_ms", rtt_ms), ("bandwidth_mbps", bandwidth_mbps)):
            if not np.isfinite(value) or value < 0:
                raise OutOfRangeError(field=name, got=value, expected="a finite number >= 0")
        if self._newest_s is not None and at_s < self._newest_s:
            raise OutOfRangeError(
                field="at_s", got=at_s, expected=f"no time before {self._newest_s}"
            )
        self._newest_s = at_s
        if self._since_s is None:
            self._since_s = at_s
        self._samples.append((rtt_ms, bandwidth_mbps))
        if self.is_known:
            self._decide(at_s)
        return self.mode

    def _decide(self, at_s: float) -> None:
        rtt_ms, bandwidth_mbps = np.mean(list(self._samples), axis=0)
        wanted = mode_by_rule(float(rtt_ms), float(bandwidth_mbps), self.config)
        if not self._is_decided:  # there is no measured mode yet that could be kept
            self.mode, self._since_s, self._is_decided = wanted, at_s, True
            return
        dwelt_s = at_s - (self._since_s if self._since_s is not None else at_s)
        if wanted == self.mode or dwelt_s < self.config.dwell_s:
            return
        if self._still_holds(float(rtt_ms), float(bandwidth_mbps)):
            return
        self.mode, self._since_s = wanted, at_s
        self.changes += 1

    def _still_holds(self, rtt_ms: float, bandwidth_mbps: float) -> bool:
        """Tell whether the present mode's bounds hold when widened by the hysteresis."""
        less, more = 1 - self.config.hysteresis_ratio, 1 + self.config.hysteresis_ratio
        config = self.config
        if self.mode == "datacenter":
            fast = bandwidth_mbps >= less * config.bandwidth_mbps
            return fast and rtt_ms < more * config.datacenter_rtt_ms
        if self.mode == "internet":
            slow = bandwidth_mbps < more * config.bandwidth_mbps
            return slow or rtt_ms > less * config.internet_rtt_ms
        far = rtt_ms > more * config.internet_rtt_ms
        near = rtt_ms < less * config.datacenter_rtt_ms
        fast = bandwidth_mbps >= less * config.bandwidth_mbps
        return not far and fast and not near
