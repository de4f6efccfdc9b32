import numpy as np
import pytest
from statsmodels.tsa.holtwinters import Holt

from novacron.errors import ArtifactError, OutOfRangeError
from novacron.models.baseline_files import load_baseline
from novacron.models.baselines import (
    BandConfig,
    Ewma,
    FlatOracle,
    HarmonicMean,
    HoltWinters,
    ewma_level,
    fit_band,
    fit_ewma,
    fit_holt_winters,
    fit_ridge,
    future,
)
from novacron.models.metrics import wape
from novacron.telemetry.traces import Trace


def trace(values, name="t"):
    x = np.asarray(values, dtype=np.float64)
    return Trace(
        trace_id=name, path_class="c", t_s=np.arange(len(x), dtype=float), bandwidth_mbps=x
    )


def test_the_level_weighs_samples_by_their_age():
    level = ewma_level(np.array([8.0, 4.0, 1.0]), half_life=1.0)

    assert level == pytest.approx([8, (4 + 8 / 2) / 1.5, (1 + 4 / 2 + 8 / 4) / 1.75])


def test_the_harmonic_mean_uses_the_samples_there_are():
    q = HarmonicMean(horizon=1).forecast(np.array([1.0, 4.0, 4.0]))

    assert q[:, 0, 1] == pytest.approx([1.0, 2 / (1 + 1 / 4), 3 / (1 + 1 / 4 + 1 / 4)])


def test_the_future_of_an_origin_starts_at_the_next_sample():
    assert future(np.array([0.0, 1, 2, 3]), 2).tolist() == [[1, 2], [2, 3]]


def test_a_noisy_constant_gets_a_longer_half_life_than_a_random_walk():
    rng = np.random.default_rng(0)
    flat = fit_ewma([trace(rng.normal(50, 5, 500))], horizon=5, warm=8)
    walk = fit_ewma([trace(100 + np.cumsum(rng.normal(0, 1, 500)))], horizon=5, warm=8)

    assert flat.half_life > walk.half_life


@pytest.mark.parametrize("relative", [False, True])
def test_the_band_covers_eighty_percent_of_what_it_was_fitted_on(relative):
    rng = np.random.default_rng(1)
    series = rng.lognormal(3, 0.4, 2000)
    band = fit_band([trace(series)], BandConfig(half_life=3, relative=relative), horizon=3, warm=8)

    q, actual = band.forecast(series)[7:-3], future(series, 3)[7:]

    assert np.mean((actual >= q[..., 0]) & (actual <= q[..., 2])) == pytest.approx(0.8, abs=0.01)


def test_the_band_is_wider_where_the_last_samples_vary_more():
    rng = np.random.default_rng(2)
    calm, rough = rng.normal(50, 1, 1000), rng.normal(50, 10, 1000)
    band = fit_band(
        [trace(calm, "a"), trace(rough, "b")], BandConfig(half_life=3), horizon=1, warm=8
    )

    widths = [np.ptp(band.forecast(x)[30:, 0], axis=1).mean() for x in (calm, rough)]

    assert widths[1] > 2 * widths[0]


def test_holt_winters_agrees_with_statsmodels_for_the_same_constants():
    x = 20 + np.cumsum(np.random.default_rng(3).normal(0.1, 1, 60))
    ours = HoltWinters(horizon=4, alpha=0.4, beta=0.1, damping=0.9)

    # statsmodels starts one step before the first sample: level x0, no trend.
    theirs = Holt(
        x, damped_trend=True, initialization_method="known", initial_level=x[0], initial_trend=0.0
    ).fit(smoothing_level=0.4, smoothing_trend=0.1, damping_trend=0.9, optimized=False)

    assert ours.forecast(x)[-1, :, 1] == pytest.approx(theirs.forecast(4))


def test_holt_winters_learns_to_follow_a_trend():
    slope = [trace(10 + 0.5 * np.arange(200) + np.random.default_rng(4).normal(0, 0.2, 200))]

    fitted = fit_holt_winters(slope, horizon=5, warm=8)

    x = np.asarray(slope[0].bandwidth_mbps)
    flat = fit_ewma(slope, horizon=5, warm=8)
    errors = [wape(future(x, 5)[8:], f.forecast(x)[8:-5, :, 1]) for f in (fitted, flat)]
    assert errors[0] < 0.5 * errors[1]


def test_ridge_finds_the_period_that_an_average_cannot():
    t = np.arange(600)
    series = [trace(20 + 10 * np.sin(2 * np.pi * t / 8))]

    ridge = fit_ridge(series, horizon=5, warm=8)

    x = np.asarray(series[0].bandwidth_mbps)
    assert wape(future(x, 5)[20:], ridge.forecast(x)[20:-5, :, 1]) < 0.05


def test_the_flat_oracle_is_never_worse_than_any_flat_forecast():
    x = np.random.default_rng(5).gamma(2, 5, 300)
    actual = future(x, 5)

    oracle = FlatOracle(horizon=5).of_future(actual)[..., 1]
    ewma = Ewma(horizon=5, half_life=2).forecast(x)[:-5, :, 1]

    assert (np.abs(actual - oracle).sum(axis=1) <= np.abs(actual - ewma).sum(axis=1) + 1e-9).all()


def test_a_negative_sample_is_refused_with_its_place():
    with pytest.raises(OutOfRangeError, match=r"bandwidth_mbps\[1\]"):
        Ewma(horizon=2, half_life=1).forecast(np.array([1.0, -2.0, 3.0]))


@pytest.mark.parametrize("text", ["", "[]", '{"kind": "Oracle"}', '{"kind": "Ewma", "x": 1}'])
def test_text_that_is_no_stored_baseline_is_refused(text):
    with pytest.raises(ArtifactError, match="not a stored baseline"):
        load_baseline(text)
