from pathlib import Path

import pytest
import tiny_scaling

from novacron.models.scaling.engine import PredictiveScalingEngine
from novacron.registry.store import ModelStore
from ray_jobs.config import load_config
from ray_jobs.evaluate import evaluate
from ray_jobs.locations import registry_config
from ray_jobs.promote import GateConfig
from ray_jobs.scaling_trainer import ScalingTrainConfig
from ray_jobs.training import TrainRequest, train

ROOT = Path(__file__).parents[3]
TINY = """
fit:
  generator_days: 6
  generator_nodes: 2
  model:
    forecast: {rounds: 5, member_rounds: 5, most_origins_per_series: 300, min_rows_per_leaf: 20}
"""


@pytest.mark.learn
def test_a_training_registers_an_engine_that_decides_and_is_evaluated_again(runs, tmp_path):
    path = tmp_path / "scaling.yaml"
    path.write_text(TINY)
    request = TrainRequest(model="scaling", config_path=path, data="generator")

    outcome = train(request, lambda event, units: None)
    again = evaluate(
        registry_config(), "scaling", outcome["version"], config_path=path, data="generator"
    )
    loaded = ModelStore.connect(registry_config()).load("scaling", "challenger")
    engine = PredictiveScalingEngine(loaded.model, version=loaded.version)
    decision = engine.decide(tiny_scaling.working_days(3), step_s=300, deployment=4.0)

    assert loaded.card.data_sha256 == "generated:7"
    assert all(one["value"] == one["on_card"] for one in again["metrics"])
    assert {one["name"] for one in again["metrics"]} == {
        "under_share", "theta_o", "theta_u", "moves_per_day",
    }  # fmt: skip
    assert (decision.action, decision.model_version) == ("scale_up", loaded.version)


def test_the_shipped_configs_are_valid():
    config = load_config(ROOT / "configs/train/scaling.yaml", ScalingTrainConfig)
    gate = load_config(ROOT / "configs/gate/scaling.yaml", GateConfig)

    assert config.fit.model.boot_delay_s == 600
    assert {rule.name for rule in gate.limits} == {"under_share", "moves_per_day"}
