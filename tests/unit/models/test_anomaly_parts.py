"""Tails, runs, warm-up, subspaces, episodes and the alert budget, each alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import genpareto

from novacron.errors import ConfigError
from novacron.models.anomaly.budget import DEFAULT_CURVE, AlertBudget, AlertCurve
from novacron.models.anomaly.config import BudgetConfig, EpisodeConfig
from novacron.models.anomaly.episodes import EpisodeGrouper, severity
from novacron.models.anomaly.stuck import run_lengths, stuck_surprise
from novacron.models.anomaly.subspace import fit_subspace
from novacron.models.anomaly.tails import tail_surprise
from novacron.models.anomaly.warmup import LEAST_SAMPLES, warm_up_surprise

HOUR_S = 3600.0


def test_the_tail_probability_of_exponential_scores_is_close_to_the_true_one():
    history = np.random.default_rng(1).exponential(size=20_000)

    surprise = tail_surprise(history, np.array([5.0, 7.0, 9.0]))

    np.testing.assert_allclose(surprise, np.array([5.0, 7.0, 9.0]) / np.log(10), rtol=0.15)


def test_the_tail_agrees_with_scipy_for_the_law_it_fits():
    history = genpareto.rvs(0.2, size=20_000, random_state=2)

    surprise = tail_surprise(history, np.array([20.0]))

    np.testing.assert_allclose(10 ** -surprise[0], genpareto.sf(20.0, 0.2), rtol=0.5)


def test_a_history_without_spread_never_gives_more_than_the_share_of_its_tail():
    assert tail_surprise(np.zeros(1000), np.array([5.0]))[0] == pytest.approx(
        -np.log10(24 / 1000), rel=0.2
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=200), st.floats(-1e7, 1e7))
def test_the_surprise_lies_in_its_range_and_rises_with_the_score(history, score):
    pair = tail_surprise(np.array(history), np.array([score, score + 1.0]))

    assert 0 <= pair[0] <= pair[1] <= 12


def test_a_run_counts_the_equal_samples_before():
    runs = run_lengths(np.array([1.0, 1, 1, 2, 2]), np.empty(0), np.empty(0))

    assert runs.tolist() == [0, 1, 2, 0, 1]


def test_a_run_goes_on_over_a_cut():
    whole = np.array([3.0, 3, 3, 3, 1, 1])

    first = run_lengths(whole[:3], np.empty(0), np.empty(0))
    second = run_lengths(whole[3:], whole[2:3], first[-1:])

    assert np.concatenate([first, second]).tolist() == [0, 1, 2, 3, 0, 1]


def test_standing_still_surprises_only_beyond_the_longest_run_of_the_past():
    never_still = np.zeros(1000)
    often_still = np.tile(np.arange(10.0), 100)

    assert stuck_surprise(never_still, np.array([3.0]))[0] > 0.8
    assert stuck_surprise(never_still, np.array([30.0]))[0] > 5
    assert stuck_surprise(often_still, np.array([9.0]))[0] == 0


def test_the_warm_up_says_nothing_before_it_has_samples_and_much_about_a_jump():
    value = np.array([1.0, 1.1, 0.9, 1.0, 1.2, 0.8, 1.1, 1.0, 0.95, 50.0])

    surprise = warm_up_surprise(value, 0)

    assert (surprise[:LEAST_SAMPLES] == 0).all()
    assert surprise[-1] > 2


def test_after_a_constant_warm_up_a_change_is_one_in_all_samples_so_far():
    value = np.array([5.0] * 20 + [6.0])

    assert 0 < warm_up_surprise(value, 20)[0] < 1


def test_a_window_of_the_usual_shape_leaves_little_and_a_broken_one_much():
    t = np.arange(600.0)
    wave = np.sin(2 * np.pi * t / 24)
    broken = wave[-12:].copy()
    broken[6] += 3

    subspace = fit_subspace(wave, 12)

    assert subspace.residual(wave[-12:])[0] < 1e-6
    assert subspace.residual(broken)[0] > 0.5


def test_one_fault_raises_one_alert_and_another_only_when_it_grows():
    grouper = EpisodeGrouper(EpisodeConfig(quiet_h=1, escalation_ratio=2))
    score = np.array([0, 3, 3, 5, 6, 0, 0, 3.0])

    raised = grouper.push(600 * np.arange(8.0), score, 2.0)

    assert [(one.row, one.escalation) for one in raised] == [(1, False), (4, True)]


def test_an_episode_ends_after_its_quiet_time():
    grouper = EpisodeGrouper(EpisodeConfig(quiet_h=1))

    raised = grouper.push(np.array([0, HOUR_S, 2 * HOUR_S + 1]), np.full(3, 3.0), 2.0)

    assert [(one.row, one.episode) for one in raised] == [(0, 1), (2, 2)]


def test_what_is_over_with_the_next_sample_can_be_left_out():
    grouper = EpisodeGrouper(EpisodeConfig(confirm_samples=2))
    ts_s = 600 * np.arange(6.0)

    first = grouper.push(ts_s[:4], np.array([3.0, 0, 0, 3]), 2.0)
    second = grouper.push(ts_s[4:], np.array([3.0, 3]), 2.0)

    assert first == []
    assert [one.row for one in second] == [0]


def test_grouping_does_not_depend_on_how_samples_are_cut():
    score = np.random.default_rng(3).exponential(size=500)
    ts_s = 600 * np.arange(500.0)
    whole = EpisodeGrouper(EpisodeConfig(quiet_h=2)).push(ts_s, score, 2.0)

    cut = EpisodeGrouper(EpisodeConfig(quiet_h=2))
    parts = [
        (one.row + at, one.episode)
        for at in range(0, 500, 7)
        for one in cut.push(ts_s[at : at + 7], score[at : at + 7], 2.0)
    ]

    assert parts == [(one.row, one.episode) for one in whole]


def test_severity_rises_with_the_ratio_to_the_threshold():
    config = EpisodeConfig()

    assert [severity(score, 2.0, config) for score in (2, 2.5, 3.5, 5)] == [
        "low",
        "medium",
        "high",
        "critical",
    ]


def test_the_threshold_of_a_budget_lies_on_the_curve_and_goes_on_beyond_it():
    curve = AlertCurve(thresholds=(1.0, 2.0), episodes_per_series_day=(1.0, 0.1), source="test")

    assert curve.threshold(0.1) == pytest.approx(2.0)
    assert curve.threshold(0.1**0.5) == pytest.approx(1.5)
    assert curve.threshold(0.01) == pytest.approx(3.0)
    assert curve.threshold(2.0) < 1.0


@pytest.mark.parametrize(
    ("thresholds", "rates"), [((1.0,), (1.0,)), ((1.0, 2.0), (1.0, 1.0)), ((2.0, 1.0), (1.0, 0.5))]
)
def test_a_curve_that_does_not_fall_is_refused(thresholds, rates):
    with pytest.raises(ConfigError):
        AlertCurve(thresholds=thresholds, episodes_per_series_day=rates, source="test")


def test_a_false_alarm_raises_the_threshold_and_a_confirmed_alert_lowers_it():
    budget = AlertBudget(BudgetConfig(), DEFAULT_CURVE)
    before = budget.threshold

    after_false = budget.false_alarm()
    after_confirmed = budget.confirm()

    assert after_false > before
    assert after_confirmed < after_false


def test_verdicts_leave_the_curve_alone_and_the_budget_within_its_bounds():
    config = BudgetConfig(lowest=0.1, highest=0.2)
    budget = AlertBudget(config, DEFAULT_CURVE)

    for _ in range(50):
        budget.false_alarm()
    strict = budget.episodes_per_series_day
    for _ in range(100):
        budget.confirm()

    assert (strict, budget.episodes_per_series_day) == (0.1, 0.2)
    assert budget.curve == DEFAULT_CURVE


@pytest.mark.parametrize("start", [0.002, 10.0])
@pytest.mark.parametrize("wanted", [0.3, 0.5, 0.7])
def test_verdicts_settle_where_alerts_are_right_as_often_as_wanted(start, wanted):
    config = BudgetConfig(
        episodes_per_series_day=start, target_precision=wanted, step_ratio=0.05, lowest=1e-4
    )
    curve = AlertCurve(thresholds=(0.0, 10.0), episodes_per_series_day=(20.0, 1e-3), source="test")
    budget = AlertBudget(config, curve)
    rng = np.random.default_rng(4)
    precision = []

    for _ in range(3000):
        right = 1 / (1 + np.exp(-(budget.threshold - 4)))  # higher thresholds are right more often
        precision.append(right)
        if rng.random() < right:
            budget.confirm()
        else:
            budget.false_alarm()

    assert np.mean(precision[-1500:]) == pytest.approx(wanted, abs=0.06)


def test_after_hours_of_peace_an_episode_needs_less_to_raise_another_alert():
    hour_s = 3600.0 * np.arange(10)
    scores = np.zeros(10)
    scores[[0, 8]] = 2.0, 2.6
    soon = np.zeros(10)
    soon[[0, 4]] = 2.0, 2.6

    assert [one.row for one in EpisodeGrouper(EpisodeConfig()).push(hour_s, scores, 1.5)] == [0, 8]
    assert [one.row for one in EpisodeGrouper(EpisodeConfig()).push(hour_s, soon, 1.5)] == [0]


def test_faster_samples_need_a_higher_threshold_for_the_same_budget():
    budget = AlertBudget(BudgetConfig(), DEFAULT_CURVE)

    at = [budget.threshold_at(step_s) for step_s in (10.0, 60.0, 300.0, 900.0, 1200.0, 86_400.0)]

    assert at[2] == budget.threshold
    assert at[0] > at[1] > at[2] > at[3] > at[4] == at[5]
