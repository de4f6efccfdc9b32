"""The NAB score against cases worked by hand from the paper's formulas."""

import math

import numpy as np
import pytest

from novacron.models.anomaly.nab_score import (
    PROFILES,
    Sweep,
    position_value,
    probation,
    raw_score,
    scaled,
)

STANDARD = PROFILES["standard"]
# 1000 samples, probation 150, one window of 100 samples.
WINDOW = (400, 499)


def sigmoid(y):
    return 2 / (1 + math.exp(5 * y)) - 1


def test_the_position_value_is_the_scaled_sigmoid_of_the_paper():
    assert position_value(-1.0) == pytest.approx(0.98661, abs=1e-5)
    assert position_value(0.0) == 0
    assert position_value(1.0) == pytest.approx(-0.98661, abs=1e-5)
    assert position_value(3.01) == -1.0


def test_probation_is_fifteen_percent_of_at_most_five_thousand():
    assert (probation(1000), probation(5000), probation(20_000)) == (150, 750, 750)


def test_an_alert_at_the_start_of_a_window_earns_all_of_it():
    assert raw_score([400], [WINDOW], 1000, STANDARD) == pytest.approx(1.0)


def test_an_alert_in_the_middle_earns_by_its_distance_to_the_end():
    # row 450 of 400..499: (499 - 450 + 1) / 100 = 0.5 before the end
    expected = sigmoid(-0.5) / sigmoid(-1)

    assert raw_score([450], [WINDOW], 1000, STANDARD) == pytest.approx(expected)


def test_only_the_first_alert_in_a_window_counts():
    assert raw_score([450, 460, 470], [WINDOW], 1000, STANDARD) == raw_score(
        [450], [WINDOW], 1000, STANDARD
    )


def test_a_missed_window_costs_by_profile():
    assert raw_score([], [WINDOW], 1000, STANDARD) == -1
    assert raw_score([], [WINDOW], 1000, PROFILES["low_fn"]) == -2


def test_a_false_alert_before_any_window_costs_all_of_its_weight():
    assert raw_score([200, 400], [WINDOW], 1000, STANDARD) == pytest.approx(1 - 0.11)
    assert raw_score([200, 400], [WINDOW], 1000, PROFILES["low_fp"]) == pytest.approx(1 - 0.22)


def test_a_false_alert_costs_less_the_nearer_it_is_behind_a_window():
    # row 549 lies 50 behind the end, of a window that is 99 from first to last sample
    near = raw_score([400, 549], [WINDOW], 1000, STANDARD)

    assert near == pytest.approx(1 + 0.11 * sigmoid(50 / 99))
    assert raw_score([400, 510], [WINDOW], 1000, STANDARD) > near
    assert raw_score([400, 900], [WINDOW], 1000, STANDARD) == pytest.approx(1 - 0.11)


def test_an_alert_in_probation_is_not_counted():
    assert raw_score([10, 149], [WINDOW], 1000, STANDARD) == -1


def test_the_scale_goes_from_never_alerting_to_perfect():
    assert scaled(-3.0, 3, STANDARD) == 0
    assert scaled(3.0, 3, STANDARD) == 100
    assert scaled(3.0, 3, PROFILES["low_fn"]) == 100
    assert scaled(-6.0, 3, PROFILES["low_fn"]) == 0


def test_a_held_out_threshold_is_the_best_of_the_other_series():
    raw_SG = np.array([[1.0, -1.0], [-1.0, 1.0], [-1.0, 1.0]])
    sweep = Sweep(raw_SG=raw_SG, windows_S=np.ones(3, dtype=np.int64), profile=STANDARD)

    place, best = sweep.best()

    assert place == 1
    assert best == pytest.approx(100 * (1 + 3) / 6)
    # the first series gets the second threshold, the others have a tie and get the first
    assert sweep.held_out().tolist() == [-1.0, -1.0, -1.0]
    assert sweep.held_out_score() == 0


def test_the_interval_holds_the_score():
    rng = np.random.default_rng(1)
    raw_SG = rng.uniform(-1, 1, (20, 1))
    sweep = Sweep(raw_SG=raw_SG, windows_S=np.ones(20, dtype=np.int64), profile=STANDARD)

    low, high = sweep.interval(raw_SG[:, 0], rng)

    assert low < sweep.best()[1] < high
