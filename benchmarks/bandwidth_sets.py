"""The sets of the bandwidth benchmark: which traces are trained on and which are held back.

The test part of a set is the published one (Puffer), the last date (5G), the last fifth of the
clock (Telstra), or the last traces; nothing of it is seen before the figures are computed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from novacron.telemetry.datasets.throughput import load_traces, trace_files
from novacron.telemetry.splits import split_by_group, split_by_time
from novacron.telemetry.synthesize.traces import generate_traces
from novacron.telemetry.traces import Trace

TEST_SHARE: Final = 0.2
LTE_TEST_SHARE: Final = 0.4
# Traces sampled at least this far apart are broadband tests, the others mobile sessions.
_COARSE_STEP_S: Final = 3.0
_LAST_5G_DAY: Final = "2020-01-16"
_SOURCES: Final = (
    "fcc",
    "hsdpa",
    "oboe",
    "puffer_train",
    "puffer_test",
    "lte",
    "5g",
    "telstra",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkSet:
    """One row of the benchmark: traces by path class on both sides, and how they were split."""

    name: str
    train: Mapping[str, tuple[Trace, ...]]
    test: Mapping[str, tuple[Trace, ...]]
    split: str
    by_day: bool = False
    """Whether days are resampled instead of traces (a set of one long trace)."""


def real_sets(data_dir: Path, *, history: int, horizon: int) -> tuple[BenchmarkSet, ...]:
    """Load the six sets of public traces.

    Args:
        data_dir: Folder with one sub-folder per data set.
        history: Samples a model looks back, for the purged gap of the split in time.
        horizon: Samples it looks ahead.
    """
    traces = {name: load_traces(data_dir, name) for name in _SOURCES}
    fcc_train, fcc_test = _last_of_each_interval(traces["fcc"])
    hsdpa_train, hsdpa_test = _last(traces["hsdpa"], TEST_SHARE)
    oboe_train, oboe_test = _last(traces["oboe"], TEST_SHARE)
    lte_train, lte_test = _last(traces["lte"], LTE_TEST_SHARE)
    five_g_train, five_g_test = _by_day(traces["5g"], _LAST_5G_DAY)
    cut = split_by_time(
        traces["telstra"], window=history, horizon=horizon, validation_share=TEST_SHARE
    )
    return (
        BenchmarkSet(
            name="fcc_hsdpa",
            train={"fcc": fcc_train, "hsdpa": hsdpa_train},
            test={"fcc": fcc_test, "hsdpa": hsdpa_test},
            split="last fifth of the traces of each sampling interval (FCC: 1 s and 5 s; HSDPA)",
        ),
        BenchmarkSet(
            name="oboe",
            train={"oboe": oboe_train},
            test={"oboe": oboe_test},
            split="last fifth of the traces",
        ),
        BenchmarkSet(
            name="puffer",
            train={"puffer": traces["puffer_train"]},
            test={"puffer": traces["puffer_test"]},
            split="published train and test parts",
        ),
        BenchmarkSet(
            name="lte",
            train={"lte": lte_train},
            test={"lte": lte_test},
            split="last two of five recordings (4 of 10 traces): another technology and carrier",
        ),
        BenchmarkSet(
            name="5g",
            train={"5g": five_g_train},
            test={"5g": five_g_test},
            split=f"by date: the sessions of {_LAST_5G_DAY} are the test part",
        ),
        BenchmarkSet(
            name="telstra",
            train={"telstra": cut.train},
            test={"telstra": cut.validation},
            split="last fifth in time, a gap of one window and one horizon before it",
            by_day=True,
        ),
    )


def real_files(data_dir: Path) -> tuple[Path, ...]:
    """Return the files behind `real_sets`, for their digest."""
    return tuple(path for name in _SOURCES for path in trace_files(data_dir, name))


def generated_sets(seed: int, *, links: int, hours: float) -> tuple[BenchmarkSet, ...]:
    """Generate one set of paths, the last fifth of them for the test."""
    traces = generate_traces(seed, n_links=links, hours=hours)
    train, test = _last(traces, TEST_SHARE)
    return (
        BenchmarkSet(
            name="synthetic",
            train={"synthetic": train},
            test={"synthetic": test},
            split="last fifth of the generated links",
        ),
    )


def white_noise_set(seed: int, *, traces: int = 30, samples: int = 400) -> BenchmarkSet:
    """Make paths of independent draws around 500 Mbit/s (standard deviation 200): nothing to learn.

    The best forecast is the constant mean; an evaluator that sees skill here is wrong.
    """
    rng = np.random.default_rng(seed)
    made = tuple(
        Trace(
            trace_id=f"noise-{number:03d}",
            path_class="white_noise",
            t_s=np.arange(samples, dtype=np.float64),
            bandwidth_mbps=np.maximum(rng.normal(500.0, 200.0, samples), 0.0),
        )
        for number in range(traces)
    )
    train, test = _last(made, TEST_SHARE)
    return BenchmarkSet(
        name="white_noise",
        train={"white_noise": train},
        test={"white_noise": test},
        split="last fifth of the generated traces",
    )


def _last(
    traces: Sequence[Trace], test_share: float
) -> tuple[tuple[Trace, ...], tuple[Trace, ...]]:
    """Hold back the last recordings; both halves of a recording stay together."""
    split = split_by_group(traces, validation_share=test_share)
    return split.train, split.validation


def _last_of_each_interval(
    traces: Sequence[Trace],
) -> tuple[tuple[Trace, ...], tuple[Trace, ...]]:
    coarse = [trace for trace in traces if trace.step_s >= _COARSE_STEP_S]
    fine = [trace for trace in traces if not trace.step_s >= _COARSE_STEP_S]
    parts = [_last(own, TEST_SHARE) for own in (fine, coarse)]
    return parts[0][0] + parts[1][0], parts[0][1] + parts[1][1]


def _by_day(traces: Sequence[Trace], day: str) -> tuple[tuple[Trace, ...], tuple[Trace, ...]]:
    days = [trace.start.date().isoformat() if trace.start else "" for trace in traces]
    return (
        tuple(t for t, d in zip(traces, days, strict=True) if d < day),
        tuple(t for t, d in zip(traces, days, strict=True) if d >= day),
    )
