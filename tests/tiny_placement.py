"""A placement model small enough for tests, and nodes and workloads for it."""

from functools import lru_cache

import numpy as np

from novacron.models.placement.arrivals import Requests
from novacron.models.placement.config import (
    BoostingConfig,
    LifetimeConfig,
    OutcomeConfig,
    PlacementConfig,
)
from novacron.models.placement.fitted import PlacementModels
from novacron.models.placement.packing import Gate
from novacron.models.placement.training import (
    fit_outcome_part,
    fit_until,
    follow_clusters,
)

SMALL = PlacementConfig(
    outcomes=OutcomeConfig(
        examples=720,
        performance=BoostingConfig(trees=10, depth=3),
        resource=BoostingConfig(trees=10, depth=3),
        power=BoostingConfig(trees=10, depth=3),
    ),
    lifetimes=LifetimeConfig(rounds=10, leaves=7, leaf_rows=5, clusters=2),
    candidates=3,
)
HOUR_S = 3600.0


def requests(days=1.0, per_hour=12, seed=0):
    """Short ones and long ones that come in batches, told apart by size and batch."""
    rng = np.random.default_rng(seed)
    arrived, end, amount, batch = [], [], [], []
    number, at_s = 0, 0.0
    while at_s < days * 86_400:
        long = rng.random() < 0.3
        count = 1 if long else int(rng.integers(1, 6))
        life_s = (12 if long else 0.5) * HOUR_S
        for _ in range(count):
            arrived.append(at_s)
            end.append(at_s + life_s * rng.uniform(0.5, 1.5))
            amount.append([4.0, 14.0] if long else [2.0, 3.5])
            batch.append(number)
        number += 1
        at_s += float(rng.exponential(HOUR_S / per_hour))
    cut_s = days * 86_400.0
    end_s = np.array(end)
    count = len(arrived)
    amount_NR = np.zeros((count, 5))
    amount_NR[:, :2] = amount
    return Requests(
        arrived_s=np.array(arrived),
        end_s=np.where(end_s > cut_s, np.inf, end_s),
        amount_NR=amount_NR,
        batch_N=np.array(batch),
        gpus_N=np.zeros(count, dtype=np.int64),
        app_N=np.full(count, -1),
        max_per_node_N=np.zeros(count, dtype=np.int64),
        cut_s=cut_s,
    )


@lru_cache(maxsize=1)
def tiny_models():
    parts = follow_clusters(requests(), SMALL.lifetimes)
    return PlacementModels(
        config=SMALL,
        outcomes=fit_outcome_part(SMALL, None),
        lifetimes=fit_until(parts, 0.6 * 86_400, SMALL.lifetimes),
        gate=Gate(rule="buckets", scale_s=600.0, least_gain=0.0),
        source="generated",
    )


def node(number, **changes):
    """A node as a caller writes it."""
    found = {
        "node_id": f"n{number}",
        "cpu_cores_available": 8.0 + number,
        "memory_available": 64.0,
        "cpu_cores_total": 48.0,
        "memory_gb_total": 192.0,
        "current_load": 0.1 * (number % 5),
        "network_latency": 5.0 + number,
        "network_bandwidth": 10_000.0,
        "operational_cost": 1.0 + 0.1 * number,
        "datacenter_location": "north" if number % 2 else "south",
        "physical_security_level": 3,
        "network_security": 2 + number % 3,
    }
    found.update(changes)
    return {name: value for name, value in found.items() if value is not None}


def workload(**changes):
    """A workload as a caller writes it."""
    return {"workload_id": "w", "cpu_cores": 4, "memory_gb": 8} | changes
