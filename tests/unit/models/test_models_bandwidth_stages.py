import pytest

from novacron.errors import ConfigError
from novacron.models.bandwidth.config import BandwidthConfig, LstmConfig, TwinConfig
from novacron.models.bandwidth.fit import fit_bandwidth
from novacron.models.bandwidth.stages import fit_unit, is_unit_finished, training_stages
from novacron.telemetry.synthesize.traces import generate_traces, white_noise_traces

CONFIG = BandwidthConfig(
    seeds=(1, 2),
    lstm=LstmConfig(
        epochs=2, tuning_epochs=1, rows_per_class=200, tuning_rows=200, hidden=4, head=4
    ),
    twin=TwinConfig(rounds=4, min_rows_per_leaf=20),
)


@pytest.fixture(scope="module")
def traces():
    return {
        "synthetic": generate_traces(3, n_links=9, hours=0.1),
        "white_noise": white_noise_traces(3, n_links=9, samples=60),
    }


def bundle_of(fitted, directory):
    fitted.model.save(directory)
    return {
        path.relative_to(directory): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


@pytest.mark.learn
def test_units_fitted_one_by_one_make_the_same_model_as_all_at_once(traces, tmp_path):
    for stage in training_stages(traces, CONFIG):
        # Within a stage the order does not matter.
        for unit in reversed(stage):
            fit_unit(traces, CONFIG, unit, checkpoint_dir=tmp_path / "apart")
    events = []
    apart = fit_bandwidth(
        traces, CONFIG, checkpoint_dir=tmp_path / "apart", progress=events.append
    )
    together = fit_bandwidth(traces, CONFIG, checkpoint_dir=tmp_path / "together")

    assert all(event.resumed for event in events)
    assert bundle_of(apart, tmp_path / "a") == bundle_of(together, tmp_path / "b")


@pytest.mark.learn
def test_a_unit_is_finished_only_after_it_was_fitted(traces, tmp_path):
    unit = training_stages(traces, CONFIG)[0][0]
    before = is_unit_finished(traces, CONFIG, unit, tmp_path)

    fit_unit(traces, CONFIG, unit, checkpoint_dir=tmp_path)

    assert (before, is_unit_finished(traces, CONFIG, unit, tmp_path)) == (False, True)


@pytest.mark.learn
def test_a_unit_that_builds_on_an_unfinished_one_is_refused(traces, tmp_path):
    unit = training_stages(traces, CONFIG)[1][0]

    with pytest.raises(ConfigError, match="unfinished"):
        fit_unit(traces, CONFIG, unit, checkpoint_dir=tmp_path)


def test_the_stages_name_every_unit_once(traces):
    units = [unit.name for stage in training_stages(traces, CONFIG) for unit in stage]

    assert len(set(units)) == len(units) == 3 * 3 * (2 if CONFIG.refit else 1)
