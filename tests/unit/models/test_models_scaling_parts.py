from dataclasses import replace

import numpy as np
import pytest
import tiny_scaling
from hypothesis import given, settings
from hypothesis import strategies as st

from novacron.models.scaling import baselines
from novacron.models.scaling.advice import forecast_hour
from novacron.models.scaling.config import Prices, ScalingConfig, default_policies
from novacron.models.scaling.demand import to_demand
from novacron.models.scaling.features import (
    ahead_max,
    base_frame,
    feature_names,
    features_hash,
    span_features,
)
from novacron.models.scaling.members import NAMES, choose_weights
from novacron.models.scaling.outlook import delay_steps
from novacron.models.scaling.replay import elasticity, replay
from novacron.models.scaling.risk import PENALTIES, Odds, choose, risk
from novacron.models.scaling.scores import Point, theta_at

DAY = tiny_scaling.DAY


def odds_of(edges, p):
    """Odds of one origin whose bins hold demand at their middles."""
    edge_E, p_K = np.array(edges, float), np.array(p, float)
    mean_K = (edge_E[1:] + edge_E[:-1]) / 2

    def cumulated(part_K):
        return np.concatenate([[0.0], np.cumsum(part_K)])[None]

    return Odds(
        edge_TE=edge_E[None],
        per_demand_TE=cumulated(p_K / mean_K),
        share_TE=cumulated(p_K),
        chance_TE=cumulated(p_K),
    )


def test_features_read_no_sample_after_their_origin():
    value_T = tiny_scaling.working_days(4)
    changed_T = np.concatenate([value_T[:700], 9 * value_T[700:]])

    before = span_features(base_frame(to_demand(value_T, 300)), 2, 3)[:700]
    after = span_features(base_frame(to_demand(changed_T, 300)), 2, 3)[:700]

    np.testing.assert_array_equal(before, after)


def test_features_do_not_depend_on_the_unit_of_demand():
    value_T = tiny_scaling.working_days(3)

    mine = span_features(base_frame(to_demand(value_T, 300)), 1, 1)
    scaled = span_features(base_frame(to_demand(1000 * value_T, 300)), 1, 1)

    np.testing.assert_allclose(mine, scaled, rtol=1e-5, atol=1e-5)


def test_every_feature_has_a_name_and_the_hash_is_stable():
    x_TF = span_features(base_frame(to_demand(tiny_scaling.working_days(2), 300)), 1, 1)

    assert x_TF.shape[1] == len(feature_names()) == len(set(feature_names()))
    assert len(features_hash()) == 64


def test_a_span_is_the_highest_of_its_steps_and_missing_until_it_is_over():
    found = ahead_max(np.array([1.0, 5.0, 2.0, 4.0, 3.0]), 1, 2)

    assert found[:3].tolist() == [5.0, 4.0, 4.0]
    assert np.isnan(found[3:]).all()


def test_a_score_and_its_demand_are_each_others_inverse():
    frame = base_frame(to_demand(tiny_scaling.working_days(2), 300))
    demand_T = 1.3 * frame.value_T

    again = frame.demand(frame.score(demand_T)[:, None])[:, 0]

    np.testing.assert_allclose(again, demand_T, rtol=1e-9)


def test_the_price_of_a_capacity_is_excess_and_penalised_shortage():
    odds = odds_of([1, 3, 5], [0.5, 0.5])  # demand 2 or 4

    excess, chance = odds.at(0, 5.0)
    assert (excess, chance) == pytest.approx((0.5 * 1.5 + 0.5 * 0.25, 0.0))
    assert odds.at(0, 3.0) == pytest.approx((0.5 * 0.5, 0.5))
    assert odds.at(0, 0.5) == (0.0, 1.0)
    assert odds.price(0, 3.0, 10.0) == pytest.approx(0.25 + 5.0)


