"""Encode, send, decode as overlapping stages, with what every chunk costs on top."""

from dataclasses import dataclass

import numpy as np

from rl_envs.physics.quantities import FloatArray

CHUNK_OVERHEAD_US = 30.0
"""Framing, system call and hand-over of one chunk, CPU microseconds.

Measured range of a send and a queue hand-over is 10 to 50; the calibration prints the host's own.
"""

CHUNKS_IN_FLIGHT = 16.0
"""Chunks a stream sends before it waits for the first one's acknowledgement by the application.

They are kept for a retry, so their number is bounded; a constant of the protocol.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stages:
    """Rates of the stages in MB of user data a second, arrays [N]."""

    read_mb_s: FloatArray
    encode_mb_s: FloatArray
    send_mb_s: FloatArray
    decode_mb_s: FloatArray


@dataclass(frozen=True, kw_only=True, slots=True)
class PipelineRate:
    """Rate of the whole and how busy each stage is, arrays [N]."""

    user_mb_s: FloatArray
    encode_busy_ratio: FloatArray
    send_busy_ratio: FloatArray
    decode_busy_ratio: FloatArray


def with_chunk_overhead(
    speed_mb_s: FloatArray, chunk_bytes: FloatArray, overhead_us: float = CHUNK_OVERHEAD_US
) -> FloatArray:
    """Return a per-core speed after the fixed cost of every chunk.

    >>> float(with_chunk_overhead(np.array(1000.0), np.array(30_000.0)))  # 30 us + 30 us
    500.0
    """
    speed: FloatArray = 1.0 / (1.0 / speed_mb_s + overhead_us / chunk_bytes)
    return speed


def chunk_window_mbps(
    streams: FloatArray, chunk_bytes: FloatArray, rtt_ms: FloatArray
) -> FloatArray:
    """Return the rate that chunks waiting for their acknowledgement allow: n k chunk / RTT.

    The application's own sliding window, by Little's law.

    >>> float(chunk_window_mbps(np.array(1.0), np.array(125_000.0), np.array(100.0)))
    160.0
    """
    rate: FloatArray = streams * CHUNKS_IN_FLIGHT * chunk_bytes * 8e-3 / rtt_ms
    return rate


def pipeline_rate(stages: Stages) -> PipelineRate:
    """Return the rate of overlapping stages: the slowest one's. Source: Jeannot et al. 2005.

    >>> one = lambda value: np.array([value])
    >>> rate = pipeline_rate(Stages(read_mb_s=one(900.0), encode_mb_s=one(200.0),
    ...     send_mb_s=one(50.0), decode_mb_s=one(400.0)))
    >>> float(rate.user_mb_s[0]), float(rate.encode_busy_ratio[0])
    (50.0, 0.25)
    """
    rate = np.minimum(
        np.minimum(stages.read_mb_s, stages.encode_mb_s),
        np.minimum(stages.send_mb_s, stages.decode_mb_s),
    )
    return PipelineRate(
        user_mb_s=rate,
        encode_busy_ratio=rate / stages.encode_mb_s,
        send_busy_ratio=rate / stages.send_mb_s,
        decode_busy_ratio=rate / stages.decode_mb_s,
    )


def fill_s(
    chunks_ahead: FloatArray, chunk_bytes: FloatArray, user_mb_s: FloatArray, rtt_ms: FloatArray
) -> FloatArray:
    """Return the time until the first byte leaves the far end: every stage holds chunks.

    >>> float(fill_s(np.array(8.0), np.array(1e6), np.array(100.0), np.array(40.0)))
    0.1
    """
    wait: FloatArray = chunks_ahead * chunk_bytes / (user_mb_s * 1e6) + rtt_ms * 0.5e-3
    return wait
