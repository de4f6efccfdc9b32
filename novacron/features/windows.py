"""The one function that turns windows of samples into features, and its sequence twin.

Legend: N windows (rows), W steps of history (newest last), F features, C sequence channels,
M windows of all channels side by side. Missing samples are NaN, nothing else is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.errors import OutOfRangeError, SchemaError
from novacron.features.calendar import calendar_features
from novacron.features.kernels import (
    Block,
    Floats,
    at_least_two,
    ewma,
    log_ratio,
    write_count,
    write_ewma,
    write_frequency,
    write_lag,
    write_relative,
    write_rolling,
    write_spike,
)
from novacron.features.spec import CALENDAR_NAMES, CHANNEL_FAMILIES, CHANNEL_UNITS, FeatureSpec

Windows = Mapping[str, NDArray[np.generic]]

KERNELS: Final[dict[str, Callable[[FeatureSpec, Block, Floats], None]]] = {
    "lag": write_lag,
    "rolling": write_rolling,
    "ewma": write_ewma,
    "spike": write_spike,
    "frequency": write_frequency,
    "count": write_count,
}

# Columns computed together: few calls for many rows, and their temporaries stay in the cache.
_BLOCK_COLUMNS: Final = 768
_KEPT_FLOATS: Final = 2**21

# Fixed scales of the sequence channels, by unit of the telemetry tables: no fitted scaler.
_SEQUENCE_SCALES: Final[dict[str, Callable[[Floats], Floats]]] = {
    "ms": lambda x: np.log1p(x / 100),
    "0..1": np.sqrt,
}


def window_features(
    spec: FeatureSpec, windows: Windows, ts_s: NDArray[np.generic] | None = None
) -> Floats:
    """Compute the features of each window.

    Args:
        spec: What to compute.
        windows: Channel name to x_NT, newest sample last, NaN where a sample is missing. With
            fewer than `spec.history` samples the window is short (the older ones are missing);
            of more only the newest are read. A channel that is not given is missing throughout.
        ts_s: Time of each newest sample, t_N in s since 1970-01-01 UTC, NaN where unknown.

    Returns:
        x_NF, columns in the order of `spec.names`. Statistics are over present samples; a feature
        without the samples it needs is NaN, and `present_count` tells why.

    Raises:
        SchemaError: A channel is unknown, or shapes do not agree.
        OutOfRangeError: A sample is infinite.
    """
    x_CNW = _checked(spec, windows)
    rows = x_CNW[0].shape[0]
    out_NF = np.empty((rows, len(spec.names)))
    for chunk in _chunks(rows, _BLOCK_COLUMNS // len(spec.channels)):
        _write_block(spec, [x_NW[chunk] for x_NW in x_CNW], out_NF[chunk])
    if spec.calendar:
        out_NF[:, -len(CALENDAR_NAMES) :] = calendar_features(_checked_times(ts_s, rows))
    return out_NF


def sequence_names(spec: FeatureSpec) -> tuple[str, ...]:
    """Return the channel names of `sequence_tensor`, in order."""
    names = []
    for channel in spec.channels:
        scaled = "log_ratio" if channel in spec.relative else "scaled"
        names += [f"{channel}__{scaled}", f"{channel}__present"]
    return tuple(names)


def sequence_tensor(spec: FeatureSpec, windows: Windows, steps: int | None = None) -> Floats:
    """Bring each window to the per-step channels a recurrent model reads.

    A channel in `spec.relative` becomes the log ratio of each sample to the window's EWMA level;
    others are scaled by their unit: ms to log(1 + x / 100), ratios in 0..1 to the square root,
    all else to log(1 + x). Each is followed by its mask: 1 where present, else 0 (and value 0).

    Args:
        spec: Names the channels, `history` and the level, which is that of the whole window.
        windows: As for `window_features`.
        steps: Return only this many of the newest steps; all of `history` if None.

    Returns:
        x_NTC with C = 2 x channels, see `sequence_names`, and T = `steps`.

    Raises:
        SchemaError: A channel is unknown, or shapes do not agree.
        OutOfRangeError: A sample is infinite, or `steps` exceeds the history.
    """
    x_CNW = _checked(spec, windows)
    steps = spec.history if steps is None else steps
    if not 1 <= steps <= spec.history:
        raise OutOfRangeError(field="steps", got=steps, expected=f"1 to {spec.history} steps")
    rows = len(x_CNW[0])
    out_NTC = np.empty((rows, steps, 2 * len(spec.channels)))
    for chunk in _chunks(rows, _BLOCK_COLUMNS):
        for place, (channel, x_NW) in enumerate(zip(spec.channels, x_CNW, strict=True)):
            _write_sequence(spec, channel, x_NW[chunk], out_NTC[chunk, :, 2 * place :])
    return out_NTC


def window_level(spec: FeatureSpec, windows: Windows, channel: str) -> Floats:
    """Return the EWMA level of a channel, level_N in its unit; NaN where no sample is present.

    This is the level that the relative features and sequences are ratios to, before
    `spec.log_floor` is applied.

    Raises:
        SchemaError: A channel is unknown, or shapes do not agree.
        OutOfRangeError: A sample is infinite.
    """
    if channel not in spec.channels:
        raise SchemaError(field="channel", got=channel, expected=" or ".join(spec.channels))
    x_NW = _checked(spec, windows)[spec.channels.index(channel)]
    level_N = np.empty(len(x_NW))
    for chunk in _chunks(len(x_NW), _BLOCK_COLUMNS):
        level_N[chunk] = _level(spec, channel, x_NW[chunk])
    return level_N


def _chunks(rows: int, rows_at_once: int) -> Iterator[slice]:
    step = max(1, rows_at_once)
    if rows > step:
        _keep_freed_memory()
    return (slice(start, start + step) for start in range(0, rows, step))


def _keep_freed_memory() -> None:
    """Let the allocator reuse the temporaries of one block for the next.

    The C library of Linux returns freed arrays to the system at once, and takes them back page by
    page, until it has seen a larger one freed (mallopt(3), dynamic mmap threshold). The array is
    never touched, so it costs no memory; blocks then run twice as fast.
    """
    np.empty(_KEPT_FLOATS)


def _block(channels: Sequence[str], x_CNW: Sequence[Floats]) -> Block:
    """Lay the windows of all channels side by side, time first."""
    rows, steps = x_CNW[0].shape
    x_WM = np.empty((steps, rows * len(x_CNW)))
    for place, (channel, x_NW) in enumerate(zip(channels, x_CNW, strict=True)):
        if np.isinf(x_NW).any():
            raise OutOfRangeError(
                field=channel, got=float("inf"), expected="finite numbers, NaN where missing"
            )
        x_WM[:, place * rows : (place + 1) * rows] = x_NW.T
    return Block(at_least_two(x_WM))


# In a window without samples 0/0 is NaN by contract, not an accident.
_absent_is_nan = np.errstate(divide="ignore", invalid="ignore")


@_absent_is_nan
def _level(spec: FeatureSpec, channel: str, x_NW: Floats) -> Floats:
    level_1M = ewma(_block([channel], [x_NW]), (spec.level_half_life,))
    return level_1M[0, : len(x_NW)]


@_absent_is_nan
def _write_block(spec: FeatureSpec, x_CNW: list[Floats], out_NF: Floats) -> None:
    rows = len(out_NF)
    block = _block(spec.channels, x_CNW)
    counts = [len(spec.suffixes(family)) for family in CHANNEL_FAMILIES]
    out_KM = np.empty((sum(counts), block.x_WM.shape[1]))
    stop = 0
    for family, count in zip(CHANNEL_FAMILIES, counts, strict=True):
        start, stop = stop, stop + count
        if count:
            KERNELS[family](spec, block, out_KM[start:stop])
    for place in range(len(x_CNW)):
        columns = slice(place * len(out_KM), (place + 1) * len(out_KM))
        out_NF[:, columns] = out_KM[:, place * rows : (place + 1) * rows].T
    stop = len(x_CNW) * len(out_KM)
    for channel in spec.relative:
        place = spec.channels.index(channel)
        start, stop = stop, stop + len(spec.suffixes("relative"))
        own = _block([channel], [x_CNW[place]])
        out_RM = np.empty((stop - start, own.x_WM.shape[1]))
        write_relative(spec, own, out_RM)
        out_NF[:, start:stop] = out_RM[:, :rows].T


@_absent_is_nan
def _write_sequence(
    spec: FeatureSpec, channel: str, x_NW: Floats, out_NTC: NDArray[np.float64]
) -> None:
    block = _block([channel], [x_NW])
    if channel in spec.relative:
        scaled_WM = log_ratio(spec, block)[1]
    else:
        scaled_WM = _SEQUENCE_SCALES.get(CHANNEL_UNITS[channel], np.log1p)(block.x_WM)
    rows, steps, _ = out_NTC.shape
    out_NTC[:, :, 0] = np.where(block.mask_WM > 0, scaled_WM, 0.0)[-steps:, :rows].T
    out_NTC[:, :, 1] = block.mask_WM[-steps:, :rows].T


def _checked(spec: FeatureSpec, windows: Windows) -> list[Floats]:
    """Return one x_NW of exactly `spec.history` steps per channel."""
    unknown = sorted(set(windows) - set(spec.channels))
    if unknown or not windows:
        raise SchemaError(
            field="windows",
            got=unknown or "no channel",
            expected="channels " + ", ".join(spec.channels),
        )
    arrays = {name: np.asarray(x_NT, dtype=np.float64) for name, x_NT in windows.items()}
    shape = next(iter(arrays.values())).shape
    for name, x_NT in arrays.items():
        if x_NT.ndim != 2 or x_NT.shape != shape:
            raise SchemaError(
                field=name, got=x_NT.shape, expected="[rows, steps], the same for all channels"
            )
    absent = np.broadcast_to(np.float64(np.nan), (shape[0], spec.history))
    return [
        _last_steps(arrays[channel], spec.history) if channel in arrays else absent
        for channel in spec.channels
    ]


def _last_steps(x_NT: Floats, steps: int) -> Floats:
    rows, given = x_NT.shape
    if given >= steps:
        return x_NT[:, given - steps :]
    return np.hstack([np.full((rows, steps - given), np.nan), x_NT])


def _checked_times(ts_s: NDArray[np.generic] | None, rows: int) -> Floats:
    if ts_s is None:
        return np.full(rows, np.nan)
    t_N = np.asarray(ts_s, dtype=np.float64)
    if t_N.shape != (rows,):
        raise SchemaError(field="ts_s", got=t_N.shape, expected=f"[{rows}], one time per window")
    return t_N
