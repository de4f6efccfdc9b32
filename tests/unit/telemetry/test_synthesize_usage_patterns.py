import numpy as np
import pytest

from novacron.errors import ConfigError
from novacron.telemetry.synthesize.usage_patterns import (
    NOISE_AT_ONE,
    SEEN,
    UNSEEN,
    PatternRanges,
    at_noise,
    draw_window,
    draw_windows,
)
from novacron.telemetry.synthesize.usage_shapes import SHAPES, WAVEFORMS, cyclic, periodic

TYPES = tuple(NOISE_AT_ONE)


def shape(name, seed=0, samples=400):
    return SHAPES[name](np.random.default_rng(seed), samples).signal


@pytest.mark.parametrize("ranges", [SEEN, UNSEEN], ids=["seen", "unseen"])
def test_windows_of_every_type_are_finite_usage_with_gaps_within_their_ranges(ranges):
    for window in draw_windows(TYPES, 3, seed=5, ranges=ranges):
        present = window.usage[~np.isnan(window.usage)]

        assert ranges.samples[0] <= window.usage.size <= ranges.samples[1]
        assert (present >= 0).all()
        assert np.ptp(present) > 0
        assert 1 - present.size / window.usage.size <= ranges.missing_ratio[1] + 0.01
        assert np.isfinite(window.period_s) == (window.type == "periodic")


def test_a_window_depends_on_seed_type_and_place_alone():
    some = draw_windows(("spike", "periodic"), 2, seed=3)
    more = draw_windows(TYPES, 4, seed=3)

    for window in some:
        twins = [each for each in more if each.type == window.type]
        assert any(np.array_equal(window.usage, twin.usage, equal_nan=True) for twin in twins)


def test_other_seeds_draw_other_windows():
    one, other = (draw_windows(("periodic",), 1, seed=seed)[0] for seed in (1, 2))

    assert one.usage.size != other.usage.size or not np.array_equal(one.usage, other.usage)


@pytest.mark.parametrize("waveform", sorted(WAVEFORMS))
def test_a_waveform_without_noise_comes_back_after_its_period(waveform):
    rng = np.random.default_rng(2)
    phase = np.arange(0, 3, 1 / 64)

    wave = WAVEFORMS[waveform](phase, rng, 64.0)

    np.testing.assert_allclose(wave[:64], wave[64:128], atol=1e-9)


def test_a_periodic_window_holds_at_least_three_periods():
    for seed in range(30):
        found = periodic(np.random.default_rng(seed), 200, waveform="sine", least_cycles=3.0)

        assert 4 <= found.period_steps <= 200 / 3


def test_a_cyclic_shape_forgets_its_phase():
    far = []
    for seed in range(40):
        path = cyclic(np.random.default_rng(seed), 1000).signal
        path = path - path.mean()
        far.append(float(path[600:] @ path[:400]) / float(path @ path))

    assert abs(np.mean(far)) < 0.05


def test_a_spike_is_brief_and_single_a_valley_comes_back_and_a_shift_does_not():
    spike, valley, shift = shape("spike"), shape("valley"), shape("level_shift")

    assert np.flatnonzero(np.diff(spike)).size == 2
    assert (spike > 0).mean() <= 0.01
    assert valley[0] == valley[-1] == 0
    assert valley.min() < -0.99
    assert abs(shift[-1] - shift[0]) == 1


def test_bursts_start_at_least_four_times_from_a_floor():
    starts = [int((np.diff(shape("bursty", seed)) > 0).sum()) for seed in range(20)]

    assert np.median(starts) >= 4


def test_trends_are_monotonous_and_exponentials_bend():
    growth, decay = shape("exponential_growth"), shape("exponential_decay")

    assert (np.diff(growth) > 0).all()
    assert (np.diff(growth, 2) > 0).all()
    assert (np.diff(decay) < 0).all()
    assert (np.diff(shape("linear_growth")) > 0).all()
    assert (np.diff(shape("linear_decline")) < 0).all()


def test_a_spike_is_never_lost_in_a_gap():
    wide = PatternRanges(missing_ratio=(0.3, 0.4), clean_ratio=1.0)

    for seed in range(20):
        window = draw_window("spike", np.random.default_rng(seed), wide)
        assert np.ptp(window.usage[~np.isnan(window.usage)]) > 0


def test_a_fixed_noise_level_is_kept():
    windows = draw_windows(("valley",), 5, seed=1, ranges=at_noise(SEEN, 0.5))

    assert {round(window.noise_level, 9) for window in windows} == {0.5}


def test_an_unknown_type_or_waveform_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="steady_state"):
        draw_window("wobbly", np.random.default_rng(0))
    with pytest.raises(ConfigError, match="sawtooth"):
        PatternRanges(waveforms=("cosine",))
    with pytest.raises(ConfigError, match="from 96"):
        PatternRanges(samples=(10, 20))
