"""How much of the optimizer is measured, and where what was measured is kept."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import rl_envs
from benchmarks.optimizer_peers import Learnt, own_loop
from ray_jobs.locations import runs_dir
from ray_jobs.policy_config import PolicyTrainConfig, policy_config, world_sha256
from ray_jobs.policy_training import TRAINERS

TARGETS: Final = (
    "hde_compression", "amst_transport", "pba_prediction", "acp_consensus", "itp_partition", "joint",
)  # fmt: skip
SEEDS: Final = (0, 1, 2, 3, 4)
"""Seeds that the own loop's policies are trained with in the full run."""
_JUDGING: Final = (
    "novacron/models/policy", "rl_envs/learn", "rl_envs/baselines", "rl_envs/guarded.py",
    "rl_envs/evaluate.py", "rl_envs/judge.py",
)  # fmt: skip
OWN: Final = TRAINERS["loop"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """How much is measured."""

    targets: tuple[str, ...]
    seeds: tuple[int, ...]
    worlds: int
    decisions: int
    search_worlds: int
    gp_probes: int
    gp_worlds: int
    gp_targets: tuple[str, ...]
    parity_steps: int
    own_steps: int | None
    """Interactions of the own loop's policies; None: those of the target's config."""
    with_rllib: bool
    calls: int


FULL: Final = Sizes(
    targets=TARGETS, seeds=SEEDS, worlds=512, decisions=6, search_worlds=16,
    gp_probes=10, gp_worlds=6, gp_targets=("amst_transport",), parity_steps=100_000, own_steps=None,
    with_rllib=True, calls=200,
)  # fmt: skip


QUICK: Final = Sizes(
    targets=("acp_consensus",), seeds=(0, 1), worlds=48, decisions=3, search_worlds=3,
    gp_probes=0, gp_worlds=0, gp_targets=(), parity_steps=0, own_steps=8192, with_rllib=False, calls=3,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """Where things are kept, and which world is measured."""

    sizes: Sizes
    cache: Path
    oracles: Path
    """Shared with the training job: an oracle plays the same worlds once."""
    world: str

    def config(self, target: str) -> PolicyTrainConfig:
        """Return the target's training config; the quick form is smaller in all."""
        config = policy_config(target)
        if self.sizes.own_steps is None:
            return config
        small = {"worlds": 32, "steps": 4, "epochs": 2, "margin_worlds": 32}
        ppo = {"env_steps": self.sizes.own_steps, "hidden": (32, 32)}
        return config.model_copy(
            update={
                "ppo": config.ppo.model_copy(update=ppo),
                "effects": config.effects.model_copy(update=small),
                "oracle_worlds": 16,
                "oracle_futures": 1,
            }
        )


def policies_of(bench: Bench, target: str) -> tuple[Learnt, ...]:
    """Return the loop's policies of a target, one for each seed."""
    ppo = bench.config(target).ppo
    return tuple(
        own_loop(target, ppo.model_copy(update={"seed": seed}), bench.cache, bench.world)
        for seed in bench.sizes.seeds
    )


def judging_sha256() -> str:
    """Return the digest of the code that assembles, guards and judges policies."""
    root, digest = Path(rl_envs.__file__).parent.parent, hashlib.sha256()
    for name in _JUDGING:
        entry = root / name
        for path in sorted(entry.rglob("*.py")) if entry.is_dir() else [entry]:
            digest.update(path.read_bytes())
    return digest.hexdigest()


def full_bench() -> Bench:
    """Return the full benchmark's places; targets that were measured before are read from there."""
    return Bench(
        sizes=FULL,
        cache=runs_dir() / "optimizer",
        oracles=runs_dir() / "policy" / "oracles",
        world=world_sha256(),
    )
