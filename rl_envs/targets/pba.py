"""Bandwidth allocation: window, confidence and update interval of a forecast.

Shape legend: N batch, T seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from novacron.params.groups import PBA_PREDICTION
from novacron.params.observations import observation_spec
from rl_envs.dynamics import World
from rl_envs.noise import Purpose
from rl_envs.physics.allocation import (
    OVERSHOOT_WEIGHT,
    allocation_mbps,
    change_cost_mbps,
    misallocation_mbps,
    window_moments,
)
from rl_envs.physics.quantities import FloatArray
from rl_envs.targets.base import Knobs, Outcome
from rl_envs.traces import MIN_MBPS, TraceBank

HISTORY_S: Final = 300
INTERVAL_S: Final = 20
LATEST_S: Final = 60
SPANS_S: Final = (10, 60, 300)
SERIES_CHANNELS: Final = (
    "bandwidth_last_mbps",
    *(f"bandwidth_mean_{span}s_mbps" for span in SPANS_S),
    *(f"variation_{span}s_ratio" for span in SPANS_S),
    "lag_correlation",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class PbaContext:
    """Hidden law of the path's rate, second by second, and what was measured of it so far.

    log rate = level + slow + fast, slow autoregressive and fast white. The level moves at a random
    second of the interval. `latest_NT` is the last LATEST_S seconds, the interval's at its end.
    """

    slow_sd: FloatArray
    slow_s: FloatArray
    fast_sd: FloatArray
    slow: FloatArray
    level: FloatArray
    latest_NT: FloatArray
    sums_NT: FloatArray
    squares_NT: FloatArray
    """Running sums of the last HISTORY_S + INTERVAL_S seconds and of their squares.

    One entry more than seconds; only differences of two entries mean anything.
    """
    seen_NK: FloatArray
    """What telemetry shows of the series, in the order of SERIES_CHANNELS."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PbaCarry:
    """The allocation in force and the time it was set, s from the interval's start, arrays [N]."""

    allocated_mbps: FloatArray
    age_s: FloatArray


class PbaTarget:
    """See the data sheet of `rl_envs.environments.PbaPredictionEnv`."""

    group = PBA_PREDICTION
    observation = observation_spec("pba_prediction")
    interval_s = float(INTERVAL_S)
    episode_steps = 30
    history_s = float(HISTORY_S)
    weights: Mapping[str, float] = {"misallocation": 1.0}

    def sample(self, world: World, traces: TraceBank | None) -> PbaContext:
        """Draw the law of the rate and five minutes of history."""
        noise, zero = world.noise, np.zeros_like(world.link.rtt_ms)
        context = PbaContext(
            slow_sd=world.path.wander_ratio * noise.log_between(0.7, 3.0, Purpose.CONTEXT, 0),
            slow_s=noise.log_between(3.0, 300.0, Purpose.CONTEXT, 1),
            fast_sd=noise.log_between(0.01, 0.4, Purpose.CONTEXT, 2),
            slow=zero,
            level=np.log(world.link.capacity_mbps),
            latest_NT=np.zeros((zero.size, 0)),
            sums_NT=np.zeros((zero.size, 1)),
            squares_NT=np.zeros((zero.size, 1)),
            seen_NK=np.zeros((zero.size, 1)),
        )
        context = replace(context, slow=context.slow_sd * noise.normal(Purpose.CONTEXT, 3))
        slow, series = _rate_series(context, world, HISTORY_S + INTERVAL_S)
        if traces is not None:
            series = _replayed(world, traces, -HISTORY_S, INTERVAL_S)
        return _measured(replace(context, slow=slow), series)

    def advance(self, context: PbaContext, world: World, traces: TraceBank | None) -> PbaContext:
        """Measure one more interval of the rate."""
        if traces is not None:
            recent = _replayed(world, traces, 0, INTERVAL_S)
            slow = context.slow
        else:
            slow, recent = _rate_series(context, world, INTERVAL_S)
        level = np.log(world.link.capacity_mbps)
        return _measured(replace(context, slow=slow, level=level), recent)

    def begin(self, context: PbaContext, world: World) -> PbaCarry:
        """Return a lane whose first allocation is due at once."""
        del world
        due = np.full(context.slow.shape, np.inf)
        return PbaCarry(allocated_mbps=context.latest_NT[:, -INTERVAL_S - 1].copy(), age_s=due)

    def play(
        self, context: PbaContext, world: World, knobs: Knobs, carry: PbaCarry
    ) -> Outcome[PbaCarry]:
        """Allocate from the window at every update and hold it; judge it second by second."""
        interval = knobs["update_interval_s"]
        allocated_NT, age_NT, change = _allocations(context, knobs, carry)
        recent_NT = context.latest_NT[:, -INTERVAL_S:]
        unused_NT, overshoot_NT = misallocation_mbps(allocated_NT, recent_NT)
        unused, overshoot = _time_mean(unused_NT), _time_mean(overshoot_NT)
        available = _time_mean(recent_NT)
        flap = change_cost_mbps(change, world.link.rtt_ms, interval)
        wrong = unused + OVERSHOOT_WEIGHT * overshoot + flap + 1e-3 * available
        unused_ratio, overshoot_ratio = unused / available, overshoot / available
        return Outcome(
            telemetry={
                name: np.ascontiguousarray(context.seen_NK[:, column])
                for column, name in enumerate(SERIES_CHANNELS)
            }
            | {
                "unused_ratio": unused_ratio,
                "overshoot_ratio": overshoot_ratio,
                "rtt_ms": world.link.rtt_ms,
            },
            log_costs={"misallocation": np.log(wrong / available)},
            metrics={
                "throughput_mbps": available - unused,
                "latency_ms": world.link.rtt_ms,
                "loss_ratio": overshoot_ratio,
                # What is promised beyond the path is dropped there and sent again.
                "cost_usd_per_gb": world.path.egress_usd_per_gb
                * (1.0 + overshoot / np.maximum(available - unused, 1e-9)),
                "misallocation_ratio": wrong / available,
                "unused_ratio": unused_ratio,
            },
            carry=PbaCarry(allocated_mbps=allocated_NT[:, -1].copy(), age_s=age_NT[:, -1] + 1.0),
        )


