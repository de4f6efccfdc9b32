"""Measures a server and the calibrator in turns, part by part; a part that is done is kept."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.serving.bodies import PLAIN, Form, make_rows
from benchmarks.serving.cpu import TreeClock
from benchmarks.serving.load import Load, run_load
from benchmarks.serving.peers import Running
from benchmarks.serving.report import Measured

KEPT_LATENCIES: Final = 2_001


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One way to ask."""

    name: str
    n_rows: int
    connections: int


CASES: Final = (
    Case(name="1 row, 1 connection", n_rows=1, connections=1),
    Case(name="1 row, 64 connections", n_rows=1, connections=64),
    Case(name="1,000 rows, 4 connections", n_rows=1_000, connections=4),
)


@dataclass
class Bench:
    """The measurements of one run.

    Args:
        work: Scratch folder with `model.txt` and `mlflow_model`.
        rounds: How often each pair of server and calibrator is measured.
        seconds: How long each time.
        say: Tells what is being done.
        calibrator: The FastAPI that stays up.
        store: Folder of the parts that are done; a killed run goes on after them.
    """

    work: Path
    rounds: int
    seconds: float
    say: Callable[[str], None]
    calibrator: Running
    store: Path
    measured: list[Measured] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def is_done(self, name: str) -> bool:
        """Tell whether a part is in the store."""
        return (self.store / f"{name}.json").exists()

    def part(self, name: str, measure: Callable[[], None]) -> None:
        """Measure one part, or take it from the store.

        A part that fails is said in the result: a peer that does not run here is no peer beaten.
        """
        path = self.store / f"{name}.json"
        if path.exists():
            kept = json.loads(path.read_text())
            self.measured += [_measured_from(one) for one in kept["measured"]]
            self.facts |= kept["facts"]
            self.say(f"{name}: done before")
            return
        self.say(f"{name}: starting")
        before, facts = len(self.measured), dict(self.facts)
        try:
            measure()
        except Exception as error:  # noqa: BLE001 - whatever a server does wrong
            del self.measured[before:]
            self.missing.append(f"{name} was not measured: {str(error)[-300:]}")
            self.say(self.missing[-1])
            return
        own = [_measured_to(one) for one in self.measured[before:]]
        added = {key: value for key, value in self.facts.items() if key not in facts}
        self.store.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"measured": own, "facts": added}))

    def compare(
        self,
        name: str,
        running: Running,
        form: Form,
        *,
        load: Callable[[Case], Load] | None = None,
        idle_s: float = 0.0,
    ) -> None:
        """Measure a server and the calibrator in turns, for every case and round."""
        clock = TreeClock(running.roots)
        other = TreeClock(self.calibrator.roots)
        idle = _idle_ratio(clock, idle_s)
        rows = make_rows()
        for case in CASES:
            own = form.bodies(rows, n_rows=case.n_rows, host=f"127.0.0.1:{running.port}")
            plain = PLAIN.bodies(
                rows, n_rows=case.n_rows, host=f"127.0.0.1:{self.calibrator.port}"
            )
            for number in range(self.rounds):
                self.say(f"{name}: {case.name}, {number + 1} of {self.rounds}")
                beside, beside_s = self._run(other, self.calibrator.port, plain, case)
                if load is None:
                    mine, mine_s = self._run(clock, running.port, own, case)
                else:
                    began_s = clock.read_s()
                    mine = load(case)
                    mine_s = clock.read_s() - began_s
                self.measured.append(
                    Measured(
                        server=name,
                        case=case.name,
                        load=mine,
                        cpu_s=mine_s,
                        idle_ratio=idle,
                        beside=beside,
                        beside_cpu_s=beside_s,
                    )
                )

    def _run(
        self, clock: TreeClock, port: int, bodies: list[bytes], case: Case
    ) -> tuple[Load, float]:
        asyncio.run(run_load(port, bodies, connections=case.connections, seconds=0.3))
        began_s = clock.read_s()
        load = asyncio.run(
            run_load(port, bodies, connections=case.connections, seconds=self.seconds)
        )
        return load, clock.read_s() - began_s


def _idle_ratio(clock: TreeClock, idle_s: float) -> float:
    """Return the cores a server burns while nobody asks."""
    if not idle_s:
        return 0.0
    began_s, began = clock.read_s(), time.perf_counter()
    time.sleep(idle_s)
    return (clock.read_s() - began_s) / (time.perf_counter() - began)


def _measured_to(one: Measured) -> dict[str, Any]:
    """Write a measurement with so many quantiles of its latencies as tell them all."""
    written = asdict(one)
    for key in ("load", "beside"):
        latency_s: Sequence[float] = written[key]["latency_s"]
        if len(latency_s) > KEPT_LATENCIES:
            at = np.linspace(0, 1, KEPT_LATENCIES)
            written[key]["latency_s"] = np.quantile(latency_s, at).tolist()
    return written


def _measured_from(written: dict[str, Any]) -> Measured:
    loads = {
        key: Load(**written[key] | {"latency_s": tuple(written[key]["latency_s"])})
        for key in ("load", "beside")
    }
    return Measured(**written | loads)
