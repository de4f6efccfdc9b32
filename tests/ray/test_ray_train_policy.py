"""RLlib trains a policy in this process, without a cluster; marked `ray` because RLlib, imported,
changes logging for the whole process."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from novacron.errors import GateRefusedError, UnknownNameError
from novacron.models.policy.network import OnnxNetwork, write_onnx
from novacron.params.groups import parameter_group
from novacron.registry.store import ModelStore
from ray_jobs.config import load_config
from ray_jobs.locations import registry_config
from ray_jobs.policy_config import policy_config, world_sha256
from ray_jobs.policy_rllib import CHECKPOINT, read_curve, train_network
from ray_jobs.policy_training import PolicyRequest, policy_dir, policy_key, train_policy
from ray_jobs.promote import GateConfig

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore:.*Overriding environment rllib-single-agent-env-v0"),
    pytest.mark.filterwarnings("ignore:.*`RLModule.config=.RLModuleConfig object.`"),
]

TARGET = "acp_consensus"
SETTINGS = {
    "ppo": {
        "env_steps": 32_768, "num_envs": 128, "batch_steps": 2048, "minibatch_steps": 512,
        "hidden": [32, 32],
    },
    "effects": {"worlds": 32, "steps": 4, "epochs": 2, "margin_worlds": 32},
    "checkpoint_updates": 2,
    "judged_worlds": 128,
    "decisions": 3,
    "oracle_worlds": 16,
    "oracle_futures": 1,
}  # fmt: skip


@pytest.fixture(autouse=True)
def own_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("NOVACRON_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def config_path(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(yaml.safe_dump(SETTINGS))
    return path


def test_policy_is_trained_judged_registered_and_loaded_again(config_path):
    from ray_jobs.optimize import offer

    trained = train_policy(PolicyRequest(target=TARGET, config_path=config_path), lambda *_: None)
    store = ModelStore.connect(registry_config())
    lenient = GateConfig.model_validate(
        {"limits": [{"name": "improvement_over_default_ratio", "better": "higher", "limit": -9.0}]}
    )
    outcome = offer(trained, store, lenient)
    loaded = store.load("optimizer", "champion")
    again = offer(trained, store, lenient)

    assert trained.figures.control.value == 0.0
    assert trained.figures.judged.improvement.value > 0.1
    assert outcome["version"] == loaded.version == again["version"]
    assert (outcome["reused"], again["reused"]) == (False, True)
    part = loaded.model.parts[TARGET]
    assert part.card.trainer == "RLlib PPO"
    x = np.random.default_rng(0).uniform(-1, 1, (5, part.spec.size)).astype(np.float32)
    assert np.array_equal(part.propose(x), trained.part.propose(x))
    assert loaded.card.metric("oracle_share_decision_1_ratio", TARGET).n > 10


def test_policy_that_does_not_pass_the_gate_is_not_registered(config_path, monkeypatch):
    from ray_jobs.optimize import offer

    short = SETTINGS | {"ppo": SETTINGS["ppo"] | {"env_steps": 2048}}
    config_path.write_text(yaml.safe_dump(short))
    trained = train_policy(PolicyRequest(target=TARGET, config_path=config_path), lambda *_: None)
    store = ModelStore.connect(registry_config())
    gate = load_config(Path("configs/gate/optimizer.yaml"), GateConfig)

    with pytest.raises(GateRefusedError, match="acp_consensus"):
        offer(trained, store, gate)

    assert "optimizer" not in store.models()


def test_training_that_was_killed_goes_on_from_its_checkpoint(config_path, tmp_path):
    config = policy_config(TARGET, config_path)
    folder = policy_dir(TARGET, policy_key(TARGET, config, world_sha256()))
    checkpoint = folder / "checkpoints" / CHECKPOINT
    code = (
        "import sys; from pathlib import Path; from ray_jobs.policy_training import *;"
        f"train_policy(PolicyRequest(target={TARGET!r}, config_path=Path(sys.argv[1])), print)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(config_path)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ),
    )  # fmt: skip
    deadline = time.monotonic() + 200
    while not read_curve(checkpoint.parent) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = read_curve(checkpoint.parent)

    points = []
    train_network(TARGET, config, folder / "checkpoints", points.append)

    assert before
    assert points[0].env_steps > before[0].env_steps
    assert points[-1].env_steps >= SETTINGS["ppo"]["env_steps"]
    assert json.loads((folder / "run.json").read_text())["target"] == TARGET


@pytest.mark.parametrize(
    ("target", "layers"),
    [(TARGET, {}), ("itp_partition", {"symmetric": True, "whitening_floor": 0.05, "peers": 8})],
)
def test_exported_network_answers_as_rllib_does(target, layers, tmp_path):
    import torch

    from ray_jobs.policy_module import build_algorithm, network_of, without_cluster
    from rl_envs.learn.config import PpoConfig

    ppo = PpoConfig(env_steps=2048, num_envs=64, batch_steps=2048, hidden=(32, 32), **layers)
    knobs = len(parameter_group(target))
    with without_cluster():
        algorithm = build_algorithm(target, ppo, scenario="all")
        result = algorithm.train()
        module = algorithm.get_module()
        network = network_of(algorithm)
        algorithm.stop()
    write_onnx(network, tmp_path / "policy.onnx")
    x = np.random.default_rng(0).uniform(-1, 1, (200, network.inputs)).astype(np.float32)
    with torch.no_grad():
        wanted = module.forward_inference({"obs": torch.from_numpy(x)})["action_dist_inputs"]

    found = OnnxNetwork(tmp_path / "policy.onnx", inputs=network.inputs, outputs=knobs)(x)

    assert abs(result["env_runners"]["gain_nats"]) > 0.01
    assert np.abs(found - wanted[:, :knobs].numpy()).max() <= 1e-5


def test_first_actions_spread_as_configured():
    from ray_jobs.policy_module import build_algorithm, log_std_of, without_cluster
    from rl_envs.learn.config import PpoConfig

    ppo = PpoConfig(env_steps=64, num_envs=64, batch_steps=64, minibatch_steps=64)
    with without_cluster():
        algorithm = build_algorithm(TARGET, ppo, scenario="wan")
        spread = log_std_of(algorithm)
        algorithm.stop()

    assert spread == pytest.approx(-0.5)


def test_unknown_target_is_refused_before_anything_starts():
    with pytest.raises(UnknownNameError, match="acp_consensus"):
        train_policy(PolicyRequest(target="acp_consensu"), lambda *_: None)
