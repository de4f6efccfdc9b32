import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from novacron.errors import InvalidInputError, SchemaError
from novacron.models.metrics import (
    coverage,
    group_ratio,
    mase,
    pinball,
    share_within,
    wape,
    wql,
    wql_terms,
)

LEVELS = (0.1, 0.5, 0.9)


def test_wape_is_the_sum_of_errors_over_the_sum_of_actual_values():
    actual, forecast = (
        np.array([[10.0, 20.0], [30.0, 40.0]]),
        np.array([[12.0, 20.0], [27.0, 45.0]]),
    )

    assert wape(actual, forecast) == pytest.approx((2 + 0 + 3 + 5) / 100)


def test_pinball_of_a_high_quantile_punishes_missing_below_nine_times_as_much():
    loss = pinball(np.array([10.0, 10.0]), np.array([8.0, 12.0]), 0.9)

    assert loss == pytest.approx([1.8, 0.2])


def test_wql_agrees_with_a_case_counted_by_hand():
    actual = np.array([[10.0]])
    quantiles = np.array([[[6.0, 9.0, 12.0]]])

    # 2 * (.1 * 4) = .8, 2 * (.5 * 1) = 1, 2 * (.1 * 2) = .4; their mean over 10.
    assert wql(actual, quantiles, LEVELS) == pytest.approx((0.8 + 1.0 + 0.4) / 3 / 10)


def test_wql_of_one_value_for_all_levels_is_wape():
    rng = np.random.default_rng(0)
    actual, forecast = rng.uniform(1, 9, (20, 5)), rng.uniform(1, 9, (20, 5))

    flat = np.repeat(forecast[:, :, None], 3, axis=2)

    assert wql(actual, flat, LEVELS) == pytest.approx(wape(actual, forecast))


def test_true_quantiles_of_a_sample_lose_less_than_shifted_ones():
    actual = np.random.default_rng(1).gamma(2.0, 3.0, (4000, 1))
    true = np.broadcast_to(np.quantile(actual, LEVELS), (4000, 1, 3))

    losses = [wql_terms(actual, true + shift, LEVELS).sum() for shift in (0.0, -0.5, 0.5)]

    assert losses[0] == min(losses)


def test_coverage_counts_both_bounds_as_inside():
    actual = np.array([1.0, 2.0, 3.0, 4.0])

    assert coverage(actual, np.full(4, 2.0), np.full(4, 3.0)) == 0.5


def test_share_within_twenty_percent_is_relative_to_the_actual_value():
    assert share_within(
        np.array([10.0, 10.0, 10.0]), np.array([12.0, 8.0, 12.1])
    ) == pytest.approx(2 / 3)


def test_a_constant_looks_accurate_on_a_narrow_series_by_the_share_within():
    narrow = np.random.default_rng(2).normal(5000, 500, 20_000)

    assert share_within(narrow, np.full(20_000, 5000.0)) > 0.94


def test_mase_is_one_for_the_error_of_the_naive_forecast():
    history = np.array([1.0, 3.0, 2.0, 4.0])

    assert mase(
        np.array([6.0, 2.0]), np.array([6.0 - 5 / 3, 2.0 + 5 / 3]), history
    ) == pytest.approx(1)


def test_mase_of_a_flat_history_is_refused():
    with pytest.raises(InvalidInputError, match="history"):
        mase(np.ones(3), np.ones(3), np.full(5, 2.0))


def test_a_ratio_to_an_actual_sum_of_zero_is_refused():
    with pytest.raises(InvalidInputError, match="sum to 0"):
        wape(np.zeros(3), np.ones(3))


def test_shapes_that_differ_are_refused():
    with pytest.raises(SchemaError, match="forecast"):
        wape(np.ones((3, 1)), np.ones(3))


def test_group_ratio_is_the_ratio_of_sums():
    found = group_ratio(
        np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 2.0]), np.array([0, 0, 1]),
        np.random.default_rng(0),
    )  # fmt: skip

    assert found.value == pytest.approx(1.0)
    assert found.n == 2


def test_the_interval_of_a_constant_ratio_is_a_point():
    below = np.random.default_rng(3).uniform(1, 2, 50)

    found = group_ratio(0.8 * below, below, np.arange(50), np.random.default_rng(0))

    assert (found.lo, found.hi) == (pytest.approx(0.8), pytest.approx(0.8))


def test_repeating_the_rows_of_each_group_does_not_narrow_the_interval():
    rng = np.random.default_rng(4)
    upper, lower, group = rng.uniform(0, 2, 30), np.ones(30), np.arange(30)

    once = group_ratio(upper, lower, group, np.random.default_rng(0))
    often = group_ratio(
        np.repeat(upper, 100), np.repeat(lower, 100), np.repeat(group, 100),
        np.random.default_rng(0),
    )  # fmt: skip

    assert (often.lo, often.hi) == (pytest.approx(once.lo), pytest.approx(once.hi))


def test_the_interval_holds_the_true_mean_about_as_often_as_it_says():
    held = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        found = group_ratio(
            rng.normal(1.0, 0.5, 40), np.ones(40), np.arange(40), rng, resamples=300
        )
        held += found.lo <= 1.0 <= found.hi

    assert 0.88 <= held / 200 <= 0.99


@settings(max_examples=50, deadline=None)
@given(
    scale=st.floats(0.001, 1000),
    actual=st.lists(st.floats(0.1, 100), min_size=2, max_size=8),
    shift=st.floats(-5, 5),
)
def test_wape_and_wql_do_not_depend_on_the_unit(scale, actual, shift):
    y = np.array(actual)[:, None]
    q = np.stack([y - 1, y + shift, y + 6], axis=2)

    assert wql(scale * y, scale * q, LEVELS) == pytest.approx(wql(y, q, LEVELS))
    assert wape(scale * y, scale * q[..., 1]) == pytest.approx(wape(y, q[..., 1]))
