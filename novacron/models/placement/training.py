"""Fits everything: outcome models on simulated placements, the lifetime model on earlier days.

The gate in front of the lifetime model is set by replaying the last third of the training time:
the rule that keeps the fewest nodes in use is taken if it beats best fit there in most clusters,
else best fit packs.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

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
from novacron.models.placement.replay import Lifetimes, Nodes, Replay, Replayed, Rule
from novacron.models.placement.worlds import Sizes
from novacron.telemetry.datasets.placement import AZURE_V1_FILE, GPU_NODES_FILE, GPU_PODS_FILE

HOST: Final = (48.0, 192.0, 0.0, 0.0, 0.0)
"""The Azure trace has no hosts: 48 vCPU and 192 GB are supplied."""
HOSTS: Final = 400
"""More than any rule needs for a cluster of the trace."""
_VALIDATED_SHARE: Final = 1 / 3
_TAKEOVER_SHARE: Final = 0.2
"""Share of the time before scoring at which a rule takes over from best fit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Times:
    """When what is known, in seconds of the trace."""

    begins_s: float
    fitted_s: float
    """The model that the gate is set with knows nothing after this."""
    trained_s: float
    """The model that is kept knows nothing after this."""
    cut_s: float

    @classmethod
    def of(cls, requests: Requests, config: LifetimeConfig) -> "Times":
        """Split the time of a trace."""
        begins_s = float(requests.arrived_s[0])
        span_s = requests.cut_s - begins_s
        trained_s = begins_s + config.train_ratio * span_s
        return cls(
            begins_s=begins_s,
            fitted_s=trained_s - _VALIDATED_SHARE * (trained_s - begins_s),
            trained_s=trained_s,
            cut_s=requests.cut_s,
        )

    @property
    def scored_s(self) -> float:
        """Test figures are averages from here on; rules take over at `trained_s`."""
        return self.trained_s + _TAKEOVER_SHARE * (self.cut_s - self.trained_s)


@dataclass(frozen=True, kw_only=True, slots=True)
class Followed:
    """One cluster with what was known of each group when it arrived."""

    requests: Requests
    features: GroupFeatures
    group_N: "np.ndarray[tuple[int], np.dtype[np.int64]]"


def follow_clusters(requests: Requests, config: LifetimeConfig) -> list[Followed]:
    """Deal batches out to clusters and live through each."""
    made = []
    for part in clusters(requests, config.clusters, config.seed):
        features, group_N = follow(part, config.half_life_s)
        made.append(Followed(requests=part, features=features, group_N=group_N))
    return made


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


def replay_part(
    requests: Requests,
    rule: Rule,
    *,
    starts_s: float,
    score_from_s: float,
    lifetimes: Lifetimes | None = None,
    gate: Gate = OFF,
) -> Replayed:
    """Replay one cluster on as many hosts as it needs."""
    return Replay(
        requests,
        Nodes.alike(HOSTS, HOST),
        rule,
        starts_s=starts_s,
        score_from_s=score_from_s,
        lifetimes=lifetimes,
        gate=gate,
    ).run()


def choose_gate(parts: list[Followed], times: Times, config: LifetimeConfig) -> Gate:
    """Set the gate on the last third of the training time; `OFF` where lifetimes do not pay.

    Two clusters are replayed with a model that knows nothing after `times.fitted_s`.
    """
    model = fit_until(parts, times.fitted_s, config)
    judged = parts[:2]
    span_s = times.trained_s - times.fitted_s
    active: dict[Gate, list[float]] = {}
    for part in judged:
        early = part.requests.take(part.requests.arrived_s < times.trained_s)
        group_N = part.group_N[part.requests.arrived_s < times.trained_s]
        known = Requests(
            **{
                name: getattr(early, name)
                for name in early.__dataclass_fields__
                if name != "cut_s"
            },
            cut_s=times.trained_s,
        )
        known_lives = Lifetimes(curves=curves_of(part, model).curves, group_N=group_N)
        gates = [
            Gate(rule=rule, scale_s=scale_s, least_gain=gain)
            for rule, scale_s in config.rules
            for gain in config.least_gains
        ]
        for gate in (OFF, *gates):
            found = replay_part(
                known,
                "lifetime",
                starts_s=times.fitted_s,
                score_from_s=times.fitted_s + _TAKEOVER_SHARE * span_s,
                lifetimes=known_lives,
                gate=gate,
            )
            active.setdefault(gate, []).append(found.active_nodes)
    best = min(active, key=lambda gate: sum(active[gate]))
    pays = [a < b for a, b in zip(active[best], active[OFF], strict=True)]
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
