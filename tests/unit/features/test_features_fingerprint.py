import os
import subprocess
import sys

import numpy as np
import pytest

from novacron.errors import FeatureMismatchError
from novacron.features import fingerprint as module
from novacron.features import kernels, windows
from novacron.features.fingerprint import check_fingerprint, fingerprint, golden_windows
from novacron.features.spec import BANDWIDTH, LINK_FULL, FeatureSpec


@pytest.fixture
def fresh():
    """Forget fingerprints that were computed before, and those a test computes."""
    fingerprint.cache_clear()
    yield fingerprint
    fingerprint.cache_clear()


def test_a_spec_read_back_from_json_keeps_its_fingerprint():
    again = FeatureSpec.model_validate_json(LINK_FULL.model_dump_json())

    assert fingerprint(again) == fingerprint(LINK_FULL)


@pytest.mark.parametrize(
    "change",
    [
        {"history": 61},
        {"quantiles": (0.1, 0.25, 0.5, 0.75, 0.91)},
        {"channels": ("rtt_ms", "bandwidth_mbps", "loss_ratio", "jitter_ms")},
        {"calendar": False},
        {"log_floor": 0.02},
    ],
)
def test_the_fingerprint_changes_with_the_spec(change):
    changed = LINK_FULL.model_copy(update=change)

    assert fingerprint(changed) != fingerprint(LINK_FULL)


@pytest.mark.parametrize("name", ["SPIKE_SIGMAS", "FLAT_RATIO"])
def test_the_fingerprint_changes_with_a_constant_of_the_code(fresh, monkeypatch, name):
    before = fresh(LINK_FULL)
    fresh.cache_clear()

    monkeypatch.setattr(kernels, name, 0.5)

    assert fresh(LINK_FULL) != before


def test_the_fingerprint_changes_with_a_formula(fresh, monkeypatch):
    before = fresh(BANDWIDTH)
    fresh.cache_clear()

    monkeypatch.setitem(windows._SEQUENCE_SCALES, "ms", np.sqrt)

    assert fresh(BANDWIDTH) != before


def test_the_fingerprint_changes_with_the_declared_version(fresh, monkeypatch):
    before = fresh(BANDWIDTH)
    fresh.cache_clear()

    monkeypatch.setattr(module, "FEATURES_VERSION", 10_000)

    assert fresh(BANDWIDTH) != before


def test_another_process_computes_the_same_fingerprint():
    script = (
        "from novacron.features.fingerprint import fingerprint\n"
        "from novacron.features.spec import LINK_FULL\n"
        "import sys; sys.stdout.write(fingerprint(LINK_FULL))"
    )

    printed = [
        subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]

    assert printed == [fingerprint(LINK_FULL)] * 2


def test_rounding_errors_of_another_processor_do_not_change_the_fingerprint(fresh, monkeypatch):
    before = fresh(LINK_FULL)
    fresh.cache_clear()
    exact = windows.window_features

    monkeypatch.setattr(module, "window_features", lambda *args: exact(*args) * (1 + 2e-15))

    assert fresh(LINK_FULL) == before


def test_golden_windows_hold_gaps_short_histories_and_constants():
    x_NW = golden_windows(LINK_FULL)["rtt_ms"]

    present_N = (~np.isnan(x_NW)).sum(axis=1)
    assert present_N[0] == LINK_FULL.history
    assert present_N[1] == LINK_FULL.history // 2
    assert present_N[4] == 1
    assert present_N[5] == 0
    assert np.ptp(x_NW[6]) == 0
    assert np.nanmin(x_NW) >= 0
    assert np.nanmax(x_NW) < 100


def test_a_model_of_the_same_features_is_accepted():
    check_fingerprint(fingerprint(BANDWIDTH), BANDWIDTH)


def test_a_model_of_other_features_is_refused_with_a_remedy():
    with pytest.raises(FeatureMismatchError, match="Train and register the model again") as caught:
        check_fingerprint("0" * 64, BANDWIDTH)

    assert fingerprint(BANDWIDTH)[:12] in str(caught.value)
