"""Stands in for an optimizer that cannot answer: best fit among the nodes that satisfy every constraint.

Constraints are checked twice, as ever, by code without anything learned. The score is the share of the
node that is filled, with the widest interval; outcomes are not estimated and no reason is given.

Legend: C feasible nodes, R resources.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from novacron.errors import NovacronError
from novacron.models.base import Tensors
from novacron.models.placement.answers import Candidate, Estimate, PlacementAnswer
from novacron.models.placement.checker import violations
from novacron.models.placement.constraints import Filtered, filter_nodes
from novacron.models.placement.facts import facts_of
from novacron.models.placement.fitted import NAME as MODEL
from novacron.models.placement.fleet import Fleet
from novacron.models.placement.model import PlacementModel, pairs
from novacron.models.placement.packing import left_over
from novacron.models.placement.workload import RESOURCES, Workload, read_workload

Floats = NDArray[np.float64]

NAME: Final = "best_fit_alone"
_NOBODY: Final = datetime.fromtimestamp(0, UTC)  # the endpoint stamps its own times


def answer(model: PlacementModel, tensors: Tensors) -> dict[str, NDArray[np.generic]]:
    """Decide each row by itself; see `novacron.models.stand_ins`."""
    found = [_decide(model, workload, nodes) for workload, nodes in pairs(tensors)]
    return model.tensors_of(found)


def _decide(
    model: PlacementModel, workload: Mapping[str, Any], nodes: list[Mapping[str, Any]]
) -> PlacementAnswer:
    asked, fleet = read_workload(workload), Fleet.read(nodes)
    filtered = filter_nodes(fleet, asked)
    rows_C = np.flatnonzero(filtered.feasible_H)
    left_C = _left(asked, fleet, rows_C)
    order_C = np.argsort(left_C, kind="stable")[: model.models.config.candidates]
    candidates = tuple(
        _candidate(asked, fleet, filtered, int(rows_C[place]), rank, float(left_C[place]))
        for rank, place in enumerate(order_C, 1)
    )
    config = model.models.config
    return PlacementAnswer(
        workload_id=asked.workload_id,
        candidates=candidates,
        none_feasible_because=filtered.because,
        verdicts=filtered.verdicts,
        nodes=len(filtered.feasible_H),
        feasible=len(rows_C),
        scored=0,
        strategy=config.strategy,
        decided_by="best_fit" if candidates else "nothing",
        fallback=NAME,
        model_name=MODEL,
        model_version="",
        made_at=_NOBODY,
        horizon_s=config.horizon_s,
        valid_until=_NOBODY,
        features_hash=model.features_hash,
    )


def _left(asked: Workload, fleet: Fleet, rows_C: NDArray[np.int64]) -> Floats:
    """Return the share of each node that would be left, 0 where it is filled exactly."""
    total_CR, free_CR = fleet.total_HR[rows_C], fleet.free_HR[rows_C]
    # Where a total is not known, what is free is all that can be compared.
    total_CR = np.where(np.isfinite(total_CR) & (total_CR > 0), total_CR, free_CR)
    return left_over(free_CR, np.array(asked.amounts), np.maximum(total_CR, 1e-9))


def _candidate(
    asked: Workload, fleet: Fleet, filtered: Filtered, row: int, rank: int, left: float
) -> Candidate:
    groups = {name: int(count[row]) for name, count in fleet.group_counts.items()}
    broken = violations(asked, facts_of(fleet, row), groups=groups)
    if broken:
        raise NovacronError(
            f"Node {fleet.node_ids[row]} passed the filter and violates {', '.join(broken)}.",
            remedy="This is a fault of the optimizer: please report it with the request.",
        )
    filled = float(np.clip(1.0 - left, 0.0, 1.0))
    total_R, free_R = fleet.total_HR[row], fleet.free_HR[row]
    used_R = (total_R - free_R + np.array(asked.amounts)) / np.maximum(total_R, 1e-9)
    return Candidate(
        node_id=fleet.node_ids[row],
        rank=rank,
        # Nothing is promised of it: a confidence of 0.
        score=Estimate(value=filled, lower=0.0, upper=1.0, coverage=0.0, unit="0..1"),
        estimates={},
        utilization={
            name: float(used_R[place]) if np.isfinite(used_R[place]) else None
            for place, name in enumerate(RESOURCES)
        },
        base=filled,
        reasons=(),
        other_factors=0.0,
        soft=0.0,
        extension_s=None,
        constraints_satisfied=tuple(one.constraint for one in filtered.verdicts),
    )
