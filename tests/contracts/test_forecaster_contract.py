"""What every forecaster of one path promises; a new one adds a class with a fixture."""

import numpy as np
import pytest
import tiny_bandwidth
import tiny_performance

from novacron.errors import NovacronError
from novacron.models.bandwidth.bundle import load
from novacron.models.bandwidth.fit import fit_bandwidth
from novacron.models.bandwidth.windows import cut_windows
from novacron.models.baseline_files import dump_baseline, load_baseline
from novacron.models.baselines import (
    BandConfig,
    HarmonicMean,
    LastValue,
    MeanSoFar,
    fit_band,
    fit_ewma,
    fit_holt_winters,
    fit_ridge,
)
from novacron.models.bundles import load_bundle
from novacron.models.performance.model import PerformanceModel
from novacron.telemetry.traces import Trace

HORIZON = 5


def trending(number, samples=160):
    """A level that moves slowly under strong noise: averaging wins over the last value."""
    rng = np.random.default_rng([3, number])
    level = 20 + np.cumsum(rng.normal(0, 0.05, samples))
    return Trace(
        trace_id=f"trend-{number}",
        path_class="trend",
        t_s=np.arange(samples, dtype=float),
        bandwidth_mbps=np.maximum(level + rng.normal(0, 3, samples), 0.1),
    )


class ForecasterContract:
    """Subclasses give `make()` (fit from scratch), `stored(forecaster, directory)` and a signal."""

    beats_last_value = True
    horizon = HORIZON

    def make(self):
        raise AssertionError("a subclass makes the forecaster")

    def signal(self, number):
        return np.asarray(trending(number).bandwidth_mbps)

    def stored(self, forecaster, directory):
        text = dump_baseline(forecaster)
        assert dump_baseline(load_baseline(text)) == text
        return load_baseline(text)

    @pytest.fixture
    def forecaster(self):
        return self.make()

    def test_every_origin_gets_ordered_finite_quantiles_for_every_step(self, forecaster):
        x_T = self.signal(50)

        q_THQ = forecaster.forecast(x_T)

        assert q_THQ.shape == (len(x_T), self.horizon, 3)
        assert np.isfinite(q_THQ).all()
        assert (q_THQ >= 0).all()
        assert (np.diff(q_THQ, axis=2) >= 0).all()

    def test_appending_the_future_does_not_change_past_answers(self, forecaster):
        x_T = self.signal(51)

        prefix = forecaster.forecast(x_T[:90])
        changed = forecaster.forecast(np.concatenate([x_T[:90], x_T[90:] * 7]))

        assert changed[:90] == pytest.approx(prefix, rel=1e-6)

    def test_a_missing_sample_is_refused(self, forecaster):
        x_T = self.signal(52).copy()
        x_T[30] = np.nan

        with pytest.raises(NovacronError):
            forecaster.forecast(x_T)

    def test_a_stored_forecaster_answers_as_the_one_it_was_stored_from(self, forecaster, tmp_path):
        x_T = self.signal(53)

        again = self.stored(forecaster, tmp_path)

        assert np.array_equal(again.forecast(x_T), forecaster.forecast(x_T))

    def test_the_same_traces_give_the_same_forecaster(self, forecaster):
        x_T = self.signal(54)

        assert np.array_equal(self.make().forecast(x_T), forecaster.forecast(x_T))

    def test_it_beats_the_last_value_where_it_should(self, forecaster):
        if not self.beats_last_value:
            pytest.skip("the last value itself, or close to it by design")
        x_T = self.signal(55)
        steps, rows = self.horizon, len(x_T) - self.horizon
        actual = np.stack([x_T[h : rows + h] for h in range(1, steps + 1)], axis=1)
        warm = slice(20, len(actual))

        own = np.abs(actual - forecaster.forecast(x_T)[: len(actual), :, 1])[warm].sum()
        last = np.abs(actual - x_T[: len(actual), None])[warm].sum()

        assert own < 0.9 * last


TRACES = tuple(trending(number) for number in range(12))


class TestLastValue(ForecasterContract):
    beats_last_value = False

    def make(self):
        return LastValue(horizon=HORIZON)


class TestHarmonicMean(ForecasterContract):
    def make(self):
        return HarmonicMean(horizon=HORIZON)


class TestMeanSoFar(ForecasterContract):
    def make(self):
        return MeanSoFar(horizon=HORIZON)


