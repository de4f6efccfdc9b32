"""What the transport policy gains on real TCP over emulated links, of what the simulator promised.

`python -m benchmarks.optimizer_testbed` (Linux, root, about ten minutes of the whole machine) sets
the shipped default and the policy's choice of streams and congestion control on 24 links, three
seeds each, and keeps `results/optimizer_testbed.json`, which the optimizer benchmark tells. Emulated.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.results_format import RESULTS_DIR, Metric
from novacron.models.policy.optimizer import shipped_model
from novacron.params.encode import decode_unit
from rl_envs.evaluate import ratio_interval
from rl_envs.physics.quantities import BBR, CUBIC, MSS_BYTES, RENO, FloatArray
from rl_envs.physics.tcp_link import Link
from rl_envs.targets.amst import AmstTarget
from rl_envs.targets.transport import FAIR_STREAMS
from rl_envs.testbed.cell import RECEIVE_WINDOW_RATIO, Cell, CellRun, predict_cells
from rl_envs.testbed.grid import GridCell
from rl_envs.testbed.schedule import measure_grid
from rl_envs.worlds import make_worlds

TARGET: Final = "amst_transport"
LINKS: Final = 24
SEEDS: Final = (1, 2, 3)
CAPACITY_MBPS: Final = (4.0, 40.0)
"""The emulator forwards packets in a process of its own: quick links would not be held."""
DECISIONS: Final = 3
DURATION_S: Final = 21.0
"""Five seconds of warm-up and 16 that count: shorter than the simulator's own table of cells."""
TABLE: Final = Path("runs/optimizer/testbed.json")
RESULT: Final = "optimizer_testbed.json"
_NAMES: Final = {CUBIC: "cubic", BBR: "bbr", RENO: "reno"}


def plan() -> tuple[list[Cell], list[Cell]]:
    """Return the cells of the defaults and of the policy, link by link, of test paths.

    The policy decides from simulated telemetry; the link is the one of its third decision, held
    still. Pacing and chunks are not emulated: chunks are the shipped ones on both sides, and only
    links on which the policy's pacing does not limit are taken.
    """
    part = shipped_model().parts[TARGET]
    env = make_worlds(TARGET, 2048, seed=77, split="test")
    observation, _ = env.reset(seed=77)
    for _ in range(DECISIONS - 1):
        observation, *_ = env.step(part.propose(observation))
    chosen = decode_unit(env.target.group, part.propose(observation))
    _, world = env.simulator.advance(env.hidden_state())
    link, names = world.link, env.target.group.names
    knobs = [dict(zip(names, row, strict=True)) for row in chosen]
    shipped = [dict(zip(names, row, strict=True)) for row in env.hidden_state().default_values]
    cells: tuple[list[Cell], list[Cell]] = ([], [])
    seen: set[tuple[int, int]] = set()
    for row in range(env.num_envs):
        path = (int(world.path.class_index[row]), int(world.path.number[row]))
        fits = CAPACITY_MBPS[0] <= link.capacity_mbps[row] <= CAPACITY_MBPS[1]
        if path in seen or not fits or knobs[row]["pacing_ratio"] < 1.0:
            continue
        seen.add(path)
        for side, values in zip(cells, (shipped[row], knobs[row]), strict=True):
            side.append(_cell(link, row, values))
        if len(seen) == LINKS:
            break
    return cells


def _cell(link: Link, row: int, knobs: dict[str, float]) -> Cell:
    return Cell(
        capacity_mbps=round(float(link.capacity_mbps[row]), 3),
        rtt_ms=round(float(link.rtt_ms[row]), 2),
        loss_ratio=float(link.loss_ratio[row]),
        burst_pkts=float(link.burst_pkts[row]),
        buffer_bdp=float(link.buffer_bdp[row]),
        algorithm=_NAMES[int(knobs["congestion_algorithm"])],
        streams=int(knobs["streams"]),
        cross_flows=int(link.cross_flows[row]),
        window_bytes=int(link.window_bytes[row] / RECEIVE_WINDOW_RATIO),
        duration_s=DURATION_S,
        seed=1,
    )


def log_costs(cells: Sequence[Cell], found: dict[str, FloatArray]) -> FloatArray:
    """Return the weighted log costs that the link decides [N], from figures of cells.

    Rate, time until a chunk is there, bytes sent again, harm to others: as `AmstTarget` has them,
    without the price of processor and memory.
    """
    weights = AmstTarget.weights
    streams = np.array([float(cell.streams) for cell in cells])
    chunk = np.array([float(cell.chunk_bytes) for cell in cells])
    rate, srtt = found["steady_goodput_mbps"], found["srtt_ms"]
    again = found["steady_retransmit_ratio"]
    lost = -np.expm1(-again * chunk / MSS_BYTES)
    wait = 0.5 * srtt + streams * chunk * 8e-3 / rate + lost * srtt
    fair = _fair_cross_mbps(cells)
    harm = np.where(fair > 0.0, 1.0 - found["cross_mbps"] / np.maximum(fair, 1e-9), 0.0)
    return np.asarray(
        -weights["time"] * np.log(rate)
        + weights["latency"] * np.log(wait)
        + weights["money"] * np.log1p(again)
        + weights["fairness"] * np.log1p(np.clip(harm, 0.0, 1.0))
    )


