"""The hour, the day or the week, found where the level wanders more than they move it."""

import numpy as np
import pytest

from novacron.models.patterns.calendar import find_calendar_period

STEP_S = 300.0
DAY = 288


def wandering(days=7, seed=0, size=0.0):
    rng = np.random.default_rng(seed)
    t = np.arange(days * DAY)
    level = np.cumsum(rng.normal(0, 0.08, t.size))
    return level + size * np.sin(2 * np.pi * t / DAY) + rng.normal(0, 0.3, t.size)


@pytest.mark.parametrize("seed", range(4))
def test_the_day_is_found_under_a_level_that_wanders_more_than_it(seed):
    usage = wandering(seed=seed, size=1.0)
    assert np.std(wandering(seed=seed)) > 0.7

    period_s, rho = find_calendar_period(usage, STEP_S)

    assert period_s == 86_400.0
    assert rho > 0.3


def test_of_day_and_week_the_shorter_is_told_unless_only_the_week_recurs():
    t = np.arange(28 * 24)
    daily = np.sin(2 * np.pi * t / 24)
    weekly = np.where((t // 24) % 7 == 2, 3.0, 0.0) + np.random.default_rng(0).normal(
        0, 0.3, t.size
    )

    assert find_calendar_period(daily, 3600.0)[0] == 86_400.0
    assert find_calendar_period(weekly, 3600.0)[0] == 604_800.0


def test_noise_and_windows_too_short_have_none():
    noise = np.random.default_rng(1).normal(0, 1, 5 * DAY)

    assert find_calendar_period(noise, STEP_S) == (0.0, 0.0)
    assert find_calendar_period(wandering(days=2, size=2.0), STEP_S)[0] != 86_400.0


def test_unit_offset_and_gaps_change_nothing_that_matters():
    usage = wandering(size=1.0)
    gaps = usage.copy()
    gaps[np.random.default_rng(2).random(usage.size) < 0.2] = np.nan

    plain = find_calendar_period(usage, STEP_S)

    assert find_calendar_period(1e6 + 50 * usage, STEP_S) == pytest.approx(plain, rel=1e-6)
    assert find_calendar_period(gaps, STEP_S)[0] == plain[0]


def test_a_constant_after_a_jump_divides_by_nothing():
    assert find_calendar_period(np.r_[np.zeros(2000), np.ones(16)], STEP_S)[1] <= 1.0
