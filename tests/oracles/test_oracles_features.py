"""Every feature family against a slow restatement: plain Python, numpy on one window, pandas."""

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from scipy import signal, stats

from novacron.features.matrix import trace_features
from novacron.features.spec import BANDWIDTH, LINK_FULL
from novacron.features.windows import window_features

STEPS = LINK_FULL.history


def a_series(missing_ratio, seed=0, steps=200):
    rng = np.random.default_rng(seed)
    x_T = 20 + 5 * np.sin(np.arange(steps) / 3) + rng.gamma(2.0, 5.0, steps)
    x_T[rng.random(steps) < missing_ratio] = np.nan
    x_T[40:50] = 7.25
    return x_T


SERIES = {
    "complete": a_series(0.0),
    "gaps": a_series(0.1),
    "mostly missing": a_series(0.7),
    "flat": np.full(80, 3.1),
    "short": a_series(0.0)[:4],
    "empty": np.full(10, np.nan),
}


@pytest.fixture(name="x_T", params=SERIES.values(), ids=SERIES)
def one_of_the_series(request):
    return request.param


def column(spec, x_T, what):
    x_TF = trace_features(spec, {"bandwidth_mbps": x_T})
    return x_TF[:, spec.names.index(f"bandwidth_mbps__{what}")]


def window_at(x_T, at, steps=STEPS):
    """The last `steps` samples up to `at`, as a list padded with NaN at its old end."""
    return [x_T[place] if place >= 0 else math.nan for place in range(at - steps + 1, at + 1)]


def present_at(x_T, at, steps=STEPS):
    return np.array([value for value in window_at(x_T, at, steps) if not math.isnan(value)])


def is_flat(present):
    return np.ptp(present) <= 1e-9 * np.abs(present).max()


