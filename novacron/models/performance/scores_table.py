"""A table of benchmark scores as contexts: each row asked just before it came, from what was known.

Legend: N rows of the table, K chosen rows, T own samples, M samples of peers, H samples ahead.
"""

from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from novacron.errors import OutOfRangeError, SchemaError
from novacron.models.performance.config import PerformanceConfig
from novacron.models.performance.context import Context, Floats, Ints, blank, join
from novacron.models.performance.names import Names, Priors, numbers

COLUMNS: Final = ("series_id", "test", "region", "vm_size", "ts", "score")
_ROWS_AT_ONCE: Final = 8192

Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreTable:
    """Scores in order of series and time; numbers are places in `names`.

    `vm_N` numbers VMs across benchmarks: the same VM of a size and region has one number, so that
    resampling draws VMs whole. `series_N` numbers VM and benchmark, `cell_N` benchmark, size and
    region.
    """

    names: Names
    benchmark_N: Ints
    size_N: Ints
    region_N: Ints
    vm_N: Ints
    series_N: Ints
    cell_N: Ints
    ts_N: Floats
    score_N: Floats
    idle_N: Floats
    previous_N: Ints
    vm_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.score_N)

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> Self:
        """Order and number a table with the columns of `novacron.telemetry.datasets.vm`.

        Args:
            frame: `series_id` (whose last part after `|` names the VM within its region and size),
                `test`, `region`, `vm_size`, `ts` (UTC), `score` (positive).

        Raises:
            SchemaError: A column is missing, or a series has two scores at one time.
            OutOfRangeError: A score is missing or not positive, or a time is missing.
        """
        missing = [name for name in COLUMNS if name not in frame]
        if missing:
            raise SchemaError(field=missing[0], got="nothing", expected=f"columns {COLUMNS}")
        frame = frame.sort_values(["series_id", "ts"], kind="stable", ignore_index=True)
        _check(frame)
        text = {name: frame[name].astype(str) for name in ("test", "region", "vm_size")}
        short = frame.series_id.astype(str).str.rsplit("|", n=1).str[-1]
        vm = text["vm_size"] + "|" + text["region"] + "|" + short
        vm_N, vm_names = pd.factorize(vm, sort=True)
        names = Names(
            benchmarks=tuple(sorted(text["test"].unique())),
            sizes=tuple(sorted(text["vm_size"].unique())),
            regions=tuple(sorted(text["region"].unique())),
        )
        ts_N = frame.ts.astype("datetime64[us, UTC]").astype(np.int64).to_numpy() / 1e6
        benchmark_N = numbers(text["test"].to_numpy(), names.benchmarks)
        idle_N, previous_N = _before(vm_N, ts_N, benchmark_N)
        return cls(
            names=names,
            benchmark_N=benchmark_N,
            size_N=numbers(text["vm_size"].to_numpy(), names.sizes),
            region_N=numbers(text["region"].to_numpy(), names.regions),
            vm_N=vm_N.astype(np.int64),
            series_N=pd.factorize(frame.series_id.astype(str))[0].astype(np.int64),
            cell_N=pd.factorize(text["test"] + "|" + text["vm_size"] + "|" + text["region"])[
                0
            ].astype(np.int64),
            ts_N=ts_N,
            score_N=frame.score.to_numpy(dtype=np.float64),
            idle_N=idle_N,
            previous_N=previous_N,
            vm_names=tuple(str(name) for name in vm_names),
        )

    def ranks(self) -> Ints:
        """Return how many samples of its series came before each row."""
        first_N = np.flatnonzero(np.r_[True, self.series_N[1:] != self.series_N[:-1]])
        length_S = np.diff(np.r_[first_N, len(self)])
        return np.arange(len(self)) - np.repeat(first_N, length_S)

    def renumbered(self, names: Names) -> Self:
        """Return the table with the numbers of another set of names, e.g. those of a model."""

        def places(own: tuple[str, ...], known: tuple[str, ...], values_N: Ints) -> Ints:
            to = np.r_[numbers(np.array(own, dtype=object), known), -1]
            return np.asarray(to[values_N])

        old = self.names
        return replace(
            self,
            names=names,
            benchmark_N=places(old.benchmarks, names.benchmarks, self.benchmark_N),
            previous_N=places(old.benchmarks, names.benchmarks, self.previous_N),
            size_N=places(old.sizes, names.sizes, self.size_N),
            region_N=places(old.regions, names.regions, self.region_N),
        )

    def futures(self, rows_K: Ints, horizon: int) -> Floats:
        """Return the scores from each row on, NaN beyond the end of its series."""
        place_KH = rows_K[:, None] + np.arange(horizon)[None, :]
        inside_KH = place_KH < len(self)
        place_KH = np.minimum(place_KH, len(self) - 1)
        inside_KH &= self.series_N[place_KH] == self.series_N[rows_K][:, None]
        return np.where(inside_KH, self.score_N[place_KH], np.nan)


