"""The declared spaces: held to the models' configs, to the trainers, to Optuna, Tune and the docs."""

import optuna
import pytest
from pydantic import BaseModel

from novacron.errors import ModelNotFoundError
from novacron.models.search_space import IntParameter
from ray_jobs.config import load_config
from ray_jobs.policy_config import PolicyTrainConfig
from ray_jobs.trainers import TRAINERS, trainer_of
from tuning import reference
from tuning.spaces import (
    SPACES,
    optuna_distributions,
    optuna_search_space,
    space_of,
    stored,
    suggest,
    tune_space,
)

MODELS = tuple(SPACES)


def setting(config: BaseModel, path: str):
    for part in path.split("."):
        config = getattr(config, part)
    return config


def training_config(model: str) -> BaseModel:
    kind = PolicyTrainConfig if model == "policy" else trainer_of(model).config_model
    return kind.model_validate({} if model != "bandwidth" else {"data": {"sets": ["fcc"]}})


def test_every_trainer_and_the_policy_have_a_space():
    assert set(SPACES) == {*TRAINERS, "policy"}


@pytest.mark.parametrize("model", MODELS)
def test_every_default_is_that_of_the_config(model):
    space, config = space_of(model), training_config(model)

    defaults = {one.name: setting(config, f"{space.block}.{one.name}") for one in space}

    assert defaults == {one.name: one.default for one in space}


@pytest.mark.parametrize("model", MODELS)
def test_the_config_takes_both_ends_of_every_range(model):
    space, config = space_of(model), training_config(model)

    for one in space:
        ends = one.choices if hasattr(one, "choices") else (one.low, one.high)
        for end in ends:
            changed = config.model_dump(mode="json")
            inside = changed
            *blocks, leaf = f"{space.block}.{one.name}".split(".")
            for block in blocks:
                inside = inside[block]
            inside[leaf] = end
            type(config).model_validate(changed)


@pytest.mark.parametrize("model", MODELS)
def test_the_shipped_training_file_lies_inside_the_space(model, request):
    root = request.config.rootpath / "configs"
    space = space_of(model)
    if model == "policy":
        for path in (root / "policy").glob("*.yaml"):
            config = load_config(path, PolicyTrainConfig)
            default = space.with_defaults(config.model_dump(mode="json")).default()
            assert default["hidden"] == config.ppo.hidden
            assert default["gamma"] == config.ppo.gamma
    else:
        kind = trainer_of(model).config_model
        content = load_config(root / "train" / f"{model}.yaml", kind).model_dump(mode="json")
        assert space.with_defaults(content).default() == space.default()


def test_an_unknown_model_is_refused():
    with pytest.raises(ModelNotFoundError, match="Known: anomaly, bandwidth"):
        space_of("oracle")


@pytest.mark.parametrize("model", MODELS)
def test_optuna_suggests_what_the_space_takes_back(model):
    space = space_of(model)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))

    for _ in range(20):
        trial = study.ask()
        values = suggest(space, trial)
        assert stored(space, values) == trial.params
        assert space.check(trial.params) == values
    assert set(optuna_distributions(space)) == set(space.names)


def test_a_stored_default_can_be_enqueued():
    space = space_of("policy")
    study = optuna.create_study()
    study.enqueue_trial(stored(space, space.default()))

    trial = study.ask()

    assert suggest(space, trial) == space.default()


@pytest.mark.parametrize("model", MODELS)
def test_tune_draws_what_the_space_takes(model):
    space = space_of(model)
    domains = tune_space(space)

    for _ in range(20):
        drawn = {name: domain.sample() for name, domain in domains.items()}
        checked = space.check(drawn)
        assert set(checked) <= set(drawn)
        for name, value in checked.items():
            if isinstance(space.parameter(name), IntParameter):
                assert value == drawn[name]


def test_the_space_for_tunes_optuna_asks_for_all_that_counts():
    space = space_of("bandwidth")
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1)).ask()

    optuna_search_space(space)(trial)

    assert set(trial.params) >= set(space.names) - {"lstm.tuning_rate"}


def test_the_page_of_the_spaces_is_up_to_date():
    page = reference.render_page([space_of(model) for model in SPACES])

    assert reference.PAGE.read_text() == page
