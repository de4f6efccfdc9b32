from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny_placement import node, requests, workload

from novacron.errors import GateRefusedError
from novacron.models.placement.optimizer import WorkloadOptimizer
from novacron.registry.store import ModelStore
from novacron.telemetry.datasets.placement import AZURE_V1_FILE
from ray_jobs.config import load_config
from ray_jobs.evaluate import evaluate
from ray_jobs.locations import registry_config
from ray_jobs.one_unit import OneUnitTrainer
from ray_jobs.placement_trainer import TRAINER, PlacementTrainConfig
from ray_jobs.promote import GateConfig, promote
from ray_jobs.trainers import trainer_of
from ray_jobs.training import TrainRequest, train

ROOT = Path(__file__).parents[3]
TINY = """
fit:
  seed: 3
  outcomes:
    examples: 720
    performance: {trees: 10, depth: 3}
    resource: {trees: 10, depth: 3}
    power: {trees: 10, depth: 3}
  lifetimes: {rounds: 10, leaf_rows: 5, clusters: 3}
measured_clusters: 2
"""


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "placement.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture
def traces(tmp_path):
    """A folder with lifetimes as the public trace writes them."""
    found = requests(days=2.0)
    life_s = np.where(np.isfinite(found.end_s), found.end_s, found.cut_s) - found.arrived_s
    edges = np.array([0, 300, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400])
    low = np.searchsorted(edges, life_s, side="right") - 1
    frame = pd.DataFrame(
        {
            "split": "dev",
            "ts_s": (found.arrived_s // 300 * 300).astype("int32"),
            "batch": found.batch_N.astype("int16"),
            "flavor": np.where(found.amount_NR[:, 0] > 2, "k", "g"),
            "vcpu": found.amount_NR[:, 0].astype("float32"),
            "mem_gb": found.amount_NR[:, 1].astype("float32"),
            "censored": ~np.isfinite(found.end_s),
            "life_bin": low.astype("float32"),
            "life_min_s": edges[low].astype("float32"),
        }
    )
    path = tmp_path / "traces" / AZURE_V1_FILE
    path.parent.mkdir(parents=True)
    frame.to_parquet(path)
    return tmp_path / "traces"


def nothing(event, units):
    pass


def request_for(path, **changes):
    return TrainRequest(**{"model": "placement", "config_path": path} | changes)


def test_without_traces_it_learns_from_simulation_and_says_so(runs, tiny):
    outcome = train(request_for(tiny), nothing)

    loaded = ModelStore.connect(registry_config()).load("placement", "challenger")
    answer = WorkloadOptimizer(loaded.model.models, version=loaded.version).optimize(
        workload(), [node(n) for n in range(3)]
    )
    assert outcome["data_source"] == "generator seed 3"
    assert answer.model_version == loaded.version
    assert len(answer.candidates) == 3
    assert loaded.model.models.lifetimes is None
    assert loaded.card.metric("error_ratio_to_mean", "simulated latency").value < 1


def test_with_lifetimes_it_learns_them_and_measures_packing_on_later_days(runs, tiny, traces):
    outcome = train(request_for(tiny, data=str(traces)), nothing)

    loaded = ModelStore.connect(registry_config()).load("placement", "challenger")
    assert loaded.model.models.lifetimes is not None
    assert "lifetimes of Azure V1" in outcome["data_source"]
    metrics = {one["name"]: one for one in outcome["metrics"]}
    assert metrics["infeasible_placements"]["value"] == 0
    assert metrics["infeasible_placements"]["n"] > 100
    assert 0.5 < metrics["active_nodes_ratio_to_best_fit"]["value"] < 1.5

    payload = evaluate(
        registry_config(), "placement", outcome["version"], config_path=tiny, data=str(traces)
    )
    assert payload["same_data_as_card"]
    assert all(one["value"] == one["on_card"] for one in payload["metrics"])


def test_the_gate_refuses_a_version_whose_packing_was_never_measured(runs, tiny):
    outcome = train(request_for(tiny), nothing)
    gate = load_config(ROOT / "configs/gate/placement.yaml", GateConfig)

    with pytest.raises(GateRefusedError, match="active_nodes_ratio_to_best_fit"):
        promote(registry_config(), "placement", outcome["version"], gate)


def test_the_shipped_config_is_valid():
    config = load_config(ROOT / "configs/train/placement.yaml", PlacementTrainConfig)

    assert trainer_of("placement") is TRAINER
    assert isinstance(TRAINER, OneUnitTrainer)
    assert config.fit.weights.performance == 0.4
