"""The fingerprint that ties a model to the features it was fitted on: the spec and the code.

Legend: N windows, W steps.
"""

import hashlib
import json
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.errors import FeatureMismatchError
from novacron.features.spec import FeatureSpec
from novacron.features.windows import sequence_tensor, window_features

FEATURES_VERSION: Final = 1
"""Raised when the meaning of a feature changes in a way that the golden windows do not show."""

_GOLDEN_WINDOWS: Final = 12
# Enough to see any change of a formula, few enough that libraries and processors agree.
_GOLDEN_DECIMALS: Final = 6


@lru_cache(maxsize=64)
def fingerprint(spec: FeatureSpec) -> str:
    """Return 64 hex digits that change with the spec, its names or what the code computes.

    It is the SHA-256 of the canonical JSON of the spec, `FEATURES_VERSION`, the feature names, and
    the features and sequences of fixed windows, rounded so that platforms agree.
    """
    # Reading the spec back makes 4 and 4.0, equal in Python, equal in JSON too.
    spec = FeatureSpec.model_validate(spec.model_dump())
    windows = golden_windows(spec)
    ts_s = 1.7e9 + 40_000.0 * np.arange(_GOLDEN_WINDOWS)
    digest = hashlib.sha256()
    content = {
        "spec": spec.model_dump(mode="json"),
        "version": FEATURES_VERSION,
        "names": spec.names,
    }
    digest.update(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())
    digest.update(_rounded(window_features(spec, windows, ts_s)))
    digest.update(_rounded(sequence_tensor(spec, windows)))
    return digest.hexdigest()


def check_fingerprint(expected: str, spec: FeatureSpec) -> None:
    """Make sure that this code computes the features a model was fitted on.

    Args:
        expected: The fingerprint stored with the model.
        spec: The feature spec stored with the model.

    Raises:
        FeatureMismatchError: The fingerprints differ.
    """
    got = fingerprint(spec)
    if got != expected:
        raise FeatureMismatchError(
            f"The model was fitted on features {expected[:12]}, this code computes {got[:12]}.",
            remedy="Train and register the model again, or serve it with the version of this "
            "project that trained it.",
        )


def golden_windows(spec: FeatureSpec) -> dict[str, NDArray[np.float64]]:
    """Make fixed windows x_NW in [0, 100) for every channel: noise, waves, gaps, short histories.

    Integer arithmetic only, so that every platform makes the same ones.
    """
    steps = spec.history
    state = 20_251_123
    windows = {}
    for channel in spec.channels:
        hundredths_NW = np.zeros((_GOLDEN_WINDOWS, steps), dtype=np.int64)
        for row in range(_GOLDEN_WINDOWS):
            for step in range(steps):
                state = (1_103_515_245 * state + 12_345) % 2**31
                wave = 400 * (step % (row + 2))
                hundredths_NW[row, step] = ((state >> 16) % 5000) // (row + 1) + wave % 5000
        x_NW = hundredths_NW / 100
        x_NW[1, : steps // 2] = np.nan
        x_NW[2, ::3] = np.nan
        x_NW[3, -1] = np.nan
        x_NW[4, :-1] = np.nan
        x_NW[5] = np.nan
        x_NW[6] = 7.25
        windows[channel] = x_NW
    return windows


def _rounded(values: NDArray[np.float64]) -> bytes:
    # Adding 0 turns -0 into 0; NaN has many encodings, so it is spelled out as a number.
    rounded = np.round(values, _GOLDEN_DECIMALS) + 0.0
    return np.where(np.isnan(rounded), 1e300, rounded).astype("<f8").tobytes()
