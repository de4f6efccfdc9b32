"""What a recogniser is kept as: arrays that answer as it did, and what is refused."""

import json

import numpy as np
import pytest
from patterns_windows import NOISE, WINDOWS, request_for
from sklearn.ensemble import RandomForestClassifier

from novacron.errors import (
    ArtifactError,
    FeatureMismatchError,
    InvalidInputError,
)
from novacron.models.bundles import load_bundle
from novacron.models.patterns.calibration import (
    apply_temperature,
    fit_period_width,
    fit_temperature,
    period_bounds,
)
from novacron.models.patterns.definitions import (
    NAMES,
)
from novacron.models.patterns.forest import Forest, grow
from novacron.models.patterns.recognizer import PatternRecognizer


@pytest.fixture
def model(patterns_model):
    return patterns_model


def test_a_bundle_answers_exactly_as_the_model_it_came_from(model, tmp_path):
    model.save(tmp_path / "bundle")
    rows = model.prepare(request_for(*WINDOWS.values()))

    loaded = load_bundle(tmp_path / "bundle")

    assert loaded.kind == "patterns"
    for name, value in model.predict(rows).items():
        np.testing.assert_array_equal(loaded.predict(rows)[name], value)


def test_a_bundle_holds_no_pickle(model, tmp_path):
    model.save(tmp_path)

    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"features_hash": "0" * 64}, FeatureMismatchError, "Train and register"),
        ({"format": 99}, ArtifactError, "format"),
        ({"types": ["steady_state"]}, ArtifactError, "types"),
        ({"temperature": "hot"}, ArtifactError, "unreadable"),
        ({"files": {}}, ArtifactError, "missing a part"),
    ],
)
def test_a_bundle_that_does_not_fit_is_refused(model, tmp_path, change, error, match):
    model.save(tmp_path)
    path = tmp_path / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))

    with pytest.raises(error, match=match):
        PatternRecognizer.load(tmp_path)


def test_a_changed_forest_is_refused(model, tmp_path):
    model.save(tmp_path)
    path = tmp_path / "forest.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")

    with pytest.raises(ArtifactError, match="changed"):
        load_bundle(tmp_path)


def test_a_forest_whose_paths_could_go_in_circles_is_refused(model):
    arrays = dict(model.forest.arrays())
    arrays["left_EP"] = np.zeros_like(arrays["left_EP"])

    with pytest.raises(ArtifactError, match="do not fit"):
        Forest.from_arrays(arrays, features=model.forest.feature_EP.max() + 1, classes=len(NAMES))


def test_a_recogniser_reads_its_own_bundle(recognizer, tmp_path):
    recognizer.save(tmp_path / "new")

    again = PatternRecognizer.load(tmp_path / "new", version="4")

    assert again.recognize(NOISE, step_s=60).model_version == "4"


def test_the_arrays_vote_as_scikit_learn_does():
    rng = np.random.default_rng(2)
    x = rng.standard_normal((300, 6))
    y = (x[:, 0] > 0).astype(int) + (x[:, 1] > 0.5)
    settings = {"n_estimators": 20, "min_samples_leaf": 2, "max_features": 0.5, "random_state": 4}

    own = grow(x, y, classes=3, trees=20, leaf_rows=2, feature_ratio=0.5, seed=4)
    theirs = RandomForestClassifier(**settings).fit(x, y)

    np.testing.assert_allclose(own.probabilities(x), theirs.predict_proba(x), atol=1e-6)


def test_a_temperature_keeps_the_order_and_repairs_over_confidence():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 3000)
    p = np.full((3000, 3), 0.02)
    answered = np.where(rng.random(3000) < 0.7, truth, (truth + 1) % 3)
    p[np.arange(3000), answered] = 0.96

    temperature = fit_temperature(p, truth)
    repaired = apply_temperature(p, temperature)

    assert temperature > 1
    assert repaired.max(axis=1).mean() == pytest.approx(0.7, abs=0.03)
    assert (repaired.argmax(axis=1) == p.argmax(axis=1)).all()


def test_the_period_interval_covers_what_it_says():
    rng = np.random.default_rng(1)
    error = rng.uniform(0.001, 0.01, 4000)
    true = np.full(4000, 50.0)
    found = true * np.exp(2 * error * rng.standard_normal(4000))

    width = fit_period_width(found[:2000], true[:2000], error[:2000], coverage=0.9)
    lower, upper = period_bounds(found[2000:], error[2000:], width)

    assert np.mean((lower <= 50) & (upper >= 50)) == pytest.approx(0.9, abs=0.03)


def test_a_coverage_that_so_few_windows_cannot_show_is_refused():
    with pytest.raises(InvalidInputError, match="coverage"):
        fit_period_width(np.ones(5), np.ones(5), np.ones(5), coverage=0.99)
