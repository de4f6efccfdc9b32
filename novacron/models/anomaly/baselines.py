"""The detectors that ours is compared with; each sees the past only and gets the same wrapper.

The wrapper is the tail of the raw score (`tails`) and the grouping into episodes, so that what
differs is the detector alone. HBOS and ECOD are own code that ranks as the PyOD package does.

Legend: T samples, N rows, W steps of a window, F features, B bins.
"""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.models.anomaly.cut_forest import grow_cut_tree
from novacron.models.anomaly.signals import BLOCK, NAMES, VALUE_NAMES, block_features
from novacron.models.anomaly.tails import tail_surprise

Floats = NDArray[np.float64]
Baseline = Callable[[Floats, int, int], Floats]
"""From samples, samples of a day and a seed to a raw score of each sample."""

FIRST: Final = 256
_HISTORY: Final = 4000
_REFIT: Final = 512
_TAIL_HISTORY: Final = 8000
_SMOOTH: Final = 3
_SPECTRAL_STEPS: Final = 128
_ESTIMATED: Final = 5
_BEFORE: Final = 21
_SHINGLE: Final = 8
_CUT_TREES: Final = 16
_CUT_SAMPLES: Final = 128
_BINS: Final = 10


def zscore(value_T: Floats, day_samples: int, _seed: int) -> Floats:
    """Return the distance from the mean of the day before, in its standard deviations."""
    width = max(day_samples, 24)
    one = np.concatenate([[0.0], np.cumsum(value_T - value_T[0])])
    two = np.concatenate([[0.0], np.cumsum((value_T - value_T[0]) ** 2)])
    end = np.arange(len(value_T))
    start = np.maximum(end - width, 0)
    count = np.maximum(end - start, 1)
    mean = (one[end] - one[start]) / count
    deviation = np.sqrt(np.maximum((two[end] - two[start]) / count - mean**2, 0))
    floor = 1e-9 * (np.abs(value_T).max() + 1e-300)
    return np.asarray(np.abs(value_T - value_T[0] - mean) / np.maximum(deviation, floor))


def spectral_residual(value_T: Floats, _day_samples: int, _seed: int) -> Floats:
    """Return the saliency of the newest of 128 samples (Ren et al., KDD 2019, sections 3.2-3.3).

    As in the paper, five estimated samples follow the newest, since the method is poor at the end
    of a window, and the score is the distance from the mean of the 21 saliencies before, over it.
    """
    steps = _SPECTRAL_STEPS
    padded = np.concatenate([np.full(steps - 1, value_T[0]), value_T])
    out_T = np.empty(len(value_T))
    kernel = np.ones(_SMOOTH) / _SMOOTH
    ahead_M = np.arange(1, _ESTIMATED + 1)
    for start in range(0, len(value_T), BLOCK):
        window_NW = np.lib.stride_tricks.sliding_window_view(
            padded[start : start + BLOCK + steps - 1], steps
        )
        before_NM = window_NW[:, -1 - ahead_M]
        gradient_N = ((window_NW[:, -1:] - before_NM) / ahead_M).mean(axis=1)
        estimate_N = window_NW[:, -_ESTIMATED] + gradient_N * _ESTIMATED
        tail_NM = np.repeat(estimate_N[:, None], _ESTIMATED, axis=1)
        spectrum = np.fft.fft(np.concatenate([window_NW, tail_NM], axis=1), axis=1)
        log = np.log(np.abs(spectrum) + 1e-12 * (np.abs(spectrum).max() + 1e-300))
        smooth = np.apply_along_axis(np.convolve, 1, log, kernel, "same")
        turned = np.exp(log - smooth + 1j * np.angle(spectrum))
        saliency_NW = np.abs(np.fft.ifft(turned, axis=1))[:, :steps]
        mean_N = saliency_NW[:, -1 - _BEFORE : -1].mean(axis=1)
        out_T[start : start + BLOCK] = (saliency_NW[:, -1] - mean_N) / np.maximum(mean_N, 1e-12)
    return out_T


