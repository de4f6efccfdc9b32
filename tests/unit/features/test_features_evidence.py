import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from novacron.errors import OutOfRangeError, SchemaError
from novacron.features.evidence.cycles import find_cycle
from novacron.features.evidence.excursions import find_excursions, robust_sigma
from novacron.features.evidence.levels import find_levels
from novacron.features.evidence.memory import autocorrelation
from novacron.features.evidence.table import evidence_fingerprint, gather, is_flat, names
from novacron.features.evidence.trend import fit_exponential, fit_line

ALL = np.ones(300, dtype=bool)
NOISE = np.random.default_rng(4).standard_normal(300)


def standard(x):
    return (x - x.mean()) / x.std()


def found(x):
    return dict(zip(names(), gather(x).row_F.tolist(), strict=True))


def window(kind, samples=300):
    t = np.arange(samples)
    noise = np.random.default_rng(7).standard_normal(samples)
    shapes = {
        "noise": 0 * t,
        "wave": 3 * np.sin(2 * np.pi * t / 23.7),
        "line": t / 20,
        "curve": 10 * np.exp(5 * (t / samples - 1)),
        "shift": 8.0 * (t > 140),
        "walk": np.cumsum(noise),
    }
    return shapes[kind] + noise


@given(
    kind=st.sampled_from(["noise", "wave", "line", "curve", "shift", "walk"]),
    scale=st.floats(1e-6, 1e6),
    shift=st.floats(-10, 10),
)
@settings(max_examples=40, deadline=None)
def test_evidence_does_not_depend_on_unit_or_offset(kind, scale, shift):
    x = window(kind)

    np.testing.assert_allclose(
        gather(scale * (x + shift)).row_F, gather(x).row_F, rtol=1e-4, atol=1e-4
    )


@given(st.integers(0, 10_000), st.integers(96, 500), st.floats(0, 0.45))
@settings(max_examples=40, deadline=None)
def test_evidence_is_finite_whatever_varies_and_whatever_is_missing(seed, samples, missing):
    rng = np.random.default_rng(seed)
    x = rng.choice([0.0, 1.0, rng.standard_normal()], size=samples) + rng.standard_t(2, samples)
    x[rng.permutation(samples)[: int(missing * samples)]] = np.nan

    assert np.isfinite(gather(x).row_F).all()


@pytest.mark.parametrize("kind", ["line", "curve"])
def test_evidence_is_finite_without_any_noise(kind):
    t = np.arange(200.0)
    x = t if kind == "line" else np.exp(t / 40)

    assert np.isfinite(gather(x).row_F).all()


@pytest.mark.parametrize("period", [4.3, 9.0, 23.7, 61.0, 95.0])
@pytest.mark.parametrize("waveform", ["sine", "pulse", "sawtooth"])
def test_the_period_of_a_wave_in_noise_is_found_within_2_percent(period, waveform):
    phase = np.arange(300) / period
    wave = {
        "sine": np.sin(2 * np.pi * phase),
        "pulse": 3.0 * (phase % 1 < max(0.2, 1.3 / period)),
        "sawtooth": 3 * (phase % 1),
    }[waveform]

    cycle = gather(wave + 0.3 * NOISE).cycle

    assert cycle.period_steps == pytest.approx(period, rel=0.02)
    assert cycle.log10_p < -5


def test_a_period_survives_gaps_and_its_error_covers_them():
    x = window("wave")
    x[np.random.default_rng(1).random(300) < 0.3] = np.nan

    cycle = gather(x).cycle

    assert abs(cycle.period_steps / 23.7 - 1) < 4 * cycle.error_ratio + 0.001