def _fair_cross_mbps(cells: Sequence[Cell]) -> FloatArray:
    """Return what the others would have beside eight CUBIC flows of ours, by the simulator."""
    beside = [replace(cell, algorithm="cubic", streams=int(FAIR_STREAMS)) for cell in cells]
    flows = np.array([float(cell.cross_flows) for cell in cells])
    return np.where(flows > 0.0, predict_cells(beside)["cross_mbps"], 0.0)


def measure(table: Path) -> None:
    """Measure what the table does not hold yet; it goes on after an interruption."""
    table.parent.mkdir(parents=True, exist_ok=True)
    cells = [
        GridCell(kind="cross_traffic", half="report", cell=replace(cell, seed=seed))
        for seed in SEEDS
        for pair in zip(*plan(), strict=True)
        for cell in pair
    ]
    measure_grid(table, cells=cells, progress=_progress, jobs=8)


def _progress(cell: Cell, run: CellRun, left: int) -> None:
    sys.stderr.write(
        f"{cell.algorithm} n={cell.streams} {cell.capacity_mbps:g} Mbit/s rtt={cell.rtt_ms:g}: "
        f"{run.measured.steady_goodput_mbps:.2f} Mbit/s, {left} to go\n"
    )
    sys.stderr.flush()


def metrics_of(rows: Sequence[dict[str, Any]]) -> list[Metric]:
    """Compare measured and simulated gains, link by link; links are resampled."""
    found = {_key(row["cell"]): row["measured"] for row in rows}
    numbers: list[int] = []
    sides: tuple[list[Cell], list[Cell]] = ([], [])
    for number, pair in enumerate(zip(*plan(), strict=True)):
        for seed in SEEDS:
            a, b = (replace(cell, seed=seed) for cell in pair)
            if _key(a) in found and _key(b) in found:
                numbers.append(number)
                sides[0].append(a)
                sides[1].append(b)
    measured, promised = [], []
    for cells in sides:
        figures = [found[_key(cell)] for cell in cells]
        names = ("steady_goodput_mbps", "srtt_ms", "steady_retransmit_ratio", "cross_mbps")
        measured.append(
            log_costs(cells, {n: np.array([each[n] for each in figures]) for n in names})
        )
        promised.append(log_costs(cells, predict_cells(cells)))
    realised, simulated = measured[0] - measured[1], promised[0] - promised[1]
    link = np.array(numbers)
    rates = [np.array([found[_key(c)]["steady_goodput_mbps"] for c in cells]) for cells in sides]
    share = ratio_interval(realised, simulated, link)
    where = f"{TARGET}, emulated links"
    disturbed = float(np.mean([row["disturbed"] for row in rows]))
    return [
        Metric(name="testbed_realised_share_of_simulated_gain", set=where, value=share.value,
               lo=share.lo, hi=share.hi, n=share.n, baseline="simulated gain"),
        *(
            Metric(name=name, set=where, value=each.value, lo=each.lo, hi=each.hi, n=each.n,
                   baseline="shipped default")
            for name, each in (
                ("testbed_gain_nats", ratio_interval(realised, np.ones_like(realised), link)),
                ("testbed_simulated_gain_nats",
                 ratio_interval(simulated, np.ones_like(realised), link)),
                ("testbed_throughput_log_ratio",
                 ratio_interval(np.log(rates[1] / rates[0]), np.ones_like(realised), link)),
            )
        ),
        Metric(name="testbed_same_sign_ratio", set=where,
               value=float(np.mean(np.sign(realised) == np.sign(simulated))), n=len(numbers),
               baseline="simulated gain"),
        Metric(name="testbed_disturbed_runs_ratio", set=where, value=disturbed, n=len(rows),
               baseline="lateness of the link"),
    ]  # fmt: skip


def _key(cell: Cell | dict[str, Any]) -> str:
    return json.dumps(cell if isinstance(cell, dict) else asdict(cell), sort_keys=True)


def testbed_metrics(directory: Path) -> list[Metric]:
    """Return what was measured last; nothing where the testbed has not run."""
    path = directory / RESULT
    if not path.is_file():
        return []
    return [Metric.model_validate(row) for row in json.loads(path.read_text())["metrics"]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, compare and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=RESULTS_DIR, help="folder of the results")
    parser.add_argument("--table", type=Path, default=TABLE, help="where measured cells are kept")
    options = parser.parse_args(arguments)
    measure(options.table)
    rows = json.loads(options.table.read_text())["rows"]
    version = shipped_model().parts[TARGET].card.version
    text = {
        "policy": version,
        "rows": [{name: row[name] for name in ("cell", "measured", "disturbed")} for row in rows],
        "metrics": [each.model_dump(mode="json") for each in metrics_of(rows)],
    }
    (options.output / RESULT).write_text(json.dumps(text, indent=1) + "\n")
    sys.stdout.write(f"{options.output / RESULT}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
