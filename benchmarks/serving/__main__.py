"""CPU and time of a request here and in the servers a user would choose otherwise, side by side.

`python -m benchmarks.serving`: each server in turn beside a hand-written FastAPI that stays up, so
that a busy machine slows both; answers are checked before anything is timed.
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np

from benchmarks.results_format import RESULTS_DIR, write_result
from benchmarks.serving import ours, peers
from benchmarks.serving.bodies import (
    OIP_BINARY,
    PLAIN,
    Floats,
    Form,
    check_answers,
    make_model,
    make_rows,
)
from benchmarks.serving.cpu import TreeClock
from benchmarks.serving.load import Load, run_load
from benchmarks.serving.peers import Peer, Running
from benchmarks.serving.report import Measured, to_result
from ray_jobs.cluster_state import free_ports

CHECKED_ROWS: Final = 50
COMMAND: Final = "python -m benchmarks.serving"


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
    """

    work: Path
    rounds: int
    seconds: float
    say: Callable[[str], None]
    calibrator: Running
    calibrator_form: Form = PLAIN
    measured: list[Measured] = field(default_factory=list)

    def compare(
        self,
        name: str,
        running: Running,
        form: Form,
        *,
        cases: Sequence[Case] = CASES,
        load: Callable[[Case], Load] | None = None,
        idle_s: float = 0.0,
    ) -> None:
        """Measure a server and the calibrator in turns, for every case and round."""
        clock = TreeClock(running.roots)
        other = TreeClock(self.calibrator.roots)
        idle = self._idle_ratio(clock, idle_s)
        rows = make_rows()
        for case in cases:
            own = form.bodies(rows, n_rows=case.n_rows, host=f"127.0.0.1:{running.port}")
            plain = self.calibrator_form.bodies(
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

    @staticmethod
    def _idle_ratio(clock: TreeClock, idle_s: float) -> float:
        """Return the cores a server burns while nobody asks."""
        if not idle_s:
            return 0.0
        began_s, began = clock.read_s(), time.perf_counter()
        time.sleep(idle_s)
        return (clock.read_s() - began_s) / (time.perf_counter() - began)


def check_server(running: Running, form: Form, wanted: Floats) -> None:
    """Ask for some rows alone and for all together, and compare with the model's own answers."""
    rows = make_rows()
    url = f"http://127.0.0.1:{running.port}{form.path}"
    with httpx.Client(timeout=60) as client:

        def ask(part: Floats) -> Floats:
            headers, body = form.request(part)
            reply = client.post(url, headers=headers, content=body).raise_for_status()
            told = {name.lower(): value for name, value in reply.headers.items()}
            return form.answers(told, reply.content)

        check_answers([ask(rows[i : i + 1]) for i in range(CHECKED_ROWS)], wanted[:CHECKED_ROWS])
        check_answers([ask(rows)], wanted)


@contextmanager
def bench_beside(
    calibrator: Peer,
    work: Path,
    home: Path,
    *,
    rounds: int,
    seconds: float,
    say: Callable[[str], None],
) -> Iterator[Bench]:
    """Start the calibrator, check it, and hand out the bench."""
    wanted = wanted_answers(work)
    with peers.running(calibrator, home=home, port=free_ports(1)[0], work=work) as fastapi:
        check_server(fastapi, PLAIN, wanted)
        yield Bench(work=work, rounds=rounds, seconds=seconds, say=say, calibrator=fastapi)


def wanted_answers(work: Path) -> Floats:
    """Return the model's own answers to all the rows."""
    import lightgbm

    booster = lightgbm.Booster(model_file=work / "model.txt")
    return np.asarray(booster.predict(make_rows(), num_threads=1), dtype=np.float64)


def in_process_cpu_s(work: Path, *, repeats: int) -> list[float]:
    """Return the CPU seconds of predicting 1,000 rows in this process."""
    import lightgbm

    booster = lightgbm.Booster(model_file=work / "model.txt")
    rows = make_rows()
    found = []
    for shift in range(repeats):
        shifted = np.roll(rows, -50 * shift, axis=0)
        began_s = time.process_time()
        booster.predict(shifted, num_threads=1)
        found.append(time.process_time() - began_s)
    return found


def measure_peers(bench: Bench, home: Path, chosen: Sequence[Peer]) -> list[str]:
    """Measure servers that are one process group each; return why any is missing."""
    missing = []
    wanted = wanted_answers(bench.work)
    for peer in chosen:
        bench.say(f"{peer.name}: starting")
        try:
            port = free_ports(3)[0]
            with peers.running(peer, home=home, port=port, work=bench.work) as running:
                check_server(running, peer.form, wanted)
                bench.compare(peer.name, running, peer.form)
        except (RuntimeError, AssertionError, OSError, httpx.HTTPError) as error:
            # Said in the result: a peer that does not run here is no peer beaten.
            missing.append(f"{peer.name} was not measured: {str(error)[:300]}")
            bench.say(missing[-1])
    return missing


def measure_ray(bench: Bench, *, idle_s: float) -> dict[str, Any]:
    """Measure this project's endpoint and Serve without it, each on a cluster of its own."""
    wanted = wanted_answers(bench.work)
    root = bench.work / "registry"
    ours.register(bench.work / "mlflow_model", root)
    for app in ("batched", "naive"):
        config = ours.plain_config(app, free_ports(1)[0])
        bench.say(f"serve_{app}: starting")
        with ours.cluster_with(
            config, bench.work / app, ha_proxy=False, ready_path="/-/healthz"
        ) as cluster:
            check_server(cluster.running, PLAIN, wanted)
            bench.compare(f"serve_{app}", cluster.running, PLAIN, idle_s=idle_s)
    port, grpc_port = free_ports(2)
    config = ours.endpoint_config(root, port, grpc_port, max_replicas=1)
    bench.say("novacron: starting")
    with ours.cluster_with(
        config, bench.work / "novacron", ha_proxy=True, ready_path="/v2/health/ready"
    ) as cluster:
        check_server(cluster.running, OIP_BINARY, wanted)
        check_answers([ours.ask_grpc(cluster.grpc_port)], wanted[:CHECKED_ROWS])
        bench.compare("novacron", cluster.running, OIP_BINARY, idle_s=idle_s)

        def over_grpc(case: Case) -> Load:
            bodies = ours.grpc_bodies(make_rows(), n_rows=case.n_rows)
            return asyncio.run(
                ours.run_grpc_load(
                    cluster.grpc_port, bodies, in_flight=case.connections, seconds=bench.seconds
                )
            )

        bench.compare("novacron_grpc", cluster.running, OIP_BINARY, load=over_grpc, idle_s=idle_s)
    port, grpc_port = free_ports(2)
    config = ours.endpoint_config(root, port, grpc_port, max_replicas=2)
    bench.say("novacron: a step of load")
    with ours.cluster_with(
        config, bench.work / "scaling", ha_proxy=True, ready_path="/v2/health/ready"
    ) as cluster:
        host = f"127.0.0.1:{cluster.running.port}"
        bodies = OIP_BINARY.bodies(make_rows(), n_rows=1, host=host)
        return {"scaling": ours.load_step(cluster, bodies, seconds=60.0, calm_s=90.0)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the result; `--quick` takes FastAPI and the bare data plane alone."""
    parser = argparse.ArgumentParser(prog=COMMAND)
    parser.add_argument("--quick", action="store_true", help="no Ray, one second each")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--peers", type=Path, default=Path("runs/serving/peers"))
    parser.add_argument("--out", type=Path, default=RESULTS_DIR)
    given = parser.parse_args(arguments)
    os.environ |= peers.ONE_THREAD
    quick: bool = given.quick
    rounds, seconds = (1, 0.3) if quick else (given.rounds, given.seconds)
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="serving-")))
        booster = make_model(
            work / "model.txt", trees=10 if quick else 300, n_rows=1_000 if quick else 20_000
        )
        ours.write_mlflow_model(booster, work / "mlflow_model")
        home = given.peers.resolve()
        # The quick form installs nothing: FastAPI is here because Ray needs it.
        fastapi = replace(peers.FASTAPI, requirements=()) if quick else peers.FASTAPI
        bench = stack.enter_context(
            bench_beside(fastapi, work, home, rounds=rounds, seconds=seconds, say=_say)
        )
        chosen = (peers.RAW,) if quick else (peers.BARE, peers.RAW, *peers.PEERS)
        missing = measure_peers(bench, home, chosen)
        facts: dict[str, Any] = {}
        if not quick:
            ours.prepare_environment(work / "home", work / "model.txt")
            facts = measure_ray(bench, idle_s=10.0)
        in_process = in_process_cpu_s(work, repeats=20)
        result = to_result(bench.measured, in_process, facts, missing, command=COMMAND)
    path = write_result(result, given.out)
    _say(f"wrote {path}")


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the progress of a command


if __name__ == "__main__":
    main()
