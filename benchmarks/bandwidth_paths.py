"""Measures what stands beside bandwidth: `python -m benchmarks.bandwidth_paths [--quick]`.

Forecasts of round trip, loss and jitter, and of bandwidth a quarter of an hour ahead, on paths or days
that the fit never saw, beside EWMA and last value; how often modes change; how many streams the law
asks for.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.bandwidth_sets import BenchmarkSet, generated_sets, real_files, real_sets
from benchmarks.report_page import plain_sections, write_report
from benchmarks.results_format import (
    RESULTS_DIR,
    BenchmarkResult,
    Metric,
    describe_machine,
    describe_versions,
    render_markdown,
    write_result,
)
from novacron.models.bandwidth.allocation import PathQuantiles, allocate, confidence_of
from novacron.models.bandwidth.channels import (
    LONG_BIN_S,
    LONG_S,
    WARM,
    ChannelForecaster,
    coarse,
    fit_channel,
)
from novacron.models.bandwidth.modes import ModeConfig, ModeDetector, mode_by_rule
from novacron.models.baselines import Forecaster, LastValue, fit_ewma, future
from novacron.models.metrics import group_ratio
from novacron.telemetry.digest import data_sha256
from novacron.telemetry.traces import MEASURED, Trace

Floats = NDArray[np.float64]

HORIZON: Final = 5
SEED: Final = 7
_WITH_CHANNELS: Final = ("5g", "telstra", "synthetic")
_DAY_STEPS: Final = 48


@dataclass(frozen=True, kw_only=True, slots=True)
class Paths:
    """One channel of one set: what is learnt from, what is tested on, and the units resampled."""

    channel: str
    train: list[Floats]
    test: list[Floats]
    by_day: bool


def channel_paths(one: BenchmarkSet, channel: str) -> Paths:
    """Return a channel without its missing samples."""

    def known(traces: Mapping[str, tuple[Trace, ...]]) -> list[Floats]:
        found = [getattr(trace, channel) for many in traces.values() for trace in many]
        return [values[np.isfinite(values)] for values in found if values is not None]

    return Paths(channel=channel, train=known(one.train), test=known(one.test), by_day=one.by_day)


def minute_paths(one: BenchmarkSet) -> Paths:
    """Return bandwidth by the minute, of traces with samples at least that often."""

    def minutes(traces: Mapping[str, tuple[Trace, ...]]) -> list[Floats]:
        return [
            coarse(trace.t_s, trace.bandwidth_mbps)
            for many in traces.values()
            for trace in many
            if len(trace) > 1 and trace.step_s <= LONG_BIN_S
        ]

    return Paths(
        channel="bandwidth_mbps", train=minutes(one.train), test=minutes(one.test), by_day=False
    )


def measure(paths: Paths, label: str, horizon: int) -> list[Metric]:
    """Fit on the training paths and score on the others; nothing where they are too short."""
    long_enough = [path for path in paths.test if len(path) >= WARM + horizon + 1]
    trained = [path for path in paths.train if len(path) >= WARM + horizon + 1]
    if not long_enough or not trained:
        return []
    made = fit_channel(paths.train, paths.channel, horizon=horizon)
    rivals: dict[str, Forecaster] = {"last_value": LastValue(horizon=horizon)}
    if sum(float(path.sum()) for path in trained) > 0:
        rivals["ewma"] = fit_ewma([_trace(path) for path in trained], horizon=horizon, warm=WARM)
    rows = [
        _rows(made, rivals, path, number, paths.by_day) for number, path in enumerate(long_enough)
    ]
    joined = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    return _metrics(made, joined, list(rivals), label)


def _trace(value_T: Floats) -> Trace:
    return Trace(
        trace_id="channel",
        path_class="channel",
        t_s=np.arange(len(value_T), dtype=np.float64),
        bandwidth_mbps=value_T,
    )


def _rows(
    made: ChannelForecaster,
    rivals: Mapping[str, Forecaster],
    path: Floats,
    number: int,
    by_day: bool,
) -> dict[str, Floats]:
    at = slice(WARM - 1, len(path) - made.horizon)
    actual_NH = future(path, made.horizon)[WARM - 1 :]
    q_NHQ = made.forecast(path)[at]
    origin_N = np.arange(len(path))[at]
    sure = np.array([confidence_of(*row) for row in q_NHQ[:, 0]])
    near = np.abs(actual_NH[:, 0] - q_NHQ[:, 0, 1]) <= 0.2 * q_NHQ[:, 0, 1]
    found = {
        "group": (origin_N // _DAY_STEPS if by_day else np.full(len(origin_N), number)).astype(
            float
        ),
        "actual": actual_NH.sum(axis=1),
        "own": np.abs(actual_NH - q_NHQ[..., 1]).sum(axis=1),
        "inside": ((actual_NH >= q_NHQ[..., 0]) & (actual_NH <= q_NHQ[..., 2])).mean(axis=1),
        "confidence": sure,
        "near": near.astype(np.float64),
    }
    for name, rival in rivals.items():
        found[name] = np.abs(actual_NH - rival.forecast(path)[at, :, 1]).sum(axis=1)
    return found


def _metrics(
    made: ChannelForecaster, rows: Mapping[str, Floats], rivals: Sequence[str], label: str
) -> list[Metric]:
    rng = np.random.default_rng(SEED)
    group_N = rows["group"].astype(np.int64)
    ones_N = np.ones(len(group_N))

    def metric(name: str, top: Floats, below: Floats, beside: str) -> Metric:
        ratio = group_ratio(top, below, group_N, rng)
        return Metric(
            name=name, set=label, value=ratio.value, lo=ratio.lo, hi=ratio.hi, n=ratio.n,
            baseline=beside,
        )  # fmt: skip

    found = [
        metric("coverage_80", rows["inside"], ones_N, "0.8 nominal"),
    ]
    if rows["actual"].sum() > 0:
        text = f"forecast by {made.point.name}"
        found.append(metric("wape", rows["own"], rows["actual"], text))
    found += [
        metric(f"wape_ratio_to_{name}", rows["own"], rows[name], name.replace("_", " "))
        for name in rivals
        if rows[name].sum() > 0
    ]
    if made.channel == "bandwidth_mbps":
        found.append(metric("share_within_20_percent", rows["near"], ones_N, "confidence below"))
        found.append(metric("confidence", rows["confidence"], ones_N, "share above: the same"))
    return found


def measure_modes(traces: Sequence[Trace]) -> list[Metric]:
    """Count changes of mode an hour: the rule alone on the same means, and the detector."""
    config, label = ModeConfig(), "generated links whose means lie at a bound"
    plain, kept, hours = 0, 0, 0.0
    for trace in traces:
        if trace.rtt_ms is None:
            continue
        known = np.isfinite(trace.rtt_ms)
        t_s, rtt_ms, rate = trace.t_s[known], trace.rtt_ms[known], trace.bandwidth_mbps[known]
        # Each link is scaled so that it lies at the bounds: far from them no rule ever changes.
        rtt_ms = rtt_ms * config.internet_rtt_ms / np.median(rtt_ms)
        rate = rate * 1.3 * config.bandwidth_mbps / max(float(np.median(rate)), 1e-9)
        detector, before = ModeDetector(config), None
        for place in range(len(t_s)):
            detector.observe(float(t_s[place]), float(rtt_ms[place]), float(rate[place]))
            if place + 1 < config.history:
                continue
            newest = slice(place + 1 - config.history, place + 1)
            now = mode_by_rule(float(rtt_ms[newest].mean()), float(rate[newest].mean()), config)
            plain += before is not None and now != before
            before = now
        kept += detector.changes
        hours += trace.duration_s / 3600
    return [
        Metric(
            name="mode_changes_per_h", set=label, value=kept / hours, n=len(traces),
            baseline=f"rule without hysteresis and dwell: {plain / hours:.3g}",
        )
    ]  # fmt: skip


def measure_streams() -> list[Metric]:
    """Return the streams for 400 Mbit/s by round trip and loss, beside the documented rule."""
    found = []
    for rtt_ms in (5.0, 50.0, 200.0):
        for loss_ratio in (0.00001, 0.0001, 0.001):
            path = PathQuantiles(
                low_mbps=360, median_mbps=400, high_mbps=440, rtt_ms=rtt_ms,
                loss_ratio=loss_ratio, jitter_ms=1.0,
            )  # fmt: skip
            by_delay = 0.7 if rtt_ms > 100 else 1.3 if rtt_ms < 20 else 1.0
            original = min(256, max(2, round(40 * by_delay)))
            found.append(
                Metric(
                    name="streams_for_400_mbps", set=f"rtt {rtt_ms:g} ms, loss {loss_ratio:g}",
                    value=allocate(path).streams, n=1,
                    baseline=f"documented rule, fewer where it is farther: {original}",
                )
            )  # fmt: skip
    return found


def run(data_dir: Path | None, command: str, *, quick: bool) -> BenchmarkResult:
    """Measure all sets."""
    sets = list(generated_sets(SEED, links=10 if quick else 30, hours=1.0 if quick else 3.0))
    sets = [one for one in sets if one.name in _WITH_CHANNELS]
    digest = f"generated:{SEED}"
    if data_dir is not None:
        real = real_sets(data_dir, history=96, horizon=HORIZON)
        sets = [one for one in real if one.name in _WITH_CHANNELS] + sets
        digest = data_sha256(real_files(data_dir))
    metrics: list[Metric] = []
    for one in sets:
        for channel in MEASURED:
            label = f"{one.name} {channel}"
            metrics += measure(channel_paths(one, channel), label, HORIZON)
        label = f"{one.name} bandwidth_mbps by the minute, 15 min ahead"
        metrics += measure(minute_paths(one), label, round(LONG_S / LONG_BIN_S))
    generated = [trace for many in sets[-1].test.values() for trace in many]
    metrics += measure_modes(generated) + measure_streams()
    return BenchmarkResult(
        theme="bandwidth_paths",
        command=command,
        seeds=(SEED,),
        data_sha256=digest,
        machine=describe_machine(),
        versions=describe_versions(("numpy", "scipy")),
        metrics=tuple(metrics),
        notes=_NOTES,
    )


_NOTES: Final = (
    "Splits are those of the bandwidth benchmark: 5G by date, Telstra the newest fifth, generated "
    "links the last fifth. Intervals resample paths, days for the one Telstra line.",
    "Five samples ahead: of 5G pings that is about a minute, of Telstra two and a half hours.",
    "The point forecaster of a channel is the one of last value, rolling medians, EWMA and ridge that did "
    "best on held-back training paths; where that is the EWMA itself the ratio to it is 1 up to its "
    "half-life, and no skill beyond it is claimed.",
    "Confidence is read from the interval as a split normal; it is right where it equals the share "
    "within 20 %.",
    "A median of loss is mostly 0, and where it is the WAPE is 1: nothing is forecast of rare bursts "
    "but their upper end.",
    "5G sessions last half an hour: 15 minutes ahead leave few minutes to learn from and none to adapt "
    "by, and the interval covers too little there.",
    "Sessions of LTE and of the other throughput traces are too short for 15 minutes ahead.",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write results and page, and show the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bandwidth_paths", description=__doc__
    )
    parser.add_argument("--quick", action="store_true", help="generated links only")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results, unless --quick")
    given = parser.parse_args(arguments)
    command = "python -m benchmarks.bandwidth_paths" + (" --quick" if given.quick else "")
    out = given.out or (None if given.quick else RESULTS_DIR)
    named = os.environ.get("NOVACRON_DATA_DIR")
    data_dir = Path(named) if named and not given.quick else None
    result = run(data_dir, command, quick=given.quick)
    if out is not None:
        write_result(result, out)
        write_report(
            result, plain_sections(result, out), title="Paths beside bandwidth", directory=out
        )
    print(render_markdown(result))  # noqa: T201 - the command's output
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
