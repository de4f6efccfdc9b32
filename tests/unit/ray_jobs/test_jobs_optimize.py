import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tiny_policy import tiny_part
from typer.testing import CliRunner

from novacron.errors import ConfigError, UnknownNameError
from novacron.models.policy.optimizer import shipped_model
from novacron.params.observations import OBSERVATIONS
from novacron.registry.card import CardMetric, ModelCard
from novacron.registry.store import ModelStore
from ray_jobs.cli import app
from ray_jobs.config import load_config
from ray_jobs.locations import registry_config
from ray_jobs.optimize import offer, rules_for
from ray_jobs.policy_config import policy_config, world_sha256
from ray_jobs.policy_judging import judge_part
from ray_jobs.policy_rllib import CurvePoint
from ray_jobs.policy_training import (
    PolicyRequest,
    TrainedPolicy,
    draw_curve,
    policy_key,
    register_policy,
    train_policy,
)
from ray_jobs.policy_view import policy_outcome, policy_view
from ray_jobs.promote import GateConfig
from ray_jobs.run_folder import RunFolder

TARGET = "acp_consensus"


def trained_by_hand(tmp_path, **expected) -> TrainedPolicy:
    """A part that proposes one setting, judged in a few worlds."""
    folder = RunFolder(path=tmp_path / "run")
    part = tiny_part(folder.path / "part", TARGET, proposal=[-0.2, -0.6, 0.2, -0.2], **expected)
    config = policy_config(TARGET).model_copy(
        update={"judged_worlds": 160, "decisions": 3, "oracle_worlds": 16, "oracle_futures": 1}
    )
    figures = judge_part(part, config, cache=None, world=world_sha256())
    part.card = part.card.model_copy(update={"figures": figures.for_manifest()})
    draw_curve(
        [CurvePoint(env_steps=1, cpu_s=1.0, gain_nats=0.1, log_std=-0.5)], TARGET,
        folder.path / "learning_curve.png",
    )  # fmt: skip
    return TrainedPolicy(part=part, figures=figures, config=config, folder=folder, run_id="")


@pytest.mark.parametrize("target", OBSERVATIONS)
def test_every_target_has_a_config(target):
    ppo = policy_config(target).ppo

    assert (ppo.gamma > 0.0) == (target == "hde_compression")
    assert ppo.max_cost_increase_ratio == 0.10


def test_unknown_target_and_unknown_setting_are_refused(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text("ppo: {env_stebs: 3}\n")

    with pytest.raises(UnknownNameError, match="joint"):
        policy_config("joynt")
    with pytest.raises(ConfigError, match="env_steps"):
        policy_config(TARGET, path)


def test_another_config_target_or_world_is_another_run():
    config = policy_config(TARGET)
    longer = config.model_copy(update={"decisions": 7})

    keys = {
        policy_key(TARGET, config, "a"),
        policy_key(TARGET, longer, "a"),
        policy_key("joint", config, "a"),
        policy_key(TARGET, config, "b"),
    }

    assert len(keys) == 4


def test_policy_that_passes_is_registered_and_the_other_targets_stay(runs, tmp_path):
    trained = trained_by_hand(tmp_path)
    store = ModelStore.connect(registry_config())
    gate = GateConfig.model_validate(
        {"limits": [{"name": "oracle_share_decision_1_ratio", "better": "higher", "limit": -99}]}
    )
    lenient = gate.model_copy(update={"limits": (gate.limits[0].model_copy(update={"min_n": 1}),)})

    first = offer(trained, store, lenient)
    again = offer(trained, store, lenient)
    champion = store.load("optimizer")

    assert first["version"] == again["version"] == champion.version
    assert again["reused"]
    shipped = shipped_model().parts
    assert set(champion.model.parts) == {*shipped, TARGET}
    assert champion.model.parts[TARGET].card.version == trained.part.card.version
    assert {
        target: part.card.version
        for target, part in champion.model.parts.items()
        if target != TARGET
    } == {target: part.card.version for target, part in shipped.items() if target != TARGET}
    assert champion.card.metric("oracle_share_decision_1_ratio", "joint").n > 0
    assert "from the library" in champion.card.data_source
    assert champion.card.data_sha256.startswith("simulator:")


@pytest.mark.learn
@pytest.mark.timeout(300)
def test_job_trains_by_the_loop_judges_registers_and_reuses_what_is_there(
    tmp_path, turn_to_another_registry
):
    path = tmp_path / "policy.yaml"
    path.write_text(
        "ppo: {env_steps: 8192, num_envs: 128, batch_steps: 2048, hidden: [32, 32]}\n"
        "effects: {worlds: 16, steps: 3, epochs: 1}\n"
        "judged_worlds: 32\ndecisions: 3\noracle_worlds: 16\noracle_futures: 1\n"
    )
    request = PolicyRequest(target=TARGET, config_path=path, trainer="loop")
    first_points, second_points = [], []

    trained = train_policy(request, lambda point, of: first_points.append(point.env_steps))
    registered = register_policy(trained, ModelStore.connect(registry_config()))
    again = train_policy(request, lambda point, of: second_points.append(point))

    loaded = ModelStore.connect(registry_config()).load("optimizer", "challenger")
    assert first_points == [2048, 4096, 6144, 8192]
    assert not second_points
    assert loaded.version == registered["version"]
    part = loaded.model.parts[TARGET]
    assert part.card.trainer == "own PPO loop"
    assert part.card.figures == again.part.card.figures
    assert again.figures.control.value == 0.0
    turn_to_another_registry()
    elsewhere = register_policy(
        train_policy(request, lambda *_: None), ModelStore.connect(registry_config())
    )
    assert elsewhere["version"] == "1"


def test_figures_are_shown_beside_default_static_and_oracle(tmp_path):
    trained = trained_by_hand(tmp_path)
    outcome = policy_outcome(trained)

    view = policy_view(trained, outcome)

    assert json.loads(json.dumps(outcome))["evidence"] == "simulated"
    assert outcome["default_against_itself"]["value"] == 0.0
    assert len(view.renderables) == 4


def test_gate_of_the_optimizer_judges_the_target_alone():
    gate = load_config(Path("configs/gate/optimizer.yaml"), GateConfig)

    rules = rules_for(gate.rules_for(card_of_two_targets()), "joint")

    assert {rule.set for rule in rules.required if rule.set} == {"joint"}
    assert {rule.set for rule in rules.bands} == {"joint"}


def card_of_two_targets():
    names = ("improvement_over_default_ratio", "guarded_worse_than_default_ratio")
    return ModelCard(
        name="optimizer", kind="policy", created_at=datetime.now(UTC), data_sha256="x",
        data_source="x", code_version="x", config={}, seeds=(0,), features_hash="x", versions={},
        intended_use="x", limits=("x",),
        metrics=tuple(
            CardMetric(name=name, set=target, value=0.1, lo=0.0, hi=0.2, n=200, baseline="x")
            for name in names
            for target in ("joint", "acp_consensus")
        ),
    )  # fmt: skip


def test_command_refuses_an_unknown_target_with_exit_code_2():
    result = CliRunner().invoke(app, ["optimize", "hde_compresion", "--json"])

    assert result.exit_code == 2
    assert "hde_compression" in result.output