def _refitted(
    x_TF: Floats, fit_and_score: Callable[[Floats, Floats, np.random.Generator], Floats], seed: int
) -> Floats:
    """Score rows in stretches, each after a fit on the rows before it."""
    out_T = np.zeros(len(x_TF))
    for start in range(FIRST, len(x_TF), _REFIT):
        past, now = x_TF[max(0, start - _HISTORY) : start], x_TF[start : start + _REFIT]
        rng = np.random.default_rng([seed, start])
        if start == FIRST:
            out_T[:FIRST] = fit_and_score(past, past, rng)
        out_T[start : start + _REFIT] = fit_and_score(past, now, rng)
    return out_T


def _value_features(value_T: Floats, day_samples: int) -> Floats:
    features = block_features(value_T, 0, len(value_T), history=_HISTORY, day_samples=day_samples)
    return features[:, [NAMES.index(name) for name in VALUE_NAMES]]


def random_cut_forest(value_T: Floats, _day_samples: int, seed: int) -> Floats:
    """Return the expected displacement of the newest 8 samples (Guha et al., ICML 2016)."""
    padded = np.concatenate([np.full(_SHINGLE - 1, value_T[0]), value_T])
    shingle_TW = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(padded, _SHINGLE))

    def score(past: Floats, now: Floats, rng: np.random.Generator) -> Floats:
        trees = []
        for _ in range(_CUT_TREES):
            rows = rng.choice(len(past), min(_CUT_SAMPLES, len(past)), replace=False)
            trees.append(grow_cut_tree(past[rows], rng).score(now))
        return np.asarray(np.mean(trees, axis=0))

    return _refitted(shingle_TW, score, seed)


def hbos_scores(past_HF: Floats, now_NF: Floats) -> Floats:
    """Return minus the log density of independent histograms (Goldstein and Dengel, KI 2012)."""
    total_N = np.zeros(len(now_NF))
    smooth = len(past_HF) + 0.1 * _BINS
    for f in range(past_HF.shape[1]):
        count_B, edge_B = np.histogram(past_HF[:, f], bins=_BINS)
        density_B = (count_B + 0.1) / smooth
        place_N = np.clip(np.searchsorted(edge_B, now_NF[:, f], "right") - 1, 0, _BINS - 1)
        beyond_N = (now_NF[:, f] < edge_B[0]) | (now_NF[:, f] > edge_B[-1])
        total_N -= np.log(np.where(beyond_N, 0.1 / smooth, density_B[place_N]))
    return total_N


def ecod_scores(past_HF: Floats, now_NF: Floats) -> Floats:
    """Return the sum over features of the larger -log empirical tail (Li et al., TKDE 2022).

    As PyOD has it: the larger tail is taken feature by feature; the paper takes it of the sums.
    """
    total_N = np.zeros(len(now_NF))
    for f in range(past_HF.shape[1]):
        sorted_H = np.sort(past_HF[:, f])
        n = len(sorted_H)
        below = (np.searchsorted(sorted_H, now_NF[:, f], "right") + 1) / (n + 1)
        above = (n - np.searchsorted(sorted_H, now_NF[:, f], "left") + 1) / (n + 1)
        total_N -= np.log(np.minimum(below, above))
    return total_N


def hbos(value_T: Floats, day_samples: int, seed: int) -> Floats:
    """Return `hbos_scores` of the value features, refitted on the past."""
    return _refitted(
        _value_features(value_T, day_samples), lambda p, n, _: hbos_scores(p, n), seed
    )


def ecod(value_T: Floats, day_samples: int, seed: int) -> Floats:
    """Return `ecod_scores` of the value features, refitted on the past."""
    return _refitted(
        _value_features(value_T, day_samples), lambda p, n, _: ecod_scores(p, n), seed
    )


BASELINES: Final[Mapping[str, Baseline]] = {
    "zscore": zscore,
    "spectral_residual": spectral_residual,
    "random_cut_forest": random_cut_forest,
    "hbos": hbos,
    "ecod": ecod,
}


def baseline_surprise(name: str, value_T: Floats, day_samples: int, seed: int) -> Floats:
    """Return the surprise of each sample by a baseline in our wrapper; 0 for the first 256."""
    raw_T = BASELINES[name](value_T, day_samples, seed)
    out_T = np.zeros(len(raw_T))
    for start in range(FIRST, len(raw_T), BLOCK):
        history = raw_T[max(0, start - _TAIL_HISTORY) : start]
        out_T[start : start + BLOCK] = tail_surprise(history, raw_T[start : start + BLOCK])
    return out_T
