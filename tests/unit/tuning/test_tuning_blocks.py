"""What the blocks of a search are cut from: nothing that figures are reported on."""

import os
from pathlib import Path

import pytest

from benchmarks.bandwidth_sets import real_sets
from novacron.models.anomaly.training import FitConfig
from novacron.models.bandwidth.config import BandwidthConfig
from novacron.telemetry.datasets.throughput import load_traces
from novacron.telemetry.synthesize.traces import generate_traces
from novacron.telemetry.traces import by_class
from ray_jobs.bandwidth_trainer import split
from ray_jobs.config import load_config
from ray_jobs.policy_config import PolicyTrainConfig
from ray_jobs.trainers import trainer_of
from rl_envs.scenarios import SPLITS
from tuning.catalog import objective_of
from tuning.objective import DataSource
from tuning.objectives.anomaly import _FIRST_SEED
from tuning.objectives.bandwidth_blocks import SETS, open_part


def ids(traces):
    return {trace.trace_id for trace in traces}


@pytest.mark.parametrize("name", ["fcc", "puffer_train"])
def test_a_bandwidth_search_reads_no_recording_that_the_job_tests_on(name):
    traces = generate_traces(5, n_links=40, hours=0.05)

    found = open_part(name, traces)

    _, test = split(by_class(traces), 0.2)
    assert 0.4 * len(traces) < len(found) < 0.9 * len(traces)
    assert not ids(found) & {trace_id for own in test.values() for trace_id in ids(own)}


@pytest.mark.data
@pytest.mark.skipif("NOVACRON_DATA_DIR" not in os.environ, reason="no public traces")
def test_a_bandwidth_search_reads_no_recording_that_the_benchmark_tests_on():
    folder = Path(os.environ["NOVACRON_DATA_DIR"])
    config = BandwidthConfig()
    held = set()
    for one in real_sets(folder, history=config.features.history, horizon=config.horizon):
        held |= {trace_id for own in one.test.values() for trace_id in ids(own)}

    for name in SETS:
        assert not ids(open_part(name, load_traces(folder, name))) & held


def test_an_anomaly_search_draws_other_nodes_than_the_training_job():
    prepared = objective_of("anomaly").prepare(DataSource(small=True, seed=0))
    names = [name for name, _ in prepared.untouched.normal]
    seeds = {int(name.split()[1].split("/")[0]) for name in names}

    assert min(seeds) >= _FIRST_SEED
    assert not seeds & {FitConfig().seed, FitConfig().seed + 1}


def test_a_policy_search_plays_validation_paths_only_and_each_on_one_block():
    objective = objective_of("policy")
    prepared = objective.prepare(DataSource(small=True, seed=3))
    first, last = SPLITS["validation"]

    paths = {
        block: {int(name) % 10_000 for name in objective.probe(data)["gain_nats"].groups}
        for block, data in (("search", prepared.search), ("untouched", prepared.untouched))
    }

    assert all(first <= number < last for found in paths.values() for number in found)
    assert {number % 2 for number in paths["search"]} == {0}
    assert {number % 2 for number in paths["untouched"]} == {1}


def test_every_tuned_file_is_one_that_its_trainer_takes(request):
    folder = request.config.rootpath / "configs" / "tuned"
    files = sorted(folder.glob("*.yaml"))

    assert files
    for path in files:
        model = path.stem.partition("_")[0]
        kind = PolicyTrainConfig if model == "policy" else trainer_of(model).config_model
        load_config(path, kind)
        assert "holds on the untouched block" in " ".join(path.read_text().split())
