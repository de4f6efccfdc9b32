"""Trains what the optimizer benchmark compares: five seeds of each target, RLlib beside the own loop.

Whatever takes long is kept in a folder and found there again.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from novacron.models.policy.network import Float32, Perceptron
from novacron.params.encode import ObservationSpec
from novacron.params.observations import observation_spec
from ray_jobs.policy_config import PolicyTrainConfig
from ray_jobs.policy_rllib import read_curve, read_network, train_network, write_network
from rl_envs.baselines.base import BaseController, in_force
from rl_envs.learn.config import PpoConfig
from rl_envs.learn.ppo import train_ppo


@dataclass(frozen=True, kw_only=True, slots=True)
class Learnt:
    """A trained network, what it cost, and from how many interactions."""

    network: Perceptron
    cpu_s: float
    env_steps: int


def own_loop(target: str, ppo: PpoConfig, cache: Path, world: str) -> Learnt:
    """Train by the loop of this project, or read what was trained before."""
    text = f"{target}{ppo.model_dump_json()}{world}"
    path = cache / f"own-{target}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.safetensors"
    clock = path.with_suffix(".seconds")
    known = read_network(path)
    if known is None:
        cache.mkdir(parents=True, exist_ok=True)
        started_s = time.process_time()
        known = train_ppo(target, ppo)
        clock.write_text(f"{time.process_time() - started_s:.3f}")
        write_network(known, path)
    return Learnt(network=known, cpu_s=float(clock.read_text()), env_steps=ppo.env_steps)


def by_rllib(target: str, config: PolicyTrainConfig, folder: Path) -> Learnt:
    """Train by RLlib, or read what was trained before."""
    network = train_network(target, config, folder, lambda _: None)
    last = read_curve(folder)[-1]
    return Learnt(network=network, cpu_s=last.cpu_s, env_steps=last.env_steps)


class SideBySide(BaseController):
    """Two policies of their own targets steering one joint target.

    Each sees the channels of its own observation; those that the joint target does not have are
    missing to it.
    """

    name = "separate_policies"

    def __init__(self, policies: dict[str, Callable[[Float32], Float32]]) -> None:
        self._policies = policies

    def act(self, observation_NO: Float32) -> Float32:
        """Return the knobs of both."""
        joint = observation_spec("joint")
        cube = in_force("joint", observation_NO).copy()
        for target, policy in self._policies.items():
            own = observation_spec(target)
            answer = np.clip(policy(part_of(joint, own, observation_NO)), -1.0, 1.0)
            for column, name in enumerate(own.group.names):
                cube[:, joint.group.names.index(name)] = answer[:, column]
        return cube


def part_of(whole: ObservationSpec, own: ObservationSpec, observation_NO: Float32) -> Float32:
    """Return the numbers of one observation that another one has, frame by frame."""
    places = [whole.names.index(name) if name in whole.names else -1 for name in own.names]
    missing = sum(channel.name not in whole.names for channel in own.channels)
    frames = []
    for frame in np.split(observation_NO, whole.frames, axis=1):
        mine = np.where(np.array(places) >= 0, frame[:, places], 0.0)
        mine[:, -1] = 2.0 * missing / len(own.channels) - 1.0
        frames.append(mine)
    return np.concatenate(frames, axis=1).astype(np.float32)


def call_us(call: Callable[[], Any], repeats: int) -> float:
    """Return the median CPU time of a call in microseconds, over batches of ten."""
    call()
    spent = []
    for _ in range(repeats):
        started_s = time.process_time()
        for _ in range(10):
            call()
        spent.append((time.process_time() - started_s) / 10.0)
    return float(np.median(spent)) * 1e6
