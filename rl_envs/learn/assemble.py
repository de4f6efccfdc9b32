"""Puts a trained network together with what serving needs beside it: effects, familiarity, margins.

Legend: M states, O numbers of an observation, D knobs.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from safetensors.numpy import save_file

from novacron.models.policy.bundle import load_part
from novacron.models.policy.effects import fit_familiar, setting_features
from novacron.models.policy.network import Float32, Perceptron, write_onnx
from novacron.models.policy.part import (
    EFFECTS_FILE,
    FAMILIAR_FILE,
    POLICY_FILE,
    PartCard,
    TargetPart,
    policy_fingerprint,
)
from novacron.params.groups import parameter_group
from novacron.params.observations import observation_spec
from rl_envs.learn.effects import EffectsConfig, fit_effects
from rl_envs.learn.labels import Labels, draw_labels
from rl_envs.learn.margins import choose_margins
from rl_envs.targets.catalogue import target_of

FAMILIAR_MARGIN: Final = 0.005
"""How far telemetry may leave the ranges of training, in the [-1, 1] of frames."""
FAMILIAR_SHARE: Final = 0.998
"""Share of the validation side's telemetry that counts as familiar."""
COVERAGE: Final = 0.9
"""Nominal coverage of the interval of an expected gain."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where a network comes from."""

    version: str
    trainer: str
    seed: int
    env_steps: int
    frames: int


def assemble_part(
    target: str,
    network: Perceptron,
    config: EffectsConfig,
    origin: Origin,
    directory: Path,
) -> tuple[TargetPart, Perceptron]:
    """Fit what a policy's settings do, calibrate on the validation side, write and open the files.

    Returns:
        The part, and the effects' network, which is the Q-regression peer.
    """

    def act(observation: Float32) -> Float32:
        return np.clip(network(observation), -1.0, 1.0)

    def draw(split: str, worlds: int, seed: int) -> Labels:
        return draw_labels(
            target, act, worlds=worlds, steps=config.steps, seed=seed, split=split,
            extra=config.extra_settings, frames=origin.frames, horizon=config.horizon,
        )  # fmt: skip

    labels = draw("train", config.worlds, 1000 + origin.seed)
    held_out = draw("validation", max(config.worlds // 2, 8), 2000 + origin.seed)
    effects = fit_effects(target, labels, config, seed=origin.seed)
    spec = observation_spec(target)
    familiar = fit_familiar(
        labels.observation_MO[:, -spec.frame_size :],
        held_out.observation_MO[:, -spec.frame_size :],
        margin=FAMILIAR_MARGIN,
        share=FAMILIAR_SHARE,
    )
    directory.mkdir(parents=True, exist_ok=True)
    write_onnx(network, directory / POLICY_FILE)
    write_onnx(effects, directory / EFFECTS_FILE)
    save_file(familiar.arrays(), directory / FAMILIAR_FILE)
    card = PartCard(
        target=target,
        fingerprint=policy_fingerprint(target),
        version=origin.version,
        trainer=origin.trainer,
        frames=origin.frames,
        seed=origin.seed,
        env_steps=origin.env_steps,
        gain_widening_nats=widening(target, effects, held_out),
        evidence="simulated",
        figures={},
        weights=dict(target_of(target).weights),
    )
    part = load_part(directory, card)
    part.card = card.model_copy(update={"guard": choose_margins(part, config.margin_worlds)})
    return part, effects


def widening(target: str, effects: Perceptron, held_out: Labels) -> float:
    """Return what both ends of the gain's interval need added to cover the policy's own settings.

    Conformalised quantile regression (Romano et al. 2019) on the first setting of each state.
    """
    own_MD = held_out.cube_MAD[:, 0]
    features = setting_features(parameter_group(target), own_MD)
    answer = np.sort(effects(np.concatenate([held_out.observation_MO, features], axis=1))[:, :3])
    gain = held_out.effect_MAE[:, 0, 1]
    short = np.maximum(answer[:, 0] - gain, gain - answer[:, 2])
    rank = min(1.0, np.ceil((len(short) + 1) * COVERAGE) / len(short))
    return float(np.quantile(short, rank, method="higher"))
