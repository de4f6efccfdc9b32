"""What the independent checker is told of a node of a fleet."""

import numpy as np

from novacron.models.placement.checker import NodeFacts
from novacron.models.placement.factors import PLACE
from novacron.models.placement.fleet import Fleet


def facts_of(fleet: Fleet, row: int) -> NodeFacts:
    """Return what is free on a node, and what is known of it, for the independent checker."""

    def known(value: float) -> float | None:
        return None if np.isnan(value) else float(value)

    def factor(name: str) -> float | None:
        return known(fleet.factor_HF[row, PLACE[name]])

    free_R = fleet.free_HR[row]
    return NodeFacts(
        node_id=fleet.node_ids[row],
        cpu_cores=float(free_R[0]),
        memory_gb=float(free_R[1]),
        storage_gb=known(free_R[2]),
        network_mbps=known(free_R[3]),
        gpu_devices=tuple(fleet.device_HD[row].tolist()),
        region=str(fleet.region_H[row]),
        physical_security_level=factor("physical_security_level"),
        network_security=factor("network_security"),
        network_latency_ms=factor("network_latency"),
        operational_cost=factor("operational_cost"),
    )
