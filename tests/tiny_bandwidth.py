"""Paths and settings for tests of the bandwidth forecaster: fits in about two seconds."""

import functools
import tempfile
from pathlib import Path

import numpy as np

from novacron.features.spec import FeatureSpec
from novacron.models.bandwidth.config import BandwidthConfig, LstmConfig, TwinConfig
from novacron.models.bandwidth.fit import FittedBandwidth, fit_bandwidth
from novacron.telemetry.traces import Trace

FEATURES = FeatureSpec(
    channels=("bandwidth_mbps", "rtt_ms", "loss_ratio", "jitter_ms"),
    history=24,
    ewma_half_lives=(1, 4),
    relative=("bandwidth_mbps",),
    relative_lags=(0, 1, 2, 3, 4, 5, 6, 7),
    relative_rolling=(5, 24),
)
TINY = BandwidthConfig(
    features=FEATURES,
    seeds=(1, 2),
    lstm=LstmConfig(
        steps=12, hidden=8, head=16, epochs=3, tuning_epochs=1, rows_per_class=3000, batch_rows=128
    ),
    twin=TwinConfig(
        rounds=40, tuning_rounds=20, min_rows_per_leaf=20, examples=6000, learning_rate=0.15
    ),
)


def wave(number, *, path_class="wave", samples=200, seed=0, scale_mbps=10.0, with_rtt=False):
    """A path that swings with a period of 8 samples: easy to forecast, hard for the last value."""
    rng = np.random.default_rng([seed, number])
    t = np.arange(samples)
    swing = 1 + 0.6 * np.sin(2 * np.pi * (t + rng.integers(8)) / 8)
    return Trace(
        trace_id=f"{path_class}-{number:03d}",
        path_class=path_class,
        t_s=t.astype(float),
        bandwidth_mbps=scale_mbps * swing * rng.lognormal(0, 0.05, samples),
        rtt_ms=rng.uniform(20, 40, samples) if with_rtt else None,
    )


def noise(number, *, path_class="noise", samples=200, seed=0):
    """Independent draws: nothing to learn."""
    rng = np.random.default_rng([seed, number, 9])
    return Trace(
        trace_id=f"{path_class}-{number:03d}",
        path_class=path_class,
        t_s=np.arange(samples, dtype=float),
        bandwidth_mbps=np.maximum(rng.normal(500, 200, samples), 0.0),
    )


def tiny_traces():
    return {
        "wave": tuple(wave(n, with_rtt=n % 2 == 0) for n in range(10)),
        "big_wave": tuple(wave(n, path_class="big_wave", scale_mbps=400.0) for n in range(6)),
    }


@functools.cache
def tiny_fit() -> FittedBandwidth:
    """The forecaster of `tiny_traces`, fitted once in a process."""
    with tempfile.TemporaryDirectory() as directory:
        return fit_bandwidth(tiny_traces(), TINY, checkpoint_dir=Path(directory))
