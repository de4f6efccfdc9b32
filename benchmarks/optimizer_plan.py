"""How much of the optimizer is measured, and where what was measured is kept."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.optimizer_peers import Learnt, own_loop
from ray_jobs.locations import runs_dir
from ray_jobs.policy_config import PolicyTrainConfig, policy_config, world_sha256
from ray_jobs.policy_training import TRAINERS

SEEDS: Final = {
    "hde_compression": (0,),
    "amst_transport": (0,),
    "pba_prediction": (0, 1, 2),
    "acp_consensus": (0, 1, 2),
}
"""Targets of the full run, and the seeds their policies are trained with."""
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
    targets=tuple(SEEDS), seeds=(0,), worlds=512, decisions=6, search_worlds=16,
    gp_probes=10, gp_worlds=6, gp_targets=("amst_transport",), parity_steps=0, own_steps=None,
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
        small = {"worlds": 32, "steps": 4, "epochs": 2}
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
        for seed in (SEEDS[target] if bench.sizes.own_steps is None else bench.sizes.seeds)
    )


def full_bench() -> Bench:
    """Return the full benchmark's places; targets that were measured before are read from there."""
    return Bench(
        sizes=FULL,
        cache=runs_dir() / "optimizer",
        oracles=runs_dir() / "policy" / "oracles",
        world=world_sha256(),
    )
