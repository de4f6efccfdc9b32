"""Features of whole series and of requests, through the same function as every window.

Legend: T samples of a series, N rows, W steps of history, F features, C sequence channels.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from novacron.errors import SchemaError
from novacron.features.kernels import Floats
from novacron.features.spec import FeatureSpec
from novacron.features.windows import window_features


def trace_windows(
    spec: FeatureSpec, channels: Mapping[str, NDArray[np.generic]]
) -> dict[str, Floats]:
    """Cut a series into one window per sample, each ending at that sample.

    Args:
        spec: Names the channels and `history`.
        channels: Channel name to x_T on one grid, NaN where missing; absent ones may be left out.

    Returns:
        Channel name to x_TW. The arrays are read-only views of the series: they take no memory
        until rows are picked from them.

    Raises:
        SchemaError: A channel is not one-dimensional.
    """
    windows = {}
    for name, values in channels.items():
        x_T = np.asarray(values, dtype=np.float64)
        if x_T.ndim != 1:
            raise SchemaError(field=name, got=x_T.shape, expected="[steps], one series")
        padded = np.concatenate([np.full(spec.history - 1, np.nan), x_T])
        windows[name] = np.lib.stride_tricks.sliding_window_view(padded, spec.history)
    return windows


def trace_features(
    spec: FeatureSpec,
    channels: Mapping[str, NDArray[np.generic]],
    ts_s: NDArray[np.generic] | None = None,
) -> Floats:
    """Compute the features at every sample of a series; row t reads samples up to t only.

    Args:
        spec: What to compute.
        channels: Channel name to x_T on one grid, NaN where missing.
        ts_s: Time of each sample in s since 1970-01-01 UTC, or None.

    Returns:
        x_TF, columns in the order of `spec.names`.

    Raises:
        SchemaError: A channel is unknown, or lengths do not agree.
        OutOfRangeError: A sample is infinite.
    """
    return window_features(spec, trace_windows(spec, channels), ts_s)


def request_features(
    spec: FeatureSpec,
    tensors: Mapping[str, NDArray[np.generic]],
    ts_s: NDArray[np.generic] | None = None,
) -> Floats:
    """Compute the features of the entities of a request, given as tensors x_NT, newest last.

    Tensors that are not channels of the spec are not read, so a request may carry more than the
    features need.

    Raises:
        SchemaError: No tensor is a channel, or shapes do not agree.
        OutOfRangeError: A sample is infinite.
    """
    known = {name: tensors[name] for name in spec.channels if name in tensors}
    return window_features(spec, known, ts_s)
