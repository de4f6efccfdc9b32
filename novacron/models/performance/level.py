"""The level by hierarchy: this VM's own averages, shrunk to its fleet, shrunk to what was typical.

Legend: N rows, T own samples, M samples of peers, K averages, B groups by own samples.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from novacron.models.performance.config import COUNT_EDGES
from novacron.models.performance.context import Context, Floats, Ints
from novacron.models.performance.medians import (
    mean_distance,
    peer_medians,
    present_mean,
    row_ewma,
    row_median,
)
from novacron.models.performance.names import Priors

FLEET_AVERAGES: Final = (
    "median_20", "median_50", "median_200", "median_all", "peers_20", "peers_50", "peers_200",
    "prior_cell", "prior_size",
)  # fmt: skip
"""What the fleet can say of a VM: medians of the newest samples of all peers together, means over
peers of their own medians, and what was typical of the cell, and of the size in any region."""

OWN_AVERAGES: Final = (
    "ewma_1", "ewma_2", "ewma_4", "ewma_8", "ewma_16", "ewma_32", "median_3", "median_5",
    "median_10", "median_20", "median_64", "fleet",
)  # fmt: skip

_HALF_LIVES: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
_WINDOWS: Final = (3, 5, 10, 20, 64)
_BASE: Final = 3
"""Place of the average that the others are related to: the EWMA with half-life 8."""

_LEAST_SPREAD: Final = 1e-4
_SPREAD_SAMPLES: Final = 6.0
_UNKNOWN_SPREAD: Final = 0.05
_CLIP: Final = 6.0
_ROUNDS: Final = 6
_LEAST_ERROR: Final = 0.05
_RIDGE: Final = 1e-3
_GROUP_RIDGE_ROWS: Final = 300.0


def count_group(count_N: Ints) -> Ints:
    """Return the group of each number of own samples, see `COUNT_EDGES`."""
    return np.searchsorted(np.array(COUNT_EDGES), count_N, side="right").astype(np.int64)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fleet:
    """What the peers of each row say: averages c_NK, how far they scatter, how they drift."""

    average_NK: Floats
    distance_N: Floats
    drift_N: Floats
    newest_age_N: Floats


def read_fleet(context: Context, priors: Priors) -> Fleet:
    """Average the peers of each row, and look up what was typical of its cell."""
    x_NM, vm_NM = context.peer_NM, context.peer_vm_NM
    cell_N, cell_distance_N = priors.of_cells(context)
    few_NP, some_NP, many_NP = peer_medians(x_NM, vm_NM, (20, 50, 200))
    middle_N = row_median(x_NM, 50)
    average_NK = np.stack(
        [
            row_median(x_NM, 20),
            middle_N,
            row_median(x_NM, 200),
            row_median(x_NM),
            present_mean(few_NP),
            present_mean(some_NP),
            present_mean(many_NP),
            cell_N,
            priors.of_sizes(context),
        ],
        axis=1,
    )
    distance_N = mean_distance(x_NM[:, -50:], middle_N)
    distance_N = np.where(np.isfinite(distance_N), distance_N, cell_distance_N)
    apart_N = mean_distance(some_NP, present_mean(some_NP))
    with np.errstate(invalid="ignore"):
        distance_N = np.fmax(distance_N, np.nan_to_num(apart_N))
    age_N = np.where(np.isfinite(x_NM), context.peer_age_NM, np.nan)[:, -1]
    return Fleet(
        average_NK=average_NK,
        distance_N=distance_N,
        drift_N=row_median(x_NM, 5) - row_median(x_NM, 200),
        newest_age_N=age_N,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class FleetLevel:
    """Weights of the fleet's averages by benchmark, weight_GK; the last row is for any other."""

    weight_GK: Floats

    @classmethod
    def fit(
        cls,
        average_NK: Floats,
        actual_N: Floats,
        context: Context,
        benchmarks: int,
        sharpness: float,
    ) -> Self:
        """Weigh each average by its relative error on VMs that are not among its samples.

        Exponential weights, `exp(-sharpness (loss / least loss - 1))`: close to the best average
        where it is clearly best, close to their mean where they are equal. Losses are relative to
        the median of 50 and averaged over cells first, so that no cell outweighs the others.
        Source: Vovk 1990, aggregating strategies; used here once, not online.
        """
        key_N = np.stack([context.benchmark_N, context.size_N, context.region_N], axis=1)
        cells_C3, cell_N = np.unique(key_N, axis=0, return_inverse=True)
        cell_N = cell_N.ravel()
        filled_NK = _filled(average_NK)
        error_NK = np.abs(filled_NK - actual_N[:, None])
        sums = [np.bincount(cell_N, weights=e_N, minlength=len(cells_C3)) for e_N in error_NK.T]
        loss_CK = np.stack(sums, axis=1).astype(np.float64)
        loss_CK = loss_CK / np.maximum(loss_CK[:, 1:2], 1e-12)
        log_CK = np.log(np.clip(loss_CK, 1e-2, 1e2))
        weight_GK = np.empty((benchmarks + 1, average_NK.shape[1]))
        for place in range(benchmarks + 1):
            own = cells_C3[:, 0] == place if place < benchmarks else np.ones(len(cells_C3), bool)
            own = own if own.any() else np.ones(len(cells_C3), bool)
            mean_K = np.exp(log_CK[own].mean(axis=0))
            weight_K = np.exp(-sharpness * (mean_K / mean_K.min() - 1))
            weight_GK[place] = weight_K / weight_K.sum()
        return cls(weight_GK=weight_GK)

    def value(self, average_NK: Floats, benchmark_N: Ints) -> Floats:
        """Return the weighted mean of the averages that are there, NaN where none is."""
        weight_NK = np.where(np.isfinite(average_NK), self.weight_GK[benchmark_N], 0.0)
        # Averages without weight still stand where nothing else does.
        weight_NK = np.where(np.isfinite(average_NK), weight_NK + 1e-9, 0.0)
        total_N = weight_NK.sum(axis=1)
        with np.errstate(invalid="ignore"):
            return np.asarray((np.nan_to_num(average_NK) * weight_NK).sum(axis=1) / total_N)


