"""What becomes of hostile histories: an error that names the fault, or a repair that is counted."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from novacron.errors import OutOfRangeError, SchemaError
from novacron.models.capacity.history import busy_hours, check_length, to_history
from novacron.models.capacity.link import choose_link
from novacron.models.capacity.seasons import fill_gaps, phase_mean, shift_start

START = datetime(2024, 1, 1, tzinfo=UTC)


def days(values, **changes) -> pd.Series:
    index = pd.date_range("2024-01-01", periods=len(values), freq="D", tz="UTC")
    return pd.Series(values, index=index, **changes)


def test_a_daily_series_comes_through_unchanged():
    history = to_history(days(np.arange(40.0)))

    np.testing.assert_array_equal(history.value_T, np.arange(40.0))
    assert (history.step_s, history.start, dict(history.notes)) == (86_400, START, {})
    assert history.end == datetime(2024, 2, 10, tzinfo=UTC)


def test_naive_times_count_as_utc_and_other_zones_are_converted():
    naive = days(np.arange(40.0)).tz_localize(None)
    berlin = days(np.arange(40.0)).tz_convert("Europe/Berlin")

    assert to_history(naive).start == to_history(berlin).start == START


def test_missing_rows_and_missing_values_are_the_same_gap_and_counted():
    series = days(np.arange(40.0))
    holed = series.copy()
    holed.iloc[[5, 6]] = np.nan

    for given in (holed, series.drop(series.index[[5, 6]])):
        history = to_history(given)
        assert np.flatnonzero(np.isnan(history.value_T)).tolist() == [5, 6]
        assert history.notes == {"gaps": 2}


def test_five_minute_samples_become_hourly_means_and_the_answer_says_so():
    index = pd.date_range("2024-01-01", periods=12 * 24 * 10, freq="5min", tz="UTC")
    history = to_history(pd.Series(np.arange(len(index)) // 12 * 1.0, index=index))

    np.testing.assert_array_equal(history.value_T, np.arange(240.0))
    assert history.notes == {"averaged_to_hours": 2880}


def test_samples_of_the_finer_grid_may_come_at_uneven_times():
    rng = np.random.default_rng(0)
    moments = np.sort(START.timestamp() + rng.uniform(0, 10 * 86_400, 5000))
    index = pd.to_datetime(moments, unit="s", utc=True)

    history = to_history(pd.Series(1.0, index=index))

    assert history.step_s == 3600
    assert np.nanmax(history.value_T) == 1.0


def test_a_repeated_row_is_dropped_and_counted():
    series = days(np.arange(40.0))

    history = to_history(pd.concat([series, series.iloc[[3]]]).sort_index())

    assert len(history) == 40
    assert history.notes == {"duplicates_dropped": 1}


def test_one_time_with_two_values_is_refused():
    series = days(np.arange(40.0))
    other = pd.Series([99.0], index=series.index[[3]])

    with pytest.raises(SchemaError, match="two different values"):
        to_history(pd.concat([series, other]).sort_index())


def test_a_clock_that_runs_backwards_is_refused():
    with pytest.raises(SchemaError, match="backwards"):
        to_history(days(np.arange(40.0)).iloc[::-1])


def test_an_irregular_daily_clock_is_refused_with_a_remedy():
    step_s = np.random.default_rng(0).uniform(0.6, 1.4, 60) * 86_400
    index = pd.to_datetime(START.timestamp() + np.cumsum(step_s), unit="s", utc=True)

    with pytest.raises(OutOfRangeError, match=r"off a grid.*resample"):
        to_history(pd.Series(np.arange(60.0), index=index))


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (days([np.nan] * 40), "only missing values"),
        (days(np.arange(40.0)).to_frame(), "one series"),
        (np.arange(40.0), "numbers without times"),
        (days(["a"] * 40), "numbers"),
        (pd.Series(np.ones(20), index=pd.date_range("2024-01-01", periods=20, freq="W")), "step"),
        (days(np.r_[np.inf, np.ones(40)]), "finite"),
    ],
)
def test_what_is_no_series_in_time_is_refused(given, match):
    with pytest.raises((SchemaError, OutOfRangeError), match=match):
        to_history(given)


def test_a_history_shorter_than_the_horizon_or_a_week_is_refused_with_the_length_it_needs():
    with pytest.raises(SchemaError, match="at least 30 days"):
        check_length(to_history(days(np.arange(29.0))), 30)
    with pytest.raises(SchemaError, match="at least 7 days"):
        check_length(to_history(days(np.arange(6.0))), 1)
    check_length(to_history(days(np.arange(30.0))), 30)


def test_a_history_that_is_mostly_gaps_is_refused():
    values = np.full(100, np.nan)
    values[::3] = 1.0
    values[-1] = 2.0

    with pytest.raises(SchemaError, match="missing"):
        check_length(to_history(days(values)), 30)


def test_percent_where_a_ratio_is_wanted_is_refused_with_the_factor():
    with pytest.raises(OutOfRangeError, match="dividing by 100"):
        choose_link(np.linspace(20.0, 90.0, 50), 1.0)
    with pytest.raises(OutOfRangeError, match="Check the unit"):
        choose_link(np.linspace(-3.0, 0.9, 50), 1.0)


@pytest.mark.parametrize("high", [None, 1.0])
def test_a_link_is_undone_by_its_inverse_and_keeps_bounds(high):
    value = np.linspace(0.05, 0.95, 30)
    link = choose_link(value, high)

    np.testing.assert_allclose(link.inverse(link.forward(value)), value, rtol=1e-9)
    far = link.inverse(np.array([-50.0, 50.0]))
    assert far[0] >= 0
    assert high is None or far[1] <= high


def test_zeros_and_negative_values_have_a_link_too():
    zeros = np.array([0.0, 3.0, 5.0, 0.0, 4.0])
    link = choose_link(zeros, None)
    np.testing.assert_allclose(link.inverse(link.forward(zeros)), zeros, atol=1e-9)

    assert choose_link(np.array([-1.0, 2.0]), None).kind == "identity"


def test_the_busiest_hour_of_a_day_counts_and_days_with_few_hours_do_not():
    index = pd.date_range("2024-01-01", periods=24 * 10, freq="h", tz="UTC")
    series = pd.Series(np.arange(240.0) % 24, index=index)
    series.iloc[48:62] = np.nan  # 14 hours of the third day

    daily = busy_hours(to_history(series))

    assert daily.step_s == 86_400
    assert np.isnan(daily.value_T[2])
    np.testing.assert_array_equal(np.delete(daily.value_T, 2), np.full(9, 23.0))


def test_the_weekly_profile_starts_at_the_phase_that_follows_the_history():
    value = np.tile(np.arange(7.0), 9)[:60]

    np.testing.assert_array_equal(phase_mean(value, 7, 10), (np.arange(60, 70) % 7) * 1.0)


def test_a_month_without_values_leaves_the_profile_at_the_last_week_that_had_some():
    value = np.r_[np.full(50, 1.0), np.full(7, 3.0), np.full(40, np.nan)]

    np.testing.assert_array_equal(phase_mean(value, 7, 5), np.full(5, 3.0))


def test_gaps_are_filled_by_the_profile_and_nothing_else_changes():
    value = np.tile([1.0, 2.0, 3.0, 4.0, 5.0, 9.0, 8.0], 8)
    holed = value.copy()
    holed[[10, 11, 12, 30]] = np.nan

    filled = fill_gaps(holed, 7)
    np.testing.assert_allclose(filled, value, atol=1.0)
    np.testing.assert_array_equal(filled[~np.isnan(holed)], holed[~np.isnan(holed)])


def test_a_lasting_step_of_the_level_is_found_within_a_week_and_a_spike_is_not():
    rng = np.random.default_rng(1)
    level = np.where(np.arange(210) < 126, 0.0, 2.0) + 0.1 * rng.standard_normal(210)
    spike = 0.1 * rng.standard_normal(210)
    spike[100:104] += 5.0

    assert abs(shift_start(level, 7) - 126) <= 7
    assert shift_start(spike, 7) == 0
    assert shift_start(np.tile(level, 3), 7) == 0  # beyond a year seasons look like steps
