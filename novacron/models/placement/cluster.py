"""A fleet whose residents' lifetimes are followed, so that placements can look ahead.

Legend: N residents, G grid of future times.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.errors import NotFoundError
from novacron.models.placement.ages import Curves
from novacron.models.placement.fleet import Fleet
from novacron.models.placement.history import Kind, LifetimeHistory
from novacron.models.placement.lifetimes import GroupFeatures, LifetimeModel
from novacron.models.placement.packing import Outlook
from novacron.models.placement.workload import Workload

Floats = NDArray[np.float64]

REFRESH_S: Final = 300.0
"""Residents are asked about again when this much time has passed."""


@dataclass(frozen=True, slots=True)
class _Resident:
    node: int
    batch: int
    number: int
    arrived_s: float
    cumulative_K1: Floats
    rate_K: Floats


class ClusterState:
    """Arrivals and ends of one cluster in the order of time.

    Args:
        fleet: Its nodes.
        model: Answers lifetime curves.
    """

    def __init__(self, fleet: Fleet, model: LifetimeModel) -> None:
        self.fleet, self.model = fleet, model
        self.history = LifetimeHistory(model.config.half_life_s)
        self.outlook = Outlook(len(fleet))
        self._residents: dict[str, _Resident] = {}
        self._batches: dict[str, int] = {}
        self._asked_at_s = -np.inf

    def place(self, workload: Workload, node_id: str, at_s: float) -> None:
        """Place a workload at a time in seconds.

        Raises:
            NotFoundError: There is no such node.
            OutOfRangeError: It does not fit, is placed already, or time runs backwards.
        """
        if node_id not in self.fleet.place:
            raise NotFoundError(f"There is no node {node_id!r}.")
        row = self.fleet.place[node_id]
        curve = self.curve(workload, at_s)
        self.fleet.host(workload, row)
        number = self.history.arrive(kind_of(workload), 1, at_s)
        batch = self._batch(workload)
        self._residents[workload.workload_id] = _Resident(
            row, batch, number, at_s, curve.cumulative_NK1[0], curve.rate_NK[0]
        )
        survival_NG = curve.survival(np.zeros(1, dtype=np.int64), np.zeros(1))
        self.outlook.host(row, batch, survival_NG[0])

    def end(self, workload_id: str, at_s: float) -> None:
        """Note that a workload ended.

        Raises:
            NotFoundError: It is not placed here.
            OutOfRangeError: Time runs backwards.
        """
        if workload_id not in self._residents:
            raise NotFoundError(f"Workload {workload_id!r} is not placed here.")
        self.history.advance(at_s)
        resident = self._residents.pop(workload_id)
        self.history.end(resident.number, at_s)
        row = self.fleet.release(workload_id)
        if self.fleet.count_H[row] == 0:
            self.outlook.clear(row)

    def curve(self, workload: Workload, at_s: float) -> Curves:
        """Return the lifetime curve of a workload that arrives now."""
        self.history.advance(at_s)
        kind = kind_of(workload)
        features = GroupFeatures.of([kind], [self.history.like(kind)], np.array([at_s]))
        return self.model.curves(features)

    def look(self, at_s: float) -> Outlook:
        """Return the outlook of every node; residents are asked about again with their age."""
        if at_s - self._asked_at_s >= REFRESH_S:
            self._asked_at_s = at_s
            held = list(self._residents.values())
            survival_NG = np.zeros((0, 0))
            if held:
                curves = Curves(
                    cumulative_NK1=np.stack([one.cumulative_K1 for one in held]),
                    rate_NK=np.stack([one.rate_K for one in held]),
                )
                age_N = at_s - np.array([one.arrived_s for one in held])
                survival_NG = curves.survival(np.arange(len(held)), age_N)
            node_N = np.array([one.node for one in held], dtype=np.int64)
            batch_N = np.array([one.batch for one in held], dtype=np.int64)
            self.outlook.refresh(node_N, batch_N, survival_NG)
        return self.outlook

    def _batch(self, workload: Workload) -> int:
        name = workload.hints.batch_id or f"alone:{workload.workload_id}"
        return self._batches.setdefault(name, len(self._batches))


def kind_of(workload: Workload) -> Kind:
    """Return what the lifetime model sees of a workload; -1 where the caller did not say."""
    hints = workload.hints

    def known(value: int | None) -> int:
        return -1 if value is None else value

    return Kind(
        workload.cpu_cores,
        workload.memory_gb,
        known(hints.batch_size),
        known(hints.batch_same_size),
        known(hints.batch_kinds),
    )
