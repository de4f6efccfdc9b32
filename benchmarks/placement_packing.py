"""Packing of real arrivals: nodes in use, stranded resources, energy, refusals, by rule.

Three sets: Azure V1 (hosts supplied), Alibaba GPU 2023 (its own nodes, fewer than it had), DLRM
2025 (five resources, anti-affinity, hosts supplied). Clusters are the paired blocks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import lightgbm
import numpy as np
from numpy.typing import NDArray

from benchmarks.results_format import Metric
from novacron.models.metrics import Interval, group_ratio
from novacron.models.placement.arrivals import (
    RDMA_MBPS,
    azure_requests,
    dlrm_requests,
    gpu_requests,
)
from novacron.models.placement.config import LifetimeConfig, PlacementConfig
from novacron.models.placement.fitted import PlacementModels
from novacron.models.placement.lifetimes import LifetimeModel
from novacron.models.placement.packing import Gate
from novacron.models.placement.replay import Nodes, Replayed, Rule
from novacron.models.placement.scoring import gain_share, pack_cluster
from novacron.models.placement.training import (
    Followed,
    Times,
    choose_gate,
    curves_of,
    fit_until,
    follow_cluster,
    follow_clusters,
)
from novacron.telemetry.datasets.placement import adapt_gpu_nodes

Floats = NDArray[np.float64]


class Keep(Protocol):
    """Returns a stage's result by its name, measured now or before."""

    def __call__(self, name: str, measure: Callable[[], Any]) -> Any:
        """Measure a stage, or read what was measured."""
        ...


