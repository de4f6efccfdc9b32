"""Skill of the performance predictor: `python -m benchmarks.performance`.

Fits on the earlier part of the scores and measures known_vms, then leaves each third of the
VMs out and measures them as new ones. Without NOVACRON_DATA_DIR it does the same on generated scores
and says so. Fits and forecasts are kept in `runs/`, so that an interrupted run goes on.
"""

import argparse
import hashlib
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.performance_picture import draw_fans, draw_own_samples, draw_reliability
from benchmarks.performance_stages import Plan, hindsight, known_stage, unseen_stage
from benchmarks.report_page import Goal, GoalKey, Picture, Section, write_report
from benchmarks.results_format import (
    RESULTS_DIR,
    BenchmarkResult,
    Metric,
    describe_machine,
    describe_versions,
    render_markdown,
    write_result,
)
from novacron.models.performance.config import LstmConfig, PerformanceConfig, TwinConfig
from novacron.models.performance.generated import generate_scores
from novacron.models.performance.measure import (
    Measured,
    UnseenRows,
    join_unseen,
    measure_known,
    measure_unseen,
)
from novacron.models.performance.scores import ScoredRows, mean_wape, wape_ratio
from novacron.models.performance.scores_table import ScoreTable
from novacron.telemetry.datasets.vm import NOISE_FILE, adapt_azure_noise
from novacron.telemetry.digest import data_sha256

PACKAGES: Final = ("novacron-ml", "numpy", "torch", "lightgbm", "scikit-learn")
KNOWN: Final = "known_vms"
UNSEEN: Final = "unseen_vms"
SEED: Final = 11
_LOG: Final = logging.getLogger(__name__)

FULL: Final = PerformanceConfig(
    validation_rows=12_000,
    lstm=LstmConfig(rows=3_000, validation_rows=1_500, epochs=3),
    twin=TwinConfig(rows=24_000),
)
"""The default widths, on fewer rows than a training takes: six networks are trained here."""

QUICK: Final = PerformanceConfig(
    history=16,
    peers=40,
    purge_samples=4,
    validation_rows=900,
    lstm=LstmConfig(
        hidden=4, attention=4, head=8, steps=6, rows=400, validation_rows=200, epochs=1
    ),
    twin=TwinConfig(rounds=15, rows=1_500),
)
"""Small enough for a test; its figures mean nothing."""

GOALS: Final[dict[GoalKey, Goal]] = {
    "wape_ratio_to_ewma": Goal(high=0.97),
    "share_within_5_minus_ewma": Goal(low=0.0),
    "wape_ratio_to_fleet_median": Goal(high=0.94),
    "degradation_brier_skill": Goal(low=0.0, whole_interval=True),
    "coverage_80": Goal(low=0.76, high=0.84),
}


def plan(data_dir: Path | None, folder: Path, *, quick: bool) -> tuple[Plan, str, tuple[str, ...]]:
    """Choose scores and settings; return also the digest of the data and notes on it."""
    config = QUICK if quick else FULL
    if data_dir is not None and not quick:
        table = ScoreTable.from_frame(adapt_azure_noise(data_dir).table.to_pandas())
        sha256 = data_sha256([data_dir / NOISE_FILE])
        notes: tuple[str, ...] = (
            "Data: benchmark scores of long-lived Azure VMs (AzurePublicDataset, VM noise, 2024): "
            f"{len(table.names.benchmarks)} benchmarks, {len(table.vm_names)} VMs of "
            f"{len(table.names.sizes)} sizes in {len(table.names.regions)} regions.",
        )
    else:
        table = ScoreTable.from_frame(generate_scores(SEED, vms=3, samples=90))
        sha256 = f"generated:{SEED}"
        why = "quick run" if quick else "NOVACRON_DATA_DIR is not set"
        notes = (f"Data: generated scores, because: {why}. Not a result on real ones.",)
    folds = tuple(sorted({name.rsplit("|", 1)[1] for name in table.vm_names}))
    content = [sha256, config.model_dump(mode="json")]
    key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    made = Plan(
        table=table,
        config=config,
        seeds=(1, 2) if quick else (1, 2, 3),
        test_share=0.2,
        known_rows=800 if quick else 8_000,
        unseen_rows=300 if quick else 3_000,
        folds=folds[:2] if quick else folds,
        key=key,
        folder=folder / key[:12],
    )
    return made, sha256, notes


