"""Judges a policy on held-out worlds: gain, share of the oracle's, harm, and every metric by itself.

Legend: S seeds, K decisions, N worlds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from rl_envs.baselines.oracle import Oracle
from rl_envs.evaluate import (
    Harm,
    Interval,
    Played,
    Worlds,
    as_improvement,
    component_changes,
    harm,
    mean_interval,
    play,
    ratio_interval,
)
from rl_envs.physics.quantities import BoolArray, FloatArray, IntArray

ORACLE_DECISIONS: Final = 3
"""Decisions the oracle plays: shares of its gain are told for the first and the third."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OracleRun:
    """What an oracle gained in the first worlds of an evaluation, [K, N]."""

    worlds: Worlds
    reward_KN: FloatArray
    path_N: IntArray


def oracle_run(worlds: Worlds, *, futures: int, cache: Path | None, digest: str) -> OracleRun:
    """Play an oracle, or read what it did in the same worlds of the same simulator before."""
    mine = replace(worlds, decisions=ORACLE_DECISIONS)
    name = (
        f"oracle-{mine.target}-{mine.split}-{mine.worlds}-{mine.seed}-{futures}-{digest[:12]}.npz"
    )
    path = None if cache is None else cache / name
    if path is not None and path.is_file():
        with np.load(path, allow_pickle=False) as found:
            return OracleRun(worlds=mine, reward_KN=found["reward"], path_N=found["path"])
    played = play(Oracle(futures), mine)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".tmp.npz")
        np.savez(draft, reward=played.reward_KN, path=played.path_N)
        draft.replace(path)
    return OracleRun(worlds=mine, reward_KN=played.reward_KN, path_N=played.path_N)


def oracle_share(
    played: Sequence[Played], oracle: OracleRun, decision: int, rows: Sequence[int] | None = None
) -> Interval:
    """Return the gain at a decision (from 1) over the oracle's at the same, in the same worlds.

    `played` has one entry for each training seed; worlds beyond the oracle's are left out.
    """
    count = oracle.worlds.worlds
    chosen = np.arange(count) if rows is None else np.asarray(rows)
    mine = np.stack([each.reward_KN[decision - 1, chosen] for each in played])
    return ratio_interval(mine, oracle.reward_KN[decision - 1, chosen], oracle.path_N[chosen])


def improvement_over(
    played: Sequence[Played], other: Played | None = None, rows: BoolArray | None = None
) -> Interval:
    """Return the improvement over the shipped default, or over another controller, worlds paired."""
    gain = np.stack([each.reward_KN.mean(axis=0) for each in played])
    if other is not None:
        gain = gain - other.reward_KN.mean(axis=0)
    path = played[0].path_N
    if rows is not None:
        gain, path = gain[:, rows], path[rows]
    return as_improvement(mean_interval(gain, path))


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """All that is told of one controller on one target."""

    improvement: Interval
    over: Mapping[str, Interval]
    """Improvement over each other controller."""
    per_class: Mapping[str, Interval]
    """Improvement over the shipped default in each class of paths."""
    oracle_share_1: Interval
    oracle_share_3: Interval
    harm: Harm
    changes: Mapping[str, Interval]
    """Change of each metric against the shipped default."""


def judge(played: Sequence[Played], oracle: OracleRun, others: Mapping[str, Played]) -> Judgement:
    """Judge one controller, given once for each training seed."""
    first = played[0]
    return Judgement(
        improvement=improvement_over(played),
        over={name: improvement_over(played, other) for name, other in others.items()},
        per_class={
            name: improvement_over(played, rows=first.of_class(name)) for name in first.classes()
        },
        oracle_share_1=oracle_share(played, oracle, 1),
        oracle_share_3=oracle_share(played, oracle, ORACLE_DECISIONS),
        harm=harm(np.stack([each.reward_KN for each in played]), first.path_N),
        changes=component_changes(played),
    )
