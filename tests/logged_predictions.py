"""Entries of the prediction log, for its tests."""

from datetime import UTC, datetime

import numpy as np

from novacron.monitoring.predictions.config import PredictionLogConfig
from novacron.monitoring.predictions.entry import Entry, weigh
from novacron.monitoring.predictions.files import write_block
from novacron.monitoring.predictions.writer import PredictionWriter

MADE_AT_US = 1_772_366_400_000_000
"""2026-03-01T12:00:00Z."""
DAY_US = 86_400_000_000
NOW = datetime(2026, 3, 1, 13, tzinfo=UTC)
MANUAL = {"block_interval_s": 600.0, "block_rows": 10**6, "fsync": False}
"""Nothing is written before `flush`."""

_OPENED = []


def open_log(directory, *, write=write_block, **settings):
    config = PredictionLogConfig(**MANUAL | settings)
    _OPENED.append(PredictionWriter(directory, config, now=lambda: NOW, write=write))
    return _OPENED[-1]


def close_logs():
    """Close every log that was opened; for a fixture."""
    while _OPENED:
        _OPENED.pop().close()


def entry(log, value=((1.0, 2.0),), **changes):
    """An answer of the bandwidth model with the given medians, one row each."""
    value = np.array(value, dtype=float)
    inputs = {"bandwidth_mbps": np.arange(len(value) * 4.0).reshape(len(value), 4)}
    outputs = {
        "value_mbps": value,
        "lower_mbps": value - 0.5,
        "upper_mbps": value + 0.5,
        "fallback": np.array([""] * len(value), dtype=object),
    }
    fields = {
        "prediction_id": log.new_id(),
        "n_rows": len(value),
        "model": "bandwidth",
        "version": "1",
        "kind": "bandwidth",
        "role": "champion",
        "made_at_us": MADE_AT_US,
        "inputs": inputs,
        "outputs": outputs,
        "entities": (),
        "steps_s": (),
        "fallback": "",
        "stages_s": (0.001, 0.002, 0.003, 0.004),
        "weight_bytes": weigh(inputs, outputs),
    }
    return Entry(**fields | changes)
