"""The latent processes and the laws of queues and transport, each against what is known of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from novacron.telemetry.synthesize import processes, queueing
from novacron.telemetry.synthesize.config import MONDAY
from novacron.telemetry.synthesize.streams import Clock, Streams

CLOCK = Clock(start=MONDAY, step_s=60.0, n=20_000)


def rng(name="x", seed=0):
    return Streams(seed).of("entity", name)


DRAWS = {
    "walk": lambda r, c: processes.ornstein_uhlenbeck(r, c, sd=0.5, relaxation_s=600),
    "regimes": lambda r, c: processes.regimes(r, c, mean_stay_s=(3600, 1800, 900)),
    "bursts": lambda r, c: processes.bursts(r, c, mean_on_s=600, mean_off_s=1800),
    "periodic": lambda r, c: processes.periodic_bursts(
        r, c, period_s=400, duty_ratio=0.4, wander=0.1
    ),
    "activity": lambda r, c: processes.site_activity(r, c, lon_deg=8.7, peak_h=14),
}


@pytest.mark.parametrize("name", DRAWS)
def test_a_longer_span_begins_with_the_values_of_a_shorter_one(name):
    short = Clock(start=MONDAY, step_s=60.0, n=500)
    long = Clock(start=MONDAY, step_s=60.0, n=1500)

    np.testing.assert_array_equal(DRAWS[name](rng(), short), DRAWS[name](rng(), long)[:500])


def test_streams_of_two_names_differ_and_of_one_name_agree():
    streams = Streams(3)

    draws = [
        streams.of(entity, process).random(8).tolist()
        for entity, process in [("a", "x"), ("a", "x"), ("a", "y"), ("b", "x")]
    ]

    assert draws[0] == draws[1]
    assert len({tuple(draw) for draw in draws}) == 3


def test_the_walk_has_its_spread_and_forgets_at_its_pace():
    walk = DRAWS["walk"](rng(), Clock(start=MONDAY, step_s=60.0, n=200_000))

    assert walk.std() == pytest.approx(0.5, rel=0.05)
    assert np.corrcoef(walk[:-10], walk[10:])[0, 1] == pytest.approx(np.exp(-1), abs=0.03)


def test_a_regime_holds_its_share_of_the_time():
    states = processes.regimes(
        rng(), Clock(start=MONDAY, step_s=60.0, n=200_000), mean_stay_s=(3600, 1800, 600)
    )

    share = np.bincount(states) / states.size
    np.testing.assert_allclose(share, [0.6, 0.3, 0.1], atol=0.05)


def test_a_periodic_source_is_on_for_its_duty_at_any_step():
    fine = processes.periodic_bursts(
        rng(), Clock(start=MONDAY, step_s=1, n=50_000), period_s=10, duty_ratio=0.3, wander=0.0
    )
    coarse = processes.periodic_bursts(rng(), CLOCK, period_s=10, duty_ratio=0.3, wander=0.0)

    assert fine.mean() == pytest.approx(0.3, abs=1e-3)
    assert coarse.std() < 0.05 < fine.std()
    assert 0 <= coarse.min() <= coarse.max() <= 1


def test_a_periodic_source_repeats_after_its_period():
    clock = Clock(start=MONDAY, step_s=1.0, n=5000)
    wave = processes.periodic_bursts(rng(), clock, period_s=12, duty_ratio=0.4, wander=0.02)

    assert np.corrcoef(wave[:-12], wave[12:])[0, 1] > 0.8
    assert np.corrcoef(wave[:-6], wave[6:])[0, 1] < 0


def test_a_working_day_peaks_at_its_local_hour_and_rests_at_the_weekend():
    week = Clock(start=MONDAY, step_s=3600.0, n=7 * 24)

    east, utc = (
        processes.daily_cycle(week, lon_deg=lon, peak_h=14, swing=0.4, weekend=0.3)
        for lon in (90.0, 0.0)
    )

    assert np.argmax(utc[:24]) in (13, 14)
    assert np.argmax(east[:24]) in (7, 8)
    assert utc[:24].mean() - utc[-24:].mean() == pytest.approx(0.3)


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 12), at=st.integers(0, 49), bump=st.floats(1, 100))
def test_trailing_statistics_do_not_see_the_future(count, at, bump):
    values = np.linspace(1, 5, 50)
    later = values.copy()
    later[at:] += bump

    for smooth in (
        lambda v: processes.trailing_mean(v, count),
        lambda v: processes.ewma(v, 0.3),
        processes.lagged,
    ):
        np.testing.assert_array_equal(smooth(values)[:at], smooth(later)[:at])


def test_the_trailing_mean_of_a_short_past_is_the_mean_of_what_there_is():
    mean = processes.trailing_mean(np.array([1.0, 2.0, 3.0, 4.0]), 3)

    np.testing.assert_allclose(mean, [1.0, 1.5, 2.0, 3.0])


def slow_queue(load, places):
    share = np.array([load**n for n in range(places + 1)])
    share /= share.sum()
    jobs = np.arange(places + 1)
    mean = (share * jobs).sum()
    return mean, np.sqrt((share * (jobs - mean) ** 2).sum()), share[-1]


@settings(max_examples=50, deadline=None)
@given(load=st.integers(0, 3000).map(lambda i: i / 1000), places=st.sampled_from([1, 8, 48]))
def test_the_queue_agrees_with_its_definition(load, places):
    state = queueing.finite_queue(np.array([load]), places)

    mean, sd, blocked = slow_queue(load, places)
    np.testing.assert_allclose(state.mean_jobs, mean, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(state.sd_jobs, sd, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(state.blocked_ratio, blocked, rtol=1e-6, atol=1e-12)


def test_more_load_means_more_waiting_and_more_loss():
    state = queueing.finite_queue(np.linspace(0, 3, 200), 48)

    assert (np.diff(state.mean_jobs) > 0).all()
    assert (np.diff(state.blocked_ratio) >= 0).all()
    assert state.mean_jobs[-1] < 48


def test_an_overloaded_queue_turns_away_what_does_not_fit():
    state = queueing.finite_queue(np.array([2.0]), 48)

    assert state.blocked_ratio[0] == pytest.approx(0.5)


def test_loss_based_transport_halves_when_the_round_trip_doubles_or_loss_quadruples():
    base, far, lossy, wide = queueing.mathis_limit_mbps(
        np.array([4.0, 4.0, 4.0, 8.0]),
        np.array([50.0, 100.0, 50.0, 50.0]),
        np.array([1e-3, 1e-3, 4e-3, 1e-3]),
    )

    assert far == pytest.approx(base / 2)
    assert lossy == pytest.approx(base / 2)
    assert wide == pytest.approx(2 * base)


def test_bbr_shrugs_off_little_loss_and_collapses_beyond_its_tolerance():
    little, tolerance, much = queueing.bbr_share(np.array([0.01, 0.2, 0.5]))

    assert little > 0.98
    assert tolerance == pytest.approx(0.4)
    assert much < 0.02


def test_waiting_grows_with_load_and_shrinks_with_servers():
    few = queueing.waiting_ratio(np.linspace(0.1, 0.99, 50), 4)
    many = queueing.waiting_ratio(np.linspace(0.1, 0.99, 50), 64)

    assert (np.diff(few) > 0).all()
    assert (many < few).all()


def test_one_server_waits_as_the_textbook_says():
    assert queueing.waiting_ratio(np.array([0.5]), 1)[0] == pytest.approx(1.0)


@settings(max_examples=50, deadline=None)
@given(u=st.floats(0.001, 0.999), mean=st.floats(0.0, 100.0))
def test_counts_are_quantiles_of_the_poisson_law(u, mean):
    count = queueing.poisson_counts(np.array([u]), np.array([mean]))[0]

    exact = stats.poisson.ppf(u, mean)
    near_step = abs(stats.poisson.cdf(exact, mean) - u) < 1e-9
    assert count == exact or (near_step and abs(count - exact) == 1)


def test_large_counts_have_the_mean_and_spread_of_the_poisson_law():
    counts = queueing.poisson_counts(rng().random(20_000), np.full(20_000, 400.0))

    assert counts.mean() == pytest.approx(400, rel=0.01)
    assert counts.std() == pytest.approx(20, rel=0.05)