def test_cycles_of_uneven_height_do_not_double_the_period():
    t = np.arange(300)
    height = np.where((t // 20) % 2 == 0, 1.0, 1.15)

    cycle = gather(height * np.sin(2 * np.pi * t / 20) + 0.1 * NOISE).cycle

    assert cycle.period_steps == pytest.approx(20, rel=0.02)


def test_white_noise_is_rarely_significant():
    rng = np.random.default_rng(3)
    p = [10 ** gather(rng.standard_normal(256)).cycle.log10_p for _ in range(200)]

    assert np.mean(np.array(p) < 0.05) < 0.1
    assert np.mean(np.array(p) < 0.5) > 0.3


def test_a_phase_that_wanders_is_forgotten_many_periods_later():
    t = np.arange(300)
    drift = np.cumsum(np.random.default_rng(2).normal(0, 0.35, 300))

    steady = gather(np.sin(2 * np.pi * t / 15) + 0.1 * NOISE).cycle
    wandering = gather(np.sin(2 * np.pi * t / 15 + drift) + 0.1 * NOISE).cycle

    assert steady.far_rho > 0.9
    assert steady.coherence_ratio > 0.95
    assert wandering.far_rho < 0.6


def test_the_trend_statistic_of_white_noise_is_like_students_t():
    rng = np.random.default_rng(5)
    t = [fit_line(standard(rng.standard_normal(200)), np.ones(200, bool)).t_statistic
         for _ in range(300)]  # fmt: skip

    assert np.std(t) == pytest.approx(1.0, abs=0.2)


def test_a_slope_under_correlated_noise_counts_fewer_samples():
    line = np.linspace(0, 2, 300)
    walk = np.cumsum(NOISE) / 10

    white = fit_line(standard(line + 0.5 * NOISE), ALL).t_statistic
    red = fit_line(standard(line + 0.5 * standard(walk)), ALL).t_statistic

    assert abs(red) < abs(white) / 2


def test_a_curve_gains_over_the_line_in_the_direction_it_bends():
    t = np.linspace(0, 1, 300)
    gains = {}
    for name, x in (("growth", np.exp(5 * t)), ("saturating", 1 - np.exp(-5 * t)), ("line", t)):
        z = standard(x)
        gains[name] = fit_exponential(z, ALL, fit_line(z, ALL)).gain_ratio

    assert gains["growth"] > 0.1
    assert gains["saturating"] < -0.1
    assert abs(gains["line"]) < 0.01


def test_a_step_and_a_box_are_placed_and_signed():
    t = np.arange(300)
    step = find_levels(standard(5.0 * (t >= 210) + 0.1 * NOISE), ALL)
    box = find_levels(standard(-5.0 * ((t >= 90) & (t < 150)) + 0.1 * NOISE), ALL)

    assert step.step_place_ratio == pytest.approx(0.7, abs=0.02)
    assert step.step_height > 1
    assert step.box_margin_ratio < 0.03
    assert box.box_length_ratio == pytest.approx(0.2, abs=0.02)
    assert box.box_height < -1
    assert box.box_margin_ratio > 0.25


def test_the_exhaustive_level_search_agrees_with_a_slow_one():
    x = standard(np.random.default_rng(8).standard_normal(60))
    slow = max(
        (x[i:j].sum() ** 2 / (j - i) + x[:i].sum() ** 2 / max(i, 1) * 0) * 60 / (60 - (j - i))
        for i in range(1, 59) for j in range(i + 1, 60)
    )  # fmt: skip

    fast = find_levels(x, np.ones(60, dtype=bool))

    # A group of n with sum s, against a rest with sum -s: s^2 / n + s^2 / (N - n).
    assert fast.box_r2_ratio * 60 == pytest.approx(slow)


def test_runs_far_from_the_median_are_counted_with_their_spacing():
    x = 0.1 * NOISE.copy()
    x[[50, 51, 100, 150, 200]] = 9.0

    clockwork = find_excursions(x, upwards=True)
    below = find_excursions(x, upwards=False)

    assert clockwork.count == 4
    assert clockwork.longest_ratio == pytest.approx(2 / 300)
    assert clockwork.burstiness < -0.9
    assert below.count <= 1


def test_the_robust_deviation_has_a_value_where_most_samples_are_equal():
    x = np.zeros(100)
    x[:10] = 1.0

    median, sigma = robust_sigma(x)

    assert median == 0
    assert sigma == pytest.approx(0.1)


def test_the_autocorrelation_of_a_series_with_gaps_agrees_with_the_pairs_counted_one_by_one():
    present = np.random.default_rng(6).random(80) > 0.3
    z = np.where(present, NOISE[:80], 0.0)

    rho = autocorrelation(z, present)

    for lag in (1, 5, 17):
        both = present[lag:] & present[:-lag]
        slow = (z[lag:] * z[:-lag])[both].mean() / (z @ z / present.sum())
        assert rho[lag] == pytest.approx(slow)


def test_the_search_needs_almost_three_repetitions():
    t = np.arange(300)
    z = standard(np.sin(2 * np.pi * t / 200))

    cycle = find_cycle(z, ALL, autocorrelation(z, ALL))

    assert cycle.period_steps <= 300 / 2.5


@pytest.mark.parametrize(
    ("x", "match"),
    [
        (np.full(40, 0.5), "at least 48"),
        (np.zeros((2, 100)), "one series"),
        (np.zeros(5000), "at most 4096"),
        (np.full(100, np.nan), "present samples"),
        (np.where(np.arange(200) % 3 == 0, 1.0, np.nan), "at least half"),
        (np.full(100, 7.0), "samples that vary"),
    ],
)
def test_windows_that_cannot_be_judged_are_refused_with_the_reason(x, match):
    with pytest.raises(SchemaError, match=match):
        gather(x)


def test_an_infinite_sample_is_refused():
    x = NOISE.copy()
    x[3] = np.inf

    with pytest.raises(OutOfRangeError, match="finite"):
        gather(x)


def test_rounding_is_not_a_signal():
    assert is_flat(0.1 + 0.2 - 0.3 + np.full(60, 5.0))
    assert not is_flat(NOISE)


def test_the_fingerprint_changes_when_a_piece_of_evidence_does(monkeypatch):
    before = evidence_fingerprint()
    evidence_fingerprint.cache_clear()
    monkeypatch.setattr("novacron.features.evidence.excursions.SIGMAS", 3.0)

    after = evidence_fingerprint()

    evidence_fingerprint.cache_clear()
    assert before != after
    assert len(before) == 64