def _filled(average_NK: Floats) -> Floats:
    """Put the mean of a row's averages where one is missing."""
    return np.where(np.isfinite(average_NK), average_NK, present_mean(average_NK)[:, None])


def own_averages(own_NT: Floats, fleet_N: Floats) -> Floats:
    """Return the averages of a row's own samples and its fleet level, o_NK; NaN where missing."""
    columns = [row_ewma(own_NT, half_life) for half_life in _HALF_LIVES]
    columns += [row_median(own_NT, newest) for newest in _WINDOWS]
    return np.stack([*columns, fleet_N], axis=1)


def spread(own_NT: Floats, fleet: Fleet, level_N: Floats) -> Floats:
    """Return how far samples scatter about their level: own distance shrunk to that of the fleet."""
    count_N = np.isfinite(own_NT).sum(axis=1)
    own_N = mean_distance(own_NT, row_median(own_NT))
    known_N = np.isfinite(fleet.distance_N)
    other_N = np.where(known_N, fleet.distance_N, _UNKNOWN_SPREAD * np.abs(level_N))
    trust_N = count_N / (count_N + np.where(known_N, _SPREAD_SAMPLES, 1.0))
    mixed_N = trust_N * np.nan_to_num(own_N) + (1 - trust_N) * other_N
    least_N = np.maximum(_LEAST_SPREAD * np.abs(level_N), 1e-9)
    return np.asarray(np.maximum(mixed_N, least_N))


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnLevel:
    """Weights of own averages by group of counts and benchmark, weight_BGK; last G for any other."""

    weight_BGK: Floats

    @classmethod
    def fit(
        cls,
        relative_NK: Floats,
        target_N: Floats,
        groups: tuple[Ints, Ints],
        sizes: tuple[int, int],
    ) -> Self:
        """Minimise the absolute error by reweighted least squares, each benchmark drawn to all.

        Source: Schlossmacher 1973; the pull is a ridge towards the weights of all benchmarks,
        as strong as 300 rows.

        Args:
            relative_NK: (average - base) / spread, 0 where missing.
            target_N: (actual - base) / spread.
            groups: Group of counts and benchmark of each row.
            sizes: Numbers of groups of counts and of benchmarks.
        """
        count_N, benchmark_N = groups
        width = relative_NK.shape[1]
        weight_BGK = np.zeros((sizes[0], sizes[1] + 1, width))
        for place in range(sizes[0]):
            own_N = count_N == place
            if not own_N.any():
                continue
            all_K = _absolute_fit(relative_NK[own_N], target_N[own_N], np.zeros(width), 20.0)
            weight_BGK[place] = all_K
            for benchmark in range(sizes[1]):
                kept_N = own_N & (benchmark_N == benchmark)
                if kept_N.any():
                    weight_BGK[place, benchmark] = _absolute_fit(
                        relative_NK[kept_N], target_N[kept_N], all_K, _GROUP_RIDGE_ROWS
                    )
        return cls(weight_BGK=weight_BGK)

    def residual(self, relative_NK: Floats, count_group_N: Ints, benchmark_N: Ints) -> Floats:
        """Return (level - base) / spread."""
        weight_NK = self.weight_BGK[count_group_N, benchmark_N]
        return np.asarray(np.clip((relative_NK * weight_NK).sum(axis=1), -_CLIP, _CLIP))


