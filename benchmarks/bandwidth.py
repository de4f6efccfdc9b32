"""Skill of the bandwidth forecaster on public traces: `make bench-bandwidth`.

Trains one model on the training part of every set, then scores the LSTM alone, the trees alone and
the served blend beside the baselines on the held-back part. Without NOVACRON_DATA_DIR it does the
same on generated links and says so.
"""

import argparse
import logging
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.bandwidth_picture import draw
from benchmarks.bandwidth_scores import Measured, SetScores, has_skill, score_set
from benchmarks.bandwidth_sets import (
    BenchmarkSet,
    generated_sets,
    real_files,
    real_sets,
    white_noise_set,
)
from benchmarks.results_format import (
    RESULTS_DIR,
    BenchmarkResult,
    Metric,
    describe_machine,
    describe_versions,
    render_markdown,
    write_result,
)
from novacron.models.bandwidth.config import BandwidthConfig, LstmConfig, TwinConfig
from novacron.models.bandwidth.fit import FittedBandwidth, ProgressEvent, fit_bandwidth
from novacron.telemetry.digest import data_sha256
from novacron.telemetry.traces import Trace

SEED: Final = 17
PACKAGES: Final = ("novacron-ml", "numpy", "torch", "lightgbm", "scipy")
_LOG: Final = logging.getLogger(__name__)

QUICK: Final = BandwidthConfig(
    seeds=(1, 2, 3),
    lstm=LstmConfig(hidden=8, head=16, epochs=2, tuning_epochs=1, rows_per_class=1500),
    twin=TwinConfig(rounds=30, tuning_rounds=20, examples=6000),
)
"""A forecaster small enough for a test; its figures mean nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """The sets of one run, its settings and where its data came from."""

    sets: tuple[BenchmarkSet, ...]
    noise: BenchmarkSet
    config: BandwidthConfig
    data_sha256: str
    command: str
    notes: tuple[str, ...]


def plan(data_dir: Path | None, *, quick: bool) -> Run:
    """Choose sets and settings: real traces if there are any and the run is not quick."""
    config = QUICK if quick else BandwidthConfig()
    command = "python -m benchmarks.bandwidth" + (" --quick" if quick else "")
    if data_dir is not None and not quick:
        return Run(
            sets=real_sets(data_dir, history=config.features.history, horizon=config.horizon),
            noise=white_noise_set(SEED),
            config=config,
            data_sha256=data_sha256(real_files(data_dir)),
            command=command,
            notes=("Data: the public traces in NOVACRON_DATA_DIR.",),
        )
    why = "quick run" if quick else "NOVACRON_DATA_DIR is not set"
    return Run(
        sets=generated_sets(SEED, links=20, hours=0.7 if quick else 2.0),
        noise=white_noise_set(SEED, traces=20, samples=250 if quick else 400),
        config=config,
        data_sha256=f"generated:{SEED}",
        command=command,
        notes=(
            f"Data: generated links, seed {SEED}, because: {why}. Not a result on real traces.",
        ),
    )


def measure(run: Run) -> tuple[BenchmarkResult, list[SetScores]]:
    """Train, score and describe."""
    began_s = time.process_time()
    model = _fit([*run.sets], run.config)
    trained_s = time.process_time() - began_s
    noise_model = _fit([run.noise], run.config)
    metrics: list[Metric] = []
    scored = []
    for chosen, fitted in [*((s, model) for s in run.sets), (run.noise, noise_model)]:
        scores = score_set(chosen, fitted.model)
        _LOG.info("scored %s", chosen.name)
        metrics += Measured(scores=scores).all()
        scored.append(scores)
    metrics.append(
        Metric(
            name="training_cpu_minutes",
            set="all sets together",
            value=trained_s / 60,
            n=len(run.config.seeds),
            baseline="10 allowed; all members, seeds, encoding and choices",
        )
    )
    notes = (*run.notes, *_protocol(run, metrics))
    return (
        BenchmarkResult(
            theme="bandwidth",
            command=run.command,
            seeds=run.config.seeds,
            data_sha256=run.data_sha256,
            machine=describe_machine(),
            versions=describe_versions(PACKAGES),
            metrics=tuple(metrics),
            notes=notes,
        ),
        scored,
    )


def _fit(sets: Sequence[BenchmarkSet], config: BandwidthConfig) -> FittedBandwidth:
    traces: dict[str, tuple[Trace, ...]] = {}
    for chosen in sets:
        traces |= chosen.train
    with tempfile.TemporaryDirectory() as checkpoint_dir:
        return fit_bandwidth(traces, config, checkpoint_dir=Path(checkpoint_dir), progress=_report)


def _report(event: ProgressEvent) -> None:
    if not event.epochs:
        _LOG.info("%3.0f %% %s", 100 * event.share, event.unit)


def _protocol(run: Run, metrics: list[Metric]) -> tuple[str, ...]:
    """Say how the figures came about, and what they do not say."""
    splits = "; ".join(f"{chosen.name}: {chosen.split}" for chosen in run.sets)
    verdict = "skill (WRONG)" if has_skill(metrics, "white_noise") else "no skill"
    return (
        f"Test parts. {splits}.",
        "Everything was chosen on a validation part inside the training traces: rounds, epochs, "
        "blend weights, half-lives, calibration. The test part was used for these figures only.",
        "Horizons 1..5 pooled; origins with at least 8 samples (fewer: names ending in _cold). "
        "Losses are summed over origins and steps, so paths weigh as their traffic.",
        "Intervals: 95 %, percentile bootstrap over whole traces (telstra: days), 1000 samples. "
        "5g and lte have 4 test traces: read their intervals as a hint.",
        "Names without a suffix are the served blend with online calibration (ACI per path, "
        "misses seen as the trace unfolds); _lstm and _lightgbm are members alone, uncalibrated; "
        "_offline is the blend as one request gets it, without outcomes.",
        "EWMA band: EWMA (half-life chosen on the training part) plus empirical quantiles of "
        "actual - EWMA in 5 groups by the standard deviation of the last 20 samples. The relative "
        "band has residuals and spread relative to the level; it is the stronger of the two on "
        "most sets and stands beside.",
        "share_within_20 := share of forecasts with |actual - forecast| <= 0.2 actual, the "
        "`accuracy` of older documents; accuracy here := 100 - 100 wape. The flat oracle is the "
        "true median of the next 5 samples: no flat forecast has a lower WAPE.",
        f"Negative control, white noise: the evaluator reports {verdict} (upper bound of the WAPE "
        "ratio to the best baseline below 1 would be skill).",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and write its files."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bandwidth", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes; figures mean little")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results, unless --quick")
    given = parser.parse_args(arguments)
    named = os.environ.get("NOVACRON_DATA_DIR")
    run = plan(Path(named) if named else None, quick=given.quick)
    result, scored = measure(run)
    out = given.out or (None if given.quick else RESULTS_DIR)
    if out is not None:
        write_result(result, out)
        draw(result, scored, out / "bandwidth.png")
    sys.stdout.write(render_markdown(result))
    return 0


if __name__ == "__main__":
    logging.getLogger().addHandler(logging.StreamHandler())
    logging.getLogger().setLevel(logging.INFO)
    raise SystemExit(main())
