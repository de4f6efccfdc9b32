"""`python -m rl_envs.testbed check|grid|ship|fit|report`: what is possible, measure, fit, compare.

`grid` measures into a table of its own and goes on where it was interrupted; `ship` puts that table,
with its origin, where the simulator reads it; `fit` prints coefficients fitted on one half of a
table and `report` the errors on both halves.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from novacron.errors import NovacronError
from rl_envs.physics.tcp_coefficients import DEFAULT_COEFFICIENTS
from rl_envs.tables import TESTBED_TABLE
from rl_envs.testbed.cell import Cell, CellRun
from rl_envs.testbed.fit import choices, fit, measured_cells, report
from rl_envs.testbed.grid import expand, grid
from rl_envs.testbed.network import missing
from rl_envs.testbed.schedule import measure_grid
from rl_envs.testbed.ship import ship

MEASURED: Final = Path("runs/testbed/tcp_testbed.json")


def _progress(cell: Cell, run: CellRun, left: int) -> None:
    sys.stderr.write(
        f"{cell.algorithm} {cell.capacity_mbps:g} Mbit/s n={cell.streams} rtt={cell.rtt_ms:g} "
        f"loss={cell.loss_ratio:g} burst={cell.burst_pkts:g} buffer={cell.buffer_bdp:g} "
        f"cross={cell.cross_flows} codec={cell.codec} seed={cell.seed}: "
        f"{run.measured.steady_goodput_mbps:.2f} Mbit/s, "
        f"lag p99 {run.conditions.lag_p99_ms:.2f} ms, {left} to go\n"
    )
    sys.stderr.flush()


def _check() -> int:
    lacks = missing()
    sys.stdout.write(json.dumps({"possible": not lacks, "missing": lacks}) + "\n")
    return 0 if not lacks else 1


def _grid(table: Path, options: argparse.Namespace) -> int:
    table.parent.mkdir(parents=True, exist_ok=True)
    cells = expand([planned for planned in grid() if options.kind in (None, planned.kind)])
    count = measure_grid(
        table, cells=cells, progress=_progress, jobs=options.jobs, budget_cores=options.cores
    )
    sys.stdout.write(json.dumps({"table": str(table), "measured": count}) + "\n")
    return 0


def _fit(table: Path) -> int:
    fitted = fit(measured_cells(json.loads(table.read_text())["rows"]))
    sys.stdout.write(json.dumps(asdict(fitted), indent=1) + "\n")
    return 0


def _report(table: Path) -> int:
    cells = measured_cells(json.loads(table.read_text())["rows"])
    answer = {
        "coefficients": asdict(DEFAULT_COEFFICIENTS),
        "errors": [asdict(row) for half in ("fit", "report") for row in report(cells, half=half)],
        "choices": [asdict(choice) for choice in choices(cells)],
    }
    sys.stdout.write(json.dumps(answer, indent=1) + "\n")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m rl_envs.testbed", description=__doc__)
    parser.add_argument("command", choices=["check", "grid", "ship", "fit", "report"])
    parser.add_argument(
        "--table", type=Path, help=f"{MEASURED} for grid and ship, else the shipped one"
    )
    parser.add_argument("--kind", help="grid: only cells of this kind")
    parser.add_argument("--jobs", type=int, default=8, help="grid: cells measured side by side")
    parser.add_argument("--cores", type=float, help="grid: processor cores they may need together")
    options = parser.parse_args(arguments)
    measured = options.table or MEASURED
    try:
        if options.command == "check":
            return _check()
        if options.command == "grid":
            return _grid(measured, options)
        if options.command == "ship":
            sys.stdout.write(f"{ship(measured)}\n")
            return 0
        work = _fit if options.command == "fit" else _report
        return work(options.table or TESTBED_TABLE)
    except NovacronError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
