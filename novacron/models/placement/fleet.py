"""The nodes as arrays: what is free, what is promised, what is known of each.

Legend: H nodes, R resources (`workload.RESOURCES`), F factors, D devices of a node.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from novacron.errors import NotFoundError, OutOfRangeError, SchemaError, UnknownNameError
from novacron.models.placement.factors import FACTORS, NAMES, PLACE
from novacron.models.placement.workload import RESOURCES, Workload, nearest

Floats = NDArray[np.float64]

FREE_FACTORS: Final = (
    "cpu_cores_available",
    "memory_available",
    "storage_available",
    "network_bandwidth",
    "gpu_available",
)
"""The factor that says what is free of each resource, in the order of `RESOURCES`."""
TOTALS: Final = tuple(f"{name}_total" for name in RESOURCES)
_FREE_PLACES: Final = np.array([PLACE[name] for name in FREE_FACTORS])
_UTILIZATION: Final = PLACE["capacity_utilization"]
_FRAGMENTATION: Final = PLACE["resource_fragmentation"]
_OWN_KEYS: Final = ("node_id", "groups", "gpu_free", "residents", *TOTALS)
_DUST: Final = 1e-9
"""Amounts are sums of binary fractions: less than this is nothing."""


class Fleet:
    """Nodes that workloads can be placed on, kept up to date as they come and go.

    `free_HR` is NaN where the caller did not say; a request for it is then not known to fit.
    """

    def __init__(
        self,
        node_ids: Sequence[str],
        free_HR: Floats,
        *,
        total_HR: Floats | None = None,
        factor_HF: Floats | None = None,
    ) -> None:
        self.node_ids = tuple(node_ids)
        self.place = {name: number for number, name in enumerate(self.node_ids)}
        if len(self.place) != len(self.node_ids):
            raise SchemaError(field="node_id", got="a name twice", expected="each node once")
        size = len(self.node_ids)
        self.free_HR = np.array(free_HR, dtype=np.float64)
        nothing_HR = np.full((size, len(RESOURCES)), np.nan)
        self.total_HR = nothing_HR if total_HR is None else np.array(total_HR, dtype=np.float64)
        self.factor_HF = (
            np.full((size, len(NAMES)), np.nan)
            if factor_HF is None
            else np.array(factor_HF, dtype=np.float64)
        )
        self.region_H = np.full(size, "", dtype=object)
        self.group_counts: dict[str, NDArray[np.int64]] = {}
        self.count_H = np.zeros(size, dtype=np.int64)
        """Workloads on each node; a node with none is not active."""
        self.device_HD = _devices(self.free_HR[:, 4])
        self._held: dict[str, tuple[int, Workload, tuple[int, ...]]] = {}
        self.refresh(slice(None))

    def __len__(self) -> int:
        return len(self.node_ids)

    @classmethod
    def read(cls, nodes: Iterable[Mapping[str, Any]]) -> Self:
        """Read flat mappings: `node_id`, `<resource>_total`, `groups`, `gpu_free`, and factors.

        `groups` counts the workloads of each group that the node hosts, `gpu_free` lists the free
        share of each device. Pair factors are those of the workload that is to be placed.

        Raises:
            SchemaError: A required factor or the name is missing, or a value has a wrong type.
            OutOfRangeError: A value is outside its range.
            UnknownNameError: A key is no factor and no other field.
        """
        listed = list(nodes)
        if not listed:
            raise SchemaError(field="nodes", got="none", expected="at least one node")
        factor_HF = np.full((len(listed), len(NAMES)), np.nan)
        total_HR = np.full((len(listed), len(RESOURCES)), np.nan)
        for row, node in enumerate(listed):
            _read_node(node, factor_HF[row], total_HR[row])
        ids = [str(node["node_id"]) for node in listed]
        made = cls(ids, factor_HF[:, _FREE_PLACES], total_HR=total_HR, factor_HF=factor_HF)
        for row, node in enumerate(listed):
            made.region_H[row] = node.get("datacenter_location") or ""
            made.count_H[row] = int(node.get("residents", 0))
            for group, count in dict(node.get("groups", {})).items():
                made._groups(group)[row] = count
            if "gpu_free" in node:
                made._set_devices(row, node["gpu_free"])
        return made

    def set_factor(self, name: str, value_H: Floats) -> None:
        """Set one factor of all nodes; NaN where it is absent."""
        self.factor_HF[:, PLACE[name]] = value_H

    def refresh(self, rows: Any) -> None:
        """Bring the factors that follow from what is free up to date."""
        free_HR = self.free_HR[rows]
        self.factor_HF[rows, _FREE_PLACES] = free_HR
        total_HR = self.total_HR[rows]
        share_HR = free_HR / total_HR
        cpu_H, memory_H = share_HR[..., 0], share_HR[..., 1]
        known_H = np.isfinite(cpu_H)
        self.factor_HF[rows, _UTILIZATION] = np.where(
            known_H, np.clip(1 - cpu_H, 0, 1), self.factor_HF[rows, _UTILIZATION]
        )
        self.factor_HF[rows, _FRAGMENTATION] = np.where(
            known_H & np.isfinite(memory_H),
            np.abs(cpu_H - memory_H),
            self.factor_HF[rows, _FRAGMENTATION],
        )

    def host(self, workload: Workload, row: int) -> None:
        """Take a workload's amounts off a node.

        Raises:
            OutOfRangeError: It does not fit, or is placed already.
        """
        if workload.workload_id in self._held:
            raise OutOfRangeError(
                field="workload_id", got=workload.workload_id, expected="one not placed yet"
            )
        amounts_R = np.array(workload.amounts)
        left_R = self.free_HR[row] - amounts_R
        asked_R = amounts_R > 0
        if (left_R[asked_R] < -_DUST).any() or np.isnan(left_R[asked_R]).any():
            raise OutOfRangeError(
                field=f"node {self.node_ids[row]}",
                got=workload.amounts,
                expected=f"no more than is free: {self.free_HR[row].tolist()}",
            )
        devices = self._take_devices(workload, row)
        self.free_HR[row, asked_R] = left_R[asked_R]
        self.count_H[row] += 1
        if workload.group:
            self._groups(workload.group)[row] += 1
        self._held[workload.workload_id] = (row, workload, devices)
        self.refresh(row)

    def release(self, workload_id: str) -> int:
        """Give back what a workload held, and return its node's row.

        Raises:
            NotFoundError: It is not placed here.
        """
        if workload_id not in self._held:
            raise NotFoundError(f"Workload {workload_id!r} is not placed here.")
        row, workload, devices = self._held.pop(workload_id)
        amounts_R = np.array(workload.amounts)
        asked_R = amounts_R > 0
        self.free_HR[row, asked_R] += amounts_R[asked_R]
        for device in devices:
            self.device_HD[row, device] += workload.gpu_share
        self.count_H[row] -= 1
        if workload.group:
            self._groups(workload.group)[row] -= 1
        self.refresh(row)
        return row

    def node_of(self, workload_id: str) -> str:
        """Return the node that holds a workload.

        Raises:
            NotFoundError: It is not placed here.
        """
        if workload_id not in self._held:
            raise NotFoundError(f"Workload {workload_id!r} is not placed here.")
        return self.node_ids[self._held[workload_id][0]]

    def groups_of(self, name: str) -> NDArray[np.int64]:
        """Return how many workloads of a group each node hosts."""
        found = self.group_counts.get(name)
        return np.zeros(len(self), dtype=np.int64) if found is None else found

    def _groups(self, name: str) -> NDArray[np.int64]:
        return self.group_counts.setdefault(name, np.zeros(len(self), dtype=np.int64))

    def _set_devices(self, row: int, free: Sequence[float]) -> None:
        if len(free) > self.device_HD.shape[1]:
            more = len(free) - self.device_HD.shape[1]
            self.device_HD = np.pad(self.device_HD, ((0, 0), (0, more)))
        self.device_HD[row] = 0.0
        self.device_HD[row, : len(free)] = free

    def _take_devices(self, workload: Workload, row: int) -> tuple[int, ...]:
        if not workload.gpus:
            return ()
        free_D = self.device_HD[row]
        fits_D = np.flatnonzero(free_D >= workload.gpu_share - _DUST)
        if len(fits_D) < workload.gpus:
            raise OutOfRangeError(
                field=f"node {self.node_ids[row]}",
                got=f"{workload.gpus} x {workload.gpu_share:g} GPU",
                expected=f"devices with that share free: {free_D.tolist()}",
            )
        # The fullest devices that still fit leave whole ones to those who need whole ones.
        chosen = fits_D[np.argsort(free_D[fits_D], kind="stable")][: workload.gpus]
        self.device_HD[row, chosen] -= workload.gpu_share
        return tuple(int(device) for device in chosen)


def _devices(free_H: Floats) -> Floats:
    """Return the free share of each device: whole ones first, the rest on one more."""
    free_H = np.nan_to_num(free_H, nan=0.0)
    most = int(np.ceil(free_H.max())) if free_H.size else 0
    return np.asarray(np.clip(free_H[:, None] - np.arange(most)[None, :], 0.0, 1.0))


def _read_node(node: Mapping[str, Any], factor_F: Floats, total_R: Floats) -> None:
    if not isinstance(node.get("node_id"), str) or not node["node_id"]:
        raise SchemaError(field="node_id", got=node.get("node_id"), expected="a name")
    for key, value in node.items():
        if key in PLACE:
            factor_F[PLACE[key]] = _encode(str(node["node_id"]), key, value)
        elif key in TOTALS:
            total_R[TOTALS.index(key)] = _amount(key, value)
        elif key not in _OWN_KEYS:
            known = (*_OWN_KEYS, *NAMES)
            raise UnknownNameError(kind="node field", got=str(key), known=nearest(key, known))
    for one in FACTORS:
        if one.is_required and np.isnan(factor_F[PLACE[one.name]]):
            raise SchemaError(
                field=f"{node['node_id']}.{one.name}",
                got="nothing",
                expected=f"a number in {one.unit}: {one.doc}",
                remedy="A node without it cannot be placed on.",
            )


def _encode(node_id: str, key: str, value: object) -> float:
    one = FACTORS[PLACE[key]]
    if one.side == "workload":
        raise SchemaError(
            field=f"{node_id}.{key}",
            got="a workload factor in a node",
            expected="a node or pair factor",
        )
    return one.encode(value)


def _amount(key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise SchemaError(field=key, got=value, expected="a number, at least 0")
    return float(value)
