import pytest

from novacron.telemetry.datasets.paths import link_table_of_traces
from novacron.telemetry.splits import recording
from ray_jobs.bandwidth_trainer import TRAINER, BandwidthTrainConfig, split
from ray_jobs.config import load_config
from ray_jobs.training import TrainRequest, train
from ray_jobs.training_data import DataConfig, GeneratorConfig, load_training_data

TINY = """
data: {sets: [fcc], generator: {links: 12, hours: 0.3}}
fit:
  seeds: [1, 2]
  lstm: {epochs: 1, tuning_epochs: 1, rows_per_class: 300, tuning_rows: 300, hidden: 4, head: 4}
  twin: {rounds: 5, examples: 500, min_rows_per_leaf: 20}
"""


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def data():
    config = DataConfig(sets=("fcc",), generator=GeneratorConfig(links=12, hours=0.2))
    return load_training_data(config, "generator")


def test_no_recording_is_on_both_sides_of_the_split(data):
    train_part, test_part = split(data.traces_by_class, 0.25)

    for name in data.traces_by_class:
        seen = {recording(trace) for trace in train_part[name]}
        held_out = {recording(trace) for trace in test_part[name]}
        assert seen.isdisjoint(held_out)
        assert len(held_out) == 3
        assert len(seen) == 9


@pytest.mark.learn
def test_the_trained_bundle_is_scored_on_every_class_beside_its_baselines(runs, tiny):
    events = []

    outcome = train(
        TrainRequest(model="bandwidth", config_path=tiny, data="generator"),
        lambda event, units: events.append((event, units)),
    )

    names = {one["name"] for one in outcome["metrics"]}
    assert {"wape_ratio_to_ewma", "wql_ratio_to_ewma_band", "coverage_80"} <= names
    assert all(one["lo"] <= one["value"] <= one["hi"] for one in outcome["metrics"])
    assert {units for _, units in events} == {12}
    assert all(event.step <= event.steps for event, _ in events)


@pytest.mark.learn
def test_the_stages_put_the_pooled_units_first(data, tiny):
    config = load_config(tiny, BandwidthTrainConfig)

    stages = TRAINER.stages(data, config)

    assert all(unit.startswith("pooled") for unit in stages[0])
    assert all(unit.startswith("synthetic") for unit in stages[-1])


@pytest.mark.parametrize("name", ["bandwidth", "bandwidth_demo"])
def test_the_shipped_configs_load(name, request):
    path = request.config.rootpath / "configs" / "train" / f"{name}.yaml"

    assert load_config(path, BandwidthTrainConfig).data.sets


def test_traces_become_link_telemetry_in_order_of_time(data):
    traces = data.traces_by_class["synthetic"]

    table = link_table_of_traces(traces)

    assert table.num_rows == sum(len(trace) for trace in traces)
    ts = table["ts"].to_pylist()
    assert ts == sorted(ts)
    first = traces[0]
    own = [row for row in table.to_pylist() if row["link_id"] == first.trace_id]
    assert [row["bandwidth_mbps"] for row in own] == first.bandwidth_mbps.tolist()
    assert own[0]["ts"] == first.start


def test_the_same_config_gives_the_same_data_and_another_seed_other_data(data):
    config = DataConfig(sets=("fcc",), generator=GeneratorConfig(links=12, hours=0.2))
    other = DataConfig(sets=("fcc",), generator=GeneratorConfig(links=12, hours=0.2, seed=8))

    assert load_training_data(config, "generator").sha256 == data.sha256
    assert load_training_data(other, "generator").sha256 != data.sha256
