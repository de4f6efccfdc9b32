"""Labelled settings: what many settings would do in states that a policy meets.

The simulator plays several settings from one state without moving it. Legend: M states, A settings
a state, N worlds, D knobs, O numbers of an observation, E effects.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from novacron.models.policy.effects import EFFECTS
from novacron.params.encode import Float32, decode_unit, encode_values
from rl_envs.physics.quantities import FloatArray
from rl_envs.simulator import Interval
from rl_envs.vector_env import DwcpVectorEnv
from rl_envs.worlds import MAX_COST_INCREASE_RATIO, make_worlds

Act = Callable[[Float32], Float32]

TOWARD_SHIPPED: Final = (1.0, 0.75, 0.5, 0.25, 0.0)
"""Settings between the policy's own and the shipped one that are always labelled."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Labels:
    """Observations [M, O], settings [M, A, D] and effects [M, A, E]; NaN where there is none."""

    observation_MO: Float32
    cube_MAD: Float32
    effect_MAE: Float32

    def join(self, other: "Labels") -> "Labels":
        """Return both."""
        return Labels(
            observation_MO=np.concatenate([self.observation_MO, other.observation_MO]),
            cube_MAD=np.concatenate([self.cube_MAD, other.cube_MAD]),
            effect_MAE=np.concatenate([self.effect_MAE, other.effect_MAE]),
        )


def draw_labels(  # noqa: PLR0913 - one argument for each choice
    target: str,
    act: Act,
    *,
    worlds: int,
    steps: int,
    seed: int,
    split: str = "train",
    extra: int = 6,
    explore: float = 0.5,
    frames: int | None = None,
    horizon: int = 1,
    max_cost_increase_ratio: float | None = MAX_COST_INCREASE_RATIO,
) -> Labels:
    """Play worlds partly as a policy, partly astray, and label settings in every state.

    Args:
        target: The group of knobs.
        act: The policy.
        worlds: N, played side by side.
        steps: Decisions played.
        seed: Of worlds and settings.
        split: Side of the paths.
        extra: Settings a state drawn beside the policy's own and those toward the shipped one:
            half of them near the policy's, half anywhere.
        explore: Share of the decisions at which another setting than the policy's is played.
        frames: Latest frames that the policy reads.
        horizon: Intervals that a setting is kept for; see `label`.
        max_cost_increase_ratio: Limit that gains keep to.
    """
    env = make_worlds(
        target, worlds, seed=seed, split=split, frames=frames,
        max_cost_increase_ratio=max_cost_increase_ratio,
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    observation, _ = env.reset(seed=seed)
    seen, tried, effects = [], [], []
    for _ in range(steps):
        own = act(observation)
        cube_AND = _settings(env, own, extra, rng)
        seen.append(observation.copy())
        tried.append(cube_AND.transpose(1, 0, 2))
        effects.append(label(env, cube_AND, horizon=horizon).transpose(1, 0, 2))
        astray = cube_AND[rng.integers(len(cube_AND), size=worlds), np.arange(worlds)]
        stays = rng.random(worlds) >= explore
        observation, *_ = env.step(np.where(stays[:, None], own, astray))
    return Labels(
        observation_MO=np.concatenate(seen),
        cube_MAD=np.concatenate(tried),
        effect_MAE=np.concatenate(effects),
    )


def _settings(
    env: DwcpVectorEnv, own_ND: Float32, extra: int, rng: np.random.Generator
) -> Float32:
    group = env.target.group
    shipped = encode_values(group, env.hidden_state().default_values)
    is_choice = np.array([knob.kind == "enum" for knob in group])
    rows = [
        np.where(is_choice & (share > 0), own_ND, shipped + share * (own_ND - shipped))
        for share in TOWARD_SHIPPED
    ]
    shape = (extra - extra // 2, *own_ND.shape)
    near = own_ND + 0.25 * rng.standard_normal(shape)
    anywhere = rng.uniform(-1.0, 1.0, (extra // 2, *own_ND.shape))
    every = np.concatenate([np.stack(rows), near, anywhere])
    return np.asarray(np.clip(every, -1.0, 1.0), np.float32)


def label(env: DwcpVectorEnv, cube_AND: Float32, *, horizon: int = 1) -> Float32:
    """Return what settings would do if kept for `horizon` intervals, in each world [A, N, E].

    Means over the intervals; a setting may pay at once and cost later, or the other way round,
    where it moves the state of the path.
    """
    simulator, group = env.simulator, env.target.group
    first = simulator.advance(env.hidden_state())
    names = [channel.name for channel in env.target.observation.channels]
    place = names.index("cpu_busy_ratio") if "cpu_busy_ratio" in names else -1
    rows = []
    for cube_ND in cube_AND:
        values_ND = decode_unit(group, cube_ND)
        (advanced, world), kept = first, []
        for step in range(horizon):
            episode, interval = simulator.play(advanced, world, values_ND)
            kept.append(_effects(interval, place))
            if step + 1 < horizon:
                advanced, world = simulator.advance(episode)
        rows.append(np.mean(kept, axis=0))
    return np.stack(rows).astype(np.float32)


def _effects(interval: Interval, cpu_place: int) -> FloatArray:
    """Return the effects of one interval [N, E]."""
    mine, theirs = interval.metrics, interval.default_metrics
    no_host = cpu_place < 0
    row = {
        "gain_lo_nats": interval.reward,
        "gain_nats": interval.reward,
        "gain_hi_nats": interval.reward,
        "throughput_log_ratio": _log_ratio(mine, theirs, "throughput_mbps"),
        "latency_log_ratio": _log_ratio(mine, theirs, "latency_ms"),
        "cost_log_ratio": _log_ratio(mine, theirs, "cost_usd_per_gb"),
        "loss_difference": mine["loss_ratio"] - theirs["loss_ratio"],
        "cpu_busy_ratio": _nothing(interval.reward)
        if no_host
        else (interval.frame[:, cpu_place] + 1.0) / 2.0,
    }
    return np.stack([row[name] for name in EFFECTS], axis=-1)


def _log_ratio(
    mine: dict[str, FloatArray], theirs: dict[str, FloatArray], name: str
) -> FloatArray:
    if name not in mine:
        return _nothing(next(iter(mine.values())))
    return np.asarray(np.clip(np.log(mine[name]) - np.log(theirs[name]), -3.0, 3.0))


def _nothing(like: FloatArray) -> FloatArray:
    return np.full(like.shape, np.nan)
