"""`python -m rl_envs.testbed check|grid|report`: what is possible here, measure, compare."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from novacron.errors import NovacronError
from rl_envs.testbed.cell import Cell, CellRun
from rl_envs.testbed.fit import fit, report
from rl_envs.testbed.grid import expand, grid
from rl_envs.testbed.network import missing
from rl_envs.testbed.schedule import measure_grid

TABLE = Path("runs/testbed/tcp_testbed.json")


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


def _grid(table: Path, kinds: Sequence[str], jobs: int) -> int:
    table.parent.mkdir(parents=True, exist_ok=True)
    cells = expand([planned for planned in grid() if not kinds or planned.kind in kinds])
    count = measure_grid(table, cells=cells, progress=_progress, jobs=jobs)
    sys.stdout.write(json.dumps({"table": str(table), "measured": count}) + "\n")
    return 0


def _report(table: Path) -> int:
    rows = json.loads(table.read_text())["rows"]
    fitted = fit(rows)
    answer = {
        "first_estimates": [asdict(row) for row in report(rows)],
        "fitted": [asdict(row) for row in report(rows, fitted)],
        "coefficients": asdict(fitted),
    }
    sys.stdout.write(json.dumps(answer, indent=1) + "\n")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m rl_envs.testbed", description=__doc__)
    parser.add_argument("command", choices=["check", "grid", "report"])
    parser.add_argument("--table", type=Path, default=TABLE, help="table of measurements")
    parser.add_argument("--kind", action="append", default=[], help="only cells of this kind")
    parser.add_argument("--jobs", type=int, default=1, help="cells measured side by side")
    options = parser.parse_args(arguments)
    try:
        if options.command == "check":
            return _check()
        if options.command == "grid":
            return _grid(options.table, options.kind, options.jobs)
        return _report(options.table)
    except NovacronError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
