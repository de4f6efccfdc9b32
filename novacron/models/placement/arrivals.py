"""Requests of a public trace as arrays in the order of arrival, and the lifetimes behind them.

Legend: N requests, R resources (`workload.RESOURCES`), G groups (same batch, same size).
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from novacron.models.placement.history import Kind, LifetimeHistory
from novacron.models.placement.lifetimes import GroupFeatures
from novacron.telemetry.datasets.placement import adapt_azure_v1, adapt_dlrm, adapt_gpu_pods

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NO_GROUP: Final = -1
RDMA_MBPS: Final = 100_000.0
"""Adapter of the DLRM nodes: requests are shares of it."""
_GIB_OF_MIB: Final = 1 / 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Requests:
    """Workloads in the order of arrival.

    `end_s` is infinite where the workload was alive when the trace ended. `app_N` numbers the
    application whose workloads `max_per_node_N` limits (0: no limit), -1 where there is none.
    """

    arrived_s: Floats
    end_s: Floats
    amount_NR: Floats
    batch_N: Ints
    gpus_N: Ints
    app_N: Ints
    max_per_node_N: Ints
    cut_s: float
    """End of the trace: nothing later is known."""

    def __len__(self) -> int:
        return len(self.arrived_s)

    def take(self, which: NDArray[np.generic]) -> "Requests":
        """Return some of them, by mask or by number."""
        names = ("arrived_s", "end_s", "amount_NR", "batch_N", "gpus_N", "app_N", "max_per_node_N")
        return replace(self, **{name: getattr(self, name)[which] for name in names})

    def groups(self) -> Ints:
        """Return the group of each request: same batch and same size."""
        table = np.column_stack([self.batch_N, self.amount_NR[:, 0], self.amount_NR[:, 1]])
        _, group_N = np.unique(table, axis=0, return_inverse=True)
        _, first_G, place_N = np.unique(group_N, return_index=True, return_inverse=True)
        # Numbered in the order of arrival.
        order_G = np.argsort(np.argsort(first_G, kind="stable"), kind="stable")
        return np.asarray(order_G[place_N], dtype=np.int64)


def clusters(requests: Requests, count: int, seed: int) -> list[Requests]:
    """Deal the batches out to clusters, which share none."""
    batch_N = np.unique(requests.batch_N, return_inverse=True)[1]
    where_B = np.random.default_rng(seed).integers(count, size=int(batch_N.max()) + 1)
    return [requests.take(where_B[batch_N] == number) for number in range(count)]


def azure_requests(data_dir: Path, seed: int, *, longest_s: float = 345_900.0) -> Requests:
    """Return the Azure V1 arrivals whose lifetimes are known, at least as a bin.

    An end is drawn evenly within its bin; `longest_s` closes the open last bin. Where the trace
    says that the VM was alive at the cut, the end is infinite and nobody draws it.
    """
    frame = adapt_azure_v1(data_dir).table.to_pandas()
    return read_azure(frame[frame.life_min_s.notna()], seed, longest_s=longest_s)


def read_azure(frame: pd.DataFrame, seed: int, *, longest_s: float) -> Requests:
    """Return arrivals given as the table of `adapt_azure_v1`; see `azure_requests`."""
    censored_N = frame.censored.fillna(value=False).to_numpy(dtype=bool)
    low_N = frame.life_min_s.to_numpy(dtype=np.float64)
    high_N = np.maximum(frame.life_max_s.fillna(longest_s).to_numpy(dtype=np.float64), low_N + 1)
    drawn_N = low_N + np.random.default_rng(seed).random(len(frame)) * (high_N - low_N)
    arrived_N = frame.arrived_s.to_numpy(dtype=np.float64)
    end_N = np.where(censored_N, np.inf, arrived_N + np.maximum(drawn_N, 1.0))
    amount_NR = np.zeros((len(frame), 5))
    amount_NR[:, 0], amount_NR[:, 1] = frame.cpu_request_vcpu, frame.mem_request_gb
    cut_s = float(np.where(censored_N, arrived_N + low_N, arrived_N).max())
    return Requests(
        arrived_s=arrived_N,
        end_s=end_N,
        amount_NR=amount_NR,
        batch_N=np.asarray(
            frame.groupby(["arrived_s", "batch"], sort=True).ngroup(), dtype=np.int64
        ),
        gpus_N=np.zeros(len(frame), dtype=np.int64),
        app_N=np.full(len(frame), NO_GROUP, dtype=np.int64),
        max_per_node_N=np.zeros(len(frame), dtype=np.int64),
        cut_s=cut_s,
    )


def gpu_requests(data_dir: Path) -> Requests:
    """Return the Alibaba GPU 2023 pods; those still there at the end have no known end."""
    frame = adapt_gpu_pods(data_dir).table.to_pandas().sort_values("created_s", kind="stable")
    amount_NR = np.zeros((len(frame), 5))
    amount_NR[:, 0] = frame.cpu_milli / 1000
    amount_NR[:, 1] = frame.mem_mib * _GIB_OF_MIB
    share_N = np.where(frame.gpus > 0, frame.gpu_milli / 1000, 0.0)
    amount_NR[:, 4] = frame.gpus * share_N
    end_N = np.where(frame.censored, np.inf, np.maximum(frame.deleted_s, frame.created_s + 1))
    return Requests(
        arrived_s=frame.created_s.to_numpy(np.float64),
        end_s=np.asarray(end_N, dtype=np.float64),
        amount_NR=amount_NR,
        batch_N=np.arange(len(frame), dtype=np.int64),
        gpus_N=frame.gpus.to_numpy(np.int64),
        app_N=np.full(len(frame), NO_GROUP, dtype=np.int64),
        max_per_node_N=np.zeros(len(frame), dtype=np.int64),
        # Long after the last request the trace only waits for the last ends.
        cut_s=float(frame.created_s.max()),
    )


def dlrm_requests(data_dir: Path) -> Requests:
    """Return the DLRM instances: CPU, memory, disk, RDMA, one GPU or none, and anti-affinity.

    Instances older than the trace arrive at its start, in the order of the file.
    """
    frame = adapt_dlrm(data_dir).table.to_pandas()
    frame["at_s"] = frame.created_s.fillna(0.0)
    frame = frame.sort_values("at_s", kind="stable")
    amount_NR = np.zeros((len(frame), 5))
    amount_NR[:, 0] = frame.cpu_request_vcpu
    amount_NR[:, 1] = frame.mem_request_gib
    amount_NR[:, 2] = frame.disk_request_gib
    amount_NR[:, 3] = frame.rdma_request_ratio * RDMA_MBPS
    amount_NR[:, 4] = frame.gpu_request
    end_N = frame.deleted_s.fillna(np.inf).to_numpy(np.float64)
    arrived_N = frame.at_s.to_numpy(np.float64)
    return Requests(
        arrived_s=arrived_N,
        end_s=np.maximum(end_N, arrived_N + 1),
        amount_NR=amount_NR,
        batch_N=np.arange(len(frame), dtype=np.int64),
        gpus_N=frame.gpu_request.to_numpy(np.int64),
        # The limit is that of one role of an application.
        app_N=pd.factorize(frame.app + " " + frame.role)[0].astype(np.int64),
        max_per_node_N=frame.max_per_node.fillna(0).to_numpy(np.int64),
        cut_s=float(frame.deleted_s.max()),
    )


def kinds_of(requests: Requests, group_N: Ints) -> list[Kind]:
    """Return what is known of each group when it arrives."""
    frame = pd.DataFrame(
        {
            "batch": requests.batch_N,
            "group": group_N,
            "cpu": requests.amount_NR[:, 0],
            "memory": requests.amount_NR[:, 1],
        }
    )
    same = frame.groupby("group").size()
    batch_size = frame.groupby("batch").size()
    batch_kinds = frame.groupby("batch").group.nunique()
    first = frame.drop_duplicates("group").sort_values("group")
    return [
        Kind(cpu, memory, int(size), int(count), int(kinds))
        for cpu, memory, size, count, kinds in zip(
            first.cpu,
            first.memory,
            batch_size[first.batch],
            same[first.group],
            batch_kinds[first.batch],
            strict=True,
        )
    ]


def follow(requests: Requests, half_life_s: float) -> tuple[GroupFeatures, Ints]:
    """Live through the requests once, and return what was known of each group when it arrived.

    Returns:
        The features of each group, and the group of each request.
    """
    group_N = requests.groups()
    kinds = kinds_of(requests, group_N)
    count_G = np.bincount(group_N)
    first_G = np.unique(group_N, return_index=True)[1]
    arrived_G = requests.arrived_s[first_G]
    history = LifetimeHistory(half_life_s)
    ends = np.argsort(requests.end_s, kind="stable")
    ends = ends[np.isfinite(requests.end_s[ends])]
    number_G: list[int] = []
    like = []
    at = 0
    for group, at_s in enumerate(arrived_G):
        while at < len(ends) and requests.end_s[ends[at]] <= at_s:
            history.end(number_G[group_N[ends[at]]], float(requests.end_s[ends[at]]))
            at += 1
        history.advance(float(at_s))
        like.append(history.like(kinds[group]))
        number_G.append(history.arrive(kinds[group], int(count_G[group]), float(at_s)))
    return GroupFeatures.of(kinds, like, arrived_G), group_N
