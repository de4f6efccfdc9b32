"""How a path changes while it is used: wandering, regime switches, drift, or a replayed trace.

Shape legend: N batch.
"""

from dataclasses import dataclass, replace

import numpy as np

from rl_envs.noise import Noise, Purpose
from rl_envs.physics.quantities import BoolArray, FloatArray, IntArray
from rl_envs.physics.tcp_link import Link
from rl_envs.scenarios import Path
from rl_envs.traces import TraceBank


@dataclass(frozen=True, kw_only=True, slots=True)
class PathState:
    """What moves, arrays [N]: log capacity around its level, and the regime in force.

    `trace_start_N2` is the replayed trace and its first sample; unused without traces.
    """

    wander: FloatArray
    level: FloatArray
    loss_level: FloatArray
    cross_share: FloatArray
    busy_level: FloatArray
    elapsed_s: FloatArray
    trace_start_N2: IntArray


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """One interval of the hidden world: the path, its state, the link it amounts to, the noise.

    `link` and `cpu_busy_ratio` hold for the whole interval of `interval_s` seconds.
    """

    path: Path
    state: PathState
    link: Link
    cpu_busy_ratio: FloatArray
    noise: Noise
    interval_s: float


def begin_state(
    path: Path, noise: Noise, traces: TraceBank | None, history_s: float, episode_s: float
) -> PathState:
    """Return the state in which an episode starts, drawn from the stationary law.

    A replayed trace is entered so that `history_s` before and `episode_s` after lie inside it.
    """
    zero = np.zeros_like(path.rtt_ms)
    start = np.zeros((zero.size, 2), dtype=np.int64)
    if traces is not None:
        start = traces.start_of(
            noise.uniform(Purpose.TRACE, 0),
            noise.uniform(Purpose.TRACE, 1),
            history_s + episode_s,
        )
    everywhere = np.ones(zero.shape, dtype=bool)
    calm = PathState(
        wander=path.wander_ratio * noise.normal(Purpose.LINK, 0),
        level=zero,
        loss_level=zero,
        cross_share=zero,
        busy_level=zero,
        elapsed_s=zero + history_s,
        trace_start_N2=start,
    )
    return _switched(calm, noise, everywhere)


def next_state(state: PathState, path: Path, noise: Noise, interval_s: float) -> PathState:
    """Advance one interval: an Ornstein-Uhlenbeck step, and perhaps a new regime.

    Source of the exact step: Gillespie 1996.
    """
    keep = np.exp(-interval_s / path.wander_s)
    wander = keep * state.wander + path.wander_ratio * np.sqrt(1.0 - keep * keep) * noise.normal(
        Purpose.LINK, 0
    )
    hazard = -np.expm1(-path.switches_per_h * interval_s / 3600.0)
    moved = replace(state, wander=wander, elapsed_s=state.elapsed_s + interval_s)
    return _switched(moved, noise, noise.uniform(Purpose.LINK, 1) < hazard)


def _switched(state: PathState, noise: Noise, switch: BoolArray) -> PathState:
    """Draw a new regime where `switch` says so: capacity, loss, cross traffic, host load."""

    def new(old: FloatArray, drawn: FloatArray) -> FloatArray:
        return np.where(switch, drawn, old)

    return replace(
        state,
        level=new(state.level, 0.35 * noise.normal(Purpose.LINK, 2)),
        loss_level=new(state.loss_level, 0.8 * noise.normal(Purpose.LINK, 3)),
        cross_share=new(state.cross_share, noise.uniform(Purpose.LINK, 4)),
        busy_level=new(state.busy_level, noise.between(-0.25, 0.25, Purpose.LINK, 5)),
    )


def world_of(
    path: Path, state: PathState, noise: Noise, traces: TraceBank | None, interval_s: float
) -> World:
    """Return the link and host that a state amounts to for one interval."""
    trend = path.drift_per_h * state.elapsed_s / 3600.0
    capacity = path.capacity_mbps * np.exp(state.wander + state.level + trend)
    rtt, loss = path.rtt_ms, path.loss_ratio * np.exp(state.loss_level)
    if traces is not None:
        capacity, seen_rtt, seen_loss = traces.mean_between(
            state.trace_start_N2, state.elapsed_s, interval_s
        )
        rtt = np.where(np.isnan(seen_rtt), rtt, np.maximum(seen_rtt, 0.05))
        loss = np.where(np.isnan(seen_loss), loss, seen_loss)
    link = Link(
        capacity_mbps=capacity,
        rtt_ms=rtt,
        loss_ratio=np.clip(loss, 1e-8, 0.15),
        burst_pkts=path.burst_pkts,
        buffer_bdp=path.buffer_bdp,
        cross_flows=np.rint(path.cross_flows * state.cross_share),
        window_bytes=path.window_bytes,
    )
    busy = np.clip(path.cpu_busy_ratio + state.busy_level, 0.0, 0.97)
    return World(
        path=path, state=state, link=link, cpu_busy_ratio=busy, noise=noise, interval_s=interval_s
    )