def measure(
    chosen: Plan, command: str, sha256: str, notes: tuple[str, ...], pictures: Path | None
) -> BenchmarkResult:
    """Run every stage and describe it; draw pictures into a folder."""
    began_s = time.process_time()
    known, fans = known_stage(chosen, _LOG.info)
    parts = [unseen_stage(chosen, fold, _LOG.info) for fold in chosen.folds]
    unseen = join_unseen(parts)
    metrics = [_metric(KNOWN, one) for one in measure_known(known, SEED)]
    metrics += [_metric(UNSEEN, one) for one in measure_unseen(unseen, SEED)]
    metrics += _baseline_curve(unseen)
    metrics += _achievable(unseen)
    metrics += _by_benchmark(chosen.table, known.scored, "ewma", KNOWN)
    metrics += _by_benchmark(chosen.table, unseen.by_count[0], "peers", UNSEEN)
    metrics.append(
        Metric(
            name="cpu_minutes",
            set="this run, without stages kept from an earlier one",
            value=(time.process_time() - began_s) / 60,
            n=1,
            baseline="25 allowed",
        )
    )
    result = BenchmarkResult(
        theme="performance",
        command=command,
        seeds=chosen.seeds,
        data_sha256=sha256,
        machine=describe_machine(),
        versions=describe_versions(PACKAGES),
        metrics=tuple(metrics),
        notes=(*notes, *_protocol(chosen)),
    )
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
        draw_reliability(known, pictures / "performance_reliability.png")
        draw_fans(fans, pictures / "performance_fans.png")
        draw_own_samples(result, pictures / "performance_own_samples.png")
    return result


def _metric(group: str, one: Measured) -> Metric:
    found = one.value
    return Metric(
        name=one.name, set=group, value=found.value, lo=found.lo, hi=found.hi, n=found.n,
        baseline=one.baseline,
    )  # fmt: skip


def _baseline_curve(unseen: UnseenRows) -> list[Metric]:
    rng = np.random.default_rng(SEED)
    return [
        _metric(
            UNSEEN,
            Measured(
                name=f"wape_mean_after_{count}_own_or_peers",
                value=mean_wape(scored, "own_or_peers", rng),
                baseline="own EWMA (half-life 8), else rolling fleet median of 50",
            ),
        )
        for count, scored in unseen.by_count.items()
    ]


def _achievable(unseen: UnseenRows) -> list[Metric]:
    """Return what a flat forecast could reach in hindsight, and the share of it that was reached."""
    rng = np.random.default_rng(SEED)
    scored = hindsight(unseen.by_count[0])
    oracle = wape_ratio(scored, "hindsight", "peers", rng)
    own = wape_ratio(scored, "blend", "peers", rng)
    beside = "median of each cell's test rows, known only afterwards"
    room = 1 - oracle.value
    share = Metric(
        name="share_of_achievable_gain",
        set=UNSEEN,
        value=(1 - own.value) / room if room > 0 else 0.0,
        n=own.n,
        baseline=beside,
    )
    name = "wape_ratio_to_fleet_median_hindsight"
    return [_metric(UNSEEN, Measured(name=name, value=oracle, baseline=beside)), share]


def short_name(benchmark: str) -> str:
    """Return a benchmark's name short enough for a table."""
    words = benchmark.replace("Flexible_IO_Tester|Type:_", "fio ").replace("IO_Engine:_", "")
    for part in ("_-_Buffered:_Yes_-_Direct:_No", "_-_Buffered:_No_-_Direct:_Yes", "Block_Size:_"):
        words = words.replace(part, "")
    return words.replace("_-_", " ").replace("_", " ").replace("|", ", ")[:60]


def _by_benchmark(table: ScoreTable, scored: ScoredRows, base: str, group: str) -> list[Metric]:
    rng = np.random.default_rng(SEED)
    cell_to_benchmark = dict(zip(table.cell_N.tolist(), table.benchmark_N.tolist(), strict=True))
    own_N = np.array([cell_to_benchmark[int(cell)] for cell in scored.cell_N])
    return [
        _metric(
            short_name(table.names.benchmarks[benchmark]),
            Measured(
                name=f"wape_ratio_{group.removesuffix('_vms')}",
                value=wape_ratio(scored.take(own_N == benchmark), "blend", base, rng),
                baseline="EWMA" if base == "ewma" else "rolling fleet median of 50",
            ),
        )
        for benchmark in np.unique(own_N)
    ]


