"""What every anomaly detector must keep: causality, invariance, determinism, save and load."""

import json
from dataclasses import fields

import numpy as np
import pandas as pd
import pytest

import novacron
from novacron.errors import ArtifactError, NotReadyError, OutOfRangeError, SchemaError
from novacron.models.anomaly.answers import MaintenanceWindow
from novacron.models.anomaly.config import AnomalyConfig, ForestConfig
from novacron.models.anomaly.detector import AnomalyDetector
from novacron.models.anomaly.model import AnomalyModel
from novacron.models.base import ServableModel
from novacron.models.bundles import load_bundle

SMALL = AnomalyConfig(forest=ForestConfig(trees=16, subspace_trees=8, samples=128))
STEP_S = 300.0
DAY = 288


def series(n=1500, seed=0, jump_at=None):
    rng = np.random.default_rng(seed)
    t = np.arange(n)
    value = 10 + 3 * np.sin(2 * np.pi * t / DAY) + rng.normal(0, 0.3, n)
    if jump_at is not None:
        value[jump_at : jump_at + 30] += 8
    return {"ts": 1.7e9 + STEP_S * t, "value": value}


def part(data, start, end):
    return {name: column[start:end] for name, column in data.items()}


@pytest.fixture(scope="module")
def fitted():
    return AnomalyDetector(SMALL).fit({f"s{seed}": series(seed=seed) for seed in range(3)})


def test_it_is_imported_from_the_top_and_answers_from_a_cold_start():
    data = series(jump_at=1200)

    answer = novacron.AnomalyDetector(SMALL).detect(pd.DataFrame(data))

    assert any(data["ts"][1200] <= alert.at_s <= data["ts"][1230] for alert in answer.delivered)


@pytest.mark.parametrize("end", [100, 300, 777, 1024])
def test_a_prefix_sent_again_gets_the_same_scores(end):
    data = series()

    whole = AnomalyDetector(SMALL).detect(data)
    prefix = AnomalyDetector(SMALL).detect(part(data, 0, end))

    np.testing.assert_array_equal(prefix.score_T, whole.score_T[:end])


def test_a_stream_gives_the_scores_and_alerts_of_a_batch():
    data = series(jump_at=900)
    detector = AnomalyDetector(SMALL)
    batch = detector.detect(data)
    rng = np.random.default_rng(1)

    stream = detector.stream(["value"], step_s=STEP_S)
    scores, alerts, at = [], [], 0
    while at < 1500:
        size = int(rng.integers(1, 120))
        answer = stream.push(part(data, at, at + size))
        scores.append(answer.score_T)
        alerts += answer.alerts
        at += size

    np.testing.assert_array_equal(np.concatenate(scores), batch.score_T)
    names = {field.name for field in fields(alerts[0])} - {"made_at", "valid_until"}
    for streamed, batched in zip(alerts, batch.alerts, strict=True):
        assert {n: getattr(streamed, n) for n in names} == {n: getattr(batched, n) for n in names}


def test_what_is_forgotten_from_a_long_stream_changes_no_score():
    rng = np.random.default_rng(2)
    data = {"ts": 3600.0 * np.arange(9000), "value": rng.normal(size=9000)}
    config = SMALL.model_copy(update={"tail_history": 512})
    config = config.model_copy(
        update={"forest": ForestConfig(trees=4, subspace_trees=4, samples=64, history=256)}
    )
    detector = AnomalyDetector(config)

    whole = detector.detect(data)
    stream = detector.stream(["value"], step_s=3600.0)
    parts = [stream.push(part(data, at, at + 100)).score_T for at in range(0, 9000, 100)]

    np.testing.assert_array_equal(np.concatenate(parts), whole.score_T)


@pytest.mark.parametrize(("scale", "offset"), [(1e-3, 0.0), (2.5, -40.0), (1e6, 1e7)])
def test_scores_do_not_depend_on_unit_and_offset(scale, offset):
    data = series()
    moved = data | {"value": scale * data["value"] + offset}

    first = AnomalyDetector(SMALL).detect(data)
    second = AnomalyDetector(SMALL).detect(moved)

    np.testing.assert_allclose(second.score_T, first.score_T, atol=1e-6)


def test_the_same_samples_and_seed_give_the_same_bytes_and_another_seed_others():
    data = series()

    first, again = (AnomalyDetector(SMALL).detect(data) for _ in range(2))
    other = AnomalyDetector(SMALL.model_copy(update={"seed": 8})).detect(data)

    assert first.score_T.tobytes() == again.score_T.tobytes()
    assert first.score_T.tobytes() != other.score_T.tobytes()


def test_a_fitted_detector_is_saved_and_loaded_with_its_budget(fitted, tmp_path):
    data = series(seed=9, jump_at=1000)
    detector = AnomalyDetector(SMALL, curve=fitted.budget.curve)
    detector.feedback("false_alarm")

    detector.save(tmp_path / "bundle")
    loaded = AnomalyDetector.load(tmp_path / "bundle")

    assert loaded.threshold == detector.threshold
    assert loaded.budget.false_alarms == 1
    np.testing.assert_array_equal(loaded.detect(data).score_T, detector.detect(data).score_T)