@given(
    p=st.lists(st.floats(0.01, 1), min_size=3, max_size=8),
    capacity=st.floats(0.5, 30),
    more=st.floats(0, 10),
)
@settings(max_examples=60, deadline=None)
def test_more_capacity_never_has_more_shortage_or_less_excess(p, capacity, more):
    p = np.array(p) / np.sum(p)
    odds = odds_of(np.arange(1, len(p) + 2) * 2.0, p)

    excess, chance = odds.at(0, capacity)
    excess_more, chance_more = odds.at(0, capacity + more)

    assert chance_more <= chance + 1e-12
    assert excess_more >= excess - 1e-9


def test_a_larger_penalty_buys_more_capacity():
    odds = odds_of([1, 2, 4, 8, 16], [0.6, 0.3, 0.08, 0.02])

    best_G = odds.best(PENALTIES)[0]

    assert (np.diff(best_G) >= 0).all()
    assert best_G[-1] == 16
    assert best_G[0] < 16


def test_risk_reads_only_outcomes_that_are_over():
    rng = np.random.default_rng(0)
    missed = (rng.random((800, 2)) < 0.1).astype(float)
    later = missed.copy()
    later[600:] = 1 - later[600:]
    config = ScalingConfig(risk_days=2, time_of_day_weight=0.5)

    np.testing.assert_array_equal(
        risk(missed, 2, 288, config)[:602], risk(later, 2, 288, config)[:602]
    )


def test_risk_counts_one_miss_more_than_were_seen():
    config = ScalingConfig(risk_days=1, time_of_day_weight=0.0)

    found = risk(np.zeros((400, 1)), 1, 288, config)

    assert found[0, 0] == 1.0  # nothing seen yet: nothing is safe
    assert found[399, 0] == pytest.approx(1 / 289)


def test_risk_by_time_of_day_tells_the_bad_hour_from_the_good_ones():
    missed = np.zeros((7 * 288, 1))
    missed[np.arange(len(missed)) % 288 < 12] = 1.0
    config = ScalingConfig(risk_days=5, time_of_day_weight=1.0, time_of_day_h=1.0)

    found = risk(missed, 1, 288, config)[-288:, 0]

    assert found[6] > 5 * found[150]


def test_the_smallest_penalty_within_the_budget_is_chosen():
    assert choose(np.array([0.2, 0.04, 0.004, 0.001]), 0.008) == 2
    assert choose(np.array([0.2, 0.1]), 0.008) == 1


@pytest.mark.parametrize(
    ("delay_s", "step_s", "steps"), [(120, 300, 1), (300, 300, 1), (301, 300, 2), (600, 300, 2)]
)
def test_an_order_arrives_at_the_first_step_after_the_delay(delay_s, step_s, steps):
    assert delay_steps(delay_s, step_s) == steps


def test_elasticity_of_a_case_counted_by_hand():
    demand = np.array([2.0, 4.0, 4.0, 2.0, np.nan])
    capacity = np.array([3.0, 3.0, 5.0, 2.0, 9.0])

    found = elasticity(demand, capacity, step_s=21_600, prices=Prices(under_h_ratio=2.0))

    assert found.under_ratio == 0.25
    assert found.theta_u == pytest.approx(0.25 / 4)
    assert found.theta_o == pytest.approx((0.5 + 0.25) / 4)
    assert found.excess_area_ratio == pytest.approx(2 / 12)
    assert found.moves_per_day == 2
    assert found.cost_ratio == pytest.approx(13 / 12 + 0.5)


def test_the_weights_of_members_sum_to_one_and_favour_the_better():
    rng = np.random.default_rng(0)
    actual = rng.normal(0, 1, 500)
    scores = {name: actual + rng.normal(0, 3, 500) for name in NAMES}
    scores["ridge"] = actual + rng.normal(0, 0.1, 500)

    weights = choose_weights(actual, scores, np.ones(500))

    assert sum(weights.values()) == pytest.approx(1)
    assert weights["ridge"] > 0.9


