"""The names a model knows, and what was typical of each benchmark in its training.

Legend: N rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from novacron.models.performance.context import Context, Floats, Ints

_WIDEST_RATIO: Final = 10.0

Cell = tuple[int, int, int]
"""Places of benchmark, size and region."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Names:
    """Names in the order in which contexts number them; a name that is not there is -1."""

    benchmarks: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, list[str]]:
        """Return the names as JSON values."""
        return {
            "benchmarks": list(self.benchmarks),
            "sizes": list(self.sizes),
            "regions": list(self.regions),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, list[str]]) -> Self:
        """Read what `to_dict` wrote."""
        return cls(**{name: tuple(values[name]) for name in ("benchmarks", "sizes", "regions")})


def numbers(values: NDArray[Any], known: tuple[str, ...]) -> Ints:
    """Return the place of each name among the known ones, -1 for any other."""
    place = {name: number for number, name in enumerate(known)}
    return np.array([place.get(str(value), -1) for value in values], dtype=np.int64)


@dataclass(frozen=True, kw_only=True, slots=True)
class Priors:
    """Median and mean distance from it of every VM of the training, cell by cell.

    `median` and `distance` have one entry per VM in the order of `cell` and `vm`; `low` and `high`
    are the extremes of each benchmark, in its unit.
    """

    cell: tuple[Cell, ...]
    vm: tuple[int, ...]
    median: Floats
    distance: Floats
    low: Floats
    high: Floats

    def of_cells(self, context: Context) -> tuple[Floats, Floats]:
        """Return the mean over VMs of medians and distances of each row's cell; own VM left out."""
        return self._means(context, regions_apart=True)

    def of_sizes(self, context: Context) -> Floats:
        """Return the mean over VMs of medians of each row's benchmark and size, in any region."""
        return self._means(context, regions_apart=False)[0]

    def _means(self, context: Context, *, regions_apart: bool) -> tuple[Floats, Floats]:
        rows = len(context)
        median_N, distance_N = np.full(rows, np.nan), np.full(rows, np.nan)
        if not self.cell:
            return median_N, distance_N
        cell_V3, vm_V = np.array(self.cell, dtype=np.int64), np.array(self.vm, dtype=np.int64)
        asked_N5 = np.stack(
            [context.benchmark_N, context.size_N, context.region_N, context.own_vm_N], axis=1
        )
        for benchmark, size, region, vm in np.unique(asked_N5, axis=0):
            other_V = (cell_V3[:, 0] == benchmark) & (cell_V3[:, 1] == size)
            if regions_apart:
                other_V &= cell_V3[:, 2] == region
            own_V = (vm_V == vm) & (cell_V3[:, 2] == region)
            other_V &= ~own_V
            if other_V.any():
                mine_N = (asked_N5 == [benchmark, size, region, vm]).all(axis=1)
                median_N[mine_N] = self.median[other_V].mean()
                distance_N[mine_N] = self.distance[other_V].mean()
        return median_N, distance_N

    def bounds(self, benchmark: int) -> tuple[float, float]:
        """Return what a score of a benchmark can be, far beyond what the training has seen."""
        return (
            float(self.low[benchmark]) / _WIDEST_RATIO,
            float(self.high[benchmark]) * _WIDEST_RATIO,
        )


def no_priors() -> Priors:
    """Return priors of nothing."""
    empty = np.zeros(0)
    return Priors(cell=(), vm=(), median=empty, distance=empty, low=empty, high=empty)
