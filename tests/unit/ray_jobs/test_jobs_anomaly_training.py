"""Training the anomaly detector as a job: generated or stored node telemetry to a version."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from novacron.errors import ConfigError, DatasetNotFoundError, SchemaError
from novacron.models.anomaly.model import AnomalyModel
from novacron.models.anomaly.training import stored_nodes
from novacron.registry.store import ModelStore
from ray_jobs.anomaly_trainer import TRAINER, AnomalyTrainConfig
from ray_jobs.config import load_config
from ray_jobs.locations import registry_config
from ray_jobs.promote import GateConfig
from ray_jobs.trainers import trainer_of
from ray_jobs.training import TrainRequest, train

ROOT = Path(__file__).parents[3]

TINY = """
fit:
  days: 6
  nodes: 1
  step_s: 1800
  detector:
    forest: {trees: 8, subspace_trees: 4, samples: 64}
"""


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "anomaly.yaml"
    path.write_text(TINY)
    return path


def nodes_in(folder, count=2, samples=600):
    folder.mkdir()
    rng = np.random.default_rng(1)
    for number in range(count):
        frame = pd.DataFrame(
            {
                "ts": pd.date_range("2024-01-01", periods=samples, freq="5min", tz="UTC"),
                "node_id": f"n{number}",
                "cpu_ratio": rng.uniform(0.2, 0.4, samples),
            }
        )
        frame.to_parquet(folder / f"part-{number}.parquet")
    return folder


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.usefixtures("runs")
def test_a_training_registers_a_detector_that_keeps_the_budget(tiny, tmp_path, stored):
    data = str(nodes_in(tmp_path / "nodes")) if stored else None
    request = TrainRequest(model="anomaly", config_path=tiny, data=data)

    outcome = train(request, lambda *_: None)

    loaded = ModelStore.connect(registry_config()).load("anomaly", "challenger")
    assert isinstance(loaded.model, AnomalyModel)
    assert loaded.version == outcome["version"]
    assert {m["name"] for m in outcome["metrics"]} >= {"recall", "false_episodes_per_series_day"}
    assert all(m["baseline"].startswith("z-score") for m in outcome["metrics"])
    assert (Path(outcome["report"]).parent / "curve.png").exists()


@pytest.mark.usefixtures("runs")
def test_a_folder_that_is_none_is_refused(tiny):
    with pytest.raises(ConfigError):
        train(TrainRequest(model="anomaly", config_path=tiny, data="nowhere"), lambda *_: None)


def test_stored_nodes_come_one_frame_each_and_what_is_no_telemetry_is_refused(tmp_path):
    nodes = stored_nodes(nodes_in(tmp_path / "nodes"))
    other = tmp_path / "other"
    other.mkdir()

    assert list(nodes) == ["n0", "n1"]
    with pytest.raises(DatasetNotFoundError):
        stored_nodes(other)
    pd.DataFrame({"a": [1]}).to_parquet(other / "a.parquet")
    with pytest.raises(SchemaError):
        stored_nodes(other)


def test_the_shipped_config_is_valid_and_takes_no_traces(tmp_path):
    load_config(ROOT / "configs/train/anomaly.yaml", AnomalyTrainConfig)
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("data: {sets: [fcc]}\n")

    assert trainer_of("anomaly") is TRAINER
    with pytest.raises(ConfigError, match="leave `data` out"):
        load_config(wrong, AnomalyTrainConfig)


def test_the_shipped_gate_asks_for_what_a_training_measures():
    gate = load_config(ROOT / "configs/gate/anomaly.yaml", GateConfig)

    assert {rule.name for rule in gate.limits} == {
        "recall",
        "false_episodes_per_series_day",
        "false_positive_hours_ratio",
    }
