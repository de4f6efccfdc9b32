"""Weights, intervals, simulated paths, crossing dates: the mathematics of the capacity planner."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from scipy.special import ndtri
from tiny_capacity import normal_calibration, prior, tiny_capacity

from novacron.models.capacity.boosted import Booster, origin_of
from novacron.models.capacity.calibration import PROBABILITIES, Calibration
from novacron.models.capacity.crossing import crossing_of, first_crossing
from novacron.models.capacity.ensemble import Trials, trial_places, weigh
from novacron.models.capacity.history import History
from novacron.models.capacity.link import Link
from novacron.models.capacity.members import Members
from novacron.models.capacity.prophet_member import Holidays, forecast_prophet
from novacron.models.capacity.remembered import RememberedMembers

START = datetime(2024, 1, 1, tzinfo=UTC)
NAMES = ("weekday_mean", "decomposed", "boosted")


def history(days=200, seed=0, slope=0.0) -> History:
    rng = np.random.default_rng(seed)
    day = np.arange(days)
    weekly = np.array([5.0, 6, 6, 6, 5, 2, 1])[day % 7]
    return History(
        value_T=20 + weekly + slope * day + 0.5 * rng.standard_normal(days),
        start=START,
        step_s=86_400,
    )


def trials(errors: dict[str, float], count=4) -> Trials:
    error_MK = np.array([[errors[name], -errors[name]] * count for name in NAMES])
    return Trials(names=NAMES, error_MK=error_MK, count=count)


def test_without_trials_the_weights_are_those_of_the_prior():
    none = Trials(names=NAMES, error_MK=np.empty((3, 0)), count=0)

    assert weigh(prior(30, NAMES), none, NAMES) == pytest.approx(dict.fromkeys(NAMES, 1 / 3))


def test_a_member_that_did_better_in_the_trials_weighs_more_and_weights_sum_to_1():
    weights = weigh(
        prior(30, NAMES), trials({"weekday_mean": 1, "decomposed": 0.5, "boosted": 3}), NAMES
    )

    assert weights["decomposed"] > weights["weekday_mean"] > weights["boosted"]
    assert sum(weights.values()) == pytest.approx(1.0)


def test_more_trials_move_the_weights_further():
    errors = {"weekday_mean": 1.0, "decomposed": 0.5, "boosted": 1.0}

    few, many = (
        weigh(prior(30, NAMES), trials(errors, count), NAMES)["decomposed"] for count in (1, 6)
    )

    assert 1 / 3 < few < many


def test_a_member_without_an_answer_gives_its_weight_to_the_others():
    weights = weigh(prior(30, NAMES), trials(dict.fromkeys(NAMES, 1.0)), NAMES[:2])

    assert weights == pytest.approx({"weekday_mean": 0.5, "decomposed": 0.5})


@pytest.mark.parametrize(("steps", "expected"), [(200, [185, 170]), (31, [16]), (20, [])])
def test_trials_leave_enough_days_before_them(steps, expected):
    assert trial_places(steps, 86_400, 30, 2) == expected


def test_the_forecast_never_reads_past_the_end_of_its_history():
    whole = history(260)
    members = Members(names=("weekday_mean", "decomposed"), boosters={}, holidays=Holidays())
    link = Link(kind="log")
    changed = History(
        value_T=np.where(np.arange(260) < 200, whole.value_T, 1e6), start=START, step_s=86_400
    )

    one, two = (
        members.forecast(each.until(200), link, 30).by_member["decomposed"].z_H
        for each in (whole, changed)
    )

    np.testing.assert_array_equal(one, two)


def test_features_are_the_same_for_a_series_in_any_unit():
    z_T = np.log(history().value_T)

    plain, scaled = origin_of(z_T, 86_400, 30), origin_of(z_T + np.log(1000), 86_400, 30)

    np.testing.assert_allclose(scaled.x_HF, plain.x_HF, atol=1e-6)
    np.testing.assert_allclose(scaled.profile_H - plain.profile_H, np.log(1000))


def test_a_booster_without_a_correction_forecasts_the_weekly_profile():
    z_T = np.log(history().value_T)
    rng = np.random.default_rng(0)
    flat = Booster.fit(
        rng.standard_normal((1000, 17)), np.zeros(1000), np.ones(1000), rounds=3, seed=1
    )

    np.testing.assert_allclose(
        flat.forecast(z_T, 86_400, 30), origin_of(z_T, 86_400, 30).profile_H, atol=1e-9
    )


def test_intervals_hold_what_they_promise_on_errors_like_those_they_were_fitted_on():
    rng = np.random.default_rng(3)
    growth = np.linspace(0.6, 1.4, 30)
    scaled = rng.standard_t(4, (600, 30)) * growth
    fitted = Calibration.fit(scaled[:300], np.arange(300) % 20)

    for coverage in (0.80, 0.95):
        low, high = (fitted.offsets(1.0, 30, p) for p in ((1 - coverage) / 2, (1 + coverage) / 2))
        inside = ((scaled[300:] >= low) & (scaled[300:] <= high)).mean()
        assert inside == pytest.approx(coverage, abs=0.02)
    assert fitted.growth(30)[-1] > 1.5 * fitted.growth(30)[0]


def test_every_series_counts_the_same_however_many_origins_it_has():
    rng = np.random.default_rng(4)
    wild, calm = 5 * rng.standard_normal((400, 10)), rng.standard_normal((20, 10))
    group = np.r_[np.zeros(400, int), np.ones(20, int)]

    fitted = Calibration.fit(np.concatenate([wild, calm]), group)

    inside = [(np.abs(part) <= fitted.offsets(1.0, 10, 0.9)).mean() for part in (wild, calm)]
    # With two series the tails are moved out on purpose.
    assert 0.78 < np.mean(inside) < 0.86


def test_beyond_the_calibrated_horizon_intervals_widen_as_a_random_walk():
    growth = normal_calibration(30).growth(120)

    assert growth[119] == pytest.approx(growth[29] * 2)


def test_simulated_paths_have_the_quantiles_of_the_intervals_and_persist():
    calibration = normal_calibration(30)
    path_PH = calibration.paths(2.0, 30, 20_000, np.random.default_rng(0))

    for p in (0.1, 0.5, 0.9):
        np.testing.assert_allclose(
            np.quantile(path_PH, p, axis=0), calibration.offsets(2.0, 30, p), atol=0.12
        )
    lag_1, lag_20 = (np.corrcoef(path_PH[:, 5], path_PH[:, 5 + lag])[0, 1] for lag in (1, 20))
    assert lag_1 == pytest.approx(0.3 + 0.7 * 0.5, abs=0.03)
    assert lag_20 == pytest.approx(0.3, abs=0.03)


def test_persistence_is_found_again_in_paths_that_have_it():
    calibration = normal_calibration(30)
    path_PH = calibration.paths(1.0, 30, 3000, np.random.default_rng(1))

    fitted = Calibration.fit(path_PH, np.arange(3000) % 50)

    assert fitted.lasting == pytest.approx(0.3, abs=0.05)
    assert fitted.fading == pytest.approx(0.5, abs=0.08)
    middle = np.abs(PROBABILITIES - 0.5) < 0.41
    np.testing.assert_allclose(
        fitted.score_R[middle], 1.25 * ndtri(PROBABILITIES[middle]), atol=0.12
    )


def test_a_stored_calibration_is_the_same_and_a_damaged_one_is_refused():
    stored = normal_calibration(30).to_dict()

    np.testing.assert_allclose(Calibration.from_dict(stored).growth_H, np.linspace(0.8, 1.2, 30))
    for change in ({"lasting": 1.0}, {"growth": [1.0, -1.0]}, {"score": [1.0, 0.0]}):
        with pytest.raises(ValueError, match=r"."):
            Calibration.from_dict(stored | change)


def test_the_first_crossing_is_the_first_step_at_or_above_the_threshold():
    path_PH = np.array([[1.0, 3.0, 2.0, 5.0], [1.0, 1.0, 1.0, 1.0], [9.0, 0.0, 0.0, 0.0]])

    np.testing.assert_array_equal(first_crossing(path_PH, 3.0), [2.0, np.inf, 1.0])


def test_the_crossing_date_is_a_distribution_that_ends_with_the_horizon():
    step_P = np.arange(1, 101)  # path n crosses at step n; the horizon has 30
    path_PH = (np.arange(1, 31) >= step_P[:, None]).astype(float)

    found = crossing_of(
        path_PH, level="warning", threshold=1.0, newest=0.0, made_at=START, step_s=86_400
    )

    assert found.probability == pytest.approx(0.30)
    assert found.days == {0.1: 10.0, 0.5: None, 0.9: None}
    assert found.dates[0.1] == START + timedelta(days=10)
    assert found.probability_by_step[14] == pytest.approx(0.15)


def test_what_is_above_the_threshold_has_crossed_it_already():
    found = crossing_of(
        np.zeros((10, 5)),
        level="critical",
        threshold=0.5,
        newest=0.6,
        made_at=START,
        step_s=86_400,
    )

    assert found.already
    assert found.probability == 1.0
    assert found.days[0.9] == 0.0


@pytest.mark.learn
def test_prophet_extrapolates_flat_below_a_year_and_damped_above_and_knows_holidays():
    short, long = history(200, slope=0.2), history(800, slope=0.2)

    flat = forecast_prophet(short.value_T, short.index(60), 60, Holidays())
    damped = forecast_prophet(long.value_T, long.index(60), 60, Holidays(country="AU"))

    assert np.ptp(flat.trend_H) == 0
    steps = np.diff(damped.trend_H)
    np.testing.assert_allclose(steps[1:] / steps[:-1], 0.98, rtol=1e-6)
    assert set(np.flatnonzero(damped.holiday_H)) <= {
        place for place, day in enumerate(long.index(60)[800:]) if (day.month, day.day) in
        {(4, 3), (4, 4), (4, 5), (4, 6), (4, 25), (3, 30)}
    }  # fmt: skip


@pytest.mark.learn
def test_remembered_answers_are_those_of_the_members_also_after_a_restart(tmp_path):
    members = tiny_capacity("weekday_mean", "decomposed", "boosted").members()
    link, given = Link(kind="log"), history()

    fresh = members.forecast(given, link, 30).by_member
    first = RememberedMembers(members, tmp_path).forecast(given, link, 30).by_member
    second = RememberedMembers(members, tmp_path).forecast(given, link, 30).by_member

    assert len(list(tmp_path.rglob("*.npz"))) == 1
    for name in fresh:
        np.testing.assert_array_equal(first[name].z_H, fresh[name].z_H)
        np.testing.assert_array_equal(second[name].z_H, fresh[name].z_H)
        assert set(second[name].terms) == set(fresh[name].terms)


def test_a_member_that_cannot_be_fitted_is_named_and_the_others_answer(monkeypatch):
    def broken(*_):
        raise ValueError("no fit")

    monkeypatch.setattr("novacron.models.capacity.members.forecast_decomposed", broken)
    said = (
        tiny_capacity("weekday_mean", "decomposed")
        .members()
        .forecast(history(), Link(kind="log"), 30)
    )

    assert set(said.by_member) == {"weekday_mean"}
    assert said.failed == {"decomposed": "ValueError: no fit"}


def test_the_parts_of_a_forecast_add_up_to_it():
    outlook = tiny_capacity().outlook(history(), 30)

    assert outlook is not None
    np.testing.assert_allclose(sum(outlook.terms().values()), outlook.z_H)
    lower, upper = outlook.interval(0.8)
    assert (lower <= outlook.value()).all()
    assert (outlook.value() <= upper).all()
