"""Says what kind of thing an alert is, what made it one, and what to look at first."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.models.anomaly.answers import AlertKind, Contribution, Shape
from novacron.models.anomaly.scorer import COMPONENTS
from novacron.models.anomaly.signals import NAMES

Floats = NDArray[np.float64]

COVERAGE: Final = 0.98
TOP: Final = 5
_STUCK_FROM: Final = 1.0
"""Surprise of a run of equal samples from which it names the alert: the others follow from it."""

_RISES: Final[Mapping[str, AlertKind]] = {
    "latency_mean_ms": "latency_spike",
    "latency_p95_ms": "latency_spike",
    "latency_p99_ms": "latency_spike",
    "error_ratio": "error_burst",
    "cpu_ratio": "resource_exhaustion",
    "mem_ratio": "resource_exhaustion",
    "disk_ratio": "resource_exhaustion",
    "net_ratio": "resource_exhaustion",
    "pba_abs_err_ratio": "prediction_error",
    "acp_commit_ms": "consensus_delay",
    "rtt_ms": "network_anomaly",
    "loss_ratio": "network_anomaly",
    "jitter_ms": "network_anomaly",
    "queue_depth_pkts": "network_anomaly",
    "retransmits": "network_anomaly",
}
_FALLS: Final[Mapping[str, AlertKind]] = {
    "throughput_rps": "throughput_drop",
    "bandwidth_mbps": "network_anomaly",
    "hde_ratio": "compression_failure",
}
_ACTIONS: Final[Mapping[AlertKind, str]] = {
    "latency_spike": "Compare CPU and queue of the node with its neighbours; move load off it if "
    "only this node is slow.",
    "throughput_drop": "Check whether requests still arrive: if not, look upstream; if they do, "
    "look at errors and latency of the node.",
    "error_burst": "Read the newest deployment and the node's error log; roll the deployment back "
    "if both start together.",
    "resource_exhaustion": "Find the guest that took the resource; cap or move it before the node "
    "runs out.",
    "compression_failure": "Check what the guests write (encrypted or compressed pages) and let "
    "HDE fall back to a cheaper level.",
    "prediction_error": "Check the link for a change of path; let PBA start its history anew.",
    "consensus_delay": "Check round trips and disks of the voters; replace a slow voter.",
    "network_anomaly": "Compare both directions and neighbouring links; reroute if only this one "
    "is affected.",
    "unknown": "Look at the features below and at what changed at that time.",
}
_SHAPE_OF_COMPONENT: Final[Mapping[str, Shape]] = {
    "change": "spike",
    "level_6": "level_shift",
    "shift_24": "level_shift",
    "daily_shift": "pattern",
    "pca_forest": "pattern",
    "stuck": "stuck",
}


def kind_of(metric: str, *, rising: bool) -> AlertKind:
    """Return the kind of an alert from the metric and the side it left its usual range on."""
    return (_RISES if rising else _FALLS).get(metric, "unknown")


def action_for(kind: AlertKind, shape: Shape) -> str:
    """Return what to do first."""
    if shape == "stuck":
        return "Check the collector first: the metric stopped moving, its last value may be stale."
    return _ACTIONS[kind]


def shape_of(component_C: Floats, feature_F: Floats) -> Shape:
    """Return the shape that the most surprised directly read component stands for."""
    if not component_C.any():
        return "spike"
    named = {name: float(component_C[COMPONENTS.index(name)]) for name in _SHAPE_OF_COMPONENT}
    if named["stuck"] >= _STUCK_FROM:
        return "stuck"
    best = max(named, key=lambda name: named[name])
    volatile = max(feature_F[NAMES.index(f"volatility_{w}")] for w in (6, 24))
    if _SHAPE_OF_COMPONENT[best] in {"spike", "pattern"} and volatile > 1:
        return "volatility"
    return _SHAPE_OF_COMPONENT[best]


def top_features(contribution_F: Floats, feature_F: Floats) -> tuple[Contribution, ...]:
    """Return the features that contributed most to one sample, largest first."""
    total = contribution_F.sum()
    order = np.argsort(-contribution_F, kind="stable")[:TOP]
    return tuple(
        Contribution(
            feature=NAMES[place],
            share=float(contribution_F[place] / total),
            value=float(feature_F[place]),
        )
        for place in order
        if contribution_F[place] > 0
    )


def usual_range(past_H: Floats) -> tuple[float, float]:
    """Return the range that held all but 2 % of the samples of the day before."""
    low, high = np.quantile(past_H, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return float(low), float(high)
