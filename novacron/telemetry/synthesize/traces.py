"""Single paths for forecasting: what a sender measures, with structure to learn, and a control.

A generated path has memory (mean-reverting cross traffic), periodic cross traffic (players that
fetch chunks), capacity regimes and a queue whose round trip rises before the rate falls. A white
noise path has none of it: no forecaster can beat its mean, and an evaluator must say so.
"""

from datetime import timedelta
from typing import Final

import numpy as np

from novacron.errors import ConfigError
from novacron.telemetry.synthesize.config import MONDAY
from novacron.telemetry.synthesize.faults import LINK_FAULTS, schedule
from novacron.telemetry.synthesize.links import LinkProfile, LinkState, simulate_link
from novacron.telemetry.synthesize.processes import site_activity
from novacron.telemetry.synthesize.streams import Clock, Streams
from novacron.telemetry.traces import Trace

SYNTHETIC: Final = "synthetic"
WHITE_NOISE: Final = "white_noise"

_TRACE_FAULTS: Final = tuple(kind for kind in LINK_FAULTS if kind != "telemetry_gap")


def generate_traces(
    seed: int,
    *,
    n_links: int = 40,
    hours: float = 2.0,
    step_s: float = 5.0,
    faults_per_link_day: float = 4.0,
) -> tuple[Trace, ...]:
    """Generate paths of class `synthetic`, half of them greedy and half limited by their demand.

    Args:
        seed: The same seed gives the same bytes; more links or hours only add to them.
        n_links: Number of paths.
        hours: Length of each.
        step_s: Seconds between samples.
        faults_per_link_day: Mean number of injected faults; their samples are part of the trace.

    Returns:
        Traces with round trip, loss and jitter (NaN while the link is down), each starting in an
        hour of its own.

    Raises:
        ConfigError: A length is not positive, or `hours` is shorter than one step.
    """
    _require_positive(n_links=n_links, hours=hours, step_s=step_s)
    samples = int(hours * 3600 // step_s)
    _require_positive(samples=samples)
    streams = Streams(seed)
    return tuple(
        _trace(streams, number, samples, step_s, faults_per_link_day) for number in range(n_links)
    )


def white_noise_traces(
    seed: int,
    *,
    n_links: int = 40,
    samples: int = 1440,
    step_s: float = 5.0,
) -> tuple[Trace, ...]:
    """Generate the negative control: independent normal rates of class `white_noise`.

    Each path has its own mean (20 to 200 Mbit/s) and a coefficient of variation of 0.2, cut at 0;
    rtt, loss and jitter are as independent of it and of each other.

    Raises:
        ConfigError: A length is not positive.
    """
    _require_positive(n_links=n_links, samples=samples, step_s=step_s)
    streams = Streams(seed)
    traces = []
    for number in range(n_links):
        name = f"{WHITE_NOISE}-{number:04d}"
        mean_mbps = 20 * 10 ** float(streams.of(name, "mean").random())
        noise = {
            channel: streams.of(name, channel).standard_normal(samples)
            for channel in ("bandwidth", "rtt", "loss", "jitter")
        }
        traces.append(
            Trace(
                trace_id=name,
                path_class=WHITE_NOISE,
                t_s=np.arange(samples, dtype=np.float64) * step_s,
                bandwidth_mbps=np.maximum(mean_mbps * (1 + 0.2 * noise["bandwidth"]), 0.0),
                rtt_ms=50 * np.exp(0.1 * noise["rtt"]),
                loss_ratio=np.minimum(1e-3 * np.exp(noise["loss"]), 1.0),
                jitter_ms=2 * np.exp(0.3 * noise["jitter"]),
            )
        )
    return tuple(traces)


def _require_positive(**lengths: float) -> None:
    for name, value in lengths.items():
        if not value > 0:
            raise ConfigError(field=name, got=value, expected="a number above 0")


def _profile(name: str, streams: Streams, step_s: float) -> LinkProfile:
    """Draw a path whose memory lasts a few dozen samples, whatever the step."""
    rng = streams.of(name, "profile")
    capacity_mbps = 10 ** float(rng.uniform(0.7, 2.5))
    # 24 chunks fill the base round trip, so that the buffer holds two of it at any speed.
    propagation_ms = float(rng.uniform(8, 150))
    chunk_kib = max(capacity_mbps * propagation_ms * 1e3 / 8192 / 24, 1.5)
    return LinkProfile(
        link_id=name,
        src="sender",
        dst="receiver",
        capacity_mbps=capacity_mbps,
        propagation_ms=propagation_ms,
        base_loss_ratio=float(10 ** rng.uniform(-5, -3.3)),
        demand_mbps=capacity_mbps * float(rng.uniform(0.4, 0.8)),
        greedy=bool(rng.random() < 0.5),
        cross_mean_ratio=float(rng.uniform(0.1, 0.3)),
        cross_period_s=step_s * float(rng.uniform(6, 16)),
        cross_swing_ratio=float(rng.uniform(0.1, 0.3)),
        cross_wander=0.15,
        mood_s=step_s * float(rng.uniform(3, 12)),
        regime_stay_s=step_s * 180,
        burst_on_s=step_s * float(rng.uniform(4, 10)),
        burst_off_s=step_s * float(rng.uniform(15, 40)),
        chunk_kib=chunk_kib,
    )


def _trace(streams: Streams, number: int, n: int, step_s: float, faults_per_day: float) -> Trace:
    name = f"{SYNTHETIC}-{number:04d}"
    rng = streams.of(name, "start")
    start = MONDAY + timedelta(hours=int(rng.integers(0, 14 * 24)))
    clock = Clock(start=start, step_s=step_s, n=n)
    activity = [
        site_activity(streams.of(name, f"activity {end}"), clock, lon_deg=0.0, peak_h=14.0)
        for end in ("src", "dst")
    ]
    faults = schedule(streams, clock, entity_id=name, kinds=_TRACE_FAULTS, per_day=faults_per_day)
    state = simulate_link(
        _profile(name, streams, step_s),
        clock,
        streams,
        src_activity=activity[0],
        dst_activity=activity[1],
        faults=faults,
    )
    return trace_of_link(state, clock, trace_id=name, path_class=SYNTHETIC)


def trace_of_link(
    state: LinkState,
    clock: Clock,
    *,
    trace_id: str,
    path_class: str,
) -> Trace:
    """Return what the sender of a simulated link measured, unreported samples left out."""
    kept = state.reported
    t_s = (np.arange(clock.n) * clock.step_s)[kept]
    return Trace(
        trace_id=trace_id,
        path_class=path_class,
        t_s=t_s - t_s[0],
        bandwidth_mbps=state.bandwidth_mbps[kept],
        rtt_ms=state.rtt_ms[kept],
        loss_ratio=state.loss_ratio[kept],
        jitter_ms=state.jitter_ms[kept],
        start=clock.start + timedelta(seconds=float(t_s[0]) + clock.step_s),
    )
