"""Plain windows of each type, and a small recogniser of them, for tests."""

from datetime import UTC, datetime

import numpy as np
import pytest

from novacron.models.patterns.config import PatternsConfig
from novacron.models.patterns.fit import fit_patterns
from novacron.models.patterns.recognizer import PatternRecognizer

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SMALL = PatternsConfig(train_each=40, validation_each=20, trees=40)
T = np.arange(400)
NOISE = np.random.default_rng(3).standard_normal(400)
WINDOWS = {
    "periodic": np.sin(2 * np.pi * T / 24) + 0.2 * NOISE,
    "steady_state": NOISE,
    "linear_growth": T / 100 + 0.2 * NOISE,
    "linear_decline": -T / 100 + 0.2 * NOISE,
    "exponential_growth": np.exp(T / 90) + NOISE,
    "level_shift": 4.0 * (T > 230) + 0.3 * NOISE,
    "plateau": 4.0 * ((T > 130) & (T < 230)) + 0.3 * NOISE,
    "valley": -4.0 * ((T > 130) & (T < 230)) + 0.3 * NOISE,
    "spike": 15.0 * (T == 77) + 0.5 * NOISE,
}


@pytest.fixture(scope="session")
def patterns_model():
    return fit_patterns(SMALL)


@pytest.fixture
def recognizer(patterns_model):
    return PatternRecognizer(patterns_model, version="3", clock=lambda: NOW)


def request_for(*windows, **changes):
    rows = np.stack(windows)
    return {"usage": rows, "step_s": np.full(len(rows), 60.0)} | changes
