"""The cells that are measured, what kind each is, and on which half it is fitted or reported."""

import hashlib
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from rl_envs.testbed.cell import Cell, Measured, measure_cell, row_of

Half = Literal["fit", "report"]
Kind = Literal["loss_limited", "saturated", "shallow_buffer", "cross_traffic", "window_limited"]

SEEDS: Final = (1, 2)
DURATION_S: Final = 42.0
SUSPECT_CPU_RATIO: Final = 0.8
"""Emulator load above which a run may have been slowed by the machine and is not used."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GridCell:
    """A cell with what it tests, and whether coefficients may be fitted on it."""

    kind: Kind
    half: Half
    cell: Cell


_BASE: Final = Cell(
    capacity_mbps=50.0, rtt_ms=80.0, loss_ratio=0.0, burst_pkts=1.0, buffer_bdp=1.0,
    algorithm="cubic", streams=1, cross_flows=0, window_bytes=None, duration_s=DURATION_S, seed=1,
)  # fmt: skip


def _cells(**axes: Sequence[Any]) -> list[Cell]:
    names = list(axes)
    return [
        replace(_BASE, **dict(zip(names, values, strict=True)))
        for values in itertools.product(*axes.values())
    ]


def grid() -> list[GridCell]:
    """Return every cell with its kind and half, one seed each; each kind is halved evenly."""
    blocks: dict[Kind, list[Cell]] = {
        "loss_limited": _cells(
            rtt_ms=(40.0, 160.0),
            loss_ratio=(0.002, 0.01),
            burst_pkts=(1.0, 4.0),
            algorithm=("cubic", "reno"),
            streams=(1, 4),
        ),
        "saturated": _cells(algorithm=("cubic", "bbr"), streams=(1, 4, 16), rtt_ms=(20.0, 80.0)),
        "shallow_buffer": _cells(
            buffer_bdp=(0.1, 0.3), algorithm=("cubic", "bbr"), streams=(1, 8)
        ),
        "cross_traffic": _cells(
            cross_flows=(2, 6), algorithm=("cubic", "bbr"), streams=(1, 4, 16)
        ),
        "window_limited": _cells(
            window_bytes=(131_072, 524_288), streams=(1, 4), algorithm=("cubic",)
        ),
    }
    return [
        GridCell(kind=kind, half="fit" if rank % 2 == 0 else "report", cell=cell)
        for kind, cells in blocks.items()
        for rank, cell in enumerate(sorted(cells, key=_digest))
    ]


def _digest(cell: Cell) -> bytes:
    """Order that has nothing to do with the cell's parameters, and never changes."""
    return hashlib.sha256(json.dumps(asdict(cell), sort_keys=True).encode()).digest()


def measure_grid(
    path: Path,
    *,
    cells: Sequence[GridCell],
    seeds: Sequence[int] = SEEDS,
    progress: Callable[[Cell, Measured], None],
    measure: Callable[[Cell], Measured] = measure_cell,
) -> int:
    """Measure what the table at `path` does not hold yet, saving after every cell.

    Returns:
        How many cells were measured now.
    """
    rows: list[dict[str, Any]] = json.loads(path.read_text())["rows"] if path.exists() else []
    done = {json.dumps(row["cell"], sort_keys=True) for row in rows}
    count = 0
    for planned, seed in itertools.product(cells, seeds):
        cell = replace(planned.cell, seed=seed)
        if json.dumps(asdict(cell), sort_keys=True) in done:
            continue
        measured = measure(cell)
        rows.append({"kind": planned.kind, "half": planned.half} | row_of(cell, measured))
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps({"rows": rows}, indent=0) + "\n")
        partial.replace(path)
        progress(cell, measured)
        count += 1
    return count
