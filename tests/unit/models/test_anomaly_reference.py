"""The warm start: what a fitted fleet says of metrics whose own history is short."""

import json

import numpy as np
import pytest

from novacron.errors import ArtifactError
from novacron.models.anomaly.bundle_files import _digest
from novacron.models.anomaly.config import AnomalyConfig, ForestConfig
from novacron.models.anomaly.detector import AnomalyDetector
from novacron.models.anomaly.reference import REFERENCE, MetricReference, fit_metric
from novacron.models.anomaly.warmup import FALLBACK

SMALL = AnomalyConfig(forest=ForestConfig(trees=8, subspace_trees=4, samples=64))
STEP_S = 300.0
RISE_AT = 5


def pod(seed, n=1024, noise=0.02):
    rng = np.random.default_rng([7, seed])
    return {"cpu_ratio": 0.3 + noise * rng.normal(size=n)}


def young(rise):
    cpu = pod(99, 200)["cpu_ratio"]
    cpu[RISE_AT : RISE_AT + 3] += rise
    return {"cpu_ratio": cpu}


@pytest.fixture(scope="module")
def fitted():
    return AnomalyDetector(SMALL).fit({f"p{seed}": pod(seed) for seed in range(6)}, step_s=STEP_S)


def scores(detector, data):
    return detector.detect(data, step_s=STEP_S).score_T


def test_a_fault_in_the_first_minutes_is_seen_by_what_the_fleet_does(fitted):
    cold, warm = (scores(one, young(0.5)) for one in (AnomalyDetector(SMALL), fitted))

    assert cold[RISE_AT] == 0  # five samples say nothing by themselves
    assert warm[RISE_AT] > fitted.threshold_at(STEP_S)


def test_what_the_fleet_does_all_the_time_is_not_unusual_in_a_young_series(fitted):
    quiet = np.concatenate([scores(fitted, pod(seed, 256)) for seed in range(50, 54)])

    assert (quiet >= fitted.threshold_at(STEP_S)).mean() < 0.01


def test_more_of_it_is_never_less_unusual(fitted):
    rises = [scores(fitted, young(rise))[RISE_AT] for rise in (0.0, 0.05, 0.1, 0.3, 0.9)]

    assert rises == sorted(rises)


def test_the_own_past_takes_over(fitted):
    data = pod(60, 700)
    cold, warm = (scores(one, data) for one in (AnomalyDetector(SMALL), fitted))

    np.testing.assert_array_equal(cold[256:], warm[256:])


def test_the_answer_names_what_answered(fitted):
    both = young(0.5) | {"mem_ratio": pod(98, 200)["cpu_ratio"]}

    one = fitted.detect(young(0.5), step_s=STEP_S)
    mixed = fitted.detect(both, step_s=STEP_S)

    assert set(one.fallback_T) == {REFERENCE}
    assert {alert.fallback for alert in one.alerts} == {REFERENCE}
    assert set(mixed.fallback_T) == {FALLBACK}  # the fleet says nothing of memory


def test_a_metric_without_a_name_gets_no_reference():
    normal = {f"p{seed}": {"value": pod(seed)["cpu_ratio"]} for seed in range(6)}

    assert AnomalyDetector(SMALL).fit(normal, step_s=STEP_S).references == {}


def test_two_short_series_are_no_fleet():
    pairs = [(pod(seed, 300)["cpu_ratio"], np.full(300, 0.5)) for seed in range(2)]

    assert fit_metric(pairs, 256) is None


@pytest.mark.parametrize("end", [4, 9, 120])
def test_a_prefix_sent_again_gets_the_same_scores(fitted, end):
    data = young(0.5)

    whole = scores(fitted, data)
    prefix = scores(fitted, {"cpu_ratio": data["cpu_ratio"][:end]})

    np.testing.assert_array_equal(prefix, whole[:end])


def test_fleet_and_series_in_another_unit_get_the_same_scores(fitted):
    def percent(data):
        return {"latency_mean_ms": 100 * data["cpu_ratio"] + 7}

    other = AnomalyDetector(SMALL).fit(
        {f"p{seed}": percent(pod(seed)) for seed in range(6)}, step_s=STEP_S
    )

    np.testing.assert_allclose(
        scores(other, percent(young(0.3))), scores(fitted, young(0.3)), rtol=1e-6
    )


def test_fitting_again_from_a_fitted_detector_learns_the_same(fitted):
    again = fitted.fit({f"p{seed}": pod(seed) for seed in range(6)}, step_s=STEP_S)

    assert again.provenance == fitted.provenance


def test_it_is_saved_and_loaded(fitted, tmp_path):
    fitted.save(tmp_path / "bundle")
    loaded = AnomalyDetector.load(tmp_path / "bundle")

    np.testing.assert_array_equal(scores(loaded, young(0.5)), scores(fitted, young(0.5)))


@pytest.mark.parametrize("law", [[], [1.0, 0.5], ["a"], [float("nan"), 1.0]])
def test_a_law_that_does_not_rise_is_refused(fitted, tmp_path, law):
    fitted.save(tmp_path)
    path = tmp_path / "bundle.json"
    content = json.loads(path.read_text())
    content["references"]["cpu_ratio"]["change_G"] = law
    content["sha256"] = _digest(content)
    path.write_text(json.dumps(content))

    with pytest.raises(ArtifactError):
        AnomalyDetector.load(tmp_path)


def test_laws_of_different_length_are_refused():
    with pytest.raises(ValueError, match="length"):
        MetricReference.from_content({"change_G": [0, 1], "young_G": [0, 1], "warm_G": [0]})
