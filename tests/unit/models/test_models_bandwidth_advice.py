from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import tiny_bandwidth
from hypothesis import given, settings
from hypothesis import strategies as st

from novacron import BandwidthPredictor
from novacron.errors import (
    ArtifactError,
    NotReadyError,
    OutOfRangeError,
    SchemaError,
    UnknownNameError,
)
from novacron.models.bandwidth.allocation import (
    PathQuantiles,
    allocate,
    confidence_of,
    stream_rate_mbps,
)
from novacron.models.bandwidth.channels import ChannelForecaster, coarse, fit_channel
from novacron.models.bandwidth.modes import ModeConfig, ModeDetector, mode_by_rule
from novacron.telemetry.synthesize.traces import generate_traces

START = datetime(2025, 3, 3, 12, tzinfo=UTC)


def following(rtt_ms, bandwidth_mbps, config=None, step_s=1.0):
    detector = ModeDetector(config)
    return [
        detector.observe(place * step_s, rtt, rate)
        for place, (rtt, rate) in enumerate(zip(rtt_ms, bandwidth_mbps, strict=True))
    ], detector


@pytest.mark.parametrize(
    ("rtt_ms", "bandwidth_mbps", "mode"),
    [(2, 5000, "datacenter"), (9.9, 1000, "datacenter"), (10, 1000, "hybrid"),
     (50, 2000, "hybrid"), (51, 2000, "internet"), (2, 999, "internet")],
)  # fmt: skip
def test_the_rule_of_the_modes(rtt_ms, bandwidth_mbps, mode):
    assert mode_by_rule(rtt_ms, bandwidth_mbps, ModeConfig()) == mode


def test_a_path_is_hybrid_until_ten_samples_were_seen():
    modes, detector = following([2.0] * 10, [5000.0] * 10)

    assert modes == ["hybrid"] * 9 + ["datacenter"]
    assert detector.changes == 0


def test_a_path_at_a_bound_does_not_flap():
    rng = np.random.default_rng(0)
    rtt_ms = 10 + rng.normal(0, 1.5, 2000)

    _, detector = following(rtt_ms, np.full(2000, 5000.0))
    means = np.convolve(rtt_ms, np.ones(10) / 10, "valid")
    plain = np.count_nonzero(np.diff((means < 10).astype(int)))

    assert plain > 50
    assert detector.changes == 0


def test_a_mode_is_left_once_its_bound_is_crossed_by_a_fifth_and_a_minute_has_passed():
    rtt_ms = np.r_[np.full(30, 5.0), np.full(200, 80.0)]

    modes, detector = following(rtt_ms, np.full(230, 5000.0))

    change = modes.index("internet") if "internet" in modes else len(modes)
    assert detector.mode == "internet"
    assert change >= 60
    assert detector.changes <= 2


def test_a_mode_never_changes_twice_within_the_dwell_time():
    rtt_ms = np.tile(np.r_[np.full(15, 2.0), np.full(15, 90.0)], 20)

    modes, _ = following(rtt_ms, np.full(600, 5000.0))

    changes = np.flatnonzero(np.array(modes[10:-1]) != np.array(modes[11:]))
    assert (np.diff(changes) >= 60).all()


def test_time_that_runs_backwards_is_refused():
    detector = ModeDetector()
    detector.observe(10.0, 5.0, 100.0)

    with pytest.raises(OutOfRangeError, match="at_s"):
        detector.observe(9.0, 5.0, 100.0)


def quantiles(**changes):
    given = {
        "low_mbps": 80.0, "median_mbps": 100.0, "high_mbps": 120.0, "rtt_ms": 50.0,
        "loss_ratio": 0.001, "jitter_ms": 2.0,
    }  # fmt: skip
    return PathQuantiles(**(given | changes))


def test_the_rate_of_a_stream_is_that_of_the_published_law():
    # MSS / RTT * sqrt(3 / 2p): 1448 bytes, 100 ms, p = 0.015 -> window of 10 segments
    assert stream_rate_mbps(100.0, 0.015) == pytest.approx(8e-6 * 1448 * 10 / 0.1)
    # without loss the window of the host is the limit
    assert stream_rate_mbps(100.0, 0.0) == pytest.approx(8e-6 * 4_194_304 / 0.1, rel=0.35)


