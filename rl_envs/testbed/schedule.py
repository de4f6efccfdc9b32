"""Measures many cells side by side, as many as the machine carries without being late."""

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from novacron.errors import NotReadyError
from rl_envs.testbed.cell import Cell, CellRun, Conditions, measure_cell, predict_cell, row_of
from rl_envs.testbed.grid import GridCell

ATTEMPTS: Final = 3
"""Runs of a cell before it is recorded as disturbed."""
MAX_LAG_P99_MS: Final = 2.0
MAX_LAG_P999_MS: Final = 10.0
"""Lateness above which a run is disturbed: a tenth, and half, of the shortest round trip."""
_BASE_CORES: Final = 0.05
_CORES_PER_MBPS: Final = 0.003
_ENCODE_CORES: Final = {"zstd-9": 0.9, "zstd-6": 0.5}
"""What a slow codec adds where it may become the bottleneck."""

Measure = Callable[[Cell, int], CellRun]


def cores_of(cell: Cell) -> float:
    """Return about how many cores a cell occupies: packets cost, waiting does not."""
    expected = predict_cell(cell)
    carried = expected.steady_goodput_mbps + expected.cross_mbps
    return _BASE_CORES + _CORES_PER_MBPS * carried + _ENCODE_CORES.get(cell.codec, 0.0)


def disturbed(conditions: Conditions) -> bool:
    """Say whether the machine was too busy for the link while a cell was measured."""
    return conditions.lag_p99_ms > MAX_LAG_P99_MS or conditions.lag_p999_ms > MAX_LAG_P999_MS


class _Table:
    """The rows measured so far, on disk after every cell."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = (
            json.loads(path.read_text())["rows"] if path.exists() else []
        )

    def missing(self, cells: Sequence[GridCell]) -> list[GridCell]:
        done = {json.dumps(row["cell"], sort_keys=True) for row in self.rows}
        return [
            planned
            for planned in cells
            if json.dumps(asdict(planned.cell), sort_keys=True) not in done
        ]

    def add(self, planned: GridCell, run: CellRun, attempts: int) -> None:
        head = {"kind": planned.kind, "half": planned.half, "attempts": attempts}
        self.rows.append(
            head | row_of(planned.cell, run) | {"disturbed": disturbed(run.conditions)}
        )
        lines = ",\n".join(json.dumps(row) for row in self.rows)
        partial = self.path.with_suffix(".partial")
        partial.write_text(f'{{"rows": [\n{lines}\n]}}\n')
        partial.replace(self.path)


def _next_that_fits(waiting: list[GridCell], free_cores: float, *, alone: bool) -> GridCell | None:
    """Take the first cell that fits; one too large for the budget runs when nothing else does."""
    for index, planned in enumerate(waiting):
        if alone or cores_of(planned.cell) <= free_cores:
            return waiting.pop(index)
    return None


def measure_grid(
    path: Path,
    *,
    cells: Sequence[GridCell],
    progress: Callable[[Cell, CellRun, int], None],
    measure: Measure = measure_cell,
    jobs: int = 1,
    budget_cores: float | None = None,
) -> int:
    """Measure what the table at `path` does not hold yet, saving after every cell.

    Up to `jobs` cells run at once while the cores they need stay below the budget (0.6 of the
    machine if None). A disturbed or failed run is repeated; after the last attempt a disturbed one
    is recorded as such.

    Returns:
        How many cells were measured now.

    Raises:
        NotReadyError: The machine cannot run the testbed, or an end failed every time.
    """
    table = _Table(path)
    waiting = table.missing(cells)
    budget = 0.6 * (os.cpu_count() or 1) if budget_cores is None else budget_cores
    attempts: dict[Cell, int] = {}
    running: dict[Future[CellRun], GridCell] = {}
    count = 0
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        while waiting or running:
            while waiting and len(running) < jobs:
                used = sum(cores_of(planned.cell) for planned in running.values())
                planned = _next_that_fits(waiting, budget - used, alone=not running)
                if planned is None:
                    break
                running[pool.submit(measure, planned.cell, len(running))] = planned
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                planned = running.pop(future)
                tries = attempts[planned.cell] = attempts.get(planned.cell, 0) + 1
                if isinstance(future.exception(), NotReadyError) and tries < ATTEMPTS:
                    waiting.append(planned)
                    continue
                run = future.result()
                progress(planned.cell, run, len(waiting) + len(running))
                if disturbed(run.conditions) and tries < ATTEMPTS:
                    waiting.append(planned)
                    continue
                table.add(planned, run, tries)
                count += 1
    return count