def _protocol(chosen: Plan) -> tuple[str, ...]:
    config = chosen.config
    return (
        "The next score of a benchmark is forecast just before it runs. Cells are benchmark, VM size "
        "and region; every WAPE is computed per cell (sum |y - f| / sum y) and averaged over cells, "
        "so noisy benchmarks weigh most; the geometric ratios weigh all cells the same.",
        f"Known VMs: the earliest {1 - chosen.test_share:.0%} of each cell's time for fitting (the "
        f"last {config.validation_share:.0%} of that for every choice), the rest for these figures; "
        f"the first {config.purge_samples} scores of each series after a cut are dropped.",
        "Unseen VMs: each third of the VMs (by the last part of their name, in every size and "
        "region) is left out of a fit altogether and scored on the later part, as new: own samples "
        "are hidden except the last 0, 1, 2, 5 or 10. Peers are the other VMs of the cell. With "
        "three VMs to a cell a fit learns from two.",
        "95 % intervals: percentile bootstrap over whole VMs, 1000 samples. The source numbers VMs in "
        "each benchmark, size and region anew, but runs of one number alternate in time without "
        "overlap, so they are taken for one machine and resampled together; twelve machines are few. "
        "_by_series takes the numbers as the source gives them: VM and benchmark are one group.",
        "The EWMA has the half-life (1 to 40 samples) with the least absolute error of each cell on "
        "the fitting part. blend is what is served; level is the hierarchy of averages alone; lstm "
        "is the mean of the seeds, lstm_0 and following are single ones.",
        f"degradation := one of the next {config.degradation.horizon_samples} scores lies more than "
        f"{config.degradation.drop_ratio:.0%} below the level. Its Brier skill is against the rate "
        "of the cell on the fitting part.",
        "share_within_5 := share of |y - f| <= 0.05 y, the accuracy of older documents.",
        "Inputs besides scores: time of day, time since the VM began any benchmark and which "
        "(burst credits). They are known before the run.",
        f"Networks: {config.lstm.layers} layers, {config.lstm.hidden} wide, "
        f"{config.lstm.rows} rows and {config.lstm.epochs} epochs; trees {config.twin.rows} rows. A "
        "training by default takes more of both.",
    )


def _sections(pictures: Path) -> list[Section]:
    def picture(name: str, caption: str) -> tuple[Picture, ...]:
        return (Picture(path=pictures / f"performance_{name}.png", caption=caption),)

    return [
        Section(
            title="Known VMs",
            metrics=(
                "wape_ratio_to_ewma", "wape_ratio_to_ewma_by_series", "wape_geometric_ratio_to_ewma", "share_within_5",
                "share_within_5_minus_ewma", "coverage_80", "wape_ratio_to_ewma_level",
                "wape_ratio_to_ewma_lightgbm", "wape_ratio_to_ewma_lstm",
            ),
            pictures=picture("fans", "One VM of each of four benchmarks: scores and intervals"),
        ),
        Section(
            title="Unseen VMs",
            metrics=(
                "wape_ratio_to_fleet_median", "wape_ratio_to_fleet_median_by_series",
                "wape_geometric_ratio_to_fleet_median",
                "wape_ratio_to_fleet_median_hindsight", "share_of_achievable_gain",
                "share_within_5_unseen",
            ),
            pictures=picture("own_samples", "Error of a new VM by the own samples it has shown"),
        ),
        Section(
            title="Degradation",
            metrics=("degradation_brier_skill",),
            pictures=picture("reliability", "Observed share against forecast probability"),
        ),
        Section(title="By benchmark", metrics=("wape_ratio_known", "wape_ratio_unseen")),
    ]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and write its files."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.performance", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes; figures mean little")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results, unless --quick")
    given = parser.parse_args(arguments)
    named = os.environ.get("NOVACRON_DATA_DIR")
    command = "python -m benchmarks.performance" + (" --quick" if given.quick else "")
    out = given.out or (None if given.quick else RESULTS_DIR)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) if given.quick else Path("runs") / "benchmarks" / "performance"
        chosen, sha256, notes = plan(Path(named) if named else None, folder, quick=given.quick)
        result = measure(chosen, command, sha256, notes, out)
    if out is not None:
        write_result(result, out)
        write_report(
            result,
            _sections(out),
            title="Performance predictor",
            lead="The next benchmark score of a VM: known VMs, and VMs never seen before.",
            goals=GOALS,
            directory=out,
        )
    sys.stdout.write(render_markdown(result))
    return 0


if __name__ == "__main__":
    logging.getLogger().addHandler(logging.StreamHandler())
    logging.getLogger().setLevel(logging.INFO)
    raise SystemExit(main())