@given(
    rtt_ms=st.floats(0.1, 500), more_rtt=st.floats(0, 500),
    loss=st.floats(0, 0.2), more_loss=st.floats(0, 0.2),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_longer_and_lossier_paths_never_get_fewer_streams(rtt_ms, more_rtt, loss, more_loss):
    near = allocate(quantiles(rtt_ms=rtt_ms, loss_ratio=loss))
    far = allocate(quantiles(rtt_ms=rtt_ms + more_rtt, loss_ratio=loss + more_loss))

    assert far.streams >= near.streams
    assert far.buffer_bytes >= near.buffer_bytes


def test_a_buffer_holds_the_bandwidth_delay_product_and_the_jitter():
    found = allocate(quantiles(high_mbps=800.0, rtt_ms=40.0, jitter_ms=10.0))

    assert found.buffer_bytes == 800e6 / 8 * 0.05


def test_an_unsure_forecast_is_paced_by_its_cautious_quantile():
    sure = allocate(quantiles(low_mbps=95.0, high_mbps=105.0))
    unsure = allocate(quantiles(low_mbps=20.0, high_mbps=300.0))

    assert sure.pacing_mbps == pytest.approx(95.0)
    assert unsure.pacing_mbps == pytest.approx(19.0)
    assert (sure.is_applicable, unsure.is_applicable) == (True, False)


def test_a_limit_on_streams_that_binds_is_named():
    found = allocate(quantiles(high_mbps=9000.0, rtt_ms=200.0, loss_ratio=0.02))

    assert found.streams == 512
    assert "512" in found.limited_by


def test_confidence_is_the_chance_to_come_within_a_fifth():
    rng = np.random.default_rng(0)
    actual = rng.normal(100, 15, 200_000)
    low, median, high = np.quantile(actual, [0.1, 0.5, 0.9])

    share = np.mean(np.abs(actual - median) <= 0.2 * median)

    assert confidence_of(low, median, high) == pytest.approx(share, abs=0.01)


def test_quantiles_out_of_order_are_refused():
    with pytest.raises(OutOfRangeError):
        allocate(quantiles(low_mbps=110.0))


def rtt_paths(count=8, samples=200):
    rng = np.random.default_rng(1)
    return [
        30 + 5 * np.sin(np.arange(samples) / 20 + k) + rng.normal(0, 1, samples)
        for k in range(count)
    ]


def test_a_channel_forecast_covers_what_it_says_on_paths_it_never_saw():
    made = fit_channel(rtt_paths(), "rtt_ms", horizon=5)
    hits = []
    for path in rtt_paths(14)[8:]:
        q_THQ = made.forecast(path)[20:-5]
        actual = np.stack([path[20 + h : len(path) - 5 + h] for h in range(1, 6)], axis=1)
        hits.append((actual >= q_THQ[..., 0]) & (actual <= q_THQ[..., 2]))

    assert 0.74 < np.mean(hits) < 0.86


def test_a_stored_channel_forecaster_answers_the_same():
    made = fit_channel(rtt_paths(), "rtt_ms", horizon=3)

    again = ChannelForecaster.from_dict(made.to_dict())

    path = rtt_paths(1)[0]
    np.testing.assert_array_equal(made.forecast(path), again.forecast(path))
    with pytest.raises(ArtifactError):
        ChannelForecaster.from_dict(made.to_dict() | {"channel": "smell"})


def test_loss_that_never_occurs_is_forecast_as_none():
    made = fit_channel([np.zeros(60)] * 4, "loss_ratio", horizon=5)

    assert made.forecast(np.zeros(30)).max() < 1e-6


def test_a_channel_too_short_to_calibrate_is_refused():
    with pytest.raises(SchemaError, match="at least 2"):
        fit_channel([np.ones(9)], "rtt_ms", horizon=5)


def test_minutes_are_counted_back_from_the_newest_sample():
    t_s = np.arange(0.0, 200.0, 10.0)

    found = coarse(t_s, t_s)

    assert found.tolist() == pytest.approx([45.0, 105.0, 165.0])


@pytest.fixture(scope="module")
def predictor():
    model = tiny_bandwidth.tiny_fit().model
    traces = generate_traces(3, n_links=6, hours=1.5, step_s=5.0)
    return BandwidthPredictor(model, version="4").fit_channels(traces)


def feed(predictor, path_id, samples, step_s=5.0, **more):
    rng = np.random.default_rng(5)
    for place in range(samples):
        predictor.observe(
            path_id,
            START + timedelta(seconds=place * step_s),
            20 + rng.normal(0, 1),
            rtt_ms=60 + rng.normal(0, 2),
            loss_ratio=0.001,
            jitter_ms=2.0,
            **more,
        )


def test_untrained_it_says_what_to_do():
    with pytest.raises(NotReadyError, match="novacron train --model bandwidth"):
        BandwidthPredictor().predict("a")


@pytest.mark.learn
def test_a_prediction_names_everything_with_interval_and_provenance(predictor):
    feed(predictor, "paris-tokyo", 150)

    found = predictor.predict("paris-tokyo")

    assert found.mode == "internet"
    assert found.bandwidth.lower[0] <= found.predicted_bandwidth_mbps <= found.bandwidth.upper[0]
    assert 50 < found.predicted_latency_ms < 70
    assert 0 <= found.predicted_loss_ratio < 0.05
    assert found.predicted_jitter_ms > 0
    assert 0 < found.confidence <= 1
    assert (found.model_name, found.model_version) == ("bandwidth", "4")
    assert found.valid_until - found.made_at == timedelta(seconds=5)
    assert found.quarter_hour.horizon_s[-1] == 900
    assert not found.is_cold


@pytest.mark.learn
def test_a_cold_path_says_so_and_why_the_quarter_hour_is_missing(predictor):
    feed(predictor, "new", 4)

    found = predictor.predict("new")

    assert found.is_cold
    assert found.quarter_hour is None
    assert "minutes" in found.quarter_hour_missing


@pytest.mark.learn
def test_advice_comes_from_the_quantiles_of_the_prediction(predictor):
    feed(predictor, "advised", 60)

    advice = predictor.allocate("advised")

    assert advice.streams >= 1
    assert advice.buffer_bytes > 20e6 / 8 * 0.05
    assert advice.pacing_mbps < 25


@pytest.mark.learn
def test_a_path_without_round_trip_gets_no_advice_and_no_guess(predictor):
    predictor.observe("blind", START, 10.0)

    assert predictor.predict("blind").predicted_latency_ms is None
    with pytest.raises(NotReadyError, match="rtt_ms"):
        predictor.allocate("blind")


@pytest.mark.learn
def test_bad_samples_are_refused_and_change_nothing(predictor):
    feed(predictor, "kept", 3)
    later = START + timedelta(hours=1)

    for bad in ({"bandwidth_mbps": -1.0}, {"bandwidth_mbps": 5.0, "loss_ratio": 30.0}):
        with pytest.raises(OutOfRangeError):
            predictor.observe("kept", later, **bad)
    with pytest.raises(OutOfRangeError, match="after"):
        predictor.observe("kept", START, 5.0)
    with pytest.raises(SchemaError, match="zone"):
        predictor.observe("kept", datetime(2025, 1, 1), 5.0)  # noqa: DTZ001 - the fault
    assert predictor.predict("kept").samples == 3


@pytest.mark.learn
def test_an_unknown_path_is_named(predictor):
    with pytest.raises(UnknownNameError):
        predictor.predict("nowhere")


@pytest.mark.learn
def test_a_saved_predictor_predicts_the_same(predictor, tmp_path):
    predictor.save(tmp_path / "pba")

    again = BandwidthPredictor.load(tmp_path / "pba", version="4")

    feed(predictor, "twin", 40)
    feed(again, "twin", 40)
    assert predictor.predict("twin") == again.predict("twin")
