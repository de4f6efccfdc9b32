"""Measures the workload optimizer: `python -m benchmarks.placement [--quick]`.

Packing of three public sets beside six rules, slowdown under simulated contention, feasibility,
decision time, and what each factor changes. Finished stages are kept below the runs folder and
reused while code, data and sizes stay the same; `--fresh` measures everything again.
"""

import argparse
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.placement_contention import RULES, draw_world, run
from benchmarks.placement_decisions import (
    ablate,
    check_feasible,
    decision_metrics,
    draw_scene,
    time_decisions,
)
from benchmarks.placement_packing import (
    PackedSet,
    azure_set,
    dlrm_set,
    gpu_set,
    half_trained,
    pack,
    packing_metrics,
    replace_config,
)
from benchmarks.placement_page import report
from benchmarks.placement_plots import draw_contention, draw_packing, draw_reasons
from benchmarks.results_format import (
    RESULTS_DIR,
    BenchmarkResult,
    Metric,
    describe_machine,
    describe_versions,
    render_markdown,
    write_result,
)
from benchmarks.stages import Stages, stage_key
from novacron.models.metrics import group_ratio
from novacron.models.placement.bundle_files import load_models, save_models
from novacron.models.placement.config import (
    BoostingConfig,
    LifetimeConfig,
    OutcomeConfig,
    PlacementConfig,
    WeightsConfig,
)
from novacron.models.placement.fitted import PlacementModels
from novacron.models.placement.optimizer import WorkloadOptimizer
from novacron.models.placement.scoring import score_estimates
from novacron.models.placement.training import fit_outcome_part, has_lifetimes, sizes_of
from novacron.telemetry.datasets.placement import (
    AZURE_V1_FILE,
    DLRM_FILE,
    GPU_NODES_FILE,
    GPU_PODS_FILE,
)
from novacron.telemetry.digest import data_sha256

log = logging.getLogger(__name__)

ROOT: Final = Path(__file__).parents[1]
FILES: Final = (AZURE_V1_FILE, DLRM_FILE, GPU_NODES_FILE, GPU_PODS_FILE)
_LEAST_GAIN: Final = 0.01
_SPEED_ONLY: Final = WeightsConfig(
    performance=1.0, resource=0.0, power=0.0, soft=0.0, performance_parts=(1.0, 0.0, 0.0)
)


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """How much is measured."""

    config: PlacementConfig
    share: float
    """Of the requests of Azure V1 and DLRM that are replayed."""
    gpu_share: float
    """Of the pods of Alibaba GPU 2023, the smallest set."""
    small_clusters: int
    intensities: tuple[float, ...]
    jobs: int
    seeds: tuple[int, ...]
    decisions: tuple[tuple[int, int], ...]
    """Nodes of a fleet, and decisions timed on it."""
    feasible: tuple[int, int]
    ablated: tuple[int, int]


FULL: Final = Amounts(
    config=PlacementConfig(),
    share=0.5,
    gpu_share=1.0,
    small_clusters=3,
    intensities=(1.0, 2.0, 3.0),
    jobs=360,
    seeds=(1, 2, 3, 4),
    decisions=((1000, 200), (10_000, 60)),
    feasible=(60, 100),
    ablated=(60, 150),
)
SMALL: Final = replace(
    FULL,
    config=PlacementConfig(
        outcomes=OutcomeConfig(examples=6000), lifetimes=LifetimeConfig(clusters=3)
    ),
    share=0.08,
    gpu_share=0.3,
    intensities=(1.0, 2.0),
    seeds=(1, 2),
    decisions=((1000, 100), (10_000, 30)),
    feasible=(40, 60),
    ablated=(24, 60),
)
"""Half a minute of one quiet core, with real models."""
_TINY: Final = BoostingConfig(trees=10, depth=3)
QUICK: Final = Amounts(
    config=PlacementConfig(
        outcomes=OutcomeConfig(examples=720, performance=_TINY, resource=_TINY, power=_TINY),
        lifetimes=LifetimeConfig(rounds=10, clusters=3),
    ),
    share=0.05,
    gpu_share=0.2,
    small_clusters=2,
    intensities=(1.0,),
    jobs=300,
    seeds=(1,),
    decisions=((1000, 10),),
    feasible=(20, 20),
    ablated=(12, 6),
)


PACKING_CODE: Final = (
    *("ages", "arrivals", "audit", "checker", "history", "lifetimes", "packing"),
    *("power", "replay", "scoring", "training", "workload"),
)


def both_stages(
    amounts: Amounts, data: str, folder: Path, *, fresh: bool
) -> tuple[Stages, Stages]:
    """Return where packing is kept, and where everything else is: each under its own code."""
    room, own = ROOT / "novacron" / "models" / "placement", ROOT / "benchmarks"
    packing = [*(room / f"{name}.py" for name in PACKING_CODE), own / "placement_packing.py"]
    sizes = (amounts.config.lifetimes, amounts.share, amounts.gpu_share, amounts.small_clusters)
    rest = sorted(room.glob("*.py"))
    rest += [own / "placement_contention.py", own / "placement_decisions.py"]
    return (
        Stages(folder, "packing-" + stage_key(sizes, data, packing), fresh=fresh),
        Stages(folder, "decisions-" + stage_key(amounts, data, rest), fresh=fresh),
    )


