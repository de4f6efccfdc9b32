"""Slow and independent versions of the period search, the step search and Fisher's test."""

from math import comb

import numpy as np
import pytest
from scipy.signal import lombscargle

from novacron.features.evidence.cycles import find_cycle
from novacron.features.evidence.levels import find_levels
from novacron.features.evidence.memory import autocorrelation
from novacron.features.evidence.table import gather
from novacron.features.evidence.trend import fit_line


def wave(seed, samples=160, noise=0.4):
    rng = np.random.default_rng(seed)
    period = rng.uniform(6, 45)
    t = np.arange(samples)
    x = np.sin(2 * np.pi * t / period + rng.uniform(0, 6)) + noise * rng.standard_normal(samples)
    x[rng.random(samples) < 0.15] = np.nan
    return x, period


def residual_of(x):
    present = ~np.isnan(x)
    z = np.where(present, (x - np.nanmean(x)) / np.nanstd(x), 0.0)
    return fit_line(z, present).residual_T, present


@pytest.mark.parametrize("seed", range(12))
def test_the_period_agrees_with_a_lomb_scargle_grid_search(seed):
    x, _ = wave(seed)
    residual, present = residual_of(x)
    t = np.flatnonzero(present).astype(float)
    frequency = np.linspace(2.8 / 160, 0.5, 20_000)

    slow = lombscargle(t, residual[present], 2 * np.pi * frequency, floating_mean=True)
    fast = find_cycle(residual, present, autocorrelation(residual, present))

    assert fast.period_steps == pytest.approx(1 / frequency[np.argmax(slow)], rel=0.01)


@pytest.mark.parametrize("seed", range(6))
def test_the_refined_frequency_is_where_least_squares_is_least(seed):
    x, _ = wave(seed)
    residual, present = residual_of(x)
    cycle = find_cycle(residual, present, autocorrelation(residual, present))
    t = np.flatnonzero(present).astype(float)
    y = residual[present]

    def left(period):
        angle = 2 * np.pi * np.outer(t / period, np.arange(1, cycle.harmonics + 1))
        design = np.column_stack([np.ones_like(t), t, np.cos(angle), np.sin(angle)])
        weight = np.linalg.lstsq(design, y, rcond=None)[0]
        return float(((y - design @ weight) ** 2).sum())

    found = left(cycle.period_steps)

    assert 1 - found / float(y @ y) == pytest.approx(cycle.r2_ratio, abs=1e-6)
    assert found <= min(left(cycle.period_steps * (1 + d)) for d in (-0.003, 0.003)) + 1e-9


def test_the_standard_error_of_the_period_is_the_scatter_over_many_windows():
    rng = np.random.default_rng(0)
    t = np.arange(300)
    found = [
        gather(np.sin(2 * np.pi * t / 21.3) + 0.5 * rng.standard_normal(300)).cycle
        for _ in range(80)
    ]

    scatter = np.std([each.period_steps for each in found]) / 21.3

    assert np.median([each.error_ratio for each in found]) == pytest.approx(scatter, rel=0.35)


def test_the_significance_is_fishers_sum_where_its_first_term_rules():
    x = np.random.default_rng(3).standard_normal(129) + 0.8 * np.sin(np.arange(129) / 2)
    residual, present = residual_of(x)
    power = np.abs(np.fft.rfft(residual)[1:]) ** 2
    g, m = power.max() / power.sum(), power.size

    exact = sum(
        (-1) ** (k - 1) * comb(m, k) * (1 - k * g) ** (m - 1) for k in range(1, int(1 / g) + 1)
    )
    cycle = find_cycle(residual, present, autocorrelation(residual, present))

    assert cycle.log10_p == pytest.approx(np.log10(exact), abs=0.05)


@pytest.mark.parametrize("seed", range(5))
def test_the_best_step_agrees_with_a_loop_over_all_places(seed):
    x = np.random.default_rng(seed).standard_normal(90) + 1.5 * (np.arange(90) > 20 + 10 * seed)
    z = (x - x.mean()) / x.std()

    slow = {k: (z[:k].mean() ** 2 * k + z[k:].mean() ** 2 * (90 - k)) / 90 for k in range(1, 90)}
    fast = find_levels(z, np.ones(90, dtype=bool))

    best = max(slow, key=slow.get)
    assert fast.step_r2_ratio == pytest.approx(slow[best])
    assert fast.step_place_ratio == pytest.approx(best / 90)
    assert fast.step_height == pytest.approx(z[best:].mean() - z[:best].mean())
