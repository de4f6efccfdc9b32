"""Splits a table of scores in time and draws the rows that are trained on and chosen by.

Legend: N rows of the table, K drawn rows, H samples ahead.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from novacron.errors import InvalidInputError
from novacron.models.performance.config import PerformanceConfig
from novacron.models.performance.context import Context, Floats, Ints, join
from novacron.models.performance.names import Cell, Names, Priors
from novacron.models.performance.scores_table import ScoreTable, contexts_of, fit_priors

Mask = NDArray[np.bool_]

_NONE_SHARE: Final = 0.35
_FULL_SHARE: Final = 0.4
_FEWEST_ROWS: Final = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Contexts with what came: the next value, and the values of the degradation horizon."""

    context: Context
    actual_N: Floats
    future_NH: Floats

    def __len__(self) -> int:
        return len(self.actual_N)


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """Everything a fit reads."""

    train: Part
    validation: Part
    names: Names
    cells: tuple[Cell, ...]
    priors: Priors


def cut_in_time(
    table: ScoreTable, late_share: float, purge_samples: int, among: Mask | None = None
) -> tuple[Mask, Mask]:
    """Return earlier and later rows of each benchmark, size and region, with a purged gap.

    All VMs of a cell are cut at one moment, so that nothing the fleet did later is learned from.
    The first `purge_samples` rows of each series after it belong to neither side.
    """
    kept = np.ones(len(table), dtype=np.bool_) if among is None else among
    ts = pd.Series(table.ts_N).where(pd.Series(kept))
    moment_N = ts.groupby(table.cell_N).transform("quantile", 1 - late_share).to_numpy()
    early = kept & (table.ts_N <= moment_N)
    late = kept & (table.ts_N > moment_N)
    since = pd.Series(late).groupby(table.series_N).cumsum().to_numpy()
    return early, late & (since > purge_samples)


def draw_evenly(mask: Mask, cell_N: Ints, most: int, rng: np.random.Generator) -> Ints:
    """Draw at most `most` rows of a mask, as evenly over the cells as their sizes allow."""
    rows = np.flatnonzero(mask)
    if len(rows) <= most:
        return rows
    found, counts = np.unique(cell_N[rows], return_counts=True)
    cap = most / len(found)
    for _ in range(20):  # what small cells leave, the others get
        spare = np.maximum(cap - counts, 0).sum()
        large = int((counts > cap).sum())
        if large == 0 or spare < 1:
            break
        cap = (most - counts[counts <= cap].sum()) / large
    drawn = []
    for cell, count in zip(found, counts, strict=True):
        own = rows[cell_N[rows] == cell]
        drawn.append(own if count <= cap else rng.choice(own, size=int(cap), replace=False))
    return np.sort(np.concatenate(drawn))


def part_of(
    table: ScoreTable, rows_K: Ints, config: PerformanceConfig, *, keep_K: Ints | None = None
) -> Part:
    """Return the contexts of rows, their histories cut to `keep_K` samples, with what came."""
    context = contexts_of(table, rows_K, config)
    return Part(
        context=context if keep_K is None else context.shortened(keep_K),
        actual_N=table.score_N[rows_K],
        future_NH=table.futures(rows_K, config.degradation.horizon_samples),
    )


def gather(table: ScoreTable, config: PerformanceConfig, among: Mask | None = None) -> Material:
    """Split the rows of a mask in time and draw what is trained on and chosen by.

    Half of the training rows have a shortened history, so that new VMs are learned too; the
    validation rows are full, short and without any own sample.

    Raises:
        InvalidInputError: Too few rows are left on a side.
    """
    early, late = cut_in_time(table, config.validation_share, config.purge_samples, among)
    for name, mask in (("training", early), ("validation", late)):
        if mask.sum() < _FEWEST_ROWS:
            raise InvalidInputError(
                field="scores",
                got=f"{int(mask.sum())} rows in the {name} part",
                expected=f"at least {_FEWEST_ROWS}",
                remedy="Name more scores, or a smaller purge_samples.",
            )
    rng = np.random.default_rng([17, config.seeds[0]])
    rows_K = draw_evenly(early, table.cell_N, config.twin.rows, rng)
    short_K = rng.random(len(rows_K)) < config.short_share
    counts_K = rng.choice(np.array(config.short_counts), size=len(rows_K))
    train = part_of(table, rows_K, config, keep_K=np.where(short_K, counts_K, config.history))
    cells = sorted(
        {
            (int(b), int(s), int(r))
            for b, s, r in zip(
                table.benchmark_N[early], table.size_N[early], table.region_N[early], strict=True
            )
        }
    )
    return Material(
        train=train,
        validation=_validation(table, late, config, rng),
        names=table.names,
        cells=tuple(cells),
        priors=fit_priors(table, early),
    )


def _validation(
    table: ScoreTable, late: Mask, config: PerformanceConfig, rng: np.random.Generator
) -> Part:
    most = config.validation_rows
    full_K = draw_evenly(late, table.cell_N, int(most * _FULL_SHARE), rng)
    none_K = draw_evenly(late, table.cell_N, int(most * _NONE_SHARE), rng)
    few_K = draw_evenly(late, table.cell_N, int(most * (1 - _FULL_SHARE - _NONE_SHARE)), rng)
    some = np.array([count for count in config.short_counts if count > 0] or [1])
    pieces = [
        part_of(table, full_K, config),
        part_of(table, none_K, config, keep_K=np.zeros(len(none_K), dtype=np.int64)),
        part_of(table, few_K, config, keep_K=rng.choice(some, size=len(few_K))),
    ]
    return Part(
        context=join([piece.context for piece in pieces]),
        actual_N=np.concatenate([piece.actual_N for piece in pieces]),
        future_NH=np.concatenate([piece.future_NH for piece in pieces]),
    )
