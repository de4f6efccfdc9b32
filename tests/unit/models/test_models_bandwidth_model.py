import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tiny_bandwidth

from novacron.errors import ArtifactError, FeatureMismatchError, OutOfRangeError, SchemaError
from novacron.models.base import ServableModel
from novacron.models.bundles import load_bundle
from novacron.models.conformal import CalibrationTable

pytestmark = pytest.mark.learn


@pytest.fixture
def model():
    return tiny_bandwidth.tiny_fit().model


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    directory = tmp_path_factory.mktemp("bundle")
    tiny_bandwidth.tiny_fit().model.save(directory)
    return directory


def history(rows=3, steps=30, seed=0):
    return np.random.default_rng(seed).uniform(5, 15, (rows, steps))


def classes(*names):
    return np.array(names, dtype=object)


def answer(model, **tensors):
    return model.predict(model.prepare(tensors))


def test_it_is_a_servable_model(model):
    assert isinstance(model, ServableModel)


def test_answers_have_the_shapes_that_are_announced(model):
    outputs = answer(model, bandwidth_mbps=history(4))

    for spec in model.outputs:
        shape = outputs[spec.name].shape
        assert all(want in (-1, have) for want, have in zip(spec.shape, shape, strict=True))
        assert shape[0] == 4
    assert (outputs["lower_mbps"] <= outputs["value_mbps"]).all()
    assert (outputs["value_mbps"] <= outputs["upper_mbps"]).all()
    assert np.array_equal(outputs["quantiles_mbps"][..., 1], outputs["value_mbps"])


def test_rows_are_answered_the_same_alone_and_among_others(model):
    bandwidth = history(5)
    names = classes("wave", "big_wave", "wave", "other", "big_wave")

    together = answer(model, bandwidth_mbps=bandwidth, path_class=names)["quantiles_mbps"]
    alone = [
        answer(model, bandwidth_mbps=bandwidth[[i]], path_class=names[[i]])["quantiles_mbps"][0]
        for i in range(5)
    ]

    assert np.stack(alone) == pytest.approx(together, rel=1e-5)


def test_prepared_requests_join_row_by_row(model):
    prepared = [model.prepare({"bandwidth_mbps": history(n, s)}) for n, s in ((2, 3), (1, 400))]

    joined = {name: np.concatenate([p[name] for p in prepared]) for name in prepared[0]}

    assert model.predict(joined)["value_mbps"].shape == (3, 5)


def test_only_the_newest_samples_are_read(model):
    short = history(1, model.config.features.history)
    long = np.concatenate([np.full((1, 50), 999.0), short], axis=1)

    assert np.array_equal(
        answer(model, bandwidth_mbps=short)["quantiles_mbps"],
        answer(model, bandwidth_mbps=long)["quantiles_mbps"],
    )


def test_an_unknown_class_is_answered_as_no_class_is(model):
    bandwidth = history()

    unknown = answer(model, bandwidth_mbps=bandwidth, path_class=classes("x", "", "pooled"))
    absent = answer(model, bandwidth_mbps=bandwidth)

    assert np.array_equal(unknown["quantiles_mbps"], absent["quantiles_mbps"])


def test_one_sample_is_enough_for_an_answer(model):
    outputs = answer(model, bandwidth_mbps=np.array([[8.0]]))

    assert np.isfinite(outputs["quantiles_mbps"]).all()


def test_a_dead_path_is_forecast_near_zero(model):
    outputs = answer(model, bandwidth_mbps=np.zeros((1, 24)))

    assert (outputs["upper_mbps"] < 1).all()


