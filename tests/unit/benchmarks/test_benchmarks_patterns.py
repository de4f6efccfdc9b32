import json

import numpy as np
import pandas as pd
import pytest

from benchmarks import patterns
from benchmarks.patterns_real import DAY_S, WEEK_S, is_known
from novacron.features.evidence.table import is_flat


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    folder = tmp_path_factory.mktemp("patterns")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("NOVACRON_DATA_DIR", raising=False)
        patterns.main(["--quick", "--out", str(folder)])
    return folder


def test_the_quick_run_writes_every_figure_beside_its_baselines(quick):
    result = json.loads((quick / "patterns.json").read_text())
    sets = {}
    for metric in result["metrics"]:
        sets.setdefault(metric["name"], set()).add(metric["set"])

    assert {"macro_f1_rules", "macro_f1_majority", "macro_f1_lightgbm"} <= set(sets)
    assert {"unseen_seeds", "all_changed_at_once", "noise_level_2"} <= sets["macro_f1"]
    assert sets["false_periodic_ratio"] == {"control_independent_noise", "control_random_walks"}
    assert "--quick" in result["command"]
    assert all(m["lo"] <= m["value"] <= m["hi"] for m in result["metrics"] if m["lo"] is not None)


def test_the_quick_run_draws_confusion_reliability_and_noise(quick):
    names = {path.name for path in quick.glob("*.png")}

    assert names == {
        "patterns_confusion.png", "patterns_reliability.png", "patterns_noise.png"
    }  # fmt: skip


def test_even_a_tiny_forest_beats_the_majority_on_unseen_seeds(quick):
    metrics = json.loads((quick / "patterns.json").read_text())["metrics"]
    value = {m["name"]: m["value"] for m in metrics if m["set"] == "unseen_seeds"}

    assert value["macro_f1"] > 0.5 > value["macro_f1_majority"]


def test_controls_repeat_nothing_and_are_the_same_every_time():
    one, other = patterns.controls(4), patterns.controls(4)

    for name, drawn in one.items():
        for window, twin in zip(drawn, other[name], strict=True):
            np.testing.assert_array_equal(window.usage, twin.usage)
            assert not is_flat(window.usage)


def test_a_known_period_is_met_within_the_tolerance_only():
    assert is_known(pd.Timedelta("1D").total_seconds() * 1.01, (DAY_S, WEEK_S), 0.02)
    assert not is_known(43_200.0, (DAY_S, WEEK_S), 0.02)
    assert not is_known(None, (DAY_S,), 0.02)
