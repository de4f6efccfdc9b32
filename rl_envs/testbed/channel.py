"""One direction of the emulated link, as arithmetic on packet times: no sockets, no clock."""

import bisect
import math
import random
from collections import deque
from collections.abc import Sequence
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

from novacron.errors import OutOfRangeError

LAG_BIN_S: Final = 2.5e-4
"""Resolution of the lateness of deliveries."""
LAG_BINS: Final = 200
"""Bins of lateness; the last one takes everything later."""


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
        # What every packet needs, without a look into the configuration.
        self._buffer_bytes = (
            config.buffer_bytes + 0.5
        )  # times are floats: only rounding is decided
        self._delay_s = config.delay_ms * 1e-3
        self._fixed_rate = config.rate_mbps[0] * 125_000.0 if len(config.rate_mbps) == 1 else None
        self._start_s = start_s
        self._free_s = start_s
        self._wire: deque[tuple[float, bytes]] = deque()
        self._rng = random.Random(config.seed)
        self._bad = False
        self.offered = self.overflowed = self.lost = self.delivered = 0
        self.worst_lag_s = 0.0
        self._lag_counts = [0] * LAG_BINS

    def _rate_bytes_s(self, now_s: float) -> float:
        rates = self.config.rate_mbps
        return rates[int(now_s - self._start_s) % len(rates)] * 125_000.0

    def _loses(self) -> bool:
        loss, burst = self.config.loss_ratio, self.config.burst_pkts
        if burst == 1.0:
            return self._rng.random() < loss
        leave = 1.0 / burst
        enter = leave * loss / (1.0 - loss)
        self._bad = self._rng.random() >= leave if self._bad else self._rng.random() < enter
        return self._bad

    def offer(self, packet: bytes, now_s: float) -> None:
        """Put a packet into the queue, or drop it where the buffer is full."""
        self.offered += 1
        rate = self._fixed_rate or self._rate_bytes_s(now_s)
        free_s = max(self._free_s, now_s)
        size = len(packet)
        if (free_s - now_s) * rate + size > self._buffer_bytes:
            self.overflowed += 1
            return
        self._free_s = free_s = free_s + size / rate
        if self.config.loss_ratio and self._loses():
            self.lost += 1
            return
        self._wire.append((free_s + self._delay_s, packet))

    def due(self, now_s: float) -> list[bytes]:
        """Take out the packets that have arrived by now, in order, and count how late each is."""
        wire = self._wire
        if not wire or wire[0][0] > now_s:
            return []
        self.worst_lag_s = max(self.worst_lag_s, now_s - wire[0][0])
        arrived, counts = [], self._lag_counts
        while wire and wire[0][0] <= now_s:
            at_s, packet = wire.popleft()
            counts[min(int((now_s - at_s) / LAG_BIN_S), LAG_BINS - 1)] += 1
            arrived.append(packet)
        self.delivered += len(arrived)
        return arrived

    def lag_ms(self, quantile: float) -> float:
        """Return a quantile of how late packets were delivered, rounded up to a bin."""
        wanted = quantile * sum(self._lag_counts)
        seen = 0
        for number, count in enumerate(self._lag_counts):
            seen += count
            if seen >= wanted:
                return (number + 1) * LAG_BIN_S * 1e3
        return 0.0

    def next_s(self) -> float:
        """Return when the next packet arrives; infinity if none is on the way."""
        return self._wire[0][0] if self._wire else math.inf


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
