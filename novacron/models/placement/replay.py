"""Replays real arrivals and ends on nodes, event by event, under one packing rule.

Legend: N requests, H nodes, R resources (`workload.RESOURCES`), D devices, C nodes that fit.
Decisions see what a scheduler would see: arrivals so far, ends so far. A node is put in use only
when no node in use fits.
"""

import heapq
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from novacron.models.placement.ages import GRID_S, Curves, point_survival
from novacron.models.placement.arrivals import Requests
from novacron.models.placement.packing import (
    OFF,
    Gate,
    Outlook,
    choose_by_lifetime,
    left_over,
)
from novacron.models.placement.power import node_power_w

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

Rule = Literal[
    "random",
    "first_fit",
    "best_fit",
    "worst_fit",
    "least_loaded",
    "lifetime",
    "lifetime_one_shot",
    "lifetime_oracle",
]
DUST: Final = 1e-9
REFRESH_S: Final = 900.0
"""Workloads that are alive are asked about again when this much time has passed."""
_BEYOND_S: Final = 4 * 86_400.0
"""An end that nobody knows, because it lies after the trace, is taken as this long after it."""


class Auditor(Protocol):
    """Is told of every placement and end; the independent checker."""

    def place(self, request: int, node: int) -> None:
        """Note a placement."""
        ...

    def release(self, request: int) -> None:
        """Note an end."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Lifetimes:
    """What the lifetime rules know: the curve of each request's group."""

    curves: Curves
    group_N: Ints


