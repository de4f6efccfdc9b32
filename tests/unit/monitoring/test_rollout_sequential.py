import math

import numpy as np
import pytest
from scipy import integrate, stats

from novacron.monitoring.rollouts.sequential import (
    MULTIPLES,
    Contrast,
    Excess,
    always_valid_interval,
    grouped_mean,
    mean_evidence,
)

ALPHA = 0.05


def test_excess_is_the_mean_of_likelihood_ratios():
    test = Excess(limit=0.01)
    test.add(3, 40)
    test.add(1, 5)
    rates = [0.01 * by for by in MULTIPLES if 0.01 * by < 0.95] + [0.95]

    ratios = [stats.binom.pmf(4, 45, q) / stats.binom.pmf(4, 45, 0.01) for q in rates]

    assert math.exp(test.log_value) == pytest.approx(np.mean(ratios))


def test_contrast_is_the_mean_of_conditional_likelihood_ratios():
    test = Contrast()
    test.add((3, 100), (2, 900))

    bets = [by * 0.1 / (by * 0.1 + 0.9) for by in MULTIPLES]
    ratios = [stats.binom.pmf(3, 5, q) / stats.binom.pmf(3, 5, 0.1) for q in bets]
    assert math.exp(test.log_value) == pytest.approx(np.mean(ratios))


def test_the_evidence_of_a_mean_is_the_integral_over_likely_effects():
    difference, variance, effect = 0.3, 0.01, 0.2

    def gain(true):
        scale = math.sqrt(variance)
        density = stats.norm.pdf(difference, true, scale) / stats.norm.pdf(difference, 0, scale)
        return density * stats.norm.pdf(true, 0, effect)

    wanted, _ = integrate.quad(gain, -2, 2)
    assert math.exp(mean_evidence(difference, variance, effect)) == pytest.approx(wanted, rel=1e-6)


def test_the_interval_holds_zero_exactly_as_long_as_the_evidence_is_too_weak():
    for difference in np.linspace(0.01, 1, 60):
        low, _ = always_valid_interval(difference, 0.01, 0.2, ALPHA)

        assert (low > 0) == (mean_evidence(difference, 0.01, 0.2) > -math.log(ALPHA))


def crossed(make, add, rng, looks=200):
    test = make()
    for _ in range(looks):
        add(test, rng)
        if test.log_value >= -math.log(ALPHA):
            return True
    return False


def test_looking_two_hundred_times_alarms_at_most_as_often_as_stated():
    rng = np.random.default_rng(5)
    runs = 400

    def at_the_limit(test, rng):
        test.add(int(rng.binomial(20, 0.05)), 20)

    def same_rate(test, rng):
        tried, other = int(rng.binomial(4, 0.2)), int(rng.binomial(36, 0.2))
        test.add((tried, 4), (other, 36))

    excess = sum(crossed(lambda: Excess(limit=0.05), at_the_limit, rng) for _ in range(runs))
    contrast = sum(crossed(Contrast, same_rate, rng) for _ in range(runs))

    bound = stats.binom.ppf(0.999, runs, ALPHA)
    assert excess <= bound
    assert contrast <= bound


def test_stalls_of_one_arm_are_no_evidence_against_it_but_steady_slowness_is():
    rng = np.random.default_rng(6)

    def stalls(test, rng):
        hit = rng.random() < 0.05
        test.add(
            (int(rng.binomial(10, 0.9 if hit else 0.03)), 10), (int(rng.binomial(90, 0.05)), 90)
        )

    def slow(test, rng):
        test.add((int(rng.binomial(10, 0.5)), 10), (int(rng.binomial(90, 0.05)), 90))

    tempered = lambda: Contrast(tempers=True)  # noqa: E731
    false_alarms = sum(crossed(tempered, stalls, rng, 60) for _ in range(200))
    alarms = sum(crossed(tempered, slow, rng, 30) for _ in range(50))

    assert false_alarms <= 20
    assert alarms == 50


def test_values_of_one_group_hang_together():
    counts, sums = {0: 100, 1: 100, 2: 100}, {0: 100.0, 1: 200.0, 2: 300.0}

    mean, variance = grouped_mean(counts, sums)

    assert mean == pytest.approx(2.0)
    # Three groups with means 1, 2 and 3, not three hundred values.
    assert variance == pytest.approx(np.var([1, 2, 3], ddof=1) / 3)
    assert grouped_mean({0: 5}, {0: 1.0})[1] == math.inf
