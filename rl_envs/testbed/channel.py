"""One direction of the emulated link, as arithmetic on packet times: no sockets, no clock."""

import bisect
import random
from collections import deque
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, model_validator

from novacron.errors import OutOfRangeError


class ChannelConfig(BaseModel):
    """One direction of a link."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rate_mbps: tuple[float, ...] = Field(min_length=1)
    """Bottleneck rate; more than one value is a trace with one value a second, then repeated."""
    delay_ms: float = Field(ge=0, le=2000)
    """One-way propagation."""
    buffer_bytes: int = Field(gt=0)
    """Droptail FIFO in front of the bottleneck."""
    loss_ratio: float = Field(default=0.0, ge=0, lt=1)
    """Packets lost after the bottleneck, on average."""
    burst_pkts: float = Field(default=1.0, ge=1)
    """Mean length of a run of losses; 1 loses packets one by one (Bernoulli)."""
    seed: int = 0

    @model_validator(mode="after")
    def _rates_are_positive(self) -> "ChannelConfig":
        if min(self.rate_mbps) <= 0:
            raise ValueError("rate_mbps must be positive")
        return self


class Channel:
    """A FIFO bottleneck, a wire with delay, and losses on the wire.

    The queue is virtual: the time until the bottleneck is free, times its rate, is what waits.
    Losses follow Gilbert's chain: in the bad state every packet is lost.
    """

    def __init__(self, config: ChannelConfig, start_s: float) -> None:
        self.config = config
        self._start_s = start_s
        self._free_s = start_s
        self._wire: deque[tuple[float, bytes]] = deque()
        self._rng = random.Random(config.seed)
        self._bad = False
        self.offered = self.overflowed = self.lost = self.delivered = 0

    def _rate_bytes_s(self, now_s: float) -> float:
        rates = self.config.rate_mbps
        return rates[int(now_s - self._start_s) % len(rates)] * 125_000.0

    def _loses(self) -> bool:
        loss, burst = self.config.loss_ratio, self.config.burst_pkts
        if loss == 0.0:
            return False
        if burst == 1.0:
            return self._rng.random() < loss
        leave = 1.0 / burst
        enter = leave * loss / (1.0 - loss)
        self._bad = self._rng.random() >= leave if self._bad else self._rng.random() < enter
        return self._bad

    def offer(self, packet: bytes, now_s: float) -> None:
        """Put a packet into the queue, or drop it where the buffer is full."""
        self.offered += 1
        rate = self._rate_bytes_s(now_s)
        self._free_s = max(self._free_s, now_s)
        # Times are floats: half a byte decides nothing but rounding.
        if (self._free_s - now_s) * rate + len(packet) > self.config.buffer_bytes + 0.5:
            self.overflowed += 1
            return
        self._free_s += len(packet) / rate
        if self._loses():
            self.lost += 1
            return
        self._wire.append((self._free_s + self.config.delay_ms * 1e-3, packet))

    def due(self, now_s: float) -> list[bytes]:
        """Take out the packets that have arrived by now, in order."""
        arrived = []
        while self._wire and self._wire[0][0] <= now_s:
            arrived.append(self._wire.popleft()[1])
        self.delivered += len(arrived)
        return arrived

    def next_s(self) -> float | None:
        """Return when the next packet arrives, or None."""
        return self._wire[0][0] if self._wire else None


def rates_of_trace(t_s: Sequence[float], mbps: Sequence[float]) -> tuple[float, ...]:
    """Resample a trace to one rate a second, holding the last value; outages become 0.01 Mbit/s.

    Raises:
        OutOfRangeError: The trace is empty.
    """
    if not t_s:
        raise OutOfRangeError(field="t_s", got="no samples", expected="at least one")
    seconds = int(t_s[-1] - t_s[0]) + 1
    rates = []
    for second in range(seconds):
        index = bisect.bisect_right(t_s, t_s[0] + second) - 1
        rates.append(max(float(mbps[index]), 0.01))
    return tuple(rates)
