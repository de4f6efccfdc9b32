"""What `configs/policy/<target>.yaml` may say, and the digest of the world it is trained in."""

import hashlib
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

import novacron
import rl_envs
from novacron.errors import UnknownNameError
from novacron.params.observations import OBSERVATIONS
from ray_jobs.config import load_config
from rl_envs.learn.config import PpoConfig
from rl_envs.learn.effects import EffectsConfig

_WORLD: Final = (
    "dynamics.py", "noise.py", "scenarios.py", "simulator.py", "physics", "tables", "targets",
)  # fmt: skip
"""Parts of `rl_envs` that decide what a policy learns from."""


class PolicyTrainConfig(BaseModel):
    """How one target's policy is trained and judged."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scenario: str = "all"
    """Class of the training paths, or `all`."""
    ppo: PpoConfig = PpoConfig()
    effects: EffectsConfig = EffectsConfig()
    checkpoint_updates: int = Field(20, ge=1)
    """Updates between two checkpoints."""
    judged_worlds: int = Field(512, ge=16)
    """Worlds of the test side that figures are over; as many calibrate on the validation side."""
    decisions: int = Field(6, ge=3)
    """Decisions played in each of them."""
    oracle_worlds: int = Field(192, ge=16)
    """Worlds of the test side that the oracle searches, three decisions each."""
    oracle_futures: int = Field(12, ge=1)


def policy_config(target: str, path: Path | None = None) -> PolicyTrainConfig:
    """Read the config of a target.

    Raises:
        UnknownNameError: No such target.
        ConfigError: The file is missing or wrong.
    """
    if target not in OBSERVATIONS:
        raise UnknownNameError(kind="target", got=target, known=tuple(OBSERVATIONS))
    return load_config(path or Path(f"configs/policy/{target}.yaml"), PolicyTrainConfig)


def world_sha256() -> str:
    """Return the digest of the simulated world and of the tables of knobs and channels."""
    root, digest = Path(rl_envs.__file__).parent, hashlib.sha256()
    files = [root / name for name in _WORLD] + [Path(novacron.__file__).parent / "params"]
    for entry in files:
        inside = sorted(entry.rglob("*")) if entry.is_dir() else [entry]
        for path in inside:
            if path.suffix in {".py", ".json"}:
                digest.update(path.read_bytes())
    return digest.hexdigest()
