"""The learned part of one target: its policy, what it expects, and what it is familiar with.

Legend: N rows, O numbers of an observation, D knobs.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from novacron.models.policy.config import GuardConfig
from novacron.models.policy.effects import (
    EFFECTS,
    Familiar,
    setting_features,
    setting_size,
)
from novacron.models.policy.network import Float32, OnnxNetwork
from novacron.params.encode import Float64, decode_unit, encode_values, frames_hidden
from novacron.params.observations import observation_spec

POLICY_FILE: Final = "policy.onnx"
EFFECTS_FILE: Final = "effects.onnx"
FAMILIAR_FILE: Final = "familiar.safetensors"


class Measured(BaseModel):
    """One figure of a part on held-out worlds, with its 95 % interval over paths."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    lo: float
    hi: float
    n: int


class PartCard(BaseModel):
    """What a part says about itself in the bundle's manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: str
    fingerprint: str
    """Of the parameter table and the observation it was trained on; see `policy_fingerprint`."""
    version: str
    """Names the training run."""
    trainer: str
    frames: int = Field(ge=1, le=4)
    seed: int
    env_steps: int
    guard: GuardConfig = GuardConfig()
    """Margins chosen for this part on validation worlds."""
    gain_widening_nats: float
    """Added to both ends of the expected gain's interval; set on validation worlds."""
    evidence: str
    """Where its figures come from: `simulated`."""
    figures: dict[str, Measured]
    weights: dict[str, float]
    """Of the objective's log costs."""


def policy_fingerprint(target: str) -> str:
    """Return a digest of all that a policy's inputs and outputs mean.

    Raises:
        UnknownNameError: No such target.
    """
    spec = observation_spec(target)
    channels = [
        {key: value for key, value in asdict(channel).items() if key != "source"}
        for channel in spec.channels
    ]
    text = json.dumps([spec.group.fingerprint(), channels, spec.frames], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """Expected effects of one setting per row, arrays [N]; see `EFFECTS`."""

    gain_lo_nats: Float64
    gain_nats: Float64
    gain_hi_nats: Float64
    throughput_log_ratio: Float64
    latency_log_ratio: Float64
    cost_log_ratio: Float64
    loss_difference: Float64
    cpu_busy_ratio: Float64


class TargetPart:
    """A trained policy for one target, ready to answer.

    Args:
        card: What it says about itself.
        policy: Observation to the cube.
        effects: Observation and setting to `EFFECTS`.
        familiar: Telemetry of its training.
        directory: Where its files are; saving copies them.
    """

    def __init__(
        self,
        card: PartCard,
        policy: OnnxNetwork,
        effects: OnnxNetwork,
        familiar: Familiar,
        directory: Path,
    ) -> None:
        self.card = card
        self.spec = observation_spec(card.target)
        self.familiar = familiar
        self.files = {
            name: (directory / name).read_bytes()
            for name in (POLICY_FILE, EFFECTS_FILE, FAMILIAR_FILE)
        }
        self._policy = policy
        self._effects = effects
        self._hidden = frames_hidden(self.spec, card.frames)

    def _shown(self, observation_NO: Float32) -> Float32:
        if not self._hidden:
            return observation_NO
        shown = observation_NO.copy()
        shown[:, : self._hidden] = 0.0
        return shown

    def propose(self, observation_NO: Float32) -> Float32:
        """Return the policy's settings, cube_ND."""
        answer = self._policy(self._shown(observation_NO))
        return np.clip(answer, -1.0, 1.0)

    def expect(self, observation_NO: Float32, cube_ND: Float32) -> Expected:
        """Return what settings are expected to do; quantities a target does not have are NaN."""
        features = setting_features(self.spec.group, np.asarray(cube_ND, dtype=np.float32))
        rows = np.concatenate([self._shown(observation_NO), features], axis=1)
        answer = self._effects(rows).astype(np.float64)
        columns = dict(zip(EFFECTS, answer.T, strict=True))
        gain = np.sort(answer[:, :3], axis=1)
        wider = self.card.gain_widening_nats
        has_host = any(channel.name == "cpu_busy_ratio" for channel in self.spec.channels)
        nothing = np.full(len(rows), np.nan)
        return Expected(
            gain_lo_nats=gain[:, 0] - wider,
            gain_nats=gain[:, 1],
            gain_hi_nats=gain[:, 2] + wider,
            throughput_log_ratio=columns["throughput_log_ratio"],
            latency_log_ratio=columns["latency_log_ratio"],
            cost_log_ratio=columns["cost_log_ratio"],
            loss_difference=columns["loss_difference"],
            cpu_busy_ratio=columns["cpu_busy_ratio"] if has_host else nothing,
        )

    def is_unfamiliar(self, observation_NO: Float32) -> NDArray[np.bool_]:
        """Say whether any frame that the policy reads is unlike those of training."""
        size = self.spec.frame_size
        frames = observation_NO[:, self._hidden :].reshape(-1, size)
        unlike = self.familiar.is_unfamiliar(frames).reshape(len(observation_NO), -1)
        return np.asarray(unlike.any(axis=1))

    def toward(self, shipped_ND: Float64, cube_ND: Float32, share: float) -> Float64:
        """Return settings `share` of the way from the shipped numbers to the proposed point.

        Choices stay the proposed ones.
        """
        start = encode_values(self.spec.group, shipped_ND)
        point = start + share * (cube_ND - start)
        for column, knob in enumerate(self.spec.group):
            if knob.kind == "enum":
                point[:, column] = cube_ND[:, column]
        return decode_unit(self.spec.group, np.clip(point, -1.0, 1.0))


def networks_of(directory: Path, target: str) -> tuple[OnnxNetwork, OnnxNetwork]:
    """Open the two networks of a part.

    Raises:
        ArtifactError: One is unreadable or of another shape.
    """
    spec = observation_spec(target)
    policy = OnnxNetwork(directory / POLICY_FILE, inputs=spec.size, outputs=len(spec.group))
    effects = OnnxNetwork(
        directory / EFFECTS_FILE,
        inputs=spec.size + setting_size(spec.group),
        outputs=len(EFFECTS),
    )
    return policy, effects