def _absolute_fit(x_NK: Floats, y_N: Floats, toward_K: Floats, pull_rows: float) -> Floats:
    rest_N = np.clip(y_N, -_CLIP, _CLIP) - x_NK @ toward_K
    solved_K = np.zeros(x_NK.shape[1])
    weight_N = np.ones(len(y_N))
    for _ in range(_ROUNDS):
        weighted_NK = x_NK * weight_N[:, None]
        gram_KK = weighted_NK.T @ x_NK
        size = len(gram_KK)
        scale = np.trace(gram_KK) / size / max(1.0, float(weight_N.sum()))
        penalty = scale * weight_N.mean() * pull_rows + _RIDGE * np.trace(gram_KK) / size + 1e-12
        solved_K = np.linalg.solve(gram_KK + penalty * np.eye(size), weighted_NK.T @ rest_N)
        weight_N = 1 / np.maximum(np.abs(rest_N - x_NK @ solved_K), _LEAST_ERROR)
    return np.asarray(toward_K + solved_K)


@dataclass(frozen=True, kw_only=True, slots=True)
class Levels:
    """Level and spread of each row, in its unit, and where they come from."""

    level_N: Floats
    spread_N: Floats
    fleet_N: Floats
    ewma_N: Floats
    fleet: Fleet

    @property
    def has_peers(self) -> NDArray[np.bool_]:
        """Whether any sample of a peer is known."""
        return np.isfinite(self.fleet.average_NK[:, 1])


@dataclass(frozen=True, kw_only=True, slots=True)
class LevelModel:
    """The fitted hierarchy."""

    priors: Priors
    fleet: FleetLevel
    own: OwnLevel

    @classmethod
    def fit(
        cls, context: Context, actual_N: Floats, priors: Priors, sizes: Mapping[str, float]
    ) -> Self:
        """Fit on rows of which many have a shortened history.

        Args:
            context: The rows.
            actual_N: What came.
            priors: What was typical of the training.
            sizes: `benchmarks`, their number, and `sharpness`, see `FleetLevel.fit`.
        """
        benchmarks = int(sizes["benchmarks"])
        read = read_fleet(context, priors)
        some_N = np.asarray(np.isfinite(read.average_NK).any(axis=1))
        if some_N.any():
            fleet = FleetLevel.fit(
                read.average_NK[some_N],
                actual_N[some_N],
                context.take(some_N),
                benchmarks,
                sizes["sharpness"],
            )
        else:
            width = len(FLEET_AVERAGES)
            fleet = FleetLevel(weight_GK=np.full((benchmarks + 1, width), 1 / width))
        fleet_N = fleet.value(read.average_NK, context.benchmark_N)
        base_N, spread_N, relative_NK = _relate(context, read, fleet_N)
        with np.errstate(invalid="ignore"):
            target_N = (actual_N - base_N) / spread_N
        known_N = np.isfinite(target_N)
        groups = (count_group(context.counts)[known_N], context.benchmark_N[known_N])
        own = OwnLevel.fit(
            relative_NK[known_N], target_N[known_N], groups, (len(COUNT_EDGES) + 1, benchmarks)
        )
        return cls(priors=priors, fleet=fleet, own=own)

    def levels(self, context: Context) -> Levels:
        """Return level and spread of rows; NaN where nothing at all is known."""
        read = read_fleet(context, self.priors)
        fleet_N = self.fleet.value(read.average_NK, context.benchmark_N)
        base_N, spread_N, relative_NK = _relate(context, read, fleet_N)
        moved_N = self.own.residual(relative_NK, count_group(context.counts), context.benchmark_N)
        ewma_N = row_ewma(context.own_NT, _HALF_LIVES[_BASE])
        return Levels(
            level_N=base_N + moved_N * spread_N,
            spread_N=spread_N,
            fleet_N=fleet_N,
            ewma_N=ewma_N,
            fleet=read,
        )


def _relate(context: Context, read: Fleet, fleet_N: Floats) -> tuple[Floats, Floats, Floats]:
    """Return base, spread, and the averages relative to them."""
    average_NK = own_averages(context.own_NT, fleet_N)
    base_N = np.where(np.isfinite(average_NK[:, _BASE]), average_NK[:, _BASE], fleet_N)
    spread_N = spread(context.own_NT, read, base_N)
    with np.errstate(invalid="ignore"):
        relative_NK = np.nan_to_num((average_NK - base_N[:, None]) / spread_N[:, None])
    return base_N, spread_N, np.clip(relative_NK, -_CLIP, _CLIP)
