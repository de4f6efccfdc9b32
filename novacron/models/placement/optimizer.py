"""`WorkloadOptimizer`: filter, rank, explain.

Legend: H nodes, C feasible candidates, S those scored, T targets, V factors.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from novacron.errors import NotReadyError, NovacronError, OutOfRangeError
from novacron.models.placement.answers import (
    Candidate,
    DecidedBy,
    Estimate,
    PlacementAnswer,
    Reason,
)
from novacron.models.placement.bundle_files import load_models
from novacron.models.placement.checker import violations
from novacron.models.placement.cluster import ClusterState
from novacron.models.placement.columns import RAW, placement_fingerprint, request_rows
from novacron.models.placement.config import PlacementConfig
from novacron.models.placement.constraints import Filtered, filter_nodes
from novacron.models.placement.factors import PLACE
from novacron.models.placement.facts import facts_of
from novacron.models.placement.fitted import NAME, PlacementModels
from novacron.models.placement.fleet import Fleet
from novacron.models.placement.outcomes import in_units, target_weights
from novacron.models.placement.packing import (
    BEST_FIT,
    choose_by_lifetime,
    left_over,
    lifetime_cost,
)
from novacron.models.placement.training import fit_placement
from novacron.models.placement.workload import RESOURCES, Workload, read_workload

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

UNITS: Final = {
    "throughput": "of a free reference node",
    "latency": "ms",
    "reliability": "probability of no outage in 30 days",
    "resource_efficiency": "0..1",
    "power": "W",
}
REASONS: Final = 5
_ADDITIVE: Final = 1e-6


def _now() -> datetime:
    return datetime.now(UTC)


class WorkloadOptimizer:
    """Ranks nodes for a workload and says why.

    Args:
        models: Fitted models; None until `fit` or `load`.
        config: Settings for `fit`; those of `models` where these are given.
        version: Of the model, as the registry names it.
        clock: Tells the time of an answer.
    """

    def __init__(
        self,
        models: PlacementModels | None = None,
        *,
        config: PlacementConfig | None = None,
        version: str = "",
        clock: Callable[[], datetime] = _now,
    ) -> None:
        self._models = models
        self.config = config or (models.config if models else PlacementConfig())
        self.version = version
        self._clock = clock
        self.features_hash = placement_fingerprint()

    @classmethod
    def load(cls, directory: Path, **settings: Any) -> Self:
        """Read a saved bundle.

        Raises:
            ArtifactError: It is missing, changed or unreadable.
            FeatureMismatchError: It was fitted on other factors.
        """
        return cls(load_models(directory), **settings)

    def fit(self, data_dir: Path | None = None) -> Self:
        """Fit on simulated outcomes, and on the lifetimes in `data_dir` where one is given."""
        self._models = fit_placement(self.config, data_dir)
        return self

    @property
    def models(self) -> PlacementModels:
        """Return what was fitted.

        Raises:
            NotReadyError: Nothing was.
        """
        if self._models is None:
            raise NotReadyError(
                "The workload optimizer has not been trained.",
                remedy="Call fit() (about a minute), load(directory), or train and serve it: "
                "python -m ray_jobs.train --model placement.",
            )
        return self._models

    def follow(self, fleet: Fleet) -> ClusterState:
        """Return a state that follows the lifetimes on a fleet from now on.

        Raises:
            NotReadyError: There is no lifetime model.
        """
        if self.models.lifetimes is None:
            raise NotReadyError(
                "This optimizer was trained without lifetimes.",
                remedy="Train it with NOVACRON_DATA_DIR set, or place by the fleet alone.",
            )
        return ClusterState(fleet, self.models.lifetimes)

    def optimize(
        self,
        workload: Workload | Mapping[str, Any],
        nodes: Fleet | ClusterState | Iterable[Mapping[str, Any]],
        *,
        at_s: float | None = None,
    ) -> PlacementAnswer:
        """Rank the nodes that satisfy every constraint.

        Args:
            workload: See `read_workload` for the flat form.
            nodes: See `Fleet.read` for the flat form. A `ClusterState` also knows lifetimes.
            at_s: Now, in the seconds of the `ClusterState`; needed with one.

        Raises:
            NotReadyError: Nothing was fitted.
            InvalidInputError: The request is wrong or contradicts itself; see `read_workload`.
            UnknownNameError: A factor or field has no such name.
        """
        models = self.models
        asked, fleet, state = _read(workload, nodes, at_s)
        filtered = filter_nodes(fleet, asked)
        rows_C = np.flatnonzero(filtered.feasible_H)
        if not len(rows_C):
            return self._answer(asked, filtered, (), 0, "nothing", "")
        ranking = _Ranking(models, fleet, asked, rows_C)
        order_S, decided_by, fallback = ranking.order(state, at_s)
        candidates = tuple(ranking.candidates(order_S[: models.config.candidates], filtered))
        return self._answer(asked, filtered, candidates, len(order_S), decided_by, fallback)

    def rank(
        self,
        workload: Workload | Mapping[str, Any],
        nodes: Fleet | ClusterState | Iterable[Mapping[str, Any]],
        *,
        at_s: float | None = None,
    ) -> tuple[str, ...]:
        """Return the scored nodes that satisfy every constraint, best first, without reasons.

        For simulations that ask often; arguments and errors are those of `optimize`.
        """
        asked, fleet, state = _read(workload, nodes, at_s)
        rows_C = np.flatnonzero(filter_nodes(fleet, asked).feasible_H)
        if not len(rows_C):
            return ()
        ranking = _Ranking(self.models, fleet, asked, rows_C)
        order_S, _, _ = ranking.order(state, at_s)
        return tuple(fleet.node_ids[row] for row in ranking.rows_C[order_S])

    def _answer(
        self,
        asked: Workload,
        filtered: Filtered,
        candidates: tuple[Candidate, ...],
        scored: int,
        decided_by: DecidedBy,
        fallback: str,
    ) -> PlacementAnswer:
        config = self.models.config
        made_at = self._clock()
        return PlacementAnswer(
            workload_id=asked.workload_id,
            candidates=candidates,
            none_feasible_because=filtered.because,
            verdicts=filtered.verdicts,
            nodes=len(filtered.feasible_H),
            feasible=int(filtered.feasible_H.sum()),
            scored=scored,
            strategy=config.strategy,
            decided_by=decided_by,
            fallback=fallback,
            model_name=NAME,
            model_version=self.version,
            made_at=made_at,
            horizon_s=config.horizon_s,
            valid_until=made_at + timedelta(seconds=config.valid_s),
            features_hash=self.features_hash,
        )


def _read(
    workload: Workload | Mapping[str, Any],
    nodes: Fleet | ClusterState | Iterable[Mapping[str, Any]],
    at_s: float | None,
) -> tuple[Workload, Fleet, ClusterState | None]:
    asked = read_workload(workload)
    if isinstance(nodes, ClusterState):
        if at_s is None:
            raise OutOfRangeError(field="at_s", got=None, expected="the time, in seconds")
        return asked, nodes.fleet, nodes
    return asked, nodes if isinstance(nodes, Fleet) else Fleet.read(nodes), None


class _Ranking:
    """The feasible nodes of one request, on their way to candidates."""

    def __init__(
        self, models: PlacementModels, fleet: Fleet, asked: Workload, rows_C: Ints
    ) -> None:
        self.models, self.fleet, self.asked = models, fleet, asked
        self.left_C = self._left(rows_C)
        self.rows_C = rows_C
        self.extension_S: Floats | None = None

    def _left(self, rows_C: Ints) -> Floats:
        amount_R = np.array(self.asked.amounts)
        total_CR = self.fleet.total_HR[rows_C]
        free_CR = self.fleet.free_HR[rows_C]
        # Where a total is not known, what is free is all that can be compared.
        total_CR = np.where(np.isfinite(total_CR) & (total_CR > 0), total_CR, free_CR)
        return left_over(free_CR, amount_R, np.maximum(total_CR, 1e-9))

    def order(self, state: ClusterState | None, at_s: float | None) -> tuple[Ints, DecidedBy, str]:
        """Return positions among the scored, best first, and what decided."""
        config, gate = self.models.config, self.models.gate
        cost_C, decided_by, fallback = self.left_C, "best_fit", BEST_FIT
        if state is not None and at_s is not None and gate.rule != "off":
            outlook = state.look(at_s)
            zero = np.zeros(1, dtype=np.int64)
            survival_G = state.curve(self.asked, at_s).survival(zero, np.zeros(1))[0]
            choice = choose_by_lifetime(self.left_C, outlook, self.rows_C, survival_G, gate)
            self.extension_S = choice.extension_C
            if not choice.fallback:
                cost_C = lifetime_cost(self.left_C, choice.extension_C, gate)
                decided_by, fallback = "lifetime", ""
        keep_S = self._shortlist(cost_C, config.scored)
        self.rows_C, self.left_C, cost_C = self.rows_C[keep_S], self.left_C[keep_S], cost_C[keep_S]
        if self.extension_S is not None:
            self.extension_S = self.extension_S[keep_S]
        self.raw_SR = request_rows(self.fleet, self.asked, self.rows_C)
        self.grade_ST = self.models.outcomes.estimate(self.raw_SR)
        self.soft_S = config.weights.soft * self._room()
        self.score_S = self.grade_ST @ target_weights(config.weights) + self.soft_S
        if config.strategy == "balanced":
            return np.argsort(-self.score_S, kind="stable"), "score", ""
        # A node is put in use only where none in use fits.
        idle_S = self.fleet.count_H[self.rows_C] == 0
        order_S = np.lexsort((-self.score_S, cost_C, idle_S))
        return order_S, decided_by, fallback  # type: ignore[return-value]

    def _shortlist(self, cost_C: Floats, most: int) -> Ints:
        """Keep the best half by packing and the least loaded for the rest."""
        if len(cost_C) <= most:
            return np.arange(len(cost_C))
        load_C = self.fleet.factor_HF[self.rows_C, PLACE["current_load"]]
        load_C = np.where(np.isfinite(load_C), load_C, -self.left_C)
        half = most - most // 2
        packed = np.argpartition(cost_C, half - 1)[:half]
        rest_C = load_C.copy()
        rest_C[packed] = np.inf
        if most == half:
            return np.sort(packed)
        spread = np.argpartition(rest_C, most - half - 1)[: most - half]
        return np.sort(np.concatenate([packed, spread]))

    def _room(self) -> Floats:
        """Return the mean room that is left to the stated bounds, 0..1; 1 where there is none."""
        asked, factor_SF = self.asked.constraints, self.fleet.factor_HF[self.rows_C]
        rooms = []
        for bound, name, is_floor in (
            (asked.max_latency_ms, "network_latency", False),
            (asked.min_bandwidth_mbps, "network_bandwidth", True),
            (asked.max_cost_per_hour, "operational_cost", False),
        ):
            if bound:
                value_S = np.maximum(factor_SF[:, PLACE[name]], 1e-9)
                used_S = bound / value_S if is_floor else value_S / bound
                rooms.append(np.clip(1 - used_S, 0, 1))
        return np.mean(rooms, axis=0) if rooms else np.ones(len(self.rows_C))

    def candidates(self, order_K: Ints, filtered: Filtered) -> Iterable[Candidate]:
        """Check, estimate and explain the first ones.

        Raises:
            NovacronError: The two checks of constraints disagree, or reasons do not add up: a
                fault of this code, never answered as if it were none.
        """
        models = self.models
        grade_KT = self.grade_ST[order_K]
        value_KT = in_units(grade_KT)
        low_KT, high_KT = models.outcomes.bounds(grade_KT)
        names, base_K, share_KV = models.outcomes.explain(
            self.raw_SR[order_K], models.config.weights
        )
        off_K = base_K + share_KV.sum(axis=1) + self.soft_S[order_K] - self.score_S[order_K]
        if np.abs(off_K).max() > _ADDITIVE:
            raise NovacronError(f"Reasons miss their score by {np.abs(off_K).max():.2g}.")
        coverage = models.config.outcomes.coverage
        half = models.outcomes.half_width_score
        for rank, position in enumerate(order_K):
            row = int(self.rows_C[position])
            self._check(row)
            score = float(self.score_S[position])
            values = zip(UNITS, value_KT[rank], low_KT[rank], high_KT[rank], strict=True)
            reasons, rest = self._reasons(names, share_KV[rank], self.raw_SR[position])
            yield Candidate(
                node_id=self.fleet.node_ids[row],
                rank=rank + 1,
                score=_estimate(score, score - half, score + half, coverage, "0..1"),
                estimates={
                    name: _estimate(value, low, high, coverage, UNITS[name])
                    for name, value, low, high in values
                },
                utilization=self._utilization(row),
                base=float(base_K[rank]),
                reasons=reasons,
                other_factors=rest,
                soft=float(self.soft_S[position]),
                extension_s=(
                    None if self.extension_S is None else float(self.extension_S[position])
                ),
                constraints_satisfied=tuple(one.constraint for one in filtered.verdicts),
            )

    def _reasons(
        self, names: Sequence[str], share_V: Floats, raw_R: Floats
    ) -> tuple[tuple[Reason, ...], float]:
        order_V = np.argsort(-np.abs(share_V), kind="stable")
        reasons = []
        for place in order_V[:REASONS]:
            value = float(raw_R[RAW.index(names[place])])
            shown = None if np.isnan(value) else value
            reasons.append(
                Reason(factor=names[place], value=shown, contribution=float(share_V[place]))
            )
        return tuple(reasons), float(share_V[order_V[REASONS:]].sum())

    def _utilization(self, row: int) -> dict[str, float | None]:
        total_R, free_R = self.fleet.total_HR[row], self.fleet.free_HR[row]
        used_R = (total_R - free_R + np.array(self.asked.amounts)) / np.maximum(total_R, 1e-9)
        return {
            name: float(used_R[place]) if np.isfinite(used_R[place]) else None
            for place, name in enumerate(RESOURCES)
        }

    def _check(self, row: int) -> None:
        found = violations(
            self.asked,
            facts_of(self.fleet, row),
            groups={name: int(count[row]) for name, count in self.fleet.group_counts.items()},
        )
        if found:
            raise NovacronError(
                f"Node {self.fleet.node_ids[row]} passed the filter and violates "
                f"{', '.join(found)}.",
                remedy="This is a fault of the optimizer: please report it with the request.",
            )


def _estimate(value: float, low: float, high: float, coverage: float, unit: str) -> Estimate:
    return Estimate(
        value=float(value), lower=float(low), upper=float(high), coverage=coverage, unit=unit
    )