def fitted(amounts: Amounts, data_dir: Path | None, stages: Stages) -> PlacementModels:
    """Fit the outcome models once and keep the bundle."""
    folder = stages.folder / "bundle"
    if not (folder / "bundle.json").exists():
        log.info("fitting the outcome models")
        outcomes = fit_outcome_part(amounts.config, data_dir)
        draft = stages.folder / "bundle.tmp"
        shutil.rmtree(draft, ignore_errors=True)
        save_models(
            PlacementModels(config=amounts.config, outcomes=outcomes, lifetimes=None), draft
        )
        draft.replace(folder)
    return load_models(folder)


def packing_stages(amounts: Amounts, data_dir: Path, stages: Stages) -> list[dict[str, Any]]:
    """Replay the three sets."""
    lifetimes = amounts.config.lifetimes
    if amounts.share < 1:
        lifetimes = replace_config(lifetimes, leaf_rows=5)
    small = half_trained(lifetimes, amounts.small_clusters)
    sets: dict[str, Callable[[], PackedSet]] = {
        "azure": lambda: azure_set(data_dir, lifetimes, amounts.share),
        "gpu": lambda: gpu_set(data_dir, small, amounts.gpu_share),
        "dlrm": lambda: dlrm_set(data_dir, small, amounts.share),
    }
    return [pack(make(), lifetimes.seed, stages.get) for make in sets.values()]


def contention(amounts: Amounts, models: PlacementModels, data_dir: Path | None) -> Any:
    """Run every rule on the same worlds."""
    sizes = sizes_of(data_dir)
    settings = {
        "optimizer": amounts.config.weights,
        "optimizer_speed_only": _SPEED_ONLY,
    }
    optimizers = {name: _optimizer(models, weights) for name, weights in settings.items()}
    found: dict[str, dict[str, list[Any]]] = {}
    for intensity in amounts.intensities:
        by_rule: dict[str, list[Any]] = {name: [] for name in (*RULES, *optimizers)}
        for seed in amounts.seeds:
            world = draw_world(sizes, intensity, amounts.jobs, seed)
            for rule, runs in by_rule.items():
                runs.append(asdict(run(world, rule, optimizers.get(rule), seed)))
        found[f"{intensity:g}"] = by_rule
    return found


def _optimizer(models: PlacementModels, weights: WeightsConfig) -> WorkloadOptimizer:
    config = models.config.model_copy(update={"weights": weights, "candidates": 1})
    return WorkloadOptimizer(
        PlacementModels(config=config, outcomes=models.outcomes, lifetimes=None)
    )


def contention_metrics(found: Any, rng: np.random.Generator) -> list[Metric]:
    """Compare each rule's mean slowdown with random placement, paired by fleet."""
    metrics = []
    for intensity, by_rule in found.items():
        on = f"contention_intensity_{intensity}"
        random_N = np.array([each["slowdown"] for each in by_rule["random"]])
        each_N = np.arange(len(random_N))
        oracle = float(np.mean([each["slowdown"] for each in by_rule["oracle"]]))
        for rule, runs in by_rule.items():
            slow_N = np.array([each["slowdown"] for each in runs])
            speed = group_ratio(random_N, slow_N, each_N, rng)
            p95 = float(np.mean([each["p95"] for each in runs]))
            refused = sum(each["refused"] for each in runs)
            beside = f"random {random_N.mean():.3f}, p95 {p95:.2f}, refused {refused}"
            metrics += [
                Metric(
                    name=f"mean_slowdown_{rule}", set=on, value=float(slow_N.mean()),
                    n=len(slow_N), baseline=beside,
                ),
                Metric(
                    name=f"speed_over_random_{rule}", set=on, value=speed.value, lo=speed.lo,
                    hi=speed.hi, n=speed.n, baseline=f"random placement is 1; oracle "
                    f"{random_N.mean() / oracle:.3f}; goal 2",
                ),
            ]  # fmt: skip
    return metrics


