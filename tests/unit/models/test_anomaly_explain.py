"""What an alert is called, what made it one, and what the budget lets through."""

from itertools import pairwise

import numpy as np
import pytest

from novacron.errors import OutOfRangeError
from novacron.models.anomaly.answers import MaintenanceWindow
from novacron.models.anomaly.config import AnomalyConfig, ForestConfig
from novacron.models.anomaly.detector import AnomalyDetector
from novacron.models.anomaly.explain import action_for, kind_of, top_features, usual_range
from novacron.models.anomaly.signals import NAMES

SMALL = AnomalyConfig(forest=ForestConfig(trees=32, subspace_trees=8, samples=256))
STEP_S = 300.0


def wave(n=1500, noise=0.3):
    t = np.arange(n)
    return 10 + 3 * np.sin(2 * np.pi * t / 288) + np.random.default_rng(1).normal(0, noise, n)


def alerts_about(value, start, end, metric="value"):
    answer = AnomalyDetector(SMALL).detect({metric: value}, step_s=STEP_S)
    return [one for one in answer.alerts if start * STEP_S <= one.at_s <= end * STEP_S]


@pytest.mark.parametrize(
    ("metric", "rising", "kind"),
    [
        ("latency_p99_ms", True, "latency_spike"),
        ("latency_p99_ms", False, "unknown"),
        ("throughput_rps", False, "throughput_drop"),
        ("cpu_ratio", True, "resource_exhaustion"),
        ("hde_ratio", False, "compression_failure"),
        ("pba_abs_err_ratio", True, "prediction_error"),
        ("acp_commit_ms", True, "consensus_delay"),
        ("bandwidth_mbps", False, "network_anomaly"),
        ("error_ratio", True, "error_burst"),
    ],
)
def test_the_kind_follows_from_the_metric_and_the_side(metric, rising, kind):
    assert kind_of(metric, rising=rising) == kind


def test_a_metric_that_stopped_moving_sends_people_to_the_collector():
    value = wave()
    value[1200:1300] = value[1200]

    found = alerts_about(value, 1200, 1300)

    assert found
    assert found[0].shape == "stuck"
    assert "collector" in found[0].recommended_action
    assert action_for("latency_spike", "spike") != action_for("latency_spike", "stuck")


def test_a_jump_is_explained_by_features_that_jumped():
    value = wave()
    value[1200:1260] += 12

    alert = alerts_about(value, 1200, 1210)[0]

    assert alert.shape in {"spike", "level_shift", "volatility"}
    assert sum(part.share for part in alert.top_features) <= 1 + 1e-9
    assert max(abs(part.value) for part in alert.top_features) > 2


def test_contributions_are_shares_in_falling_order_of_what_contributed():
    contribution = np.zeros(len(NAMES))
    contribution[[2, 5, 7]] = [1.0, 3.0, 0.0]

    parts = top_features(contribution, np.arange(float(len(NAMES))))

    assert [(p.feature, p.share) for p in parts] == [(NAMES[5], 0.75), (NAMES[2], 0.25)]


def test_the_usual_range_holds_all_but_two_percent():
    low, high = usual_range(np.arange(1000.0))

    assert (low, high) == pytest.approx((9.99, 989.01))


def test_a_larger_jump_scores_no_lower():
    scores = []
    for size in (2.0, 4.0, 8.0, 16.0):
        value = wave()
        value[1200:1260] += size
        answer = AnomalyDetector(SMALL).detect({"value": value}, step_s=STEP_S)
        scores.append(answer.score_T[1200:1260].max())

    assert all(later > earlier - 0.1 for earlier, later in pairwise(scores))
    assert scores[-1] > scores[0] + 0.5


def test_a_false_alarm_verdict_silences_a_borderline_alert_and_keeps_its_score():
    value = wave()
    value[1200:1210] += 4
    detector = AnomalyDetector(SMALL)
    before = detector.detect({"value": value}, step_s=STEP_S)

    for _ in range(40):
        detector.feedback("false_alarm")
    after = detector.detect({"value": value}, step_s=STEP_S)

    assert len(after.alerts) < len(before.alerts)
    np.testing.assert_array_equal(after.score_T, before.score_T)


def test_a_maintenance_window_that_ends_before_it_starts_is_refused():
    with pytest.raises(OutOfRangeError):
        MaintenanceWindow(start_s=10.0, end_s=5.0)
