"""What a search writes is what a training reads, for every model that can be searched."""

import numpy as np
import pytest
import yaml

from ray_jobs.config import load_config
from ray_jobs.policy_config import PolicyTrainConfig
from ray_jobs.trainers import TRAINERS, trainer_of
from tuning.catalog import OBJECTIVES, objective_of
from tuning.spaces import SPACES


def config_model_of(objective):
    if objective.model in TRAINERS:
        return trainer_of(objective.model).config_model
    return PolicyTrainConfig


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_found_setting_is_a_training_file_of_its_model(name, tmp_path):
    objective = objective_of(name)
    rng = np.random.default_rng(5)
    path = tmp_path / "found.yaml"
    for values in [objective.space.default(), *(objective.space.sample(rng) for _ in range(4))]:
        path.write_text(yaml.safe_dump(objective.config(values)))

        config = load_config(path, config_model_of(objective)).model_dump(mode="json")

        for parameter in objective.space:
            if parameter.name in values:
                found = config
                for part in [*objective.space.block.split("."), *parameter.name.split(".")]:
                    found = found[part]
                wanted = values[parameter.name]
                assert found == (list(wanted) if isinstance(wanted, tuple) else wanted)


def test_every_model_that_is_trained_and_the_policy_can_be_searched():
    assert set(TRAINERS) | {"policy"} <= set(SPACES)
    assert {objective_of(name).model for name in OBJECTIVES} <= set(SPACES)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_offers_what_its_scheduler_needs(name):
    objective = objective_of(name)

    assert objective.metrics
    if objective.scheduler != "none":
        assert objective.fidelity is not None
    for parameter in objective.perturbed:
        assert parameter in objective.space.names
