import json

import numpy as np
import pytest
import tiny_bandwidth

from novacron.errors import ConfigError, InvalidInputError
from novacron.models.bandwidth.checkpoints import Checkpoints, Unit, replacing
from novacron.models.bandwidth.config import BandwidthConfig, LstmConfig
from novacron.models.bandwidth.fit import fit_bandwidth
from novacron.models.bandwidth.windows import cut_windows
from novacron.models.baselines import MeanSoFar, future
from novacron.models.metrics import wape

TINY = tiny_bandwidth.TINY
ONE_SEED = TINY.model_copy(update={"seeds": (1,)})


class KilledError(Exception):
    pass


def waves(numbers, **kwargs):
    return tuple(tiny_bandwidth.wave(n, **kwargs) for n in numbers)


def same_model(one, two):
    windows = cut_windows(waves([77]), TINY.features, 5).channels
    pairs = [m.by_member("wave", windows)["offline"] for m in (one, two)]
    return np.array_equal(*pairs)


def blend_wape(fitted, path_class, trace):
    windows = cut_windows([trace], TINY.features, 5)
    warm = windows.origin_N >= 24
    blend = fitted.model.by_member(path_class, windows.channels)["offline"][warm]
    return wape(windows.future_NH[warm], blend[..., 1])


@pytest.mark.learn
def test_a_killed_fit_goes_on_where_it_stopped_and_ends_the_same(tmp_path):
    traces = {"wave": waves(range(6))}
    whole = fit_bandwidth(traces, ONE_SEED, checkpoint_dir=tmp_path / "whole")

    def die(event):
        if event.unit == "wave-lstm-1-choose" and event.epoch:
            raise KilledError

    with pytest.raises(KilledError):
        fit_bandwidth(traces, ONE_SEED, checkpoint_dir=tmp_path / "cut", progress=die)
    events = []
    resumed = fit_bandwidth(
        traces, ONE_SEED, checkpoint_dir=tmp_path / "cut", progress=events.append
    )

    assert next(e.unit for e in events if e.resumed) == "pooled-lstm-1-choose"
    assert "pooled-lstm-1-choose" not in {e.unit for e in events if not e.resumed}
    assert same_model(whole.model, resumed.model)


@pytest.mark.learn
def test_progress_rises_to_one_and_names_every_unit(tmp_path):
    events = []

    fit_bandwidth(
        {"wave": waves(range(6))}, ONE_SEED, checkpoint_dir=tmp_path, progress=events.append
    )

    shares = [event.share for event in events]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    finished = {event.unit for event in events if not event.epochs}
    assert finished == {
        f"{name}-{member}-1-{stage}"
        for name in ("pooled", "wave")
        for member in ("lstm", "twin")
        for stage in ("choose", "final")
    }


@pytest.mark.learn
def test_a_checkpoint_of_other_traces_is_refused(tmp_path):
    fit_bandwidth({"wave": waves(range(6))}, ONE_SEED, checkpoint_dir=tmp_path)

    with pytest.raises(ConfigError, match="checkpoint_dir"):
        fit_bandwidth({"wave": waves(range(7))}, ONE_SEED, checkpoint_dir=tmp_path)


@pytest.mark.learn
def test_the_blend_forecasts_unseen_paths_of_every_class_better_than_their_level():
    fitted = tiny_bandwidth.tiny_fit()

    for path_class, scale in (("wave", 10.0), ("big_wave", 400.0)):
        trace = tiny_bandwidth.wave(40, path_class=path_class, scale_mbps=scale, seed=4)
        actual = future(np.asarray(trace.bandwidth_mbps), 5)[24:]
        mean = MeanSoFar(horizon=5).forecast(trace.bandwidth_mbps)[24:-5, :, 1]
        assert blend_wape(fitted, path_class, trace) < 0.5 * wape(actual, mean)


@pytest.mark.learn
def test_a_path_of_unknown_class_is_answered_by_the_pooled_model():
    fitted = tiny_bandwidth.tiny_fit()
    trace = tiny_bandwidth.wave(41, scale_mbps=60.0, seed=4)

    actual = future(np.asarray(trace.bandwidth_mbps), 5)[24:]
    mean = MeanSoFar(horizon=5).forecast(trace.bandwidth_mbps)[24:-5, :, 1]

    assert blend_wape(fitted, "never seen", trace) < 0.7 * wape(actual, mean)


@pytest.mark.learn
def test_white_noise_gives_no_skill_over_the_mean(tmp_path):
    traces = tuple(tiny_bandwidth.noise(n) for n in range(10))
    fitted = fit_bandwidth({"noise": traces}, ONE_SEED, checkpoint_dir=tmp_path)
    test = tiny_bandwidth.noise(30, samples=600)

    actual = future(np.asarray(test.bandwidth_mbps), 5)[24:]
    constant = wape(actual, np.full_like(actual, 500.0))

    assert blend_wape(fitted, "noise", test) > 0.98 * constant


@pytest.mark.learn
def test_validation_figures_come_with_intervals_and_baselines():
    metrics = tiny_bandwidth.tiny_fit().metrics

    by_name = {(m.set, m.name): m for m in metrics}
    ratio = by_name["wave", "wape_ratio_to_ewma/blend"]
    assert ratio.lo <= ratio.value <= ratio.hi < 1
    assert ratio.baseline == "EWMA"
    assert {m.set for m in metrics} == {"wave", "big_wave", "pooled"}
    assert 0.7 < by_name["wave", "coverage_80/blend"].value < 0.9


def test_no_traces_and_a_class_of_the_reserved_name_are_refused(tmp_path):
    for traces in ({}, {"pooled": waves(range(3))}):
        with pytest.raises(ConfigError, match="traces_by_class"):
            fit_bandwidth(traces, TINY, checkpoint_dir=tmp_path)


def test_a_class_too_small_to_validate_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="long enough"):
        fit_bandwidth({"wave": waves([1], samples=30)}, TINY, checkpoint_dir=tmp_path)


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "state.json"
    path.write_text("old")

    def killed_half_way():
        with replacing(path) as draft:
            draft.write_text("half")
            raise KilledError

    with pytest.raises(KilledError):
        killed_half_way()

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_unit_without_its_facts_is_not_finished(tmp_path):
    checkpoints = Checkpoints(tmp_path, "key")
    unit = Unit(path_class="wave", member="twin", seed=1)

    def killed(directory):
        (directory / "level_10.txt").write_text("tree")
        raise KilledError

    with pytest.raises(KilledError):
        checkpoints.finish(unit, {}, killed)

    assert checkpoints.done(unit) is None


def test_a_finished_unit_is_found_again(tmp_path):
    unit = Unit(path_class="wave", member="twin", seed=1)

    Checkpoints(tmp_path, "key").finish(unit, {"loss": 1.5}, lambda d: (d / "x").touch())

    found = Checkpoints(tmp_path, "key").done(unit)
    assert json.loads((found / "unit.json").read_text()) == {"loss": 1.5}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"horizn": 5}, "horizn"),
        ({"lstm": {"steps": 500}}, "lstm.steps"),
        ({"lstm": {"levels": (0.5, 0.1, 0.9)}}, "increase"),
        ({"lstm": {"levels": (0.2, 0.5, 0.8)}}, "served"),
        ({"features": {"channels": ["rtt_ms"]}}, "bandwidth_mbps"),
    ],
)
def test_settings_that_do_not_fit_are_refused(change, field):
    with pytest.raises(ValueError, match=field):
        BandwidthConfig.model_validate(change)


def test_the_default_levels_hold_the_served_ones():
    assert {0.1, 0.5, 0.9} <= set(LstmConfig().levels)