def measure(
    amounts: Amounts, data_dir: Path | None, kept: tuple[Stages, Stages], out: Path
) -> list[Metric]:
    """Run all stages, draw, and return every figure."""
    packing, stages = kept
    rng = np.random.default_rng(amounts.config.seed)
    models = fitted(amounts, data_dir, stages)
    sizes, optimizer = sizes_of(data_dir), WorkloadOptimizer(models)
    metrics: list[Metric] = []
    if data_dir is not None and has_lifetimes(data_dir):
        packed = packing_stages(amounts, data_dir, packing)
        for one in packed:
            metrics += worth_telling(packing_metrics(one, rng))
            draw_packing(one, out / f"placement_packing_{one['set']}.png")
    slow = stages.get("contention", lambda: contention(amounts, models, data_dir))
    metrics += contention_metrics(slow, rng)
    means = {
        name: {rule: float(np.mean([e["slowdown"] for e in runs])) for rule, runs in rules.items()}
        for name, rules in slow.items()
    }
    draw_contention(means, out / "placement_contention.png")
    feasible = stages.get("feasible", lambda: check_feasible(optimizer, sizes, amounts.feasible))
    timed = [
        stages.get(f"time_{n}", lambda n=n, d=d: time_decisions(optimizer, sizes, n, d))  # type: ignore[misc]
        for n, d in amounts.decisions
    ]
    ablated = stages.get("ablation", lambda: ablate(optimizer, sizes, amounts.ablated))
    metrics += decision_metrics(feasible, timed, ablated)
    metrics += [
        Metric(
            name=one.name, set=one.set.replace(" ", "_"), value=one.value.value, lo=one.value.lo,
            hi=one.value.hi, n=one.value.n, baseline=one.baseline,
        )
        for one in score_estimates(models.outcomes, amounts.config, data_dir, rng)
    ]  # fmt: skip
    scene = draw_scene(sizes, 30, 3, 11)
    best = optimizer.optimize(scene.asked[1], scene.fleet).best
    if best is not None:
        draw_reasons(best, out / "placement_reasons.png")
    return metrics


def worth_telling(metrics: list[Metric]) -> list[Metric]:
    """Leave out shares of the oracle's gain where even the oracle saves less than 1 % of nodes."""
    bound = next(one for one in metrics if one.name == "active_over_best_fit_lifetime_oracle")
    if bound.value <= 1 - _LEAST_GAIN:
        return metrics
    return [one for one in metrics if not one.name.startswith("share_of_oracle_gain")]


NOTES: Final = (
    "Nodes in use are means over the scored time. The lifetime rules take over from best fit when "
    "training ends; figures begin after a settling time. A node is put in use only when no node in "
    "use fits, for every rule alike. Intervals draw clusters again.",
    "The lifetime oracle knows every end; it runs by both rules that the gate may choose, and the "
    "better of the two in each cluster is the bound. Where it saves less than 1 % of best fit's "
    "nodes no share of its gain is told.",
    "Azure V1 names no hosts: 48 vCPU and 192 GB are supplied; its lifetimes are known as bins, "
    "ends are drawn evenly inside. DLRM hosts are supplied too. Of the Alibaba GPU nodes eight a "
    "cluster are kept, so that room is scarce; requests that fit nowhere are refused. Those nodes "
    "differ, so refusals and energy say more than the number of nodes.",
    "Slowdown, throughput, latency, reliability, efficiency and power are simulated: no public "
    "trace tells what placements led to. Sizes of nodes and requests are real.",
    "`optimizer` uses the default weights .4/.3/.2/.1, which also pay for near users, reliability, "
    "balance and power; `optimizer_speed_only` puts all weight on throughput.",
    "Energy counts promised cores as busy, nodes not in use as off, by the curve of "
    "novacron/models/placement/power.py.",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, write JSON, Markdown, HTML and pictures, print the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.placement", description=__doc__)
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--quick", action="store_true", help="tiny sizes: does it run at all")
    sizes.add_argument("--small", action="store_true", help="fewer requests, jobs and decisions")
    parser.add_argument("--fresh", action="store_true", help="measure finished stages again")
    parser.add_argument("--out", type=Path, default=None, help="default: benchmarks/results")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs", help="where stages are kept")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")  # noqa: TID251 - entry point
    amounts = QUICK if given.quick else SMALL if given.small else FULL
    out = given.out or (ROOT / "runs" / "bench-placement-quick" if given.quick else RESULTS_DIR)
    out.mkdir(parents=True, exist_ok=True)
    named = os.environ.get("NOVACRON_DATA_DIR")
    data_dir = Path(named) if named else None
    present = (
        [data_dir / name for name in FILES if (data_dir / name).is_file()] if data_dir else []
    )
    sha256 = data_sha256(present) if present else f"generated:{amounts.config.seed}"
    kept = both_stages(amounts, sha256, given.runs / "bench-placement", fresh=given.fresh)
    metrics = measure(amounts, data_dir if present else None, kept, out)
    result = BenchmarkResult(
        theme="placement",
        command="python -m benchmarks.placement"
        + (" --quick" if given.quick else " --small" if given.small else ""),
        seeds=(amounts.config.seed, *amounts.seeds),
        data_sha256=sha256,
        machine=describe_machine(),
        versions=describe_versions(("lightgbm", "numpy", "scikit-learn")),
        metrics=tuple(metrics),
        notes=NOTES,
    )
    write_result(result, out)
    report(result, out)
    print(render_markdown(result))  # noqa: T201 - what the command is for


if __name__ == "__main__":
    main()
