"""Scores of forecasts of many benchmarks, each counting the same, with intervals over whole VMs.

Legend: N rows, C cells (benchmark, size and region), V VMs, B resamples.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from novacron.errors import SchemaError
from novacron.models.metrics import Interval, group_ratio
from novacron.models.performance.context import Context, Floats, Ints
from novacron.models.performance.medians import row_ewma

HALF_LIVES: Final = (1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 40.0)
"""Half-lives, in samples, from which the EWMA that the predictor is measured against is chosen."""

Statistic = Callable[[list[Floats]], Floats]
"""From wape_BC of each forecast to one figure per resample."""

_RESAMPLES: Final = 1000
_LEAST: Final = 1e-12


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredRows:
    """Actual values with forecasts of the same rows, by name; `cell_N` and `vm_N` group them."""

    actual_N: Floats
    cell_N: Ints
    vm_N: Ints
    value: Mapping[str, Floats]

    def take(self, rows: NDArray[np.generic]) -> "ScoredRows":
        """Return the rows at these positions, or where a mask is true."""
        return ScoredRows(
            actual_N=self.actual_N[rows],
            cell_N=self.cell_N[rows],
            vm_N=self.vm_N[rows],
            value={name: value_N[rows] for name, value_N in self.value.items()},
        )

    def by_series(self) -> "ScoredRows":
        """Return the rows with every benchmark of a VM as a group of its own.

        The source numbers VMs anew in each benchmark, size and region.
        """
        pair_N2 = np.stack([self.cell_N, self.vm_N], axis=1)
        series_N = np.unique(pair_N2, axis=0, return_inverse=True)[1].ravel()
        return replace(self, vm_N=series_N.astype(np.int64))

    def errors(self, name: str) -> Floats:
        """Return the absolute error of a forecast."""
        return np.abs(self.actual_N - self.value[name])

    def by_cell_and_vm(self, terms_N: Floats) -> Floats:
        """Return sums_CV of row terms."""
        cells, cell_N = np.unique(self.cell_N, return_inverse=True)
        vms, vm_N = np.unique(self.vm_N, return_inverse=True)
        flat = np.bincount(
            cell_N * len(vms) + vm_N, weights=terms_N, minlength=len(cells) * len(vms)
        )
        return np.asarray(flat.reshape(len(cells), len(vms)), dtype=np.float64)

    def wapes(self, name: str) -> Floats:
        """Return the WAPE of each cell: sum |y - f| / sum y."""
        total_C = self.by_cell_and_vm(self.actual_N).sum(axis=1)
        return np.asarray(self.by_cell_and_vm(self.errors(name)).sum(axis=1) / total_C)


def mean_wape(scored: ScoredRows, name: str, rng: np.random.Generator) -> Interval:
    """Return the mean over cells of their WAPE, whole VMs resampled."""
    return _over_vms(scored, (name,), lambda wape_BC: np.nanmean(wape_BC[0], axis=1), rng)


def wape_ratio(scored: ScoredRows, name: str, base: str, rng: np.random.Generator) -> Interval:
    """Return the ratio of the mean WAPE of two forecasts; noisy benchmarks weigh most in it."""
    return _over_vms(
        scored,
        (name, base),
        lambda wape_BC: np.nanmean(wape_BC[0], axis=1) / np.nanmean(wape_BC[1], axis=1),
        rng,
    )


def geometric_ratio(
    scored: ScoredRows, name: str, base: str, rng: np.random.Generator
) -> Interval:
    """Return the geometric mean over cells of the ratio of their WAPEs; calm ones count the same."""
    return _over_vms(
        scored,
        (name, base),
        lambda wape_BC: np.exp(
            np.nanmean(
                np.log(np.maximum(wape_BC[0], _LEAST) / np.maximum(wape_BC[1], _LEAST)), axis=1
            )
        ),
        rng,
    )


def _over_vms(
    scored: ScoredRows, names: tuple[str, ...], statistic: Statistic, rng: np.random.Generator
) -> Interval:
    total_CV = scored.by_cell_and_vm(scored.actual_N)
    error_CV = [scored.by_cell_and_vm(scored.errors(name)) for name in names]
    vms = total_CV.shape[1]
    draws_BV = rng.multinomial(vms, np.full(vms, 1 / vms), size=_RESAMPLES)
    draws_BV = np.concatenate([np.ones((1, vms), dtype=draws_BV.dtype), draws_BV])
    total_BC = draws_BV @ total_CV.T
    # A cell none of whose VMs was drawn is left out of that resample, above and below alike.
    with np.errstate(invalid="ignore", divide="ignore"):
        wape_BC = [
            np.where(total_BC > 0, draws_BV @ e_CV.T / total_BC, np.nan) for e_CV in error_CV
        ]
    found_B = statistic(wape_BC)
    lo, hi = np.quantile(found_B[1:], [0.025, 0.975])
    return Interval(value=float(found_B[0]), lo=float(lo), hi=float(hi), n=vms)


def share(scored: ScoredRows, hit_N: NDArray[np.bool_], rng: np.random.Generator) -> Interval:
    """Return the share of rows that are hits, whole VMs resampled."""
    return group_ratio(hit_N.astype(np.float64), np.ones(len(hit_N)), scored.vm_N, rng)


def share_difference(
    scored: ScoredRows, hit_N: NDArray[np.bool_], base_N: NDArray[np.bool_],
    rng: np.random.Generator,
) -> Interval:  # fmt: skip
    """Return how much larger one share is than another of the same rows, VMs resampled."""
    difference_N = hit_N.astype(np.float64) - base_N.astype(np.float64)
    return group_ratio(difference_N, np.ones(len(hit_N)), scored.vm_N, rng)


def within(scored: ScoredRows, name: str, tolerance_ratio: float) -> NDArray[np.bool_]:
    """Tell which forecasts are within a share of the actual value."""
    return np.asarray(scored.errors(name) <= tolerance_ratio * np.abs(scored.actual_N))


def choose_half_lives(context: Context, actual_N: Floats, cell_N: Ints) -> dict[int, float]:
    """Return the half-life with the least absolute error of each cell, on training rows.

    Raises:
        SchemaError: No row has an own sample.
    """
    known_N = context.counts > 0
    if not known_N.any():
        raise SchemaError(field="context", got="no own sample", expected="rows with a past")
    error_HN = [np.abs(actual_N - row_ewma(context.own_NT, half_life)) for half_life in HALF_LIVES]
    return {
        int(cell): HALF_LIVES[
            int(np.argmin([e_N[known_N & (cell_N == cell)].sum() for e_N in error_HN]))
        ]
        for cell in np.unique(cell_N)
    }


def ewma_of(context: Context, cell_N: Ints, half_lives: Mapping[int, float]) -> Floats:
    """Return the EWMA of each row with the half-life of its cell (8 for one that is new)."""
    out_N = np.full(len(context), np.nan)
    for cell in np.unique(cell_N):
        rows = cell_N == cell
        out_N[rows] = row_ewma(context.own_NT[rows], half_lives.get(int(cell), 8.0))
    return out_N