def test_a_cold_history_answered_by_the_band_says_so(model):
    part = model.classes["wave"]
    try:
        object.__setattr__(part.mixture, "cold_by_band", True)
        outputs = answer(
            model,
            bandwidth_mbps=history(2, 4),
            path_class=classes("wave", "big_wave"),
        )
    finally:
        object.__setattr__(part.mixture, "cold_by_band", False)

    assert outputs["fallback"][0] == "ewma_band"
    expected = part.band.forecast(history(2, 4)[0])[-1]
    assert outputs["quantiles_mbps"][0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("tensors", "error"),
    [
        ({}, SchemaError),
        ({"bandwidth": history()}, SchemaError),
        ({"bandwidth_mbps": history().astype(np.float32)}, SchemaError),
        ({"bandwidth_mbps": history()[0]}, SchemaError),
        ({"bandwidth_mbps": history()[:, :0]}, SchemaError),
        ({"bandwidth_mbps": history(), "rtt_ms": history(3, 29)}, SchemaError),
        ({"bandwidth_mbps": history(), "path_class": classes("wave")}, SchemaError),
        ({"bandwidth_mbps": -history()}, OutOfRangeError),
        ({"bandwidth_mbps": history() * np.nan}, OutOfRangeError),
        ({"bandwidth_mbps": history(), "loss_ratio": history()}, OutOfRangeError),
        ({"bandwidth_mbps": np.ones((1, 70_000))}, SchemaError),
    ],
)
def test_a_wrong_request_is_refused_before_it_meets_others(model, tensors, error):
    with pytest.raises(error):
        model.prepare(tensors)


def test_a_saved_bundle_loads_and_answers_the_same(model, bundle):
    request = {"bandwidth_mbps": history(), "path_class": classes("wave", "big_wave", "?")}

    again = load_bundle(bundle)

    assert np.array_equal(
        answer(again, **request)["quantiles_mbps"], answer(model, **request)["quantiles_mbps"]
    )


def test_a_bundle_holds_safe_formats_only(bundle):
    suffixes = {path.suffix for path in bundle.rglob("*") if path.is_file()}

    assert suffixes == {".json", ".safetensors", ".txt"}


@pytest.mark.parametrize("name", ["twin/level_50.txt", "lstm_0.safetensors"])
def test_a_changed_file_is_refused(bundle, tmp_path, name):
    copy = shutil.copytree(bundle, tmp_path / "copy")
    target = copy / "classes" / "wave" / name
    target.write_bytes(target.read_bytes()[:-1] + b"#")

    with pytest.raises(ArtifactError, match="was changed"):
        load_bundle(copy)


def test_a_missing_file_is_refused(bundle, tmp_path):
    copy = shutil.copytree(bundle, tmp_path / "copy")
    (copy / "classes" / "wave" / "calibration.safetensors").unlink()

    with pytest.raises(ArtifactError, match="missing"):
        load_bundle(copy)


def changed_manifest(bundle, directory, **changes):
    copy = shutil.copytree(bundle, directory / "copy")
    manifest = json.loads((copy / "bundle.json").read_text())
    manifest.update(changes)
    (copy / "bundle.json").write_text(json.dumps(manifest))
    return copy


def test_a_bundle_fitted_on_other_features_is_refused(bundle, tmp_path):
    copy = changed_manifest(bundle, tmp_path, features_hash="0" * 64)

    with pytest.raises(FeatureMismatchError):
        load_bundle(copy)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 99},
        {"config": {"horizon": "five"}},
        {"classes": {}},
        {"files": {"../outside.txt": "0" * 64}},
    ],
)
def test_a_manifest_that_does_not_hold_is_refused(bundle, tmp_path, changes):
    with pytest.raises(ArtifactError):
        load_bundle(changed_manifest(bundle, tmp_path, **changes))


def test_the_online_calibration_of_a_class_starts_from_its_table(model):
    online = model.online("wave", paths=2)
    q = np.broadcast_to(np.array([8.0, 10.0, 12.0]), (2, 5, 3))

    assert np.array_equal(online.issue(q), model.classes["wave"].calibration.apply(q))
    assert isinstance(model.classes["wave"].calibration, CalibrationTable)


def test_serving_does_not_load_torch(bundle):
    code = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from novacron.models.bundles import load_bundle\n"
        "model = load_bundle(Path(sys.argv[1]))\n"
        "rows = model.prepare({'bandwidth_mbps': np.ones((2, 9))})\n"
        "assert model.predict(rows)['value_mbps'].shape == (2, 5)\n"
        "assert 'torch' not in sys.modules\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, str(bundle)], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