@dataclass(frozen=True, kw_only=True, slots=True)
class Nodes:
    """The nodes. Where they are fixed, requests that fit nowhere are refused."""

    total_HR: Floats
    is_fixed: bool

    @classmethod
    def alike(cls, count: int, total_R: tuple[float, ...]) -> "Nodes":
        """Return as many equal nodes as could ever be needed."""
        return cls(total_HR=np.tile(np.array(total_R, dtype=float), (count, 1)), is_fixed=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Replayed:
    """What a rule made of the requests, averaged over the scored time."""

    active_nodes: float
    fluid_bound: float
    """Mean of the largest ratio of promised to one node's total, over the resources."""
    rejected: int
    placed: int
    """In the scored time."""
    energy_kwh: float
    stranded_R: Floats
    """Share of each resource of the nodes in use that no request of mean shape can reach."""
    fallbacks: int
    """Decisions in the scored time that best fit made in place of the lifetime model."""
    hours: Floats
    active_by_hour: Floats
    node_N: Ints
    """Where each request went; -1 where it was refused."""


@dataclass(slots=True)
class _State:
    """Everything that changes."""

    free_HR: Floats
    device_HD: Floats
    count_H: Ints
    node_N: Ints
    alive_N: NDArray[np.bool_]
    power_H: Floats
    apps: dict[int, Ints] = field(default_factory=dict)
    taken: dict[int, Ints] = field(default_factory=dict)
    """Devices of each request that has some."""
    used_R: Floats = field(default_factory=lambda: np.zeros(5))
    active: int = 0


class Replay:
    """One run.

    Args:
        requests: In the order of arrival.
        nodes: Where they can go.
        rule: How to choose among nodes that fit.
        starts_s: The rule decides from here on; before that best fit does, for every rule alike.
        score_from_s: Averages begin here.
        lifetimes: For `lifetime` and `lifetime_one_shot`.
        gate: How these and `lifetime_oracle` weigh lifetimes against fit.
        rng: For `random`.
        auditor: Told of everything.
    """

    def __init__(  # noqa: PLR0913 - one run, named
        self,
        requests: Requests,
        nodes: Nodes,
        rule: Rule,
        *,
        starts_s: float,
        score_from_s: float,
        lifetimes: Lifetimes | None = None,
        gate: Gate = OFF,
        rng: np.random.Generator | None = None,
        auditor: Auditor | None = None,
    ) -> None:
        self.requests, self.nodes, self.rule = requests, nodes, rule
        self.starts_s, self.score_from_s = starts_s, score_from_s
        self.lifetimes, self.gate, self.auditor = lifetimes, gate, auditor
        self.rng = rng or np.random.default_rng(0)
        self.total_HR = np.maximum(nodes.total_HR, DUST)
        count = len(nodes.total_HR)
        devices = int(np.ceil(nodes.total_HR[:, 4].max()))
        self.state = _State(
            free_HR=nodes.total_HR.copy(),
            device_HD=np.clip(nodes.total_HR[:, 4:] - np.arange(devices)[None, :], 0, 1),
            count_H=np.zeros(count, dtype=np.int64),
            node_N=np.full(len(requests), -1, dtype=np.int64),
            alive_N=np.zeros(len(requests), dtype=bool),
            power_H=np.zeros(count),
        )
        self.outlook = Outlook(count) if rule.startswith("lifetime") else None
        self.known_end_N = self._known_ends()
        self.new_GG = self._new()
        self.asked_at_s = -np.inf
        self.mean_R = requests.amount_NR.mean(axis=0)
        self.tally = _Tally(score_from_s)

    def run(self) -> Replayed:
        """Live through all requests up to the end of the trace."""
        requests, state = self.requests, self.state
        ends: list[tuple[float, int]] = []
        for number, at_s in enumerate(requests.arrived_s):
            self._end_until(ends, at_s)
            self._advance(at_s)
            node = self._choose(number, at_s)
            if node < 0:
                self.tally.rejected += int(at_s >= self.score_from_s)
                continue
            self._host(number, node)
            self.tally.placed += int(at_s >= self.score_from_s)
            if np.isfinite(requests.end_s[number]):
                heapq.heappush(ends, (float(requests.end_s[number]), number))
        self._end_until(ends, requests.cut_s)
        self._advance(requests.cut_s)
        return self.tally.finish(requests.cut_s - self.score_from_s, state.node_N)

    def _new(self) -> Floats | None:
        """Return the survival of each group at its arrival."""
        if self.rule != "lifetime" or self.lifetimes is None:
            return None
        groups = len(self.lifetimes.curves.rate_NK)
        return self.lifetimes.curves.survival(np.arange(groups), np.zeros(groups))

    def _known_ends(self) -> Floats:
        """Return the ends that the rule believes in: the true ones, or one guess at arrival."""
        requests = self.requests
        if self.rule == "lifetime_one_shot" and self.lifetimes is not None:
            survival_NG = self.lifetimes.curves.survival(
                self.lifetimes.group_N, np.zeros(len(requests))
            )
            return np.asarray(requests.arrived_s + _median_s(survival_NG))
        return np.where(np.isfinite(requests.end_s), requests.end_s, requests.cut_s + _BEYOND_S)

    def _fits(self, number: int) -> NDArray[np.bool_]:
        requests, state = self.requests, self.state
        amount_R = requests.amount_NR[number]
        asked_R = amount_R > 0
        fits_H = (state.free_HR[:, asked_R] >= amount_R[asked_R] - DUST).all(axis=1)
        gpus = requests.gpus_N[number]
        if gpus:
            share = amount_R[4] / gpus
            fits_H &= (state.device_HD >= share - DUST).sum(axis=1) >= gpus
        limit = requests.max_per_node_N[number]
        if limit and requests.app_N[number] in state.apps:
            fits_H &= state.apps[requests.app_N[number]] < limit
        return np.asarray(fits_H, dtype=bool)

    def _choose(self, number: int, at_s: float) -> int:
        fits_H = self._fits(number)
        in_use_C = np.flatnonzero(fits_H & (self.state.count_H > 0))
        rows_C = in_use_C if len(in_use_C) else np.flatnonzero(fits_H)
        if not len(rows_C):
            return -1
        if not self.nodes.is_fixed and not len(in_use_C):
            return int(rows_C[0])
        amount_R = self.requests.amount_NR[number]
        left_C = left_over(self.state.free_HR[rows_C], amount_R, self.total_HR[rows_C])
        rule = self.rule if at_s >= self.starts_s else "best_fit"
        if rule == "first_fit":
            return int(rows_C[0])
        if rule == "random":
            return int(self.rng.choice(rows_C))
        if rule == "worst_fit":
            return int(rows_C[left_C.argmax()])
        if rule == "least_loaded":
            return int(rows_C[(self.state.free_HR[rows_C, 0] / self.total_HR[rows_C, 0]).argmax()])
        if rule == "best_fit" or self.outlook is None:
            return int(rows_C[left_C.argmin()])
        return self._by_lifetime(number, at_s, rows_C, left_C, self.outlook)

    def _by_lifetime(
        self, number: int, at_s: float, rows_C: Ints, left_C: Floats, outlook: Outlook
    ) -> int:
        if at_s >= self.asked_at_s + REFRESH_S:
            self._ask_again(at_s, outlook)
        survival_G = self._at_arrival(number, at_s)
        gate = self.gate
        choice = choose_by_lifetime(left_C, outlook, rows_C, survival_G, gate)
        self.tally.fallbacks += int(bool(choice.fallback) and at_s >= self.score_from_s)
        return int(rows_C[choice.place])

    def _ask_again(self, at_s: float, outlook: Outlook) -> None:
        """Re-predict everyone who is alive, given the age."""
        alive_N = np.flatnonzero(self.state.alive_N)
        survival_NG = self._survival(alive_N, at_s)
        batch_N = self.requests.batch_N[alive_N]
        outlook.refresh(self.state.node_N[alive_N], batch_N, survival_NG)
        self.asked_at_s = at_s

    def _at_arrival(self, number: int, at_s: float) -> Floats:
        if self.new_GG is not None and self.lifetimes is not None:
            return np.asarray(self.new_GG[self.lifetimes.group_N[number]])
        return np.asarray(point_survival(self.known_end_N[number : number + 1], at_s)[0])

    def _survival(self, number_N: Ints, at_s: float) -> Floats:
        if self.rule == "lifetime" and self.lifetimes is not None:
            age_N = at_s - self.requests.arrived_s[number_N]
            return self.lifetimes.curves.survival(self.lifetimes.group_N[number_N], age_N)
        return point_survival(self.known_end_N[number_N], at_s)

    def _host(self, number: int, node: int) -> None:
        state, requests = self.state, self.requests
        amount_R = requests.amount_NR[number]
        state.free_HR[node] -= amount_R
        gpus = int(requests.gpus_N[number])
        if gpus:
            share = amount_R[4] / gpus
            free_D = state.device_HD[node]
            fits_D = np.flatnonzero(free_D >= share - DUST)
            state.taken[number] = fits_D[np.argsort(free_D[fits_D], kind="stable")][:gpus]
            state.device_HD[node, state.taken[number]] -= share
        app = int(requests.app_N[number])
        if app >= 0:
            state.apps.setdefault(app, np.zeros(len(state.count_H), dtype=np.int64))[node] += 1
        self._count(node, 1, amount_R)
        state.node_N[number], state.alive_N[number] = node, True
        if self.outlook is not None and requests.arrived_s[number] >= self.starts_s:
            survival_G = self._at_arrival(number, float(requests.arrived_s[number]))
            self.outlook.host(node, int(requests.batch_N[number]), survival_G)
        if self.auditor is not None:
            self.auditor.place(number, node)

    def _end_until(self, ends: list[tuple[float, int]], at_s: float) -> None:
        state, requests = self.state, self.requests
        while ends and ends[0][0] <= at_s:
            end_s, number = heapq.heappop(ends)
            self._advance(end_s)
            node = int(state.node_N[number])
            amount_R = requests.amount_NR[number]
            state.free_HR[node] += amount_R
            if number in state.taken:
                share = amount_R[4] / requests.gpus_N[number]
                state.device_HD[node, state.taken.pop(number)] += share
            if requests.app_N[number] >= 0:
                state.apps[int(requests.app_N[number])][node] -= 1
            state.alive_N[number] = False
            self._count(node, -1, amount_R)
            if self.outlook is not None and state.count_H[node] == 0:
                self.outlook.clear(node)
            if self.auditor is not None:
                self.auditor.release(number)

    def _count(self, node: int, step: int, amount_R: Floats) -> None:
        state = self.state
        before = state.count_H[node] > 0
        state.count_H[node] += step
        after = state.count_H[node] > 0
        state.active += int(after) - int(before)
        state.used_R += step * amount_R
        used = 1 - state.free_HR[node, 0] / self.total_HR[node, 0]
        cores = self.total_HR[node, 0]
        state.power_H[node] = node_power_w(float(used), float(cores)) if after else 0.0

    def _advance(self, at_s: float) -> None:
        self.tally.advance(at_s, self)


class _Tally:
    """Integrals over the scored time."""

    def __init__(self, score_from_s: float) -> None:
        self.score_from_s = score_from_s
        self.last_s = -np.inf
        self.node_s = self.fluid_s = self.joules = 0.0
        self.placed = self.rejected = self.fallbacks = 0
        self.next_hour_s = score_from_s
        self.hours: list[tuple[float, float]] = []
        self.stranded: list[Floats] = []

    def advance(self, at_s: float, replay: Replay) -> None:
        state = replay.state
        since_s = max(self.last_s, self.score_from_s)
        self.last_s = at_s
        if at_s <= since_s:
            return
        step_s = at_s - since_s
        per_node_R = replay.total_HR.mean(axis=0)
        real_R = per_node_R > 1e-6
        self.node_s += state.active * step_s
        self.fluid_s += float((state.used_R[real_R] / per_node_R[real_R]).max()) * step_s
        self.joules += float(state.power_H.sum()) * step_s
        while self.next_hour_s <= at_s:
            self.hours.append((self.next_hour_s, float(state.active)))
            self.stranded.append(stranded(replay))
            self.next_hour_s += 3600.0

    def finish(self, scored_s: float, node_N: Ints) -> Replayed:
        hours = np.array(self.hours).reshape(-1, 2)
        return Replayed(
            active_nodes=self.node_s / scored_s,
            fluid_bound=self.fluid_s / scored_s,
            rejected=self.rejected,
            placed=self.placed,
            energy_kwh=self.joules / 3.6e6,
            stranded_R=np.mean(self.stranded, axis=0) if self.stranded else np.zeros(5),
            fallbacks=self.fallbacks,
            hours=hours[:, 0],
            active_by_hour=hours[:, 1],
            node_N=node_N,
        )


def stranded(replay: Replay) -> Floats:
    """Return the share of each resource in use that requests of mean shape cannot reach."""
    rows = np.flatnonzero(replay.state.count_H > 0)
    free_HR = np.maximum(replay.state.free_HR[rows], 0.0)
    asked_R = replay.mean_R > DUST
    reach_H = (free_HR[:, asked_R] / replay.mean_R[asked_R]).min(axis=1, initial=np.inf)
    if not len(rows):
        return np.zeros(free_HR.shape[1])
    stuck_R = (free_HR - reach_H[:, None] * replay.mean_R).sum(axis=0)
    return np.asarray(np.maximum(stuck_R, 0) / replay.total_HR[rows].sum(axis=0))


def _median_s(survival_NG: Floats) -> Floats:
    """Return the median remaining time, to the grid."""
    below_NG = survival_NG <= 0.5
    found_N = np.where(below_NG.any(axis=1), below_NG.argmax(axis=1), len(GRID_S) - 1)
    return np.asarray(GRID_S[found_N])