def _rate_series(context: PbaContext, world: World, count: int) -> tuple[FloatArray, FloatArray]:
    """Return the slow state after, and the rate of, `count` more seconds."""
    noise_TN = np.ascontiguousarray(world.noise.normal_block(2 * count, Purpose.SERIES).T)
    keep = np.exp(-1.0 / context.slow_s)
    kick_TN = context.slow_sd * np.sqrt(1.0 - keep * keep) * noise_TN[:count]
    slow, slow_TN = context.slow, np.empty_like(kick_TN)
    for second in range(count):
        slow = keep * slow + kick_TN[second]
        slow_TN[second] = slow
    place = world.noise.uniform(Purpose.EVENT, 0) * count
    switched_TN = np.arange(count)[:, None] >= place
    level_TN = np.where(switched_TN, np.log(world.link.capacity_mbps), context.level)
    log_rate_TN = level_TN + slow_TN + context.fast_sd * noise_TN[count:]
    rate_NT = np.ascontiguousarray(np.exp(log_rate_TN).T)
    return slow, np.maximum(rate_NT, MIN_MBPS)


def _replayed(world: World, traces: TraceBank, first_s: int, last_s: int) -> FloatArray:
    """The replayed seconds from `first_s` to `last_s` of this interval, one column each."""
    seconds = [
        traces.mean_between(world.state.trace_start_N2, world.state.elapsed_s + second, 1.0)[0]
        for second in range(first_s, last_s)
    ]
    return np.stack(seconds, axis=1)


def _allocations(
    context: PbaContext, knobs: Knobs, carry: PbaCarry
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the allocation and its age at each second [N, T], and the mean size of a change."""
    interval = knobs["update_interval_s"][:, None]
    second = np.arange(INTERVAL_S)[None, :]
    # Seconds until the first update: the age carried over counts towards it.
    first = np.maximum(interval - carry.age_s[:, None], 0.0)
    since = np.floor_divide(second - first, interval)
    updated = first + since * interval
    held = second < first
    end = HISTORY_S + np.where(held, 0.0, updated).astype(np.int64)
    window = knobs["prediction_window_s"]
    mean, deviation = window_moments(context.sums_NT, context.squares_NT, end, window)
    wanted = allocation_mbps(mean, deviation, knobs["confidence_level"][:, None])
    allocated = np.where(held, carry.allocated_mbps[:, None], wanted)
    age = np.where(held, carry.age_s[:, None] + second, second - updated)
    steps = np.abs(np.diff(allocated, axis=1, prepend=carry.allocated_mbps[:, None]))
    updates = np.maximum(INTERVAL_S / knobs["update_interval_s"], 1.0)
    return allocated, age, _time_mean(steps) * INTERVAL_S / updates


def _time_mean(values_NT: FloatArray) -> FloatArray:
    mean: FloatArray = values_NT.mean(axis=1)
    return mean


def _running(old_NT: FloatArray, recent_NT: FloatArray) -> FloatArray:
    """Append running sums for more seconds, and forget as many from the front."""
    more = old_NT[:, -1:] + np.cumsum(recent_NT, axis=1)
    kept = HISTORY_S + INTERVAL_S + 1 - more.shape[1]
    # Joined at its final size: a view of something larger would be copied at every reading.
    return np.concatenate([old_NT[:, -kept:], more], axis=1)


def _measured(context: PbaContext, recent_NT: FloatArray) -> PbaContext:
    """Append seconds to what was measured, and work out what telemetry shows of it."""
    latest = np.concatenate([context.latest_NT, recent_NT], axis=1)[:, -LATEST_S:]
    sums = _running(context.sums_NT, recent_NT)
    squares = _running(context.squares_NT, recent_NT * recent_NT)
    end = np.full((latest.shape[0], 1), HISTORY_S + INTERVAL_S)
    means, variations = [], []
    for span in SPANS_S:
        mean, deviation = window_moments(sums, squares, end, np.full(end.size, float(span)))
        means.append(mean)
        variations.append(deviation / mean)
    centred = latest - latest.mean(axis=1, keepdims=True)
    spread = np.maximum(_time_mean(centred * centred), 1e-12)
    correlation = (_time_mean(centred[:, 1:] * centred[:, :-1]) / spread)[:, None]
    seen = np.concatenate([latest[:, -1:], *means, *variations, correlation], axis=1)
    return replace(context, latest_NT=latest, sums_NT=sums, squares_NT=squares, seen_NK=seen)