def test_a_changed_bundle_is_refused(fitted, tmp_path):
    fitted.save(tmp_path)
    content = json.loads((tmp_path / "bundle.json").read_text())
    content["budget"]["episodes_per_series_day"] = 5.0
    (tmp_path / "bundle.json").write_text(json.dumps(content))

    with pytest.raises(ArtifactError, match="changed"):
        load_bundle(tmp_path)


def test_what_was_never_fitted_is_not_saved(tmp_path):
    with pytest.raises(NotReadyError, match="fit"):
        AnomalyDetector().save(tmp_path)


def test_the_served_model_judges_the_newest_sample_as_the_detector_does(fitted, tmp_path):
    fitted.save(tmp_path)
    model = load_bundle(tmp_path)
    value = np.stack([series(600, seed=1)["value"], series(600, seed=2)["value"]])
    request = {"value": value, "step_s": np.full(2, STEP_S)}

    answer = model.predict(model.prepare(request))

    assert isinstance(model, ServableModel)
    expected = [fitted.detect({"value": row}, step_s=STEP_S).score_T[-1] for row in value]
    np.testing.assert_array_equal(answer["score"], expected)
    assert set(answer) == {spec.name for spec in model.outputs}


def test_the_served_model_names_its_fallback_and_refuses_a_single_sample(fitted):
    model = AnomalyModel(fitted)

    answer = model.predict(model.prepare({"value": np.ones((1, 20))}))

    assert answer["fallback"].tolist() == ["student_t"]
    with pytest.raises(SchemaError):
        model.prepare({"value": np.ones((1, 1))})


def test_short_history_is_answered_by_a_named_fallback():
    answer = AnomalyDetector(SMALL).detect(series(300))

    assert set(answer.fallback_T[:256]) == {"student_t"}
    assert set(answer.fallback_T[256:]) == {""}


def test_a_constant_metric_is_named_and_never_alerts():
    data = {"ts": STEP_S * np.arange(700), "cpu_ratio": np.full(700, 0.5)}

    answer = AnomalyDetector(SMALL).detect(data)

    assert answer.constant_metrics == ("cpu_ratio",)
    assert answer.alerts == ()


def test_an_alert_carries_reasons_and_provenance():
    data = series(jump_at=1200)
    answer = AnomalyDetector(SMALL, version="3").detect(
        {"ts": data["ts"], "latency_p95_ms": data["value"]}, entity_id="node-1"
    )

    alert = next(one for one in answer.alerts if one.at_s >= data["ts"][1200])

    assert (alert.kind, alert.entity_id, alert.model_version) == ("latency_spike", "node-1", "3")
    assert alert.value > alert.upper > alert.lower
    assert alert.score >= alert.threshold
    assert 0 < alert.p_value < 1
    assert 1 <= len(alert.top_features) <= 5
    assert alert.recommended_action
    assert alert.valid_until > alert.made_at


def test_maintenance_is_recorded_and_not_delivered_and_what_lasts_alerts_afterwards():
    data = series(jump_at=1200)
    data["value"][1200:] += 8
    window = MaintenanceWindow(start_s=data["ts"][1195], end_s=data["ts"][1210])

    answer = AnomalyDetector(SMALL).detect(data, maintenance=[window])

    inside = [one for one in answer.alerts if window.covers("", one.at_s)]
    assert inside
    assert {one.suppressed for one in inside} == {"maintenance"}
    assert not any(window.covers("", one.at_s) for one in answer.delivered)
    assert any(data["ts"][1210] < one.at_s < data["ts"][1260] for one in answer.delivered)


def test_the_metric_that_moved_is_the_one_named():
    data = series(jump_at=1200)
    quiet = series(seed=5)["value"]

    answer = AnomalyDetector(SMALL).detect(
        {"ts": data["ts"], "mem_ratio": quiet, "cpu_ratio": data["value"]}
    )

    alert = next(one for one in answer.alerts if one.at_s >= data["ts"][1200])
    assert alert.metric == "cpu_ratio"


def test_a_change_below_the_least_one_raises_no_alert_and_keeps_its_score():
    data = series(jump_at=1200)
    config = SMALL.model_copy(update={"least_change": {"value": 50.0}})

    free, bound = (AnomalyDetector(c).detect(data) for c in (SMALL, config))

    assert free.alerts
    assert bound.alerts == ()
    np.testing.assert_array_equal(free.score_T, bound.score_T)


def test_a_stream_refuses_older_samples_and_other_metrics():
    stream = AnomalyDetector(SMALL).stream(["value"], step_s=STEP_S)
    stream.push({"ts": [0.0, 300.0], "value": [1.0, 2.0]})

    with pytest.raises(OutOfRangeError):
        stream.push({"ts": [300.0], "value": [1.0]})
    with pytest.raises(SchemaError):
        stream.push({"ts": [600.0], "cpu_ratio": [1.0]})


def test_fitting_on_noisier_normal_series_raises_the_threshold():
    rng = np.random.default_rng(6)
    spiky = {}
    for name in "abc":
        data = series(seed=ord(name))
        data["value"][rng.integers(300, 1500, 12)] += 30
        spiky[name] = data
    calm = {name: series(seed=ord(name)) for name in "abc"}

    assert AnomalyDetector(SMALL).fit(spiky).threshold > AnomalyDetector(SMALL).fit(calm).threshold


def test_fitting_on_nothing_is_refused():
    with pytest.raises(SchemaError):
        AnomalyDetector(SMALL).fit({})
