import json

import numpy as np
import pytest

from novacron.errors import ArtifactError, SchemaError
from novacron.models.conformal import SIDE_MISS, CalibrationTable, OnlineConformal, replay

HORIZON = 2


def quantiles(rows, half_width, median=10.0):
    return np.broadcast_to(
        np.array([median - half_width, median, median + half_width]), (rows, HORIZON, 3)
    ).copy()


def share_inside(actual, adapted):
    return np.mean((actual >= adapted[..., 0]) & (actual <= adapted[..., 2]))


def test_intervals_that_are_too_narrow_are_widened_to_the_nominal_coverage():
    rng = np.random.default_rng(0)
    known, new = rng.normal(10, 1, (4000, HORIZON)), rng.normal(10, 1, (4000, HORIZON))

    table = CalibrationTable.fit(known, quantiles(4000, 0.3))

    assert share_inside(new, table.apply(quantiles(4000, 0.3))) == pytest.approx(0.8, abs=0.02)


def test_each_side_is_calibrated_for_itself():
    rng = np.random.default_rng(1)
    known = 10 + rng.exponential(1.0, (4000, HORIZON)) - 0.2

    adapted = CalibrationTable.fit(known, quantiles(4000, 1.0)).apply(quantiles(1, 1.0))

    upper_reach, lower_reach = adapted[0, 0, 2] - 10, 10 - adapted[0, 0, 0]
    assert upper_reach == pytest.approx(np.quantile(known[:, 0], 0.9) - 10, abs=0.05)
    assert lower_reach < 0.3


def test_a_neutral_table_changes_nothing():
    before = quantiles(3, 2.0)

    assert CalibrationTable.neutral(HORIZON).apply(before) == pytest.approx(before)


def test_too_few_rows_leave_the_table_neutral():
    table = CalibrationTable.fit(np.full((10, HORIZON), 99.0), quantiles(10, 1.0))

    assert table.apply(quantiles(1, 1.0)) == pytest.approx(quantiles(1, 1.0))


def test_a_lower_bound_is_never_negative():
    known = np.random.default_rng(2).normal(0, 50, (500, HORIZON)).clip(0)

    adapted = CalibrationTable.fit(known, quantiles(500, 0.5)).apply(quantiles(1, 9.0))

    assert (adapted >= 0).all()


def test_quantiles_of_another_shape_are_refused():
    with pytest.raises(SchemaError, match="quantiles"):
        CalibrationTable.fit(np.ones((5, 3)), quantiles(5, 1.0))


def test_the_online_rate_moves_by_the_rule_of_adaptive_conformal_inference():
    online = OnlineConformal(CalibrationTable.neutral(1), gamma=0.05)
    q = np.array([[[9.0, 10.0, 11.0]]])

    online.issue(q)
    online.observe(np.array([20.0]))

    lower, upper = online.miss_rates()[0, 0]
    assert lower == pytest.approx(SIDE_MISS + 0.05 * (SIDE_MISS - 0))
    assert upper == pytest.approx(SIDE_MISS + 0.05 * (SIDE_MISS - 1))


def test_a_forecast_two_steps_ahead_is_judged_two_samples_later():
    online = OnlineConformal(CalibrationTable.neutral(2), gamma=0.05)

    online.issue(quantiles(1, 1.0))
    online.observe(np.array([10.0]))
    after_one = online.miss_rates()[0, 1].copy()
    online.issue(quantiles(1, 1.0))
    online.observe(np.array([99.0]))
    after_two = online.miss_rates()[0, 1]

    assert after_one == pytest.approx([SIDE_MISS, SIDE_MISS])
    assert after_two[1] < SIDE_MISS


def test_online_calibration_restores_coverage_after_a_drift():
    rng = np.random.default_rng(3)
    table = CalibrationTable.fit(rng.normal(10, 1, (2000, HORIZON)), quantiles(2000, 1.28))
    drifted = rng.normal(10, 1.5, 3000)

    adapted = replay(table, [(quantiles(2999, 1.28), drifted[1:])], gamma=0.02)[0]
    plain = table.apply(quantiles(2999, 1.28))

    inside = (drifted[1:] >= adapted[:, 0, 0]) & (drifted[1:] <= adapted[:, 0, 2])
    before = (drifted[1:] >= plain[:, 0, 0]) & (drifted[1:] <= plain[:, 0, 2])
    assert before.mean() < 0.65
    assert inside[500:].mean() == pytest.approx(0.8, abs=0.03)


def test_a_step_size_of_zero_keeps_the_pooled_calibration():
    table = CalibrationTable.neutral(HORIZON)

    adapted = replay(table, [(quantiles(20, 1.0), np.full(20, 99.0))], gamma=0.0)[0]

    assert adapted == pytest.approx(table.apply(quantiles(20, 1.0)))


def test_changing_the_future_does_not_change_earlier_intervals():
    rng = np.random.default_rng(4)
    actual = rng.normal(10, 3, 60)
    changed = actual.copy()
    changed[40:] = 1000.0
    table = CalibrationTable.neutral(HORIZON)

    first = replay(table, [(quantiles(60, 1.0), actual)], gamma=0.05)[0]
    second = replay(table, [(quantiles(60, 1.0), changed)], gamma=0.05)[0]

    assert np.array_equal(first[:41], second[:41])


def test_paths_of_a_group_do_not_touch_each_other():
    rng = np.random.default_rng(5)
    series = [(quantiles(n, 1.0), rng.normal(10, 3, n)) for n in (30, 12, 21)]
    table = CalibrationTable.neutral(HORIZON)

    together = replay(table, series, gamma=0.05)
    alone = [replay(table, [one], gamma=0.05)[0] for one in series]

    assert all(np.array_equal(a, b) for a, b in zip(together, alone, strict=True))


def test_a_stored_state_goes_on_where_it_stopped():
    table = CalibrationTable.neutral(HORIZON)
    online = OnlineConformal(table, paths=2, gamma=0.03)
    online.issue(quantiles(2, 1.0))
    online.observe(np.array([99.0, 10.0]))

    again = OnlineConformal.from_dict(table, json.loads(json.dumps(online.to_dict())))

    for state in (online, again):
        state.issue(quantiles(2, 1.0))
        state.observe(np.array([99.0, np.nan]))
    assert np.array_equal(online.miss_rates(), again.miss_rates())


def test_a_state_of_another_horizon_is_refused():
    state = OnlineConformal(CalibrationTable.neutral(3)).to_dict()

    with pytest.raises(ArtifactError, match="shape"):
        OnlineConformal.from_dict(CalibrationTable.neutral(HORIZON), state)
