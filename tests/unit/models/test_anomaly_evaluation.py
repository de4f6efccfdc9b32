"""Measures of alerts, injected anomalies, and the detectors that ours is compared with."""

import numpy as np
import pytest

from novacron.errors import ConfigError
from novacron.models.anomaly.baselines import BASELINES, baseline_surprise
from novacron.models.anomaly.cut_forest import grow_cut_tree
from novacron.models.anomaly.injections import INJECTION_KINDS, inject
from novacron.models.anomaly.measures import count_events, summarise

HOUR_S = 3600.0
DAY_S = 86_400.0


def test_an_event_is_found_once_and_false_alerts_are_counted_each():
    counts = count_events(
        [1000.0, 5000.0, 5100.0, 40_000.0], (0.0, DAY_S), [(4900.0, 6000.0), (70_000.0, 71_000.0)]
    )

    assert (counts.events, counts.found, counts.false_alerts) == (2, 1, 2)
    assert counts.delays_s == (100.0,)


def test_masked_time_and_grace_are_neither_right_nor_wrong():
    counts = count_events(
        [2000.0, 6500.0], (0.0, DAY_S), [(5000.0, 6000.0)], [(1500.0, 2500.0)], grace_s=1000.0
    )

    assert counts.false_alerts == 0
    assert counts.found == 0
    assert counts.days == pytest.approx((DAY_S - 2000 - 1000) / DAY_S)


def test_hours_without_event_are_counted_and_those_with_a_false_alert():
    counts = count_events(
        [0.5 * HOUR_S, 0.6 * HOUR_S], (0.0, 10 * HOUR_S), [(4.2 * HOUR_S, 5.2 * HOUR_S)]
    )

    assert counts.quiet_hours == 8
    assert counts.false_hours == 1


def test_what_lies_outside_the_judged_span_is_left_out():
    counts = count_events([10.0, 900.0], (100.0, 800.0), [(0.0, 20.0), (700.0, 750.0)])

    assert (counts.events, counts.found, counts.false_alerts) == (1, 0, 0)


def test_measures_are_ratios_of_sums_with_intervals_over_series():
    good = count_events([150.0], (0.0, DAY_S), [(100.0, 200.0)])
    bad = count_events([5000.0], (0.0, DAY_S), [(100.0, 200.0)])

    found = summarise([good, bad], np.random.default_rng(1))

    assert found["recall"].value == 0.5
    assert found["episode_precision"].value == 0.5
    assert (found["recall"].lo, found["recall"].hi) == (0.0, 1.0)
    assert found["false_positive_hours_ratio"].value == pytest.approx(1 / 46, rel=0.1)


@pytest.mark.parametrize("kind", INJECTION_KINDS)
def test_an_injection_changes_exactly_the_samples_it_names(kind):
    value = np.random.default_rng(1).normal(size=1000)

    changed, (made,) = inject(
        value, np.random.default_rng(2), day_samples=96, quiet_samples=200, kinds=(kind,)
    )

    touched = np.flatnonzero(changed != value)
    assert made.kind == kind
    assert made.start >= 200
    assert touched.min() >= made.start
    assert touched.max() <= made.end
    assert len(touched) >= made.end - made.start - 1


def test_injections_repeat_with_their_seed():
    value = np.random.default_rng(1).normal(size=2000)

    first, second = (
        inject(value, np.random.default_rng(3), day_samples=96, quiet_samples=200)
        for _ in range(2)
    )

    np.testing.assert_array_equal(first[0], second[0])
    assert first[1] == second[1]
    assert {one.kind for one in first[1]} == set(INJECTION_KINDS)


def test_a_series_too_short_for_its_injections_is_refused():
    with pytest.raises(ConfigError):
        inject(np.zeros(100), np.random.default_rng(1), day_samples=96, quiet_samples=50)


def spiked_wave():
    rng = np.random.default_rng(4)
    value = 10 + np.sin(2 * np.pi * np.arange(900) / 96) + rng.normal(0, 0.1, 900)
    value[850] += 20
    return value


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_sees_only_the_past(name):
    whole = baseline_surprise(name, spiked_wave(), 96, 1)
    prefix = baseline_surprise(name, spiked_wave()[:820], 96, 1)

    np.testing.assert_allclose(prefix, whole[:820], atol=1e-8)


# The spectral residual estimates what follows the newest sample from its slope, so a lone spike
# hides in its own estimate: that is how it was published.
@pytest.mark.parametrize("name", [name for name in BASELINES if name != "spectral_residual"])
def test_every_other_baseline_sees_a_large_spike(name):
    surprise = baseline_surprise(name, spiked_wave(), 96, 1)

    assert surprise[850] > np.quantile(surprise[300:850], 0.99)


def test_a_cut_tree_sets_far_rows_apart():
    rng = np.random.default_rng(5)
    x_NF = rng.normal(size=(200, 3))
    tree = grow_cut_tree(x_NF, rng)

    score = tree.score(np.array([[0.0, 0, 0], [8.0, 8, 8]]))

    assert score[1] > 5 * score[0]