def _check(frame: pd.DataFrame) -> None:
    if len(frame) == 0:
        raise SchemaError(field="scores", got="no row", expected="at least one score")
    score_N = frame.score.to_numpy(dtype=np.float64)
    wrong = ~(np.isfinite(score_N) & (score_N > 0))
    if wrong.any():
        place = int(np.argmax(wrong))
        raise OutOfRangeError(
            field=f"score of {frame.series_id.iloc[place]}",
            got=float(score_N[place]),
            expected="a positive finite number",
            remedy="Drop failed runs before.",
        )
    if frame.ts.isna().any():
        raise OutOfRangeError(field="ts", got="NaT", expected="a time in UTC")
    if frame.duplicated(["series_id", "ts"]).any():
        twice = frame[frame.duplicated(["series_id", "ts"])].iloc[0]
        raise SchemaError(
            field="ts",
            got=f"{twice.ts} twice in {twice.series_id}",
            expected="one score per series and time",
        )


def _before(vm_N: NDArray[np.intp], ts_N: Floats, benchmark_N: Ints) -> tuple[Floats, Ints]:
    """Return the seconds since the VM began any benchmark, and which one; NaN and -1 at first."""
    order = np.lexsort((ts_N, vm_N))
    same = np.r_[False, vm_N[order][1:] == vm_N[order][:-1]]
    gap = np.where(same, np.diff(ts_N[order], prepend=np.nan), np.nan)
    last = np.where(same, np.r_[-1, benchmark_N[order][:-1]], -1)
    idle_N, previous_N = np.empty(len(ts_N)), np.empty(len(ts_N), dtype=np.int64)
    idle_N[order], previous_N[order] = gap, last
    return idle_N, previous_N


def fit_priors(table: ScoreTable, rows: Mask) -> Priors:
    """Measure what was typical of every VM and benchmark on the rows of a mask."""
    kept = np.flatnonzero(rows)
    groups = pd.DataFrame({"series": table.series_N[kept], "score": table.score_N[kept]}).groupby(
        "series", sort=True
    )
    median = groups.score.median()
    first = pd.Series(kept).groupby(table.series_N[kept]).first()
    away = np.abs(
        table.score_N[kept] - median.reindex(table.series_N[kept]).to_numpy(dtype=np.float64)
    )
    distance = pd.Series(away).groupby(table.series_N[kept]).mean()
    at = first.loc[median.index].to_numpy()
    low, high = (
        np.full(len(table.names.benchmarks), np.nan),
        np.full(len(table.names.benchmarks), np.nan),
    )
    for benchmark in np.unique(table.benchmark_N[kept]):
        own = table.score_N[kept][table.benchmark_N[kept] == benchmark]
        low[benchmark], high[benchmark] = own.min(), own.max()
    return Priors(
        cell=tuple(
            (int(table.benchmark_N[i]), int(table.size_N[i]), int(table.region_N[i])) for i in at
        ),
        vm=tuple(int(table.vm_N[i]) for i in at),
        median=median.to_numpy(dtype=np.float64),
        distance=np.asarray(distance.reindex(median.index), dtype=np.float64),
        low=low,
        high=high,
    )


