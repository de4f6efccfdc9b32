"""The one function that turns windows of samples into features, and its sequence twin.

Legend: N windows (rows), W steps of history (newest last), F features, C sequence channels,
M windows of all channels side by side. Missing samples are NaN, nothing else is.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
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
    given = _checked(spec, windows)
    rows = len(next(iter(given.values())))
    out_NF = np.empty((rows, len(spec.names)))
    for chunk in _chunks(rows, _BLOCK_COLUMNS // len(given)):
        _write_block(spec, {name: x_NW[chunk] for name, x_NW in given.items()}, out_NF[chunk])
    for channel in set(spec.channels) - set(given):
        for columns in _columns(spec)[channel]:
            out_NF[:, columns] = _absent_row(spec)[columns]
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
    given = _checked(spec, windows)
    steps = spec.history if steps is None else steps
    if not 1 <= steps <= spec.history:
        raise OutOfRangeError(field="steps", got=steps, expected=f"1 to {spec.history} steps")
    rows = len(next(iter(given.values())))
    out_NTC = np.zeros((rows, steps, 2 * len(spec.channels)))
    for channel, x_NW in given.items():
        own_NTC = out_NTC[:, :, 2 * spec.channels.index(channel) :]
        for chunk in _chunks(rows, _BLOCK_COLUMNS):
            _write_sequence(spec, channel, x_NW[chunk], own_NTC[chunk])
    return out_NTC


def window_level(spec: FeatureSpec, windows: Windows, channel: str) -> Floats:
    """Return the EWMA level of a channel, level_N in its unit; NaN where no sample is present.

    This is the level that the relative features and sequences are ratios to, before
    `spec.log_floor` is applied.

    Raises:
        SchemaError: A channel is unknown, or shapes do not agree.
        OutOfRangeError: A sample is infinite.
    """
    given = _checked(spec, windows)
    if channel not in given:
        raise SchemaError(field="channel", got=channel, expected=" or ".join(given))
    x_NW = given[channel]
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


def _block(given: Mapping[str, Floats]) -> Block:
    """Lay the windows of the channels side by side, time first."""
    rows, steps = next(iter(given.values())).shape
    x_WM = np.empty((steps, rows * len(given)))
    for place, (channel, x_NW) in enumerate(given.items()):
        if np.isinf(x_NW).any():
            raise OutOfRangeError(
                field=channel, got=float("inf"), expected="finite numbers, NaN where missing"
            )
        x_WM[:, place * rows : (place + 1) * rows] = x_NW.T
    return Block(at_least_two(x_WM))


@lru_cache(maxsize=64)
def _columns(spec: FeatureSpec) -> dict[str, tuple[slice, slice]]:
    """Return where each channel's own and relative features stand."""
    own = sum(len(spec.suffixes(family)) for family in CHANNEL_FAMILIES)
    relative = len(spec.suffixes("relative"))
    columns = {}
    for place, channel in enumerate(spec.channels):
        start = len(spec.channels) * own
        if channel in spec.relative:
            start += spec.relative.index(channel) * relative
        stop = start + relative * (channel in spec.relative)
        columns[channel] = slice(place * own, (place + 1) * own), slice(start, stop)
    return columns


@lru_cache(maxsize=64)
def _absent_row(spec: FeatureSpec) -> Floats:
    """Return the features of channels without a sample: the same in every row."""
    out_NF = np.full((1, len(spec.names)), np.nan)
    nothing_NW = np.full((1, spec.history), np.nan)
    _write_block(spec, dict.fromkeys(spec.channels, nothing_NW), out_NF)
    row: Floats = out_NF[0]
    row.flags.writeable = False
    return row


# In a window without samples 0/0 is NaN by contract, not an accident.
_absent_is_nan = np.errstate(divide="ignore", invalid="ignore")


@_absent_is_nan
def _level(spec: FeatureSpec, channel: str, x_NW: Floats) -> Floats:
    level_1M = ewma(_block({channel: x_NW}), (spec.level_half_life,))
    return level_1M[0, : len(x_NW)]


@_absent_is_nan
def _write_block(spec: FeatureSpec, given: Mapping[str, Floats], out_NF: Floats) -> None:
    rows = len(out_NF)
    block = _block(given)
    counts = [len(spec.suffixes(family)) for family in CHANNEL_FAMILIES]
    out_KM = np.empty((sum(counts), block.x_WM.shape[1]))
    stop = 0
    for family, count in zip(CHANNEL_FAMILIES, counts, strict=True):
        start, stop = stop, stop + count
        if count:
            KERNELS[family](spec, block, out_KM[start:stop])
    for place, (channel, x_NW) in enumerate(given.items()):
        own, relative = _columns(spec)[channel]
        out_NF[:, own] = out_KM[:, place * rows : (place + 1) * rows].T
        if channel in spec.relative:
            alone = _block({channel: x_NW})
            out_RM = np.empty((relative.stop - relative.start, alone.x_WM.shape[1]))
            write_relative(spec, alone, out_RM)
            out_NF[:, relative] = out_RM[:, :rows].T


@_absent_is_nan
def _write_sequence(
    spec: FeatureSpec, channel: str, x_NW: Floats, out_NTC: NDArray[np.float64]
) -> None:
    block = _block({channel: x_NW})
    if channel in spec.relative:
        scaled_WM = log_ratio(spec, block)[1]
    else:
        scaled_WM = _SEQUENCE_SCALES.get(CHANNEL_UNITS[channel], np.log1p)(block.x_WM)
    rows, steps, _ = out_NTC.shape
    out_NTC[:, :, 0] = np.where(block.mask_WM > 0, scaled_WM, 0.0)[-steps:, :rows].T
    out_NTC[:, :, 1] = block.mask_WM[-steps:, :rows].T


def _checked(spec: FeatureSpec, windows: Windows) -> dict[str, Floats]:
    """Return an x_NW of exactly `spec.history` steps for each channel that is given."""
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
    return {name: _last_steps(x_NT, spec.history) for name, x_NT in arrays.items()}


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