@pytest.mark.parametrize("delay", [1, 2])
def test_no_rule_reads_demand_after_its_order(delay):
    value_T = tiny_scaling.working_days(8)
    changed_T = np.concatenate([value_T[:2100], value_T[2100:] * 5])
    rules = [
        lambda x: baselines.reactive(x, delay, 1.2),
        lambda x: baselines.hpa_like(x, delay, 0.8, stabilise_steps=2),
        lambda x: baselines.seasonal_reactive(x, delay, DAY, 1.1),
        lambda x: baselines.conformal_ratio(x, delay, 0.99, 7 * DAY),
        lambda x: baselines.conformal_ratio(x, delay, 0.99, 7 * DAY, day_steps=DAY),
    ]
    until = 2100 + delay
    for rule in rules:
        np.testing.assert_array_equal(rule(value_T)[:until], rule(changed_T)[:until])


def test_the_oracle_is_never_short():
    value_T = tiny_scaling.working_days(2)

    assert (baselines.oracle(value_T, 5) >= value_T).all()


def test_a_frontier_is_read_between_its_points():
    def point(under, theta):
        score = elasticity(np.ones(4), np.ones(4), step_s=300, prices=Prices())
        return Point(knob=0.0, score=replace(score, under_ratio=under, theta_o=theta))

    points = [point(0.02, 0.1), point(0.0, 0.5), point(0.005, 0.3)]

    assert theta_at(points, 0.0125) == pytest.approx(0.2)
    assert theta_at(points, 0.05) == pytest.approx(0.1)
    assert np.isnan(theta_at([point(0.02, 0.1)], 0.01))


@pytest.mark.learn
def test_replayed_orders_read_no_demand_after_them():
    fitted = tiny_scaling.tiny_model().fitted
    value_T = tiny_scaling.working_days(4, seed=5)
    changed_T = np.concatenate([value_T[:1000], value_T[1000:] * 4])
    policy = default_policies()["hybrid"]

    mine, changed = (
        replay(fitted.outlook(to_demand(x, 300)), policy, fitted.config, delay=2, start=400)
        for x in (value_T, changed_T)
    )

    np.testing.assert_array_equal(mine[:1002], changed[:1002])


@pytest.mark.learn
def test_capacity_for_the_nightly_job_comes_earlier_than_by_a_rule():
    fitted = tiny_scaling.tiny_model().fitted
    demand = tiny_scaling.clocked(tiny_scaling.working_days(9, seed=3))
    outlook = fitted.outlook(demand, begin=6 * DAY)
    policy = fitted.config.policies["performance_optimized"]

    ours = replay(outlook, policy, fitted.config, delay=2, start=6 * DAY)
    rule = baselines.reactive(demand.value_T, 2, 1.4)

    def short_at_its_start(capacity_T):
        short_T = (demand.value_T > capacity_T)[7 * DAY :].reshape(2, DAY)
        return short_T[:, 24:26].sum()

    assert short_at_its_start(ours) <= 1
    assert short_at_its_start(rule) == 4


@pytest.mark.learn
def test_hysteresis_keeps_moves_near_their_aim():
    fitted = tiny_scaling.tiny_model().fitted
    demand = to_demand(tiny_scaling.working_days(9, seed=4, jobs=False), 300)
    outlook = fitted.outlook(demand, begin=5 * DAY)
    policy = fitted.config.policies["hybrid"]
    capacity_T = replay(outlook, policy, fitted.config, delay=2, start=5 * DAY)
    capacity_T[: 6 * DAY] = np.nan

    score = elasticity(demand.value_T, capacity_T, step_s=300, prices=Prices())

    assert score.moves_per_day < 60


def test_without_a_clock_the_time_of_day_is_missing_and_not_midnight():
    x_TF = span_features(base_frame(to_demand(tiny_scaling.working_days(2), 300)), 1, 1)

    assert np.isnan(x_TF[:, feature_names().index("time_of_day")]).all()


@pytest.mark.learn
def test_without_a_clock_an_answer_does_not_depend_on_where_the_window_begins():
    model = tiny_scaling.tiny_model()
    values = tiny_scaling.working_days(8, seed=8)

    whole = forecast_hour(model.fitted, to_demand(values, 300))
    later = forecast_hour(model.fitted, to_demand(values[100:], 300))

    np.testing.assert_allclose(whole.value, later.value, rtol=0.02)