def contexts_of(
    table: ScoreTable,
    rows_K: Ints,
    config: PerformanceConfig,
    *,
    peers: Mask | None = None,
    knows_vms: bool = True,
) -> Context:
    """Return what was known just before each chosen row.

    Args:
        table: All scores.
        rows_K: Rows to forecast.
        config: How much of the past is read.
        peers: Rows that may serve as peers; None: all. Only those before the row ever do.
        knows_vms: Whether the VMs of the table are numbered as those of the model's training.
    """
    order_by_cell = _cells_in_time(table, peers)
    parts = [
        _context(table, rows_K[first : first + _ROWS_AT_ONCE], config, order_by_cell, knows_vms)
        for first in range(0, len(rows_K), _ROWS_AT_ONCE)
    ]
    return join(parts)


def _cells_in_time(table: ScoreTable, peers: Mask | None) -> dict[int, Ints]:
    allowed = np.arange(len(table)) if peers is None else np.flatnonzero(peers)
    cell_N = table.cell_N
    order = allowed[np.lexsort((table.ts_N[allowed], cell_N[allowed]))]
    found, first = np.unique(cell_N[order], return_index=True)
    pieces = np.split(order, first[1:])
    return {int(cell): piece for cell, piece in zip(found, pieces, strict=True)}


def _context(
    table: ScoreTable,
    rows_K: Ints,
    config: PerformanceConfig,
    order_by_cell: dict[int, Ints],
    knows_vms: bool,
) -> Context:
    history, rank_N = config.history, table.ranks()
    back_KT = rows_K[:, None] - np.arange(history, 0, -1)[None, :]
    known_KT = np.arange(history, 0, -1)[None, :] <= rank_N[rows_K][:, None]
    back_KT = np.maximum(back_KT, 0)
    now_K = table.ts_N[rows_K]
    made = blank(len(rows_K), history=history, peers=config.peers)
    peer_KM, peer_age_KM, peer_vm_KM = made.peer_NM, made.peer_age_NM, made.peer_vm_NM
    cell_K, cell_N = table.cell_N[rows_K], order_by_cell
    for vm_cell in np.unique(np.stack([cell_K, table.vm_N[rows_K]], axis=1), axis=0):
        order = cell_N.get(int(vm_cell[0]), np.zeros(0, dtype=np.int64))
        order = order[table.vm_N[order] != vm_cell[1]]
        mine = np.flatnonzero((cell_K == vm_cell[0]) & (table.vm_N[rows_K] == vm_cell[1]))
        if len(order) == 0:
            continue
        upto = np.searchsorted(table.ts_N[order], now_K[mine], side="left")
        place = upto[:, None] - np.arange(config.peers, 0, -1)[None, :]
        rows = order[np.maximum(place, 0)]
        peer_KM[mine] = np.where(place >= 0, table.score_N[rows], np.nan)
        peer_age_KM[mine] = np.where(place >= 0, now_K[mine][:, None] - table.ts_N[rows], np.nan)
        peer_vm_KM[mine] = np.where(place >= 0, table.vm_N[rows], -1)
    return replace(
        made,
        own_NT=np.where(known_KT, table.score_N[back_KT], np.nan),
        own_age_NT=np.where(known_KT, now_K[:, None] - table.ts_N[back_KT], np.nan),
        benchmark_N=table.benchmark_N[rows_K],
        size_N=table.size_N[rows_K],
        region_N=table.region_N[rows_K],
        previous_N=table.previous_N[rows_K],
        own_vm_N=table.vm_N[rows_K] if knows_vms else np.full(len(rows_K), -1, dtype=np.int64),
        idle_N=table.idle_N[rows_K],
        asked_N=now_K,
    )
