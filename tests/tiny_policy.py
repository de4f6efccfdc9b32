"""Policies made by hand: what they propose and expect is written down, nothing is learnt."""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from novacron.models.policy.bundle import load_part
from novacron.models.policy.effects import EFFECTS, Familiar, setting_size
from novacron.models.policy.model import OptimizerModel
from novacron.models.policy.network import Perceptron, write_onnx
from novacron.models.policy.part import (
    EFFECTS_FILE,
    FAMILIAR_FILE,
    POLICY_FILE,
    PartCard,
    TargetPart,
    policy_fingerprint,
)
from novacron.params.observations import observation_spec

EXPECTED = {
    "gain_lo_nats": 0.1,
    "gain_nats": 0.3,
    "gain_hi_nats": 0.5,
    "throughput_log_ratio": 0.2,
    "latency_log_ratio": -0.2,
    "cost_log_ratio": -0.1,
    "loss_difference": 0.0,
    "cpu_busy_ratio": 0.5,
}


def constant(inputs: int, outputs: list[float]) -> Perceptron:
    """A network that answers the same to everything."""
    weight = np.zeros((len(outputs), inputs), dtype=np.float32)
    return Perceptron(layers=((weight, np.array(outputs, dtype=np.float32)),))


def tiny_part(
    directory: Path,
    target: str = "hde_compression",
    *,
    proposal: float | list[float] = 0.5,
    widest: float = 2.0,
    **expected: float,
) -> TargetPart:
    """A part that proposes one point of the cube and expects `EXPECTED`, changed as told.

    `widest` bounds the numbers of a frame that count as familiar.
    """
    spec = observation_spec(target)
    point = [proposal] * len(spec.group) if isinstance(proposal, float) else proposal
    effects = EXPECTED | expected
    directory.mkdir(parents=True, exist_ok=True)
    write_onnx(constant(spec.size, point), directory / POLICY_FILE)
    inputs = spec.size + setting_size(spec.group)
    write_onnx(constant(inputs, [effects[name] for name in EFFECTS]), directory / EFFECTS_FILE)
    familiar = Familiar(
        low_F=np.full(spec.frame_size, -widest, dtype=np.float32),
        high_F=np.full(spec.frame_size, widest, dtype=np.float32),
        mean_F=np.zeros(spec.frame_size, dtype=np.float32),
        whitener_FF=np.eye(spec.frame_size, dtype=np.float32),
        limit=1e6,
    )
    save_file(familiar.arrays(), directory / FAMILIAR_FILE)
    card = PartCard(
        target=target,
        fingerprint=policy_fingerprint(target),
        version="by-hand-1",
        trainer="by hand",
        frames=4,
        seed=0,
        env_steps=0,
        gain_widening_nats=0.0,
        evidence="simulated",
        figures={},
        weights={"time": 1.0, "money": 0.4, "guests": 4.0},
    )
    return load_part(directory, card)


def tiny_model(directory: Path, *targets: str, **changes: float) -> OptimizerModel:
    """An optimizer with a hand-made part for each target."""
    names = targets or ("hde_compression",)
    return OptimizerModel({name: tiny_part(directory / name, name, **changes) for name in names})


def telemetry_of(target: str) -> dict[str, float]:
    """An interval in the middle of every channel's range."""
    middle = {}
    for channel in observation_spec(target).channels:
        if channel.scale == "log":
            middle[channel.name] = float(np.sqrt(channel.low * channel.high))
        else:
            middle[channel.name] = (channel.low + channel.high) / 2.0
    return middle