RULES: Final[tuple[Rule, ...]] = (
    "random",
    "first_fit",
    "best_fit",
    "worst_fit",
    "least_loaded",
    "lifetime_one_shot",
    "lifetime",
)
DLRM_HOST: Final = (192.0, 1920.0, 4000.0, RDMA_MBPS, 2.0)
"""vCPU, GiB, GiB of disk, Mbps of RDMA, devices: the trace names no hosts."""
GPU_NODES: Final = 8
"""For each cluster: few pods live at once, so few nodes are kept, to make room scarce."""
_DLRM_HOSTS: Final = 1500
_LEAST_GAIN: Final = 0.002
"""Where even the oracle saves less than this share of nodes there is nothing to have a share of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PackedSet:
    """One set of requests in clusters, with the lifetime model that learned its earlier days."""

    name: str
    parts: list[Followed]
    times: Times
    config: LifetimeConfig


def azure_set(data_dir: Path, config: LifetimeConfig, share: float) -> PackedSet:
    """Deal the VMs out to clusters of 48 vCPU and 192 GB hosts; `share` keeps that many batches."""
    requests = azure_requests(data_dir, config.seed)
    if share < 1:
        kept_N = np.random.default_rng(0).random(int(requests.batch_N.max()) + 1) < share
        requests = requests.take(kept_N[requests.batch_N])
    return PackedSet(
        name="azure_v1",
        parts=follow_clusters(requests, config),
        times=Times.of(requests, config),
        config=config,
    )


def gpu_set(data_dir: Path, config: LifetimeConfig, share: float) -> PackedSet:
    """Deal pods out to clusters of `GPU_NODES` nodes that have GPUs; `share` keeps that many pods."""
    frame = adapt_gpu_nodes(data_dir).table.to_pandas()
    total_HR = np.zeros((len(frame), 5))
    total_HR[:, 0], total_HR[:, 1] = frame.cpu_milli / 1000, frame.mem_mib / 1024
    total_HR[:, 4] = frame.gpus
    rng = np.random.default_rng(config.seed)
    with_gpus = np.flatnonzero(total_HR[:, 4] > 0)
    kept_HR = total_HR[rng.permutation(with_gpus)[: GPU_NODES * config.clusters]]
    requests = gpu_requests(data_dir)
    # A handful of pods are older by months than all others.
    requests = requests.take(requests.arrived_s >= np.quantile(requests.arrived_s, 0.01))
    requests = requests.take(rng.random(len(requests)) < share)
    where_N = rng.integers(config.clusters, size=len(requests))
    parts = []
    for number in range(config.clusters):
        nodes = Nodes(total_HR=kept_HR[number :: config.clusters], is_fixed=True)
        parts.append(follow_cluster(requests.take(where_N == number), nodes, config))
    return PackedSet(
        name="alibaba_gpu_2023", parts=parts, times=Times.of(requests, config), config=config
    )


def dlrm_set(data_dir: Path, config: LifetimeConfig, share: float) -> PackedSet:
    """Deal applications out to clusters: anti-affinity holds within one. `share` keeps that many."""
    requests = dlrm_requests(data_dir)
    nodes = Nodes.alike(_DLRM_HOSTS, DLRM_HOST)
    fits_N = (requests.amount_NR <= np.array(DLRM_HOST)).all(axis=1)
    rng = np.random.default_rng(config.seed)
    kept_A = rng.random(int(requests.app_N.max()) + 1) < share
    requests = requests.take(fits_N & kept_A[requests.app_N])
    where_A = rng.integers(config.clusters, size=len(kept_A))
    parts = [
        follow_cluster(requests.take(where_A[requests.app_N] == number), nodes, config)
        for number in range(config.clusters)
    ]
    return PackedSet(
        name="alibaba_dlrm_2025", parts=parts, times=Times.of(requests, config), config=config
    )


def pack(one: PackedSet, seed: int, kept: Keep) -> dict[str, Any]:
    """Train on the earlier days of a set, set the gate, replay every rule in every cluster."""
    trained = kept(f"{one.name}_model", lambda: _train(one))
    rule, scale_s, least_gain = trained["gate"]
    models = PlacementModels(
        config=PlacementConfig(lifetimes=one.config),
        outcomes=_NO_OUTCOMES,
        lifetimes=LifetimeModel(lightgbm.Booster(model_str=trained["text"]), one.config),
        gate=Gate(rule=rule, scale_s=scale_s, least_gain=least_gain),
    )
    packed = []
    for number, part in enumerate(one.parts):
        measure = partial(_pack_one, part, models, one.times, seed)
        packed.append(kept(f"{one.name}_{number}", measure))
    return {
        "set": one.name,
        "gate": trained["gate"],
        "buckets": trained["buckets"],
        "checked": sum(each["checked"] for each in packed),
        "infeasible": sum(each["infeasible"] for each in packed),
        "rules": {rule: [each["rules"][rule] for each in packed] for rule in packed[0]["rules"]},
    }


def _train(one: PackedSet) -> dict[str, Any]:
    model = fit_until(one.parts, one.times.trained_s, one.config)
    gate = choose_gate(one.parts, one.times, one.config)
    return {
        "text": model.to_text(),
        "gate": [gate.rule, gate.scale_s, gate.least_gain],
        "buckets": bucket_counts(one, model),
    }


def _pack_one(part: Followed, models: PlacementModels, times: Times, seed: int) -> dict[str, Any]:
    packed = pack_cluster(part, models, times, RULES, seed)
    return {
        "checked": packed.checked,
        "infeasible": packed.infeasible,
        "rules": {rule: _told(run) for rule, run in packed.by_rule.items()},
    }


def bucket_counts(one: PackedSet, model: LifetimeModel) -> dict[str, list[int]]:
    """Count, by cluster, workloads after training whose bucket of life is known, and those told.

    Buckets end at 3,900 s, 21,900 s and 86,700 s, edges at which lives are known. Only workloads
    that arrived a day or more before the cut count, so that the cut hides no bucket.
    """
    edges = np.array([3900.0, 21_900.0, 86_700.0])
    counts: dict[str, list[int]] = {"known": [], "right": [], "majority": []}
    for part in one.parts:
        requests = part.requests
        late_N = requests.arrived_s >= one.times.trained_s
        late_N &= requests.arrived_s + edges[-1] <= requests.cut_s
        curves = curves_of(part, model).curves
        ended_G4 = 1 - np.exp(-np.column_stack([curves.hazard_to(
            np.arange(len(curves.rate_NK)), np.full(len(curves.rate_NK), edge)
        ) for edge in edges]))  # fmt: skip
        told_G = np.diff(ended_G4, axis=1, prepend=0.0, append=1.0).argmax(axis=1)
        life_N = requests.end_s[late_N] - requests.arrived_s[late_N]
        true_N = np.searchsorted(edges, life_N, side="right")
        counts["known"].append(int(late_N.sum()))
        counts["right"].append(int((told_G[part.group_N[late_N]] == true_N).sum()))
        counts["majority"].append(int(np.bincount(true_N, minlength=4).max()))
    return counts


_NO_OUTCOMES: Final[Any] = None
"""Packing asks for no estimates."""


def _told(run: Replayed) -> dict[str, Any]:
    return {
        "active": run.active_nodes,
        "fluid": run.fluid_bound,
        "rejected": run.rejected,
        "placed": run.placed,
        "energy_kwh": run.energy_kwh,
        "stranded": run.stranded_R.tolist(),
        "fallbacks": run.fallbacks,
        "hours": run.hours.tolist(),
        "active_by_hour": run.active_by_hour.tolist(),
    }


def packing_metrics(found: Mapping[str, Any], rng: np.random.Generator) -> list[Metric]:
    """Turn the replays of one set into figures with intervals over clusters."""
    on, rules = found["set"], found["rules"]

    def column(rule: str, name: str) -> Floats:
        return np.array([each[name] for each in rules[rule]], dtype=np.float64)

    oracle_N = np.minimum(column("oracle_buckets", "active"), column("oracle_linear", "active"))
    active: dict[str, Floats] = {rule: column(rule, "active") for rule in RULES}
    active["lifetime_oracle"] = oracle_N
    best_N, each_N = active["best_fit"], np.arange(len(oracle_N))
    metrics = []
    for rule, active_N in active.items():
        to_fluid = group_ratio(active_N, column("best_fit", "fluid"), each_N, rng)
        to_best = group_ratio(active_N, best_N, each_N, rng)
        beside = f"best fit {best_N.mean():.1f}, fluid {column('best_fit', 'fluid').mean():.1f}"
        mean = Interval(value=float(active_N.mean()), lo=0, hi=0, n=len(active_N))
        metrics += [
            Metric(
                name=f"active_nodes_{rule}", set=on, value=mean.value, n=mean.n, baseline=beside
            ),
            _metric(f"active_over_fluid_{rule}", on, to_fluid, "1 is the fluid lower bound"),
            _metric(f"active_over_best_fit_{rule}", on, to_best, "best fit is 1"),
        ]
    shared = ("lifetime", "lifetime_one_shot", "first_fit")
    for rule in shared if 1 - oracle_N.sum() / best_N.sum() > _LEAST_GAIN else ():
        share = gain_share(best_N, active[rule], oracle_N, rng)
        metrics.append(
            _metric(f"share_of_oracle_gain_{rule}", on, share, "best fit 0, lifetime oracle 1")
        )
    regret = group_ratio(active["lifetime"], oracle_N, each_N, rng)
    metrics.append(_metric("regret_to_oracle_ratio", on, regret, "the oracle is 1"))
    metrics += _by_rule(on, rules)
    return metrics + _checks(on, found)


def _by_rule(on: str, rules: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Metric]:
    metrics = []
    for rule in RULES:
        runs = rules[rule]
        stranded_NR = np.array([each["stranded"] for each in runs])
        values = {
            "energy_kwh": sum(each["energy_kwh"] for each in runs),
            "rejected_requests": sum(each["rejected"] for each in runs),
            "stranded_cpu_ratio": float(stranded_NR[:, 0].mean()),
            "stranded_memory_ratio": float(stranded_NR[:, 1].mean()),
        }
        best = rules["best_fit"]
        beside = {
            "energy_kwh": sum(each["energy_kwh"] for each in best),
            "rejected_requests": sum(each["rejected"] for each in best),
            "stranded_cpu_ratio": float(np.mean([each["stranded"][0] for each in best])),
            "stranded_memory_ratio": float(np.mean([each["stranded"][1] for each in best])),
        }
        metrics += [
            Metric(
                name=f"{name}_{rule}",
                set=on,
                value=float(value),
                n=len(runs),
                baseline=f"best fit {beside[name]:.4g}",
            )
            for name, value in values.items()
        ]
    return metrics


def _checks(on: str, found: Mapping[str, Any]) -> list[Metric]:
    runs = found["rules"]["lifetime"]
    fallbacks = sum(each["fallbacks"] for each in runs)
    placed = sum(each["placed"] for each in runs)
    rule, scale_s, gain = found["gate"]
    buckets = found["buckets"]
    known = max(sum(buckets["known"]), 1)
    majority = sum(buckets["majority"]) / known
    return [
        Metric(
            name="lifetime_bucket_accuracy",
            set=on,
            value=sum(buckets["right"]) / known,
            n=known,
            baseline=f"the commonest of four buckets {majority:.3f}",
        ),
        Metric(
            name="infeasible_placements",
            set=on,
            value=float(found["infeasible"]),
            n=found["checked"],
            baseline="placements that the independent checker refused; goal 0",
        ),
        Metric(
            name="fallback_ratio",
            set=on,
            value=fallbacks / max(placed, 1),
            n=placed,
            baseline=f"decisions by best fit; gate {rule}, {scale_s:g} s, least gain {gain:g}",
        ),
    ]


def _metric(name: str, on: str, found: Interval, baseline: str) -> Metric:
    return Metric(
        name=name, set=on, value=found.value, lo=found.lo, hi=found.hi, n=found.n,
        baseline=baseline,
    )  # fmt: skip


def half_trained(config: LifetimeConfig, clusters: int) -> LifetimeConfig:
    """Return the settings for the smaller sets: half of the time trains, fewer rows to a leaf."""
    return replace_config(config, clusters=clusters, train_ratio=0.5, leaf_rows=20)


def replace_config(config: LifetimeConfig, **changes: Any) -> LifetimeConfig:
    """Return the settings with some changed, checked anew."""
    return LifetimeConfig.model_validate(config.model_dump() | changes)
