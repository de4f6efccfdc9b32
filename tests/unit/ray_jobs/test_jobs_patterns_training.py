import json
from pathlib import Path

import numpy as np
import pytest

from novacron.errors import ConfigError, GateRefusedError
from novacron.models.patterns.recognizer import PatternRecognizer
from novacron.registry.store import ModelStore
from ray_jobs.config import load_config
from ray_jobs.evaluate import evaluate
from ray_jobs.locations import registry_config
from ray_jobs.patterns_trainer import TRAINER, PatternsTrainConfig
from ray_jobs.promote import GateConfig, promote
from ray_jobs.trainers import BringsData, trainer_of
from ray_jobs.training import TrainRequest, train

ROOT = Path(__file__).parents[3]
TINY = "fit: {seed: 3, train_each: 12, validation_each: 12, trees: 10}\n"


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "patterns.yaml"
    path.write_text(TINY)
    return path


def request_for(path, **changes):
    return TrainRequest(**{"model": "patterns", "config_path": path} | changes)


def nothing(event, units):
    pass


def test_a_training_registers_a_recogniser_that_answers(runs, tiny):
    seen = []
    outcome = train(request_for(tiny), lambda event, units: seen.append((event.step, units)))

    loaded = ModelStore.connect(registry_config()).load("patterns", "challenger")
    answer = PatternRecognizer(loaded.model, version=loaded.version).recognize(
        np.sin(np.arange(300) / 4), step_s=60
    )
    assert seen == [(1, 1), (2, 1), (3, 1)]
    assert outcome["data_source"] == "generator seed 3"
    assert loaded.card.data_sha256 == "generated:3"
    assert loaded.card.metric("macro_f1", "generated unseen seed").value > 0.6
    assert (answer.value, answer.model_version) == ("periodic", loaded.version)


def test_a_registered_recogniser_is_evaluated_on_the_same_unseen_windows(runs, tiny):
    outcome = train(request_for(tiny), nothing)

    payload = evaluate(
        registry_config(), "patterns", outcome["version"], config_path=tiny, data=None
    )

    assert payload["same_data_as_card"]
    assert all(one["value"] == one["on_card"] for one in payload["metrics"])


def test_a_finished_forest_is_not_grown_again(runs, tiny, tmp_path):
    first = train(request_for(tiny, run_dir=tmp_path / "run"), nothing)
    (tmp_path / "run" / "result.json").unlink()

    again = train(request_for(tiny, run_dir=tmp_path / "run"), nothing)

    assert (first["units_resumed"], again["units_resumed"]) == (0, 1)
    assert json.dumps(again["metrics"]) == json.dumps(first["metrics"])


def test_a_folder_of_traces_is_refused_since_real_windows_have_no_labels(runs, tiny, tmp_path):
    with pytest.raises(ConfigError, match="generated windows"):
        train(request_for(tiny, data=str(tmp_path)), nothing)


def test_a_config_that_names_traces_is_refused(tmp_path):
    path = tmp_path / "patterns.yaml"
    path.write_text("data: {sets: [fcc]}\n")

    with pytest.raises(ConfigError, match="leave `data` out"):
        load_config(path, PatternsTrainConfig)


def test_the_shipped_config_is_valid():
    config = load_config(ROOT / "configs/train/patterns.yaml", PatternsTrainConfig)

    assert trainer_of("patterns") is TRAINER
    assert isinstance(TRAINER, BringsData)
    assert config.fit.train_each >= 100


def test_the_shipped_gate_refuses_a_forest_from_too_few_windows(runs, tiny):
    outcome = train(request_for(tiny), nothing)
    gate = load_config(ROOT / "configs/gate/patterns.yaml", GateConfig)

    with pytest.raises(GateRefusedError, match="macro_f1"):
        promote(registry_config(), "patterns", outcome["version"], gate)
