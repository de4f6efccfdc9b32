"""Trains a policy network with RLlib: checkpoints, resume after a kill, a learning curve.

What it leaves in its folder: `rllib/` (RLlib's own checkpoint, to go on from), `curve.json`, and at
the end `network.safetensors`.
"""

import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from safetensors.numpy import load_file, save_file

from novacron.models.policy.network import Perceptron
from ray_jobs.policy_config import PolicyTrainConfig

log = logging.getLogger(__name__)

NETWORK_FILE: Final = "network.safetensors"
CURVE_FILE: Final = "curve.json"
CHECKPOINT: Final = "rllib"


@dataclass(frozen=True, kw_only=True, slots=True)
class CurvePoint:
    """One update: interactions, CPU seconds of all processes runs so far, mean gain a decision."""

    env_steps: int
    cpu_s: float
    gain_nats: float
    log_std: float


def train_network(
    target: str,
    config: PolicyTrainConfig,
    folder: Path,
    on_point: Callable[[CurvePoint], None],
) -> Perceptron:
    """Train, or go on where an earlier run of the same folder stopped, and return the network.

    Sampling and learning stay in this process; no cluster is needed.
    """
    finished = read_network(folder / NETWORK_FILE)
    if finished is not None:
        log.info("%s: the network is trained already", target)
        return finished
    from ray_jobs.policy_module import without_cluster

    folder.mkdir(parents=True, exist_ok=True)
    with without_cluster():
        return _train(target, config, folder, on_point)


def train_by_loop(
    target: str,
    config: PolicyTrainConfig,
    folder: Path,
    on_point: Callable[[CurvePoint], None],
) -> Perceptron:
    """Train by this project's own loop, or read the network that it left in the folder."""
    finished = read_network(folder / NETWORK_FILE)
    if finished is not None:
        return finished
    from rl_envs.learn.ppo import Progress, train_ppo

    folder.mkdir(parents=True, exist_ok=True)
    curve: list[CurvePoint] = []

    def listen(progress: Progress) -> None:
        curve.append(
            CurvePoint(
                env_steps=progress.env_steps,
                cpu_s=round(progress.cpu_s, 3),
                gain_nats=progress.reward,
                log_std=progress.log_std,
            )
        )
        on_point(curve[-1])

    network = train_ppo(target, config.ppo, scenario=config.scenario, on_progress=listen)
    _write_curve(folder, curve)
    write_network(network, folder / NETWORK_FILE)
    return network


def _train(
    target: str,
    config: PolicyTrainConfig,
    folder: Path,
    on_point: Callable[[CurvePoint], None],
) -> Perceptron:
    from ray_jobs.policy_module import (
        GAIN,
        build_algorithm,
        log_std_of,
        network_of,
        save_checkpoint,
    )

    algorithm: Any = build_algorithm(target, config.ppo, scenario=config.scenario)
    try:
        curve = _restore(algorithm, folder)
        before_s = curve[-1].cpu_s if curve else 0.0
        started_s = time.process_time()
        while not curve or curve[-1].env_steps < config.ppo.env_steps:
            result = algorithm.train()
            point = CurvePoint(
                env_steps=int(result["num_env_steps_sampled_lifetime"]),
                cpu_s=round(before_s + time.process_time() - started_s, 3),
                gain_nats=float(result["env_runners"][GAIN]),
                log_std=log_std_of(algorithm),
            )
            curve.append(point)
            on_point(point)
            if len(curve) % config.checkpoint_updates == 0:
                save_checkpoint(algorithm, folder / CHECKPOINT)
                _write_curve(folder, curve)
        network = network_of(algorithm)
    finally:
        algorithm.stop()
    _write_curve(folder, curve)
    write_network(network, folder / NETWORK_FILE)
    return network


def _restore(algorithm: Any, folder: Path) -> list[CurvePoint]:
    """Bring the algorithm to the last checkpoint, if there is one, and return its curve."""
    for name in (CHECKPOINT, f"{CHECKPOINT}.old"):
        path = folder / name
        if not path.is_dir():
            continue
        algorithm.restore_from_path(str(path.resolve()))
        # The curve is written after its checkpoint: it never runs ahead of it.
        curve = read_curve(folder)
        log.info("going on from %d environment steps", curve[-1].env_steps if curve else 0)
        return curve
    return []


def read_curve(folder: Path) -> list[CurvePoint]:
    """Return the learning curve of a folder; empty where there is none."""
    try:
        return [CurvePoint(**row) for row in json.loads((folder / CURVE_FILE).read_text())]
    except (OSError, ValueError, TypeError):
        return []


def _write_curve(folder: Path, curve: list[CurvePoint]) -> None:
    draft = folder / f"{CURVE_FILE}.tmp-{os.getpid()}"
    draft.write_text(json.dumps([asdict(point) for point in curve]) + "\n")
    draft.replace(folder / CURVE_FILE)


def write_network(network: Perceptron, path: Path) -> None:
    """Write the weights of a network in one step."""
    arrays: dict[str, Any] = {}
    for number, (weight, bias) in enumerate(network.layers):
        arrays |= {f"weight{number}": weight, f"bias{number}": bias}
    draft = path.with_suffix(f".tmp-{os.getpid()}")
    save_file(arrays, draft)
    draft.replace(path)


def read_network(path: Path) -> Perceptron | None:
    """Return the network of a file, None where there is none."""
    if not path.is_file():
        return None
    arrays = load_file(path)
    count = len(arrays) // 2
    return Perceptron(
        layers=tuple((arrays[f"weight{i}"], arrays[f"bias{i}"]) for i in range(count))
    )