def assert_equal(got_T, expected_T):
    np.testing.assert_allclose(got_T, list(expected_T), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("k", LINK_FULL.lags)
def test_lags_are_samples_of_the_past(x_T, k):
    expected = [window_at(x_T, at)[-1 - k] for at in range(len(x_T))]

    assert_equal(column(LINK_FULL, x_T, f"lag_{k}"), expected)


@pytest.mark.parametrize("k", LINK_FULL.differences)
def test_differences_are_to_samples_of_the_past(x_T, k):
    expected = [x_T[at] - window_at(x_T, at)[-1 - k] for at in range(len(x_T))]

    assert_equal(column(LINK_FULL, x_T, f"diff_{k}"), expected)


def test_change_ratios_are_missing_after_a_zero():
    x_T = np.array([2.0, 3.0, 0.0, 5.0, np.nan, 1.0])

    got = column(LINK_FULL, x_T, "change_ratio_1")

    assert_equal(got, [math.nan, 0.5, -1.0, math.nan, math.nan, math.nan])


STATISTICS = {
    "mean": np.mean,
    "std": lambda present: 0.0 if is_flat(present) else np.std(present),
    "min": np.min,
    "max": np.max,
    "skewness": lambda present: 0.0 if is_flat(present) else stats.skew(present),
    "kurtosis": lambda present: 0.0 if is_flat(present) else stats.kurtosis(present),
    "q10": lambda present: np.quantile(present, 0.1),
    "q25": lambda present: np.quantile(present, 0.25),
    "q50": np.median,
    "q90": lambda present: np.quantile(present, 0.9),
}


@pytest.mark.parametrize("steps", LINK_FULL.rolling)
@pytest.mark.parametrize("what", STATISTICS)
def test_rolling_statistics_are_those_of_the_present_samples(x_T, what, steps):
    expected = []
    for at in range(len(x_T)):
        present = present_at(x_T, at, steps)
        expected.append(STATISTICS[what](present) if len(present) else math.nan)

    assert_equal(column(LINK_FULL, x_T, f"{what}_{steps}"), expected)


@pytest.mark.parametrize("what", ["mean", "min", "max"])
def test_rolling_statistics_agree_with_pandas(x_T, what):
    rolling = pd.Series(x_T).rolling(15, min_periods=1)

    got = column(LINK_FULL, x_T, f"{what}_15")

    np.testing.assert_allclose(got, rolling.agg(what), rtol=1e-9)


@pytest.mark.parametrize("half_life", LINK_FULL.ewma_half_lives)
def test_ewma_is_that_of_pandas_over_the_window(x_T, half_life):
    expected = [
        pd.Series(window_at(x_T, at)).ewm(halflife=half_life, adjust=True).mean().iloc[-1]
        for at in range(len(x_T))
    ]

    assert_equal(column(LINK_FULL, x_T, f"ewma_{half_life:g}"), expected)


def test_spikes_lie_two_standard_deviations_above_the_mean_of_the_window(x_T):
    since, count = [], []
    for at in range(len(x_T)):
        present = present_at(x_T, at)
        if not len(present):
            since.append(math.nan)
            count.append(math.nan)
            continue
        limit = math.inf if is_flat(present) else present.mean() + 2 * present.std()
        ages = [age for age, x in enumerate(reversed(window_at(x_T, at))) if x > limit]
        since.append(min(ages, default=STEPS))
        count.append(len(ages))

    assert_equal(column(LINK_FULL, x_T, "steps_since_spike"), since)
    assert_equal(column(LINK_FULL, x_T, "spike_count"), count)


def test_counts_tell_samples_present_and_steps_since_the_last(x_T):
    present, since = [], []
    for at in range(len(x_T)):
        ages = [age for age, x in enumerate(reversed(window_at(x_T, at))) if not math.isnan(x)]
        present.append(len(ages))
        since.append(min(ages, default=STEPS))

    assert_equal(column(LINK_FULL, x_T, "present_count"), present)
    assert_equal(column(LINK_FULL, x_T, "steps_since_present"), since)


def spectrum_at(x_T, at):
    """Dominant frequency, power share and entropy of one window, by numpy.fft."""
    window = np.array(window_at(x_T, at))
    known = ~np.isnan(window)
    if known.sum() < STEPS / 2:
        return math.nan, math.nan, math.nan
    time = np.arange(STEPS)
    line = np.polyval(np.polyfit(time[known], window[known], 1), time)
    residual = np.where(known, window - line, 0.0)
    if np.abs(residual).max() <= 1e-9 * np.abs(window[known]).max():
        return 0.0, 0.0, 0.0
    power = np.abs(np.fft.rfft(residual * signal.windows.hann(STEPS, sym=False))) ** 2
    power[0] = 0
    power = np.append(power, 0.0)
    peak = int(power.argmax())
    left, right = math.sqrt(power[peak - 1]), math.sqrt(power[peak + 1])
    beside = max(left, right) / math.sqrt(power[peak])
    shift = min(max((2 * beside - 1) / (beside + 1), 0), 0.5)
    dominant = min(peak + (shift if right >= left else -shift), STEPS / 2)
    shares = power[1:-1] / power.sum()
    entropy = -sum(share * math.log(share) for share in shares if share > 0)
    share = power[peak - 1 : peak + 2].sum() / power.sum()
    return dominant / STEPS, share, entropy / math.log(STEPS / 2)


def test_frequency_features_are_those_of_the_detrended_hann_spectrum(x_T):
    dominant, share, entropy = zip(*(spectrum_at(x_T, at) for at in range(len(x_T))), strict=True)

    for what, expected in (
        ("dominant_cycles_per_step", dominant),
        ("dominant_power_share", share),
        ("spectral_entropy", entropy),
    ):
        np.testing.assert_allclose(
            column(LINK_FULL, x_T, what), expected, rtol=1e-6, atol=1e-9, err_msg=what
        )


@pytest.mark.parametrize("period_steps", [3.3, 5.0, 7.4, 13.5, 20.0])
def test_a_planted_period_is_found_under_trend_and_noise(period_steps):
    rng = np.random.default_rng(4)
    time = np.arange(300)
    x_T = 50 + 0.1 * time + 4 * np.sin(2 * np.pi * time / period_steps) + rng.normal(0, 0.5, 300)

    found = column(LINK_FULL, x_T, "dominant_cycles_per_step")[STEPS - 1 :]

    np.testing.assert_allclose(found, 1 / period_steps, rtol=0.03)


def test_the_dominant_frequency_is_not_a_count_of_zero_crossings():
    time = np.arange(STEPS)
    x_T = 3 * np.sin(2 * np.pi * time / 15 + 0.3) + 1.3 * (-1.0) ** time

    crossings_per_step = (np.diff(np.sign(x_T)) != 0).mean() / 2
    found = column(LINK_FULL, x_T, "dominant_cycles_per_step")[-1]

    assert crossings_per_step > 1.5 / 15
    assert found == pytest.approx(1 / 15, rel=0.01)


def test_spectral_entropy_and_share_tell_a_wave_from_noise():
    time = np.arange(STEPS)
    wave = 9 + np.sin(2 * np.pi * time / 10)
    noise = np.random.default_rng(5).normal(9, 1, STEPS)

    entropy = [column(LINK_FULL, x_T, "spectral_entropy")[-1] for x_T in (wave, noise)]
    share = [column(LINK_FULL, x_T, "dominant_power_share")[-1] for x_T in (wave, noise)]

    assert entropy[0] < 0.35 < 0.7 < entropy[1] <= 1
    assert share[0] > 0.95
    assert share[1] < 0.5


def test_calendar_features_are_those_of_the_utc_calendar():
    times = [
        datetime(2026, 11, 23, 6, 41, 11, tzinfo=UTC) + timedelta(hours=5.5 * at)
        for at in range(60)
    ]
    ts_s = np.array([time.timestamp() for time in times])

    x_NF = window_features(LINK_FULL, {"bandwidth_mbps": np.ones((60, 1))}, ts_s)

    for row, time in zip(x_NF, times, strict=True):
        day = (time - time.replace(hour=0, minute=0, second=0)).total_seconds() / 86_400
        week = (time.weekday() + day) / 7
        expected = [
            time.hour,
            math.sin(2 * math.pi * day),
            math.cos(2 * math.pi * day),
            time.weekday(),
            math.sin(2 * math.pi * week),
            math.cos(2 * math.pi * week),
            time.weekday() >= 5,
        ]
        np.testing.assert_allclose(row[-7:], expected, atol=1e-9)


def test_calendar_features_are_missing_without_a_time():
    x_NF = window_features(LINK_FULL, {"bandwidth_mbps": np.ones((2, 1))}, np.array([0.0, np.nan]))

    assert not np.isnan(x_NF[0, -7:]).any()
    assert np.isnan(x_NF[1, -7:]).all()


def relative_at(x_T, at):
    """Log level and log ratios of one window, as a list padded with NaN."""
    window = window_at(x_T, at, BANDWIDTH.history)
    level = pd.Series(window).ewm(halflife=BANDWIDTH.level_half_life, adjust=True).mean().iloc[-1]
    log_level = math.log(max(level, BANDWIDTH.log_floor)) if level == level else math.nan
    return log_level, [
        math.nan if math.isnan(x) else math.log(max(x, BANDWIDTH.log_floor)) - log_level
        for x in window
    ]


def test_relative_features_are_log_ratios_to_the_ewma_level(x_T):
    x_T = np.where(np.arange(len(x_T)) % 17 == 3, 0.0, x_T)
    rows = [relative_at(x_T, at) for at in range(len(x_T))]

    assert_equal(column(BANDWIDTH, x_T, "log_level"), [row[0] for row in rows])
    for k in (0, 4):
        assert_equal(
            column(BANDWIDTH, x_T, f"log_ratio_lag_{k}"), [row[1][-1 - k] for row in rows]
        )
    ewma_T = column(BANDWIDTH, x_T, "ewma_4")
    expected = np.log(np.maximum(ewma_T, BANDWIDTH.log_floor)) - [row[0] for row in rows]
    assert_equal(column(BANDWIDTH, x_T, "log_ratio_ewma_4"), expected)


@pytest.mark.parametrize("steps", BANDWIDTH.relative_rolling)
def test_relative_statistics_are_those_of_the_log_ratios(x_T, steps):
    expected = {"mean": [], "std": [], "min": [], "max": [], "volatility": []}
    for at in range(len(x_T)):
        ratios = relative_at(x_T, at)[1]
        present = np.array([x for x in ratios[-steps:] if x == x])
        for what, of_all in (("mean", np.mean), ("std", np.std), ("min", np.min), ("max", np.max)):
            expected[what].append(of_all(present) if len(present) else math.nan)
        changes = np.diff(ratios)[-steps:]
        changes = changes[~np.isnan(changes)]
        expected["volatility"].append(math.sqrt((changes**2).mean()) if len(changes) else math.nan)

    for what, values in expected.items():
        assert_equal(column(BANDWIDTH, x_T, f"log_ratio_{what}_{steps}"), values)