class TestEwma(ForecasterContract):
    def make(self):
        return fit_ewma(TRACES, horizon=HORIZON, warm=8)


class TestEwmaBand(ForecasterContract):
    relative = False

    def make(self):
        half_life = fit_ewma(TRACES, horizon=HORIZON, warm=8).half_life
        config = BandConfig(half_life=half_life, relative=self.relative)
        return fit_band(TRACES, config, horizon=HORIZON, warm=8)


class TestRelativeEwmaBand(TestEwmaBand):
    relative = True


class TestHoltWinters(ForecasterContract):
    def make(self):
        return fit_holt_winters(TRACES, horizon=HORIZON, warm=8)


class TestRidgeLags(ForecasterContract):
    def make(self):
        return fit_ridge(TRACES, horizon=HORIZON, warm=8)


class OfPath:
    """The bandwidth model as a forecaster of one path: every origin through `predict`."""

    def __init__(self, model):
        self.model = model

    def forecast(self, x_T):
        steps = self.model.config.features.history
        rows = []
        for t in range(len(x_T)):
            known = np.asarray(x_T[max(0, t + 1 - steps) : t + 1], dtype=np.float64)
            names = np.array(["wave"], dtype=object)
            rows.append(self.model.prepare({"bandwidth_mbps": known[None], "path_class": names}))
        joined = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
        return self.model.predict(joined)["quantiles_mbps"]


@pytest.mark.learn
class TestBandwidthModel(ForecasterContract):
    def make(self):
        return OfPath(tiny_bandwidth.tiny_fit().model)

    def signal(self, number):
        return np.asarray(tiny_bandwidth.wave(number, seed=5).bandwidth_mbps)

    def stored(self, forecaster, directory):
        forecaster.model.save(directory / "one")
        again = load(directory / "one")
        again.save(directory / "two")
        for path in (directory / "one").rglob("*"):
            if path.is_file():
                twin = directory / "two" / path.relative_to(directory / "one")
                assert twin.read_bytes() == path.read_bytes()
        return OfPath(again)

    def test_the_same_traces_give_the_same_forecaster(self, forecaster, tmp_path):
        again = fit_bandwidth(
            tiny_bandwidth.tiny_traces(), tiny_bandwidth.TINY, checkpoint_dir=tmp_path
        )
        x_T = self.signal(54)

        assert np.array_equal(OfPath(again.model).forecast(x_T), forecaster.forecast(x_T))

    def test_windows_of_a_trace_and_requests_give_the_same_answers(self, forecaster):
        trace = tiny_bandwidth.wave(60, seed=5)
        windows = cut_windows([trace], forecaster.model.config.features, HORIZON)

        by_trace = forecaster.model.by_member("wave", windows.channels)["offline"]
        by_request = forecaster.forecast(trace.bandwidth_mbps)[: len(by_trace)]

        assert by_request == pytest.approx(by_trace, rel=1e-5)


class OfScores:
    """The performance model as a forecaster of one series: every origin through `predict`."""

    def __init__(self, model):
        self.model = model

    def forecast(self, x_T):
        steps = self.model.config.history
        rows = []
        for t in range(len(x_T)):
            known = np.asarray(x_T[max(0, t + 1 - steps) : t + 1], dtype=np.float64)
            names = {
                name: np.array([value], dtype=object)
                for name, value in (("benchmark", "disk"), ("vm_size", "small"))
            }
            rows.append(self.model.prepare(names | {"score": known[None]}))
        joined = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
        return self.model.predict(joined)["quantiles"][:, None, :]


@pytest.mark.learn
class TestPerformanceModel(ForecasterContract):
    horizon = 1

    def make(self):
        return OfScores(tiny_performance.tiny_model())

    def signal(self, number):
        return np.asarray(trending(number).bandwidth_mbps) * 150

    def stored(self, forecaster, directory):
        forecaster.model.save(directory / "one")
        again = load_bundle(directory / "one")
        again.save(directory / "two")
        for path in (directory / "one").rglob("*"):
            if path.is_file():
                twin = directory / "two" / path.relative_to(directory / "one")
                assert twin.read_bytes() == path.read_bytes()
        return OfScores(again)

    def test_the_same_traces_give_the_same_forecaster(self, forecaster):
        again = OfScores(PerformanceModel(tiny_performance.fit_tiny()))
        x_T = self.signal(54)

        assert np.array_equal(again.forecast(x_T), forecaster.forecast(x_T))
