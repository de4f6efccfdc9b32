"""Recordings of the bandwidth search: which of them it may see, its blocks, and their windows.

Recordings are the groups. Of those that training may see, a quarter is the untouched block; of the
others a part is learned from, a part chooses rounds, epoch and blend, and a part scores. What the
benchmark or the training job report on is left out before that: the newest fifth of FCC and HSDPA
recordings, and every recording that the job's split by hash holds back.

Legend: N rows, H steps ahead, T steps read by the LSTM, C channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.models.bandwidth.choices import fit_class_band
from novacron.models.bandwidth.config import SERVED_LEVELS, BandwidthConfig
from novacron.models.bandwidth.scores import band_of_windows
from novacron.models.bandwidth.windows import (
    ModelInputs,
    WindowSet,
    cut_windows,
    encode_all,
    join_windows,
)
from novacron.models.baselines import EwmaBand
from novacron.models.metrics import wql_terms
from novacron.telemetry.splits import split_by_group
from novacron.telemetry.traces import Trace, by_class

Floats = NDArray[np.float64]

SETS: Final = ("fcc", "hsdpa", "puffer_train")
_HELD_BACK_BY_DATE: Final = ("fcc", "hsdpa")
_COARSE_STEP_S: Final = 3.0
_COLD: Final = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How much is taken of the data: a trial on two cores stays within seconds."""

    traces: int
    """Most traces of each set."""
    fit_rows: int
    """Windows of each class to learn from; a third as many choose, and as many score."""
    untouched_rows: int
    """Windows of each class that score on the untouched block: that is done a few times only."""


FULL: Final = Size(traces=720, fit_rows=1000, untouched_rows=3000)
SMALL: Final = Size(traces=24, fit_rows=300, untouched_rows=300)


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """Windows of all classes, class by class, with their inputs; `x_NTC` holds the whole history.

    `class_N` numbers the class of each row, `group_N` names its trace.
    """

    windows: WindowSet
    inputs: ModelInputs
    class_N: NDArray[np.int64]
    group_N: NDArray[np.str_]


@dataclass(frozen=True, kw_only=True, slots=True)
class BandwidthData:
    """What one trial gets: rows to learn from, to choose by, and to be scored on."""

    fit: Side
    choose: Side
    score: Side
    band: EwmaBand
    """Fitted on the traces to learn from: the yardstick."""
    band_loss_N: Floats
    """What the band loses on each row to be scored."""


def block_data(
    fit: Sequence[Trace],
    choose: Sequence[Trace],
    score: Sequence[Trace],
    size: Size,
    score_rows: int,
) -> BandwidthData:
    """Cut and encode the windows of one block."""
    config = BandwidthConfig()
    band = fit_class_band(fit, config)
    sides = [
        _side(fit, size.fit_rows, config),
        _side(choose, size.fit_rows // 3, config),
        _side(score, score_rows, config),
    ]
    scored = sides[2]
    bandwidth_NW = scored.windows.channels["bandwidth_mbps"]
    loss_NH = wql_terms(
        scored.windows.future_NH,
        band_of_windows(band, bandwidth_NW),
        SERVED_LEVELS,
    )
    return BandwidthData(
        fit=sides[0], choose=sides[1], score=scored, band=band, band_loss_N=loss_NH.sum(axis=1)
    )


def _side(traces: Sequence[Trace], rows: int, config: BandwidthConfig) -> Side:
    whole = config.model_copy(
        update={"lstm": config.lstm.model_copy(update={"steps": config.features.history})}
    )
    windows, class_N, group_N = [], [], []
    for number, (_, own) in enumerate(sorted(by_class(traces).items())):
        cut = cut_windows(own, config.features, config.horizon, most=rows)
        cut = cut.take(cut.origin_N >= _COLD - 1)
        windows.append(cut)
        class_N.append(np.full(len(cut), number))
        group_N.append(np.array([trace.trace_id for trace in own])[cut.trace_N])
    joined = join_windows(windows)
    return Side(
        windows=joined,
        inputs=encode_all(whole, joined),
        class_N=np.concatenate(class_N),
        group_N=np.concatenate(group_N),
    )


def cut_recordings(traces: Sequence[Trace]) -> dict[str, tuple[Trace, ...]]:
    """Deal the recordings of each class out to the four parts, by the hash of their names."""
    parts: dict[str, tuple[Trace, ...]] = dict.fromkeys(
        ("fit", "choose", "score", "untouched"), ()
    )
    for own in by_class(traces).values():
        outer = split_by_group(
            own, validation_share=0.25, test_share=0.25, order="hashed", seed=11
        )
        inner = split_by_group(outer.train, validation_share=0.3, order="hashed", seed=12)
        for name, found in zip(
            parts, (inner.train, inner.validation, outer.validation, outer.test), strict=True
        ):
            parts[name] += found
    return parts


def open_part(name: str, traces: Sequence[Trace]) -> tuple[Trace, ...]:
    """Return the recordings of a set that neither the benchmark nor the training job tests on."""
    left = set()
    for own in by_class(traces).values():
        job = split_by_group(own, validation_share=0.2, test_share=0.2, order="hashed")
        left |= {trace.trace_id for trace in job.train + job.validation}
    if name in _HELD_BACK_BY_DATE:
        fine = [trace for trace in traces if trace.step_s < _COARSE_STEP_S]
        coarse = [trace for trace in traces if trace.step_s >= _COARSE_STEP_S]
        sides = [split_by_group(part, validation_share=0.2) for part in (fine, coarse) if part]
        left &= {trace.trace_id for side in sides for trace in side.train}
    return tuple(trace for trace in traces if trace.trace_id in left)


def spread(traces: Sequence[Trace], most: int) -> tuple[Trace, ...]:
    """Keep at most so many, at even distances."""
    if len(traces) <= most:
        return tuple(traces)
    return tuple(traces[i * len(traces) // most] for i in range(most))
