"""Fits the coefficients of the TCP law on one half of the measured cells, reports on the other.

A cell's figures are means over its seeds (geometric for rates). What a choice costs is read off
groups of cells that differ in the number of streams alone.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
from scipy.optimize import least_squares

from novacron.errors import SchemaError
from rl_envs.physics.quantities import MSS_BYTES, FloatArray
from rl_envs.physics.tcp_coefficients import (
    DEFAULT_COEFFICIENTS,
    FIRST_ESTIMATES,
    TcpCoefficients,
)
from rl_envs.testbed.cell import Cell, predict_cells
from rl_envs.testbed.grid import grid, group_key

FIGURES: Final = (
    "steady_goodput_mbps",
    "goodput_mbps",
    "srtt_ms",
    "steady_retransmit_ratio",
)
_FLOOR_MBPS: Final = 0.01
_SCALES: Final = {"steady_goodput_mbps": 0.04, "goodput_mbps": 0.08, "srtt_ms": 0.3}
"""Error of each figure that weighs one in the fit, in log; of retransmissions below, in points."""
_RETRANSMIT_SCALE: Final = 0.06
_PRIOR_SCALE: Final = 1.0
"""Distance in log from the first estimate that weighs one: what no cell decides stays there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredCell:
    """One cell over its seeds: what it tests, its half, its figures."""

    kind: str
    half: str
    cell: Cell
    figures: Mapping[str, float]
    seeds: int
    spread: float
    """Ratio of the largest to the smallest steady goodput among the seeds, less one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KindError:
    """Errors over the cells of one kind: goodput and round trip relative, retransmissions plain."""

    kind: str
    half: str
    cells: int
    goodput_median: float
    goodput_p90: float
    whole_goodput_median: float
    srtt_median: float
    retransmit_median: float
    seed_spread_median: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """The number of streams that the law chooses for a group, and what that loses."""

    group: str
    kind: str
    half: str
    chosen: int
    best: int
    regret: float
    """Measured goodput lost against the best measured number."""


def measured_cells(rows: Sequence[Mapping[str, Any]]) -> list[MeasuredCell]:
    """Return the cells of a table, without runs that the machine disturbed.

    Kind and half are those of the grid; cells that it no longer has are left out.

    Raises:
        SchemaError: No usable cell is left.
    """
    planned = {replace(entry.cell, seed=0): entry for entry in grid()}
    runs: defaultdict[Cell, list[Mapping[str, float]]] = defaultdict(list)
    for row in rows:
        cell = replace(Cell(**row["cell"]), seed=0)
        if cell in planned and not row["disturbed"]:
            runs[cell].append(row["measured"])
    if not runs:
        raise SchemaError(
            field="rows",
            got="no usable cell",
            expected="at least one",
            remedy="Measure the grid first; disturbed runs do not count.",
        )
    return [
        MeasuredCell(
            kind=planned[cell].kind,
            half=planned[cell].half,
            cell=cell,
            figures=_over_seeds(found),
            seeds=len(found),
            spread=_spread([run["steady_goodput_mbps"] for run in found]),
        )
        for cell, found in runs.items()
    ]


def _spread(rates: Sequence[float]) -> float:
    return max(rates) / max(min(rates), _FLOOR_MBPS) - 1.0


def _over_seeds(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    figures = {}
    for name in FIGURES:
        values = np.array([run[name] for run in runs])
        ratio = name.endswith("ratio")
        figures[name] = float(values.mean() if ratio else np.exp(np.log(values).mean()))
    return figures


def of_half(cells: Sequence[MeasuredCell], half: str) -> list[MeasuredCell]:
    """Return the cells of one half.

    Raises:
        SchemaError: There is none.
    """
    chosen = [cell for cell in cells if cell.half == half]
    if not chosen:
        raise SchemaError(field="rows", got=f"no cell of the half {half}", expected="at least one")
    return chosen


def errors_of(
    cells: Sequence[MeasuredCell], coefficients: TcpCoefficients = DEFAULT_COEFFICIENTS
) -> dict[str, FloatArray]:
    """Return per figure the log error of each cell; of retransmissions the plain difference."""
    predicted = predict_cells([cell.cell for cell in cells], coefficients)
    errors = {}
    for name in FIGURES:
        seen = np.array([cell.figures[name] for cell in cells])
        if name.endswith("ratio"):
            errors[name] = predicted[name] - seen
        else:
            errors[name] = np.log(
                np.maximum(predicted[name], _FLOOR_MBPS) / np.maximum(seen, _FLOOR_MBPS)
            )
    return errors


def _chance_error(cells: Sequence[MeasuredCell]) -> FloatArray:
    """Return the part of each cell's error that is chance: few loss events, another rate.

    A rate goes with about the square root of the losses it meets, counted over all seeds.
    """
    packets = np.array(
        [c.figures["steady_goodput_mbps"] * c.cell.duration_s * c.seeds for c in cells]
    ) / (8e-6 * MSS_BYTES)
    events = packets * np.array([c.cell.loss_ratio / c.cell.burst_pkts for c in cells])
    error: FloatArray = np.where(events > 0.0, 0.7 / np.sqrt(np.maximum(events, 1.0)), 0.0)
    return error


def fit(
    cells: Sequence[MeasuredCell], start: TcpCoefficients = FIRST_ESTIMATES
) -> TcpCoefficients:
    """Return the coefficients that fit the half `fit` best, by robust least squares.

    Each coefficient is drawn towards its value in `start` and may move by a factor of four; a
    share stays below one.

    Raises:
        SchemaError: No usable cell is in that half.
    """
    seen = of_half(cells, "fit")
    names = list(asdict(start))
    values = np.array([getattr(start, name) for name in names])
    ceiling = np.array([0.999 if "utilisation" in name else np.inf for name in names])

    def coefficients(shift: FloatArray) -> TcpCoefficients:
        moved = np.minimum(values * np.exp(shift), ceiling)
        return TcpCoefficients(**dict(zip(names, moved.tolist(), strict=True)))

    chance = _chance_error(seen)

    def residuals(shift: FloatArray) -> FloatArray:
        errors = errors_of(seen, coefficients(shift))
        parts = [errors[name] / np.hypot(scale, chance) for name, scale in _SCALES.items()]
        parts.append(errors["steady_retransmit_ratio"] / _RETRANSMIT_SCALE)
        parts.append(shift / _PRIOR_SCALE)
        return np.concatenate(parts)

    bound = np.log(4.0)
    found = least_squares(
        residuals,
        np.zeros(len(names)),
        bounds=(-bound, bound),
        loss="soft_l1",
        diff_step=1e-3,
        max_nfev=60,
    )
    return coefficients(np.asarray(found.x))


def report(
    cells: Sequence[MeasuredCell],
    coefficients: TcpCoefficients = DEFAULT_COEFFICIENTS,
    half: str = "report",
) -> list[KindError]:
    """Return the errors per kind on one half; no fit has seen the half `report`.

    Raises:
        SchemaError: No usable cell is in that half.
    """
    seen = of_half(cells, half)
    errors = errors_of(seen, coefficients)
    kinds = np.array([cell.kind for cell in seen])
    spread = np.array([cell.spread for cell in seen])
    rows = []
    for kind in dict.fromkeys(kinds.tolist()):
        mine = kinds == kind
        goodput = np.abs(errors["steady_goodput_mbps"][mine])
        rows.append(
            KindError(
                kind=kind,
                half=half,
                cells=int(mine.sum()),
                goodput_median=float(np.median(goodput)),
                goodput_p90=float(np.quantile(goodput, 0.9)),
                whole_goodput_median=float(np.median(np.abs(errors["goodput_mbps"][mine]))),
                srtt_median=float(np.median(np.abs(errors["srtt_ms"][mine]))),
                retransmit_median=float(
                    np.median(np.abs(errors["steady_retransmit_ratio"][mine]))
                ),
                seed_spread_median=float(np.median(spread[mine])),
            )
        )
    return rows


def choices(
    cells: Sequence[MeasuredCell], coefficients: TcpCoefficients = DEFAULT_COEFFICIENTS
) -> list[Choice]:
    """Choose the number of streams by the law in every group and say what that loses.

    The law takes the fewest streams whose predicted goodput is within a percent of its best.
    """
    predicted = predict_cells([cell.cell for cell in cells], coefficients)["steady_goodput_mbps"]
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for index, cell in enumerate(cells):
        groups[group_key(cell.cell)].append(index)
    chosen = []
    for key, unsorted in groups.items():
        members = sorted(unsorted, key=lambda index: cells[index].cell.streams)
        if len(members) < 2:
            continue
        law = predicted[members]
        seen = np.array([cells[index].figures["steady_goodput_mbps"] for index in members])
        pick, best = int(np.argmax(law >= 0.99 * law.max())), int(seen.argmax())
        chosen.append(
            Choice(
                group=key,
                kind=cells[members[0]].kind,
                half=cells[members[0]].half,
                chosen=cells[members[pick]].cell.streams,
                best=cells[members[best]].cell.streams,
                regret=float(1.0 - seen[pick] / seen[best]),
            )
        )
    return chosen
