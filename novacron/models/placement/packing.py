"""Which of the nodes that fit: the packing rules, the lifetime-aware one, and its gate.

Legend: C nodes to choose from, H nodes, N workloads, R resources, G grid of future times.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.models.placement.ages import GRID_S, GRID_STEPS_S, mean_seconds
from novacron.models.placement.config import GateRule

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BEST_FIT: Final = "best_fit"
_CERTAIN: Final = 1e-9
_BUCKET: Final = 100.0
"""More than fit can ever differ by: it sums at most five shares."""


class Outlook:
    """When each node will be empty if nothing else is placed on it, as a distribution.

    Workloads are taken as independent, but those of one batch on one node as one: they tend to end
    together. `log_empty_HG` is the log probability that the node is empty by each grid time.
    """

    def __init__(self, nodes: int) -> None:
        self.log_empty_HG = np.zeros((nodes, len(GRID_S)))
        self._batches: list[set[int]] = [set() for _ in range(nodes)]

    def refresh(self, node_N: Ints, batch_N: Ints, survival_NG: Floats) -> None:
        """Ask again about everyone who is alive, given the age of each."""
        self.log_empty_HG[:] = 0.0
        for held in self._batches:
            held.clear()
        if not len(node_N):
            return
        log_NG = _log_ended(survival_NG)
        key_N = node_N * (int(batch_N.max()) + 1) + batch_N
        _, first, place_N, count = np.unique(
            key_N, return_index=True, return_inverse=True, return_counts=True
        )
        log_NG = log_NG / count[place_N][:, None]
        nodes = len(self.log_empty_HG)
        for step in range(len(GRID_S)):
            self.log_empty_HG[:, step] = np.bincount(
                node_N, weights=log_NG[:, step], minlength=nodes
            )
        for row in first:
            self._batches[node_N[row]].add(int(batch_N[row]))

    def host(self, node: int, batch: int, survival_G: Floats) -> None:
        """Note that a workload was placed on a node."""
        if batch not in self._batches[node]:
            self._batches[node].add(batch)
            self.log_empty_HG[node] += _log_ended(survival_G)

    def clear(self, node: int) -> None:
        """Note that a node is empty."""
        self.log_empty_HG[node] = 0.0
        self._batches[node].clear()

    def extension_s(self, rows_C: Ints, survival_G: Floats) -> Floats:
        """Return by how long a workload is expected to keep each node in use, beyond the others.

        E[max(T_workload, T_node)] - E[T_node], the integral of P(workload lives, node is empty).
        """
        return np.asarray(np.exp(self.log_empty_HG[rows_C]) * survival_G @ GRID_STEPS_S)


def _log_ended(survival_G: Floats) -> Floats:
    return np.asarray(np.log(np.maximum(1 - survival_G, _CERTAIN)))


def left_over(free_CR: Floats, amount_R: Floats, total_CR: Floats) -> Floats:
    """Return the share of each node that would stay free, summed over the resources asked for.

    The least of these is the best fit in all dimensions at once.
    """
    asked_R = amount_R > 0
    left_CR = (free_CR[:, asked_R] - amount_R[asked_R]) / total_CR[:, asked_R]
    return np.asarray(left_CR.sum(axis=1))


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """How the expected extension counts against fit, and when it is heard at all.

    `buckets` compares extensions by powers of two of `scale_s` and lets fit decide among equals;
    `linear` adds the extension over `scale_s` to what stays free; `off` is plain best fit.
    `least_gain` is the share of its own expected life by which a workload's placement must shorten
    the use of nodes against best fit's choice; below it the model is not sure enough to pay for the
    worse fit, and best fit decides.
    """

    rule: GateRule
    scale_s: float
    least_gain: float


OFF: Final = Gate(rule="off", scale_s=1.0, least_gain=0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """Position among the candidates, and what decided where the model did not: its name."""

    place: int
    fallback: str
    extension_C: Floats


def lifetime_cost(left_C: Floats, extension_C: Floats, gate: Gate) -> Floats:
    """Return what the rule of a gate minimises."""
    if gate.rule == "linear":
        return np.asarray(left_C + extension_C / gate.scale_s)
    bucket_C = np.floor(np.log2(1 + extension_C / gate.scale_s))
    return np.asarray(bucket_C * _BUCKET + left_C)


def choose_by_lifetime(
    left_C: Floats, outlook: Outlook, rows_C: Ints, survival_G: Floats, gate: Gate
) -> Choice:
    """Choose by fit and expected extension; best fit where the gate does not let it through."""
    fit = int(left_C.argmin())
    if gate.rule == "off":
        return Choice(place=fit, fallback=BEST_FIT, extension_C=np.zeros(len(left_C)))
    extension_C = outlook.extension_s(rows_C, survival_G)
    life_s = float(mean_seconds(survival_G[None, :])[0])
    best = int(lifetime_cost(left_C, extension_C, gate).argmin())
    gain = (extension_C[fit] - extension_C[best]) / max(life_s, 1.0)
    if gain < gate.least_gain:
        return Choice(place=fit, fallback=BEST_FIT, extension_C=extension_C)
    return Choice(place=best, fallback="", extension_C=extension_C)
