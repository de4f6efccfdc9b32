"""Fits everything: outcome models on simulated placements, the lifetime model on earlier days.

The gate in front of the lifetime model is set by replays within the training time; see
`choose_gate`.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.models.placement.ages import Curves
from novacron.models.placement.arrivals import Requests, azure_requests, clusters, follow
from novacron.models.placement.config import LifetimeConfig, PlacementConfig
from novacron.models.placement.fitted import PlacementModels
from novacron.models.placement.lifetimes import (
    Exposure,
    GroupFeatures,
    LifetimeModel,
    exposure,
    fit_lifetimes,
)
from novacron.models.placement.outcomes import OutcomeModels, draw_examples, fit_outcomes
from novacron.models.placement.packing import OFF, Gate
from novacron.models.placement.replay import Lifetimes, Nodes, Replay
from novacron.models.placement.worlds import Sizes
from novacron.telemetry.datasets.placement import AZURE_V1_FILE, GPU_NODES_FILE, GPU_PODS_FILE

HOST: Final = (48.0, 192.0, 0.0, 0.0, 0.0)
"""The Azure trace has no hosts: 48 vCPU and 192 GB are supplied."""
HOSTS: Final = 400
"""More than any rule needs for a cluster of the trace."""
_VALIDATED_SHARE: Final = 1 / 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Times:
    """When what is known, in seconds of the trace."""

    begins_s: float
    trained_s: float
    """The model knows nothing after this; rules take over from best fit here."""
    scored_s: float
    """Test figures are averages from here on."""
    cut_s: float

    @classmethod
    def of(cls, requests: Requests, config: LifetimeConfig) -> "Times":
        """Split the time of a trace."""
        begins_s = float(requests.arrived_s[0])
        trained_s = begins_s + config.train_ratio * (requests.cut_s - begins_s)
        return cls(
            begins_s=begins_s,
            trained_s=trained_s,
            scored_s=trained_s + config.settle_ratio * (requests.cut_s - trained_s),
            cut_s=requests.cut_s,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Followed:
    """One cluster with what was known of each group when it arrived."""

    requests: Requests
    nodes: Nodes
    features: GroupFeatures
    group_N: NDArray[np.int64]


def follow_cluster(part: Requests, nodes: Nodes, config: LifetimeConfig) -> Followed:
    """Live through the requests of one cluster."""
    features, group_N = follow(part, config.half_life_s)
    return Followed(requests=part, nodes=nodes, features=features, group_N=group_N)


def follow_clusters(requests: Requests, config: LifetimeConfig) -> list[Followed]:
    """Deal batches out to clusters of equal hosts and live through each."""
    nodes = Nodes.alike(HOSTS, HOST)
    dealt = clusters(requests, config.clusters, config.seed)
    return [follow_cluster(part, nodes, config) for part in dealt]


def fit_until(parts: list[Followed], until_s: float, config: LifetimeConfig) -> LifetimeModel:
    """Fit the lifetime model on all clusters, as it could have been at `until_s`."""
    seen = [
        exposure(part.requests.arrived_s, part.requests.end_s, part.group_N, until_s=until_s)
        for part in parts
    ]
    sizes = [len(part.features.static_NS) for part in parts]
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    features = GroupFeatures(
        static_NS=np.concatenate([part.features.static_NS for part in parts]),
        hazard_NLK=np.concatenate([part.features.hazard_NLK for part in parts]),
        exposed_NLK=np.concatenate([part.features.exposed_NLK for part in parts]),
    )
    joined = Exposure(
        group_M=np.concatenate([one.group_M + at for one, at in zip(seen, first, strict=True)]),
        bin_M=np.concatenate([one.bin_M for one in seen]),
        ended_M=np.concatenate([one.ended_M for one in seen]),
        weight_M=np.concatenate([one.weight_M for one in seen]),
    )
    return fit_lifetimes(features, joined, config)


def curves_of(part: Followed, model: LifetimeModel) -> Lifetimes:
    """Return the curve of every group of a cluster."""
    rows = len(part.features.static_NS)
    pieces = []
    for begin in range(0, rows, 4096):
        chosen = slice(begin, begin + 4096)
        pieces.append(
            model.curves(
                GroupFeatures(
                    static_NS=part.features.static_NS[chosen],
                    hazard_NLK=part.features.hazard_NLK[chosen],
                    exposed_NLK=part.features.exposed_NLK[chosen],
                )
            )
        )
    return Lifetimes(
        curves=Curves(
            cumulative_NK1=np.concatenate([one.cumulative_NK1 for one in pieces]),
            rate_NK=np.concatenate([one.rate_NK for one in pieces]),
        ),
        group_N=part.group_N,
    )


def choose_gate(parts: list[Followed], times: Times, config: LifetimeConfig) -> Gate:
    """Set the gate within the training time; `OFF` where lifetimes do not pay.

    The first third of the clusters is replayed up to the end of training under each rule, with a
    model that learned from the other clusters: no batch is on both sides. The last third of the
    time counts. A rule must beat best fit in every one of these clusters, or best fit stays.
    """
    judged = parts[: max(1, len(parts) // 3)]
    model = fit_until(parts[len(judged) :] or parts, times.trained_s, config)
    score_from_s = times.trained_s - _VALIDATED_SHARE * (times.trained_s - times.begins_s)
    gates = [
        Gate(rule=rule, scale_s=scale_s, least_gain=gain)
        for rule, scale_s in config.rules
        for gain in config.least_gains
    ]
    active: dict[Gate, list[float]] = {gate: [] for gate in (OFF, *gates)}
    for part in judged:
        early_N = part.requests.arrived_s < times.trained_s
        known = replace(part.requests.take(early_N), cut_s=times.trained_s)
        lives = Lifetimes(curves=curves_of(part, model).curves, group_N=part.group_N[early_N])
        for gate, found in active.items():
            run = Replay(
                known,
                part.nodes,
                "lifetime",
                starts_s=times.begins_s,
                score_from_s=score_from_s,
                lifetimes=lives,
                gate=gate,
            ).run()
            found.append(run.active_nodes)
    best = min(active, key=lambda gate: sum(active[gate]))
    pays = [one < other for one, other in zip(active[best], active[OFF], strict=True)]
    return best if all(pays) else OFF


def fit_outcome_part(config: PlacementConfig, data_dir: Path | None) -> OutcomeModels:
    """Fit the outcome models."""
    sizes = sizes_of(data_dir)
    examples = draw_examples(sizes, config.outcomes, config.seed)
    return fit_outcomes(examples, config.outcomes, config.weights, config.seed)


def fit_lifetime_part(config: LifetimeConfig, data_dir: Path) -> tuple[LifetimeModel, Gate]:
    """Fit the lifetime model and set its gate."""
    requests = azure_requests(data_dir, config.seed)
    parts = follow_clusters(requests, config)
    times = Times.of(requests, config)
    gate = choose_gate(parts, times, config)
    return fit_until(parts, times.trained_s, config), gate


def sizes_of(data_dir: Path | None) -> Sizes:
    """Return real sizes where they are at hand, round ones where not."""
    if has_files(data_dir, GPU_NODES_FILE, GPU_PODS_FILE) and data_dir is not None:
        return Sizes.read(data_dir)
    return Sizes.round()


def has_lifetimes(data_dir: Path | None) -> bool:
    """Tell whether the folder has the trace that lifetimes are learned from."""
    return has_files(data_dir, AZURE_V1_FILE)


def has_files(data_dir: Path | None, *names: str) -> bool:
    """Tell whether a folder has all of these files."""
    return data_dir is not None and all((data_dir / name).is_file() for name in names)


def fit_placement(config: PlacementConfig, data_dir: Path | None) -> PlacementModels:
    """Fit all of it; without the lifetime trace, best fit packs and the answers say so."""
    outcomes = fit_outcome_part(config, data_dir)
    lifetimes, gate = None, OFF
    source = f"simulated outcomes on {sizes_of(data_dir).source}"
    if data_dir is not None and has_lifetimes(data_dir):
        lifetimes, gate = fit_lifetime_part(config.lifetimes, data_dir)
        source += "; lifetimes of Azure V1"
    return PlacementModels(
        config=config, outcomes=outcomes, lifetimes=lifetimes, gate=gate, source=source
    )
