from pathlib import Path

import numpy as np
import pytest

from novacron.models.performance.generated import generate_scores
from novacron.models.performance.scores_table import ScoreTable
from novacron.models.performance.sides import held_out
from novacron.registry.store import ModelStore
from ray_jobs.config import load_config
from ray_jobs.evaluate import evaluate
from ray_jobs.locations import registry_config
from ray_jobs.performance_trainer import (
    TRAINER,
    PerformanceTrainConfig,
    sides_of,
)
from ray_jobs.promote import GateConfig
from ray_jobs.trainers import BringsData, trainer_of
from ray_jobs.training import TrainRequest, train

ROOT = Path(__file__).parents[3]
TINY = """
generator_samples: 80
test_rows: 400
fit:
  seeds: [1, 2]
  history: 16
  peers: 40
  purge_samples: 4
  validation_rows: 900
  lstm: {hidden: 4, attention: 4, head: 8, steps: 6, rows: 400, validation_rows: 200, epochs: 1}
  twin: {rounds: 15, rows: 1500}
"""

pytestmark = pytest.mark.learn


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "performance.yaml"
    path.write_text(TINY)
    return path


def request_for(path, **changes):
    return TrainRequest(**{"model": "performance", "config_path": path} | changes)


def test_a_training_registers_a_predictor_that_answers_and_goes_on_where_it_was(
    runs, tiny, tmp_path
):
    seen = []
    asked = request_for(tiny, run_dir=tmp_path / "run")

    outcome = train(asked, lambda event, units: seen.append((event.unit, units)))
    (tmp_path / "run" / "result.json").unlink()
    again = train(asked, lambda event, units: None)

    loaded = ModelStore.connect(registry_config()).load("performance", "challenger")
    known = loaded.card.metric("wape_ratio_to_ewma", "known_vms")
    unseen = loaded.card.metric("wape_ratio_to_fleet_median", "unseen_vms")
    names = {"benchmark": np.array(["disk"], dtype=object)}
    answer = loaded.model.predict(
        loaded.model.prepare(names | {"score": np.array([[3000.0, 2900.0, 3100.0]])})
    )
    assert {unit for unit, _ in seen} == {"twin", "lstm-1", "lstm-2"}
    assert outcome["data_source"] == "generator seed 7"
    assert known.lo <= known.value <= known.hi
    assert unseen.n == 4
    assert answer["lower"] <= answer["value"] <= answer["upper"]
    assert (outcome["units_resumed"], again["units_resumed"]) == (0, 3)
    assert again["metrics"] == outcome["metrics"]

    payload = evaluate(
        registry_config(), "performance", outcome["version"], config_path=tiny, data=None
    )
    assert payload["same_data_as_card"]
    assert all(one["value"] == one["on_card"] for one in payload["metrics"])


def test_held_out_vms_are_in_no_part_that_is_trained_on():
    table = ScoreTable.from_frame(generate_scores(5, vms=4, samples=60))
    config = PerformanceTrainConfig(held_out_vms=1)

    held = held_out(table, 1)
    sides = sides_of(table, config)

    assert len(np.unique(table.vm_N[held])) == 4
    assert not (sides.early & held).any()
    assert not (sides.known & held).any()
    assert not (sides.unseen & ~held).any()


def test_of_two_vms_none_is_held_out():
    table = ScoreTable.from_frame(generate_scores(5, vms=2, samples=60))

    assert not held_out(table, 1).any()


def test_the_shipped_configs_are_valid():
    config = load_config(ROOT / "configs/train/performance.yaml", PerformanceTrainConfig)
    gate = load_config(ROOT / "configs/gate/performance.yaml", GateConfig)

    assert trainer_of("performance") is TRAINER
    assert isinstance(TRAINER, BringsData)
    assert config.fit.lstm.hidden == 128
    assert {rule.name for rule in gate.limits} >= {"wape_ratio_to_ewma"}
