"""How many streams, how much buffer and what pacing a path needs, from the quantiles of a forecast.

One TCP stream carries at most a window a round trip; random loss holds that window near
sqrt(3 / (2 p)) packets (Mathis et al. 1997). So streams grow with round trip and with loss: the
longer and lossier the path, the more of them fill it. Buffers hold the bandwidth-delay product and
what jitter moves.
"""

from dataclasses import dataclass
from math import ceil, erf, sqrt
from typing import Final

from novacron.errors import OutOfRangeError
from novacron.params.groups import AMST_TRANSPORT

SEGMENT_BYTES: Final = 1448
WINDOW_BYTES: Final = 4_194_304
"""Largest receive window of one stream that hosts grant by default (4 MiB)."""
PACING_RATIO: Final = 0.95
COMPUTE_CONFIDENCE: Final = 0.6
"""Below this the cautious quantile is paced at; from `APPLY_CONFIDENCE` up, advice may be applied."""
APPLY_CONFIDENCE: Final = 0.8
_NEAR_RATIO: Final = 0.2
_Z_80: Final = 1.2816
_LEAST_LOSS: Final = 1e-7
_LEAST_RTT_MS: Final = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class PathQuantiles:
    """What is expected of a path at one step: .1, .5 and .9 quantiles of the rate, and upper ends."""

    low_mbps: float
    median_mbps: float
    high_mbps: float
    rtt_ms: float
    """Upper end of the round trip."""
    loss_ratio: float
    """Median of the loss."""
    jitter_ms: float
    """Upper end of the jitter."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Allocation:
    """Advice for one path. `limited_by` says what kept the number of streams from its law."""

    streams: int
    stream_mbps: float
    """Rate one stream can hold there."""
    buffer_bytes: int
    """Of all streams together: upper rate x upper round trip, and jitter."""
    pacing_mbps: float
    confidence: float
    is_applicable: bool
    """Confidence is high enough to apply it without asking."""
    limited_by: str


def confidence_of(low_mbps: float, median_mbps: float, high_mbps: float) -> float:
    """Return the chance that the rate comes within a fifth of the median.

    From the quantiles .1, .5, .9, read as those of a normal distribution on either side.
    """
    near = _NEAR_RATIO * median_mbps

    def half(spread: float) -> float:
        return 0.5 if spread <= 0 else 0.5 * erf(near * _Z_80 / spread / sqrt(2))

    return half(median_mbps - low_mbps) + half(high_mbps - median_mbps)


def stream_rate_mbps(rtt_ms: float, loss_ratio: float) -> float:
    """Return what one stream holds: a window a round trip, of what host and loss allow the less."""
    round_trip_s = max(rtt_ms, _LEAST_RTT_MS) / 1000
    by_loss = SEGMENT_BYTES * sqrt(1.5 / max(loss_ratio, _LEAST_LOSS))
    return 8e-6 * min(WINDOW_BYTES, by_loss) / round_trip_s


def allocate(path: PathQuantiles) -> Allocation:
    """Return the advice for a path.

    Raises:
        OutOfRangeError: A value is negative, or the quantiles are not in order.
    """
    if not 0 <= path.low_mbps <= path.median_mbps <= path.high_mbps:
        raise OutOfRangeError(
            field="low_mbps, median_mbps, high_mbps",
            got=(path.low_mbps, path.median_mbps, path.high_mbps),
            expected="0 <= low <= median <= high",
        )
    if min(path.rtt_ms, path.loss_ratio, path.jitter_ms) < 0 or path.loss_ratio > 1:
        raise OutOfRangeError(
            field="rtt_ms, loss_ratio, jitter_ms",
            got=(path.rtt_ms, path.loss_ratio, path.jitter_ms),
            expected=">= 0, loss within 0..1",
        )
    stream = stream_rate_mbps(path.rtt_ms, path.loss_ratio)
    wanted = max(1, ceil(path.high_mbps / stream - 1e-9))
    bounds = AMST_TRANSPORT["streams"]
    streams = int(min(max(wanted, bounds.low or 1), bounds.high or wanted))
    confidence = confidence_of(path.low_mbps, path.median_mbps, path.high_mbps)
    sure = confidence >= COMPUTE_CONFIDENCE
    held_ms = path.rtt_ms + path.jitter_ms
    return Allocation(
        streams=streams,
        stream_mbps=stream,
        buffer_bytes=ceil(path.high_mbps * 1e6 / 8 * held_ms / 1000),
        pacing_mbps=PACING_RATIO * (path.median_mbps if sure else path.low_mbps),
        confidence=confidence,
        is_applicable=confidence >= APPLY_CONFIDENCE,
        limited_by="" if streams == wanted else f"at most {bounds.high:g} streams",
    )
