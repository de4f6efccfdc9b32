"""Generated paths: there is something to learn in them, and nothing in the control."""

import numpy as np
import pytest

from novacron.errors import ConfigError
from novacron.telemetry.digest import traces_sha256
from novacron.telemetry.synthesize.processes import ewma
from novacron.telemetry.synthesize.traces import generate_traces, white_noise_traces

WINDOW, HORIZON = 16, 3


@pytest.fixture(scope="module")
def traces():
    return generate_traces(7, n_links=24, hours=1.0)


def windows(traces):
    """Return past rates relative to their EWMA, the rate to come, and the EWMA, by sample."""
    past, future, level = [], [], []
    for trace in traces:
        rate = trace.bandwidth_mbps
        smooth = np.maximum(ewma(rate, 0.3), 0.1)
        for end in range(WINDOW, len(rate) - HORIZON):
            past.append(rate[end - WINDOW : end] / smooth[end - 1])
            future.append(rate[end + HORIZON - 1])
            level.append(smooth[end - 1])
    return np.minimum(past, 5.0), np.array(future), np.array(level)


def wape_ratio_to_ewma(train, test, baseline="ewma"):
    x, y, level = windows(train)
    design = np.c_[x, np.ones(len(x))]
    weights = np.linalg.lstsq(design, np.minimum(y / level, 5.0))[0]
    x, y, level = windows(test)
    forecast = np.maximum(np.c_[x, np.ones(len(x))] @ weights, 0) * level
    beside = {"ewma": level, "last": x[:, -1] * level}[baseline]
    return np.abs(forecast - y).sum() / np.abs(beside - y).sum()


def test_a_linear_model_beats_the_ewma_on_paths_it_has_not_seen(traces):
    ratio = wape_ratio_to_ewma(traces[:16], traces[16:])

    assert 0.5 < ratio < 0.95


def test_the_last_value_is_no_perfect_forecast(traces):
    _, future, level = windows(traces)
    x, _, _ = windows(traces)

    errors = np.abs(x[:, -1] * level - future).sum() / future.sum()

    assert 0.1 < errors < 0.6


def test_white_noise_has_no_memory():
    for trace in white_noise_traces(7, n_links=8):
        rate = trace.bandwidth_mbps
        assert abs(np.corrcoef(rate[:-1], rate[1:])[0, 1]) < 0.1
        assert abs(np.corrcoef(rate, trace.rtt_ms)[0, 1]) < 0.1


def test_on_white_noise_a_fitted_model_is_no_better_than_the_mean():
    noise = white_noise_traces(7, n_links=24, samples=720)
    x, y, level = windows(noise[:16])
    weights = np.linalg.lstsq(np.c_[x, np.ones(len(x))], y / level)[0]

    x, y, level = windows(noise[16:])
    forecast = np.c_[x, np.ones(len(x))] @ weights * level
    means = np.repeat([t.bandwidth_mbps.mean() for t in noise[16:]], len(y) // len(noise[16:]))

    assert np.abs(forecast - y).sum() > 0.99 * np.abs(means - y).sum()


def test_the_same_seed_gives_the_same_paths_and_another_seed_others(traces):
    again = generate_traces(7, n_links=24, hours=1.0)

    assert traces_sha256(traces) == traces_sha256(again)
    assert traces_sha256(traces) != traces_sha256(generate_traces(8, n_links=24, hours=1.0))


def test_more_paths_or_hours_only_add_to_the_ones_there_are(traces):
    more = generate_traces(7, n_links=26, hours=1.5)

    for trace, longer in zip(traces, more, strict=False):
        assert trace.trace_id == longer.trace_id
        np.testing.assert_array_equal(longer.bandwidth_mbps[: len(trace)], trace.bandwidth_mbps)
        np.testing.assert_array_equal(longer.rtt_ms[: len(trace)], trace.rtt_ms)


def test_the_step_sets_the_clock():
    (trace,) = generate_traces(1, n_links=1, hours=0.5, step_s=1.0)

    assert len(trace) == 1800
    assert trace.step_s == 1.0
    assert trace.start is not None


def test_round_trip_and_rate_move_against_each_other_on_a_greedy_path(traces):
    correlations = []
    for trace in traces:
        up = ~np.isnan(trace.rtt_ms)
        correlations.append(np.corrcoef(trace.bandwidth_mbps[up], trace.rtt_ms[up])[0, 1])

    assert np.median(correlations) < -0.1


def test_paths_span_speeds_and_distances(traces):
    means = [trace.bandwidth_mbps.mean() for trace in traces]
    rtts = [np.nanmin(trace.rtt_ms) for trace in traces]

    assert max(means) > 10 * min(means)
    assert max(rtts) > 4 * min(rtts)


def test_a_span_shorter_than_a_step_is_refused():
    with pytest.raises(ConfigError, match="samples"):
        generate_traces(1, hours=0.001, step_s=5.0)


@pytest.mark.parametrize("bad", [{"n_links": 0}, {"hours": -1.0}, {"step_s": float("nan")}])
def test_a_length_that_is_not_positive_is_refused(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        generate_traces(1, **bad)
