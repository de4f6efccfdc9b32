"""Replays measured traces as the capacity (and round trip and loss, where known) of a path.

Shape legend: R traces, S samples of one second.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from novacron.errors import InvalidInputError, OutOfRangeError, SchemaError
from novacron.telemetry.traces import Trace
from rl_envs.physics.quantities import FloatArray, IntArray

SAMPLE_S = 1.0
MIN_MBPS = 0.01
"""Outages are replayed as this rate: a path that carries nothing has no round trip to measure."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TraceBank:
    """Traces on a common grid of one second, padded at the end; `length_R` counts real samples.

    `rtt_ms_RS` and `loss_ratio_RS` are NaN where a trace does not say.
    """

    bandwidth_mbps_RS: FloatArray
    rtt_ms_RS: FloatArray
    loss_ratio_RS: FloatArray
    length_R: IntArray

    @classmethod
    def of(cls, traces: Sequence[Trace], *, min_length_s: float, max_gap_s: float) -> "TraceBank":
        """Resample traces by holding the last value.

        Args:
            traces: What to replay.
            min_length_s: An episode's length; shorter traces are refused, never looped.
            max_gap_s: Longest time between two samples.

        Raises:
            SchemaError: There is no trace, or one is shorter than an episode or has a gap.
            OutOfRangeError: A rate is negative or not finite.
        """
        if not traces:
            raise SchemaError(field="traces", got="none", expected="at least one trace")
        rows = [_resampled(trace, min_length_s, max_gap_s) for trace in traces]
        longest = max(row.shape[1] for row in rows)
        padded = np.stack(
            [np.pad(row, ((0, 0), (0, longest - row.shape[1])), mode="edge") for row in rows]
        )
        return cls(
            bandwidth_mbps_RS=np.ascontiguousarray(padded[:, 0]),
            rtt_ms_RS=np.ascontiguousarray(padded[:, 1]),
            loss_ratio_RS=np.ascontiguousarray(padded[:, 2]),
            length_R=np.array([row.shape[1] for row in rows]),
        )

    def start_of(self, pick_N: FloatArray, place_N: FloatArray, span_s: float) -> IntArray:
        """Choose a trace and a start that leaves `span_s` seconds, from uniform numbers.

        Returns:
            [N, 2]: trace, first sample.
        """
        trace = np.floor(pick_N * self.length_R.size).astype(np.int64)
        room = np.maximum(self.length_R[trace] - int(np.ceil(span_s / SAMPLE_S)), 0)
        first = np.floor(place_N * (room + 1)).astype(np.int64)
        return np.stack([trace, first], axis=1)

    def mean_between(
        self, start_N2: IntArray, from_s_N: FloatArray, span_s: float
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return mean bandwidth, round trip and loss over `span_s` seconds of each replay."""
        count = max(round(span_s / SAMPLE_S), 1)
        first = start_N2[:, 1] + np.rint(from_s_N / SAMPLE_S).astype(np.int64)
        column = first[:, None] + np.arange(count)
        column = np.minimum(column, self.length_R[start_N2[:, 0]][:, None] - 1)
        row = start_N2[:, :1]
        bandwidth = self.bandwidth_mbps_RS[row, column]
        return (
            np.maximum(_mean(bandwidth), MIN_MBPS),
            _mean(self.rtt_ms_RS[row, column]),
            _mean(self.loss_ratio_RS[row, column]),
        )


def sift_traces(
    traces: Sequence[Trace], *, min_length_s: float, max_gap_s: float
) -> tuple[tuple[Trace, ...], dict[str, InvalidInputError]]:
    """Tell traces that can be replayed from those that cannot, and say why.

    Returns:
        The usable traces in order, and the error of each other one by its id.
    """
    usable, refused = [], {}
    for trace in traces:
        try:
            _resampled(trace, min_length_s, max_gap_s)
        except InvalidInputError as error:
            refused[trace.trace_id] = error
        else:
            usable.append(trace)
    return tuple(usable), refused


def _mean(values_NS: FloatArray) -> FloatArray:
    """Mean over axis 1 in a fixed order, so that no batch size changes a bit."""
    total = np.zeros(values_NS.shape[0])
    for column in range(values_NS.shape[1]):
        total = total + values_NS[:, column]
    mean: FloatArray = total / values_NS.shape[1]
    return mean


def _resampled(trace: Trace, min_length_s: float, max_gap_s: float) -> FloatArray:
    """Return [3, S]: bandwidth, round trip and loss on the grid."""
    bandwidth = np.asarray(trace.bandwidth_mbps, dtype=np.float64)
    if not (np.isfinite(bandwidth) & (bandwidth >= 0)).all():
        raise OutOfRangeError(
            field=f"{trace.trace_id}.bandwidth_mbps",
            got=float(np.nanmin(bandwidth)) if bandwidth.size else "no samples",
            expected="finite numbers >= 0 Mbit/s",
        )
    length_s = float(trace.t_s[-1] - trace.t_s[0]) if trace.t_s.size else 0.0
    if length_s < min_length_s:
        raise SchemaError(
            field=f"{trace.trace_id}.t_s",
            got=f"{length_s:.1f} s",
            expected=f"at least the {min_length_s:.0f} s of an episode",
            remedy="Leave it out, or shorten the episode with `episode_steps`.",
        )
    gap_s = float(np.diff(trace.t_s).max())
    if gap_s > max_gap_s:
        raise SchemaError(
            field=f"{trace.trace_id}.t_s",
            got=f"a gap of {gap_s:.1f} s",
            expected=f"no gap above {max_gap_s:.0f} s",
            remedy="Split the trace at the gap.",
        )
    grid = trace.t_s[0] + np.arange(0.0, length_s + 1e-9, SAMPLE_S)
    index = np.searchsorted(trace.t_s, grid + 1e-9, side="right") - 1
    unknown = np.full(bandwidth.size, np.nan)
    rtt = unknown if trace.rtt_ms is None else trace.rtt_ms
    loss = unknown if trace.loss_ratio is None else trace.loss_ratio
    return np.stack([bandwidth[index], rtt[index], loss[index]])
